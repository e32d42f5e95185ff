//! The mean over prompts, node by node and edge by edge.
//!
//! Per prompt first, averaged afterwards: `mean_b G_b da_b`, because the mean of products is not the product of means. What is not
//! there in a prompt (a feature that is silent in both of its runs) counts as 0 there, which is what it does; only gradients are
//! means over the prompts in which the node is there, because they are not known elsewhere.

use std::collections::HashMap;

use super::super::node::GraphNode;
use super::edge::{ChainedEdge, EdgeVia};
use super::node::ChainedNode;

#[derive(Clone, Copy, Default)]
struct NodeSum {
    change: f64,
    gradient: f64,
    score: f64,
    prompts: usize,
}

#[derive(Clone, Copy, Default)]
struct EdgeSum {
    local: f64,
    metric: f64,
}

/// Sums over the prompts so far.
#[derive(Default)]
pub(super) struct MeanOverPrompts {
    prompts: usize,
    nodes: HashMap<GraphNode, NodeSum>,
    edges: HashMap<(GraphNode, GraphNode, EdgeVia), EdgeSum>,
}

impl MeanOverPrompts {
    /// Counts one prompt.
    pub(super) fn add(&mut self, nodes: &[ChainedNode], edges: &[ChainedEdge]) {
        self.prompts += 1;
        for node in nodes {
            let sum = self.nodes.entry(node.node).or_default();
            sum.change += f64::from(node.change);
            sum.gradient += f64::from(node.gradient);
            sum.score += f64::from(node.score);
            sum.prompts += node.prompts;
        }
        for edge in edges {
            let sum = self.edges.entry((edge.source, edge.target, edge.via)).or_default();
            sum.local += f64::from(edge.local);
            sum.metric += f64::from(edge.metric);
        }
    }

    /// The means, in the order of nodes.
    pub(super) fn means(self) -> (Vec<ChainedNode>, Vec<ChainedEdge>) {
        let count = self.prompts as f64;
        let of_node = |(node, sum): (GraphNode, NodeSum)| ChainedNode {
            node,
            change: (sum.change / count) as f32,
            gradient: (sum.gradient / sum.prompts as f64) as f32,
            prompts: sum.prompts,
            score: (sum.score / count) as f32,
            left_out: 0.0,
        };
        let mut nodes: Vec<ChainedNode> = self.nodes.into_iter().map(of_node).collect();
        nodes.sort_by_key(|node| node.node);
        let of_edge = |((source, target, via), sum): ((GraphNode, GraphNode, EdgeVia), EdgeSum)| ChainedEdge {
            source,
            target,
            via,
            local: (sum.local / count) as f32,
            metric: (sum.metric / count) as f32,
        };
        let mut edges: Vec<ChainedEdge> = self.edges.into_iter().map(of_edge).collect();
        edges.sort_by_key(|edge| (edge.source, edge.target, edge.via));
        (nodes, edges)
    }
}
