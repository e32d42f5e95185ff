//! A graph: its nodes, and the edges into each feature and target.

use std::fmt;

use super::incoming::Incoming;
use super::influence::{Influence, influence};
use super::node::{GraphEdge, GraphNode};
use crate::error::{Error, Result};
use crate::visible::visible;

/// The edges into one feature or target.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub node: GraphNode,
    /// What its edges sum to: a pre-activation, a logit. Graphs that circuit-tracer wrote do not say.
    pub value: Option<f32>,
    /// How much it counts: a probability for a logit, 0 for a feature.
    pub weight: f64,
    pub edges: Incoming,
}

/// What files say of a graph besides its nodes and edges.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Origin {
    pub n_layers: usize,
    /// The ids of the prompt's tokens.
    pub tokens: Vec<u32>,
    /// The token of each target; numbers behind the vocabulary for what is not one token, as circuit-tracer has it.
    pub targets: Vec<usize>,
    /// The names of the dictionaries.
    pub dictionaries: Vec<String>,
}

/// Where the activations of features and the logits of one prompt come from ([`HookedTransformer::attribution_graph`]).
///
/// Sources are in the order of circuit-tracer: features by layer, position and index, errors by layer and position, tokens; then
/// embeddings of positions and biases, which circuit-tracer does not have. The edges into a node sum to its value.
///
/// [`HookedTransformer::attribution_graph`]: crate::model::HookedTransformer::attribution_graph
#[derive(Clone, PartialEq)]
pub struct AttributionGraph {
    pub(super) pieces: Vec<String>,
    /// In the order of nodes, so that one is found by halving.
    pub(super) sources: Vec<GraphNode>,
    /// The activation of each source that is a feature.
    pub(super) activations: Vec<f32>,
    /// In the order of their nodes: features by layer, position and index, then targets.
    pub(super) rows: Vec<Row>,
    pub(super) targets: Vec<String>,
    pub(super) origin: Origin,
}

impl AttributionGraph {
    /// The tokens of the prompt as text.
    pub fn tokens(&self) -> Vec<String> {
        self.pieces.clone()
    }

    /// All nodes that edges come from, in order.
    pub fn sources(&self) -> Vec<GraphNode> {
        self.sources.clone()
    }

    /// What is explained, by name.
    pub fn targets(&self) -> Vec<String> {
        self.targets.clone()
    }

    /// How many features are active in it.
    pub fn features(&self) -> usize {
        self.activations.len()
    }

    /// The activation of a feature.
    ///
    /// # Errors
    /// [`Error::Argument`] for a node that is not a feature of this graph.
    pub fn activation(&self, node: GraphNode) -> Result<f32> {
        let activation = self.column(node)?;
        self.activations.get(activation).copied().ok_or_else(|| {
            Error::argument(format!("{node} is not a feature, so it has no activation: give a GraphNode::Feature."))
        })
    }

    /// What the edges into a feature or target sum to: its pre-activation, or the logit, before a soft cap where the model has one.
    ///
    /// # Errors
    /// [`Error::Argument`] for a node into which there are no edges, or whose value is not known because circuit-tracer wrote the graph.
    pub fn value(&self, node: GraphNode) -> Result<f32> {
        self.row(node)?.value.ok_or_else(|| {
            Error::argument(format!(
                "the value of {node} is not known: circuit-tracer wrote this graph, and its files have none. For a feature with ReLU or a \
                 threshold it is the activation."
            ))
        })
    }

    /// How much a target counts: the probability of a token, 1 for a difference or a direction; 0 for a feature.
    ///
    /// # Errors
    /// [`Error::Argument`] for a node into which there are no edges.
    pub fn weight(&self, node: GraphNode) -> Result<f64> {
        Ok(self.row(node)?.weight)
    }

    /// The edges into a feature or target, the largest first.
    ///
    /// # Errors
    /// [`Error::Argument`] for a node into which there are no edges.
    pub fn edges_into(&self, node: GraphNode) -> Result<Vec<GraphEdge>> {
        let row = self.row(node)?;
        let edge = |(column, weight)| GraphEdge { source: self.sources[column], target: node, weight };
        Ok(ranked(row.edges.iter().map(edge).collect()))
    }

    /// The edges out of a node, the largest first.
    ///
    /// # Errors
    /// [`Error::Argument`] for a node that is not in the graph, or a target.
    pub fn edges_out_of(&self, node: GraphNode) -> Result<Vec<GraphEdge>> {
        let column = self.column(node)?;
        let edge = |row: &Row| GraphEdge { source: node, target: row.node, weight: row.edges.at(column) };
        Ok(ranked(self.rows.iter().map(edge).filter(|edge| edge.weight != 0.0).collect()))
    }

