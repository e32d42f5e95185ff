//! What a chained graph holds.

use std::collections::HashMap;
use std::fmt;

use super::super::node::GraphNode;
use super::edge::{ChainedEdge, EdgeCounts};
use super::node::{ChainedNode, EdgesLeftOut};
use super::options::{ErrorNodes, is_error};
use crate::error::{Error, Result};
use crate::visible::visible;

/// The metric, which all edges lead to.
pub(super) const METRIC: GraphNode = GraphNode::Target { number: 0 };

/// How features move a metric through each other ([`HookedTransformer::chained_graph`]): nodes, edges through values, queries, keys and
/// MLPs and to the metric itself, and what was left out of them.
///
/// Its metric is [`GraphNode::Target`] with number 0. All values are means over the prompts.
///
/// [`HookedTransformer::chained_graph`]: crate::model::HookedTransformer::chained_graph
#[derive(Clone, PartialEq)]
pub struct ChainedGraph {
    /// The tokens of the first prompt as text; none for a file that does not say.
    pub(super) pieces: Vec<String>,
    /// How many prompts it is the mean of.
    pub(super) prompts: usize,
    /// How many layers the model has.
    pub(super) layers: usize,
    /// The name of the metric.
    pub(super) metric: String,
    /// The metric of the corrupted prompts, where there are any.
    pub(super) corrupted: Option<f32>,
    /// Whether errors are apart.
    pub(super) errors: ErrorNodes,
    /// All sources, errors apart as well, and the metric, whose change is its clean value.
    pub(super) nodes: Vec<ChainedNode>,
    pub(super) edges: Vec<ChainedEdge>,
    pub(super) left_out: EdgesLeftOut,
}

impl ChainedGraph {
    /// The tokens of the first prompt as text.
    pub fn tokens(&self) -> Vec<String> {
        self.pieces.clone()
    }

    /// How many prompts its values are means of.
    pub fn prompts(&self) -> usize {
        self.prompts
    }

    /// The metric's name.
    pub fn metric(&self) -> String {
        self.metric.clone()
    }

    /// The metric of the clean prompts, the mean over them; NaN for a graph of a file that does not say.
    pub fn clean(&self) -> f32 {
        self.node(METRIC).map_or(f32::NAN, |metric| metric.change)
    }

    /// The metric of the corrupted prompts, the mean over them; nothing where the baseline is zero.
    pub fn corrupted(&self) -> Option<f32> {
        self.corrupted
    }

    /// All nodes, the one that moves the metric most, up or down, first; the metric itself is one of them, with its clean value.
    pub fn nodes(&self) -> Vec<ChainedNode> {
        by_score(self.nodes.iter().filter(|node| self.is_in(&node.node)))
    }

    /// All edges, the one that moves the metric most, up or down, first.
    pub fn edges(&self) -> Vec<ChainedEdge> {
        by_metric(self.inside())
    }

    /// The nodes of what dictionaries miss, in the graph or apart, the one that moves the metric most first.
    pub fn error_nodes(&self) -> Vec<ChainedNode> {
        by_score(self.nodes.iter().filter(|node| is_error(&node.node)))
    }

    /// The edges from what dictionaries miss, in the graph or apart, the one that moves the metric most first.
    pub fn error_edges(&self) -> Vec<ChainedEdge> {
        by_metric(self.edges.iter().filter(|edge| is_error(&edge.source)))
    }

    /// One node.
    ///
    /// # Errors
    /// [`Error::Argument`] for a node that is not in the graph.
    pub fn node(&self, node: GraphNode) -> Result<ChainedNode> {
        self.nodes.iter().find(|own| own.node == node).copied().ok_or_else(|| self.no_node(node))
    }

    /// The edges into a node or the metric, the one that moves the metric most first; those from errors where they are in the graph.
    ///
    /// # Errors
    /// [`Error::Argument`] for a node that is not in the graph.
    pub fn edges_into(&self, node: GraphNode) -> Result<Vec<ChainedEdge>> {
        if node != METRIC {
            // A graph of a file may not know the metric's value.
            self.node(node)?;
        }
        Ok(by_metric(self.inside().filter(|edge| edge.target == node)))
    }

