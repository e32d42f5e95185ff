//! What a chained graph keeps, and what it goes through.

use super::super::node::GraphNode;
use super::node::ChainedNode;
use crate::error::{Error, Result};

/// Where the nodes of what dictionaries miss are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorNodes {
    /// Nodes like all others.
    #[default]
    InGraph,
    /// Beside the graph: neither counted nor limited by budgets, and listed by
    /// [`ChainedGraph::error_nodes`](super::ChainedGraph::error_nodes) and [`error_edges`](super::ChainedGraph::error_edges) only.
    Apart,
}

/// What a [`ChainedGraph`](super::ChainedGraph) keeps. By default everything.
///
/// Limits apply to the means over all prompts. What they leave out is summed, not lost: [`ChainedGraph::left_out`],
/// [`ChainedNode::left_out`].
///
/// [`ChainedGraph::left_out`]: super::ChainedGraph::left_out
/// [`ChainedNode::left_out`]: super::ChainedNode::left_out
#[derive(Clone, Debug, PartialEq)]
pub struct ChainOptions {
    /// Edges that move the metric by no more than this, up or down, are left out, and with them whatever reaches the metric only
    /// through them. 0 by default.
    pub threshold: f32,
    /// The most edges: the graph is grown from the metric, each time by the edge that moves the metric most, up or down, of those into
    /// nodes that it has. All by default.
    pub most_edges: Option<usize>,
    /// The most nodes besides the metric: the graph is grown from the metric, each time by the node that moves the metric most, up or down,
    /// of those with an edge into a node that it has. All by default.
    pub most_nodes: Option<usize>,
    /// Whether errors of dictionaries are nodes of the graph or apart. In the graph by default.
    pub errors: ErrorNodes,
    /// Whether features also act through queries and keys: true by default. Otherwise attention patterns are held, as in
    /// [linear graphs](super::super), and gradients do not pass through them either.
    pub queries_and_keys: bool,
    /// Whether features are in the graph whose change is negative, the mean over prompts: those that are less active than in the corrupted
    /// run. True by default.
    pub negative_changes: bool,
    /// The first position at which features and errors are looked at, as in
    /// [`GraphOptions`](super::super::GraphOptions::first_position).
    pub first_position: Option<usize>,
}

impl Default for ChainOptions {
    fn default() -> Self {
        Self {
            threshold: 0.0,
            most_edges: None,
            most_nodes: None,
            errors: ErrorNodes::InGraph,
            queries_and_keys: true,
            negative_changes: true,
            first_position: None,
        }
    }
}

impl ChainOptions {
    /// # Errors
    /// [`Error::Argument`] for a threshold that is not a number from 0 on, and budgets of nothing.
    pub(super) fn check(&self) -> Result<()> {
        if !(self.threshold >= 0.0 && self.threshold.is_finite()) {
            return Err(Error::argument(format!(
                "a threshold of {} keeps no edge or has no meaning: give what an edge must move the metric by, up or down, 0 for all.",
                self.threshold
            )));
        }
        for (most, of) in [(self.most_edges, "edges"), (self.most_nodes, "nodes")] {
            if most == Some(0) {
                return Err(Error::argument(format!("a graph of 0 {of} says nothing: give a budget of at least 1.")));
            }
        }
        Ok(())
    }

    /// Whether a node may be in the graph.
    pub(super) fn takes(&self, node: &ChainedNode) -> bool {
        let is_feature = matches!(node.node, GraphNode::Feature { .. } | GraphNode::AttnFeature { .. });
        self.negative_changes || !is_feature || node.change >= 0.0
    }

    /// Whether a node is beside the graph.
    pub(super) fn is_apart(&self, node: &GraphNode) -> bool {
        self.errors == ErrorNodes::Apart && is_error(node)
    }
}

pub(super) fn is_error(node: &GraphNode) -> bool {
    matches!(node, GraphNode::Error { .. } | GraphNode::AttnError { .. })
}
