//! A graph: its nodes, and the edges into each feature and target.

use std::fmt;

use super::influence::{Influence, influence};
use super::node::{GraphEdge, GraphNode};
use crate::error::{Error, Result};
use crate::visible::visible;

/// The edges into one feature or target.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub node: GraphNode,
    /// What its edges sum to: a pre-activation, a logit.
    pub value: f32,
    /// How much it counts: a probability for a logit, 0 for a feature.
    pub weight: f64,
    /// From each source, in their order.
    pub edges: Vec<f32>,
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
    pub(super) sources: Vec<GraphNode>,
    /// The activation of each source that is a feature.
    pub(super) activations: Vec<f32>,
    /// Features by layer, position and index, then targets.
    pub(super) rows: Vec<Row>,
    pub(super) targets: Vec<String>,
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
    /// [`Error::Argument`] for a node into which there are no edges.
    pub fn value(&self, node: GraphNode) -> Result<f32> {
        Ok(self.row(node)?.value)
    }

    /// The edges into a feature or target, the largest first.
    ///
    /// # Errors
    /// [`Error::Argument`] for a node into which there are no edges.
    pub fn edges_into(&self, node: GraphNode) -> Result<Vec<GraphEdge>> {
        let row = self.row(node)?;
        let edges = self.sources.iter().zip(&row.edges).filter(|(_, weight)| **weight != 0.0);
        Ok(ranked(edges.map(|(&source, &weight)| GraphEdge { source, target: node, weight }).collect()))
    }

    /// The edges out of a node, the largest first.
    ///
    /// # Errors
    /// [`Error::Argument`] for a node that is not in the graph, or a target.
    pub fn edges_out_of(&self, node: GraphNode) -> Result<Vec<GraphEdge>> {
        let column = self.column(node)?;
        let edges = self.rows.iter().filter(|row| row.edges[column] != 0.0);
        Ok(ranked(edges.map(|row| GraphEdge { source: node, target: row.node, weight: row.edges[column] }).collect()))
    }

    /// The weight of the edge between two nodes; 0 where there is none.
    ///
    /// # Errors
    /// [`Error::Argument`] for nodes that are not in the graph.
    pub fn edge(&self, source: GraphNode, target: GraphNode) -> Result<f32> {
        Ok(self.row(target)?.edges[self.column(source)?])
    }

    /// The largest difference between what the edges into a node sum to and its value, over all nodes: rounding, where biases and
    /// embeddings of positions are in the graph.
    pub fn residual(&self) -> f32 {
        let of = |row: &Row| (row.edges.iter().map(|&edge| f64::from(edge)).sum::<f64>() - f64::from(row.value)).abs();
        self.rows.iter().map(of).fold(0.0, f64::max) as f32
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
        let kept: Vec<usize> = (0..self.sources.len()).filter(|&column| is_kept(&self.sources[column])).collect();
        self.with_columns(&kept)
    }

    /// The graph with these sources only.
    pub(super) fn with_columns(&self, kept: &[usize]) -> Self {
        let rows = self
            .rows
            .iter()
            .map(|row| Row { edges: kept.iter().map(|&column| row.edges[column]).collect(), ..row.clone() });
        Self {
            pieces: self.pieces.clone(),
            sources: kept.iter().map(|&column| self.sources[column]).collect(),
            activations: kept.iter().filter_map(|&column| self.activations.get(column).copied()).collect(),
            rows: rows.collect(),
            targets: self.targets.clone(),
        }
    }

    /// The influence of each source on the targets: the share of their explanation that goes through it, when the edges into every
    /// node are divided by the sum of their absolute values and multiplied along all paths.
    pub fn influence(&self) -> Influence {
        influence(self)
    }

    /// Where the edges out of a source are.
    pub(super) fn column(&self, node: GraphNode) -> Result<usize> {
        self.sources.iter().position(|source| *source == node).ok_or_else(|| self.no_node(node, "is not a source"))
    }

    pub(super) fn row(&self, node: GraphNode) -> Result<&Row> {
        let row = self.rows.iter().find(|row| row.node == node);
        row.ok_or_else(|| self.no_node(node, "has no edges into it"))
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
