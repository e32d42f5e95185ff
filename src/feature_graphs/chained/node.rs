//! Nodes of chained graphs, and what a graph leaves out.

use std::fmt;

use super::super::node::GraphNode;

/// A node of a [`ChainedGraph`](super::ChainedGraph) with what it does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChainedNode {
    /// Which.
    pub node: GraphNode,
    /// Its activation less that of the baseline, the mean over prompts; 1 for nodes that are not features.
    pub change: f32,
    /// The total gradient of the metric at its activation, or along what it writes for nodes that are not features: the mean over
    /// the prompts in which the node is there.
    pub gradient: f32,
    /// In how many prompts it is there: a feature that is active in the clean or the corrupted run.
    pub prompts: usize,
    pub(super) score: f32,
    pub(super) left_out: f32,
}

impl ChainedNode {
    /// A node of one prompt, whose gradient is not known yet.
    pub(super) fn new(node: GraphNode, change: f32) -> Self {
        Self { node, change, gradient: 0.0, prompts: 1, score: 0.0, left_out: 0.0 }
    }

    /// By how much it moves the metric: gradient times change. Over several prompts the mean of the products, which is not the
    /// product of the means.
    pub fn score(&self) -> f32 {
        self.score
    }

    /// The sum of its outgoing edges that the graph leaves out. With those that it keeps they sum to the score.
    pub fn left_out(&self) -> f32 {
        self.left_out
    }
}

impl fmt::Display for ChainedNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:+.4} of the metric", self.node, self.score)
    }
}

/// What thresholds and budgets leave out of a [`ChainedGraph`](super::ChainedGraph).
///
/// The sums are over edges and over nodes, which count one effect once at each step of a chain: they are not shares of the metric.
/// [`ChainedNode::left_out`] is exact for one node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EdgesLeftOut {
    /// How many edges into nodes of the graph.
    pub edges: usize,
    /// By how much they move the metric, summed.
    pub metric: f32,
    /// The same with their absolute values.
    pub magnitude: f32,
    /// How many nodes that move the metric.
    pub nodes: usize,
    /// The sum of their scores.
    pub score: f32,
}

impl fmt::Display for EdgesLeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.edges == 0 && self.nodes == 0 {
            return f.write_str("nothing is left out");
        }
        write!(
            f,
            "left out: {} edges that sum to {:+.4} ({:.4} by magnitude), {} nodes whose scores sum to {:+.4}",
            self.edges, self.metric, self.magnitude, self.nodes, self.score
        )
    }
}
