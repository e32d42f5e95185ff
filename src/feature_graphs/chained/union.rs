//! The sources of several prompts as one list, and means over prompts of what they do.
//!
//! Per prompt first, averaged afterwards: `mean_b G_b da_b`, because the mean of products is not the product of means. What is not
//! there in a prompt, a feature that is silent in both of its runs, counts as 0, which is what it does there; only gradients are means
//! over the prompts in which a node is there, because they are known nowhere else.

use std::collections::BTreeMap;

use super::super::node::GraphNode;
use super::node::ChainedNode;

/// All sources of some prompts.
pub(super) struct Union {
    /// In order.
    pub nodes: Vec<GraphNode>,
    /// Where each prompt's sources are among them.
    pub places: Vec<Vec<usize>>,
}

impl Union {
    pub(super) fn new<'a>(prompts: impl Iterator<Item = &'a [ChainedNode]> + Clone) -> Self {
        let all: BTreeMap<GraphNode, ()> = prompts.clone().flatten().map(|node| (node.node, ())).collect();
        let nodes: Vec<GraphNode> = all.into_keys().collect();
        let place = |node: &ChainedNode| nodes.binary_search(&node.node).expect("it is of one of the prompts");
        let places = prompts.map(|nodes| nodes.iter().map(place).collect()).collect();
        Self { nodes, places }
    }

    /// Each source with the means of what it does.
    pub(super) fn means<'a>(&self, prompts: impl Iterator<Item = &'a [ChainedNode]>) -> Vec<ChainedNode> {
        let mut sums = vec![(0.0f64, 0.0f64, 0.0f64, 0usize); self.nodes.len()];
        for (places, nodes) in self.places.iter().zip(prompts) {
            for (&place, node) in places.iter().zip(nodes) {
                let (change, gradient, score, count) = &mut sums[place];
                *change += f64::from(node.change);
                *gradient += f64::from(node.gradient);
                *score += f64::from(node.gradient) * f64::from(node.change);
                *count += 1;
            }
        }
        let all = self.places.len() as f64;
        let mean = |(&node, (change, gradient, score, count)): (&GraphNode, (f64, f64, f64, usize))| ChainedNode {
            node,
            change: (change / all) as f32,
            gradient: (gradient / count as f64) as f32,
            prompts: count,
            score: (score / all) as f32,
            left_out: 0.0,
        };
        self.nodes.iter().zip(sums).map(mean).collect()
    }
}
