//! What a chained graph holds.

use super::super::node::GraphNode;
use super::edge::ChainedEdge;

/// A node of a [`ChainedGraph`] with what it does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChainedNode {
    /// Which.
    pub node: GraphNode,
    /// Its activation less that of the baseline; 1 for nodes that are not features.
    pub change: f32,
    /// The total gradient of the metric at its activation; along what it writes, for nodes that are not features.
    pub gradient: f32,
}

impl ChainedNode {
    /// By how much it moves the metric: gradient times change.
    pub fn score(&self) -> f32 {
        self.gradient * self.change
    }
}

/// How features move a metric through each other ([`chained graphs`](super)).
#[derive(Clone, PartialEq)]
pub struct ChainedGraph {
    /// The tokens of the first prompt as text.
    pub(super) pieces: Vec<String>,
    /// All sources, and the metric, which is target 0.
    pub(super) nodes: Vec<ChainedNode>,
    pub(super) edges: Vec<ChainedEdge>,
    /// The name of the metric.
    pub(super) metric: String,
}

impl ChainedGraph {
    /// The tokens of the (first) prompt as text.
    pub fn tokens(&self) -> Vec<String> {
        self.pieces.clone()
    }

    /// All nodes, the one that moves the metric most first.
    pub fn nodes(&self) -> Vec<ChainedNode> {
        let mut nodes = self.nodes.clone();
        nodes.sort_by(|a, b| b.score().abs().total_cmp(&a.score().abs()));
        nodes
    }

    /// All edges, the one that moves the metric most first.
    pub fn edges(&self) -> Vec<ChainedEdge> {
        let mut edges = self.edges.clone();
        edges.sort_by(|a, b| b.metric.abs().total_cmp(&a.metric.abs()));
        edges
    }

    /// The metric's name.
    pub fn metric(&self) -> String {
        self.metric.clone()
    }
}