    /// The weight of the edge between two nodes; 0 where there is none.
    ///
    /// # Errors
    /// [`Error::Argument`] for nodes that are not in the graph.
    pub fn edge(&self, source: GraphNode, target: GraphNode) -> Result<f32> {
        Ok(self.row(target)?.edges.at(self.column(source)?))
    }

    /// The largest difference between what the edges into a node sum to and its value, over all nodes: rounding, where biases and
    /// embeddings of positions are in the graph. NaN where no value is known, as in a graph that circuit-tracer wrote.
    pub fn residual(&self) -> f32 {
        let of = |row: &Row| -> Option<f64> {
            let sum: f64 = row.edges.iter().map(|(_, edge)| f64::from(edge)).sum();
            Some((sum - f64::from(row.value?)).abs())
        };
        self.rows.iter().filter_map(of).reduce(f64::max).unwrap_or(f64::NAN) as f32
    }

    /// The text of the token at a node's position; nothing for targets and biases.
    pub fn token_of(&self, node: GraphNode) -> String {
        match node {
            GraphNode::Feature { pos, .. }
            | GraphNode::Error { pos, .. }
            | GraphNode::AttnFeature { pos, .. }
            | GraphNode::AttnError { pos, .. }
            | GraphNode::Token { pos }
            | GraphNode::Position { pos } => self.pieces.get(pos).cloned().unwrap_or_default(),
            GraphNode::LeftOut | GraphNode::Bias(_) | GraphNode::Target { .. } => String::new(),
        }
    }

    /// What figures call a node: a target by its token, others as they display.
    pub fn name_of(&self, node: GraphNode) -> String {
        match node {
            GraphNode::Target { number } => self.targets.get(number).cloned().unwrap_or_default(),
            other => other.to_string(),
        }
    }

    /// The graph without biases and embeddings of positions: circuit-tracer's, whose scores and influence it has.
    pub fn without_biases(&self) -> Self {
        let is_kept =
            |node: &GraphNode| !matches!(node, GraphNode::Bias(_) | GraphNode::Position { .. } | GraphNode::LeftOut);
        self.among(&self.sources.iter().map(is_kept).collect::<Vec<bool>>())
    }

    /// The graph of these sources and the edges between them: rows of features that are left out are left out too.
    pub(super) fn among(&self, kept: &[bool]) -> Self {
        let mut numbers = Vec::with_capacity(kept.len());
        let mut next = 0;
        for &is_kept in kept {
            numbers.push(is_kept.then_some(next));
            next += u32::from(is_kept);
        }
        let stays = |row: &&Row| self.sources.binary_search(&row.node).map_or(true, |column| kept[column]);
        let row = |row: &Row| Row { edges: row.edges.renumbered(&numbers), ..*row };
        let columns = || (0..kept.len()).filter(|&column| kept[column]);
        Self {
            pieces: self.pieces.clone(),
            sources: columns().map(|column| self.sources[column]).collect(),
            activations: columns().filter_map(|column| self.activations.get(column).copied()).collect(),
            rows: self.rows.iter().filter(stays).map(row).collect(),
            targets: self.targets.clone(),
            origin: self.origin.clone(),
        }
    }

    /// The influence of each source on the targets: the share of their explanation that goes through it, when the edges into every
    /// node are divided by the sum of their absolute values and multiplied along all paths.
    pub fn influence(&self) -> Influence {
        influence(self)
    }

    /// Where the edges out of a source are.
    pub(super) fn column(&self, node: GraphNode) -> Result<usize> {
        self.sources.binary_search(&node).map_err(|_| self.no_node(node, "is not a source"))
    }

    pub(super) fn row(&self, node: GraphNode) -> Result<&Row> {
        let found = self.rows.binary_search_by_key(&node, |row| row.node);
        found.map(|at| &self.rows[at]).map_err(|_| self.no_node(node, "has no edges into it"))
    }

    fn no_node(&self, node: GraphNode, why: &str) -> Error {
        Error::argument(format!(
            "{node} {why} in this graph of {} active features, {} tokens and {} targets: sources() lists what is there.",
            self.features(),
            self.pieces.len(),
            self.targets.len()
        ))
    }
}

fn ranked(mut edges: Vec<GraphEdge>) -> Vec<GraphEdge> {
    edges.sort_by(|a, b| b.weight.abs().total_cmp(&a.weight.abs()));
    edges
}

impl fmt::Display for AttributionGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let targets: Vec<String> = self.targets.iter().map(|name| visible(name).to_string()).collect();
        write!(
            f,
            "attribution graph of {} tokens: {} active features, {} of them explained; targets: {}",
            self.pieces.len(),
            self.features(),
            self.rows.len() - self.targets.len(),
            targets.join(", ")
        )
    }
}

impl fmt::Debug for AttributionGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