    /// The edges out of a node, the one that moves the metric most first. With [what is left out](ChainedNode::left_out) they sum to its
    /// score.
    ///
    /// # Errors
    /// [`Error::Argument`] for a node that is not in the graph, or the metric.
    pub fn edges_out_of(&self, node: GraphNode) -> Result<Vec<ChainedEdge>> {
        self.node(node)?;
        Ok(by_metric(self.edges.iter().filter(|edge| edge.source == node)))
    }

    /// How many edges go through values, queries, keys and MLPs, and to the metric.
    pub fn edge_counts(&self) -> EdgeCounts {
        EdgeCounts::of(self.inside())
    }

    /// What thresholds and budgets left out.
    pub fn left_out(&self) -> EdgesLeftOut {
        self.left_out
    }

    /// The largest difference between the score of a node and the sum of its edges, those left out included, over all nodes: rounding.
    pub fn residual(&self) -> f32 {
        let mut sums: HashMap<GraphNode, f64> = HashMap::new();
        for edge in &self.edges {
            *sums.entry(edge.source).or_default() += f64::from(edge.metric);
        }
        let miss = |node: &ChainedNode| {
            let kept = sums.get(&node.node).copied().unwrap_or(0.0);
            (f64::from(node.score) - kept - f64::from(node.left_out)).abs()
        };
        self.sources().map(miss).fold(0.0, f64::max) as f32
    }

    /// The text of the token at a node's position in the first prompt; nothing for biases, the metric, and a graph without tokens.
    pub fn token_of(&self, node: GraphNode) -> String {
        position(&node).and_then(|pos| self.pieces.get(pos).cloned()).unwrap_or_default()
    }

    /// What figures call a node: the metric by its name, others as they display.
    pub fn name_of(&self, node: GraphNode) -> String {
        if node == METRIC { self.metric.clone() } else { node.to_string() }
    }

    /// The edges that are in the graph.
    fn inside(&self) -> impl Iterator<Item = &ChainedEdge> {
        self.edges.iter().filter(|edge| self.is_in(&edge.source))
    }

    /// All nodes but the metric.
    pub(super) fn sources(&self) -> impl Iterator<Item = &ChainedNode> {
        self.nodes.iter().filter(|node| node.node != METRIC)
    }

    /// Whether a node is in the graph and not beside it.
    pub(super) fn is_in(&self, node: &GraphNode) -> bool {
        self.errors == ErrorNodes::InGraph || !is_error(node)
    }

    fn no_node(&self, node: GraphNode) -> Error {
        Error::argument(format!(
            "{node} is not in this graph of {} nodes: it was not active, or a threshold or budget left it out; nodes() lists \
             what is there.",
            self.sources().count()
        ))
    }
}

/// The position of a node that has one.
pub(super) fn position(node: &GraphNode) -> Option<usize> {
    match *node {
        GraphNode::Feature { pos, .. }
        | GraphNode::Error { pos, .. }
        | GraphNode::AttnFeature { pos, .. }
        | GraphNode::AttnError { pos, .. }
        | GraphNode::Token { pos }
        | GraphNode::Position { pos } => Some(pos),
        GraphNode::LeftOut | GraphNode::Bias(_) | GraphNode::Target { .. } => None,
    }
}

/// Sorted, so that equals keep the order of nodes.
pub(super) fn by_score<'a>(nodes: impl Iterator<Item = &'a ChainedNode>) -> Vec<ChainedNode> {
    let mut nodes: Vec<ChainedNode> = nodes.copied().collect();
    nodes.sort_by(|a, b| b.score.abs().total_cmp(&a.score.abs()));
    nodes
}

fn by_metric<'a>(edges: impl Iterator<Item = &'a ChainedEdge>) -> Vec<ChainedEdge> {
    let mut edges: Vec<ChainedEdge> = edges.copied().collect();
    edges.sort_by(|a, b| b.metric.abs().total_cmp(&a.metric.abs()));
    edges
}

impl fmt::Display for ChainedGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prompts = if self.prompts == 1 { "1 prompt".to_string() } else { format!("{} prompts", self.prompts) };
        let nodes = self.sources().filter(|node| self.is_in(&node.node)).count();
        write!(
            f,
            "chained graph of {} over {prompts} of {} tokens: {nodes} nodes, {}",
            visible(&self.metric),
            self.pieces.len(),
            self.edge_counts()
        )
    }
}

impl fmt::Debug for ChainedGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
