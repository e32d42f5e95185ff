//! Influence on the targets, and how much of it errors have.
//!
//! `N` is the matrix of absolute edges with every row (the edges into one node) divided by its sum, `w` the weights of the targets:
//! `influence = w (N + N^2 + ..)`. Edges go from earlier to later nodes only, so one pass from the last node to the first is the whole
//! series.

use std::collections::HashMap;

use super::graph::AttributionGraph;
use super::node::{GraphEdge, GraphNode};
use crate::error::{Error, Result};

/// Influence of sources on the targets of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Influence {
    nodes: Vec<GraphNode>,
    values: Vec<f64>,
}

impl Influence {
    /// All sources with their influence, the largest first.
    pub fn ranked(&self) -> Vec<(GraphNode, f64)> {
        let mut all: Vec<_> = self.nodes.iter().copied().zip(self.values.iter().copied()).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all
    }

    /// The influence of one source.
    ///
    /// # Errors
    /// [`Error::Argument`] for a node that is not a source of the graph.
    pub fn of(&self, node: GraphNode) -> Result<f64> {
        let found = self.nodes.iter().position(|own| *own == node);
        found.map(|at| self.values[at]).ok_or_else(|| Error::argument(format!("{node} is not a source of this graph.")))
    }

    /// The sum over the sources that nothing comes before: tokens, errors, positions, biases, and features left out. It is the sum of
    /// the weights of the targets, because whatever influence there is comes from somewhere.
    pub fn of_leaves(&self) -> f64 {
        let leaves = self.nodes.iter().zip(&self.values).filter(|(node, _)| !matches!(node, GraphNode::Feature { .. }));
        leaves.map(|(_, value)| value).sum()
    }

    /// In the order of the sources.
    pub(super) fn values(&self) -> &[f64] {
        &self.values
    }
}

/// The edges of a graph with rows divided by their sums, and in which order influence flows.
pub(super) struct Normalised<'a> {
    graph: &'a AttributionGraph,
    /// 1 / the sum of each row's absolute edges.
    factors: Vec<f64>,
    /// Targets, then features from the last layer to the first.
    order: Vec<usize>,
    /// The row of each source that has one.
    rows: HashMap<GraphNode, usize>,
    /// The source of each row that is one.
    columns: Vec<Option<usize>>,
}

impl<'a> Normalised<'a> {
    /// Counting the edges only that `is_kept(row, column)` keeps.
    pub(super) fn new(graph: &'a AttributionGraph, is_kept: &dyn Fn(usize, usize) -> bool) -> Self {
        let factor = |row: usize| {
            let kept = graph.rows[row].edges.iter().enumerate().filter(|(column, _)| is_kept(row, *column));
            let sum: f64 = kept.map(|(_, edge)| f64::from(edge.abs())).sum();
            if sum > 0.0 { sum.recip() } else { 0.0 }
        };
        let factors = (0..graph.rows.len()).map(factor).collect();
        let mut order: Vec<usize> = (0..graph.rows.len()).collect();
        order.sort_by_key(|&row| match graph.rows[row].node {
            GraphNode::Feature { layer, .. } => usize::MAX - 1 - layer,
            _ => 0,
        });
        let rows: HashMap<GraphNode, usize> = graph.rows.iter().enumerate().map(|(at, row)| (row.node, at)).collect();
        let mut columns = vec![None; graph.rows.len()];
        for (column, node) in graph.sources.iter().enumerate() {
            if let Some(&row) = rows.get(node) {
                columns[row] = Some(column);
            }
        }
        Self { graph, factors, order, rows, columns }
    }

    /// The normalised edge.
    pub(super) fn edge(&self, row: usize, column: usize) -> f64 {
        f64::from(self.graph.rows[row].edges[column].abs()) * self.factors[row]
    }

    /// The influence of each source.
    pub(super) fn influence(&self, is_kept: &dyn Fn(usize, usize) -> bool) -> Vec<f64> {
        let mut influence = vec![0.0; self.graph.sources.len()];
        for &row in &self.order {
            let through = self.through(row, &influence);
            if through == 0.0 {
                continue;
            }
            for (column, total) in influence.iter_mut().enumerate() {
                if is_kept(row, column) {
                    *total += through * self.edge(row, column);
                }
            }
        }
        influence
    }

    /// The influence of the node that a row is of, its own weight included.
    pub(super) fn through(&self, row: usize, influence: &[f64]) -> f64 {
        self.columns[row].map_or(0.0, |column| influence[column]) + self.graph.rows[row].weight
    }

    /// The row of a source.
    pub(super) fn row_of(&self, node: GraphNode) -> Option<usize> {
        self.rows.get(&node).copied()
    }
}

pub(super) fn influence(graph: &AttributionGraph) -> Influence {
    let all = |_: usize, _: usize| true;
    Influence { nodes: graph.sources.clone(), values: Normalised::new(graph, &all).influence(&all) }
}

impl AttributionGraph {
    /// The share of the influence of tokens and errors that tokens have: 1 where dictionaries miss nothing that matters.
    ///
    /// circuit-tracer's replacement score, of [`AttributionGraph::without_biases`].
    pub fn replacement_score(&self) -> f64 {
        let influence = self.influence();
        let of = |is: &dyn Fn(&GraphNode) -> bool| -> f64 {
            let nodes = influence.nodes.iter().zip(&influence.values);
            nodes.filter(|(node, _)| is(node)).map(|(_, value)| value).sum()
        };
        let (tokens, errors) = (of(&is_token), of(&is_error));
        tokens / (tokens + errors)
    }

    /// The share of what comes into nodes that is not from errors, nodes weighted by their influence. circuit-tracer's completeness
    /// score, of [`AttributionGraph::without_biases`]: it counts tokens and errors themselves as fully explained.
    pub fn completeness_score(&self) -> f64 {
        self.explained(&|_| true)
    }

    /// As [`AttributionGraph::completeness_score`], over the nodes that something comes into: features and targets.
    pub fn completeness_of_features(&self) -> f64 {
        self.explained(&|node| matches!(node, GraphNode::Feature { .. }))
    }

    fn explained(&self, counts: &dyn Fn(&GraphNode) -> bool) -> f64 {
        let all = |_: usize, _: usize| true;
        let normalised = Normalised::new(self, &all);
        let influence = normalised.influence(&all);
        let missed = |row: usize| -> f64 {
            let errors = (0..self.sources.len()).filter(|&column| is_error(&self.sources[column]));
            errors.map(|column| normalised.edge(row, column)).sum()
        };
        let (mut explained, mut total) = (0.0, 0.0);
        for (column, node) in self.sources.iter().enumerate().filter(|(_, node)| counts(node)) {
            explained += influence[column] * (1.0 - normalised.row_of(*node).map_or(0.0, missed));
            total += influence[column];
        }
        for (row, of) in self.rows.iter().enumerate().filter(|(_, row)| row.weight > 0.0) {
            explained += of.weight * (1.0 - missed(row));
            total += of.weight;
        }
        explained / total
    }

    /// All edges, the most influential first: of what reaches the targets, the share that takes the edge.
    pub fn edges(&self) -> Vec<GraphEdge> {
        let all = |_: usize, _: usize| true;
        let normalised = Normalised::new(self, &all);
        let influence = normalised.influence(&all);
        let mut edges = Vec::new();
        for (at, row) in self.rows.iter().enumerate() {
            let through = normalised.through(at, &influence);
            for (column, &weight) in row.edges.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
                let edge = GraphEdge { source: self.sources[column], target: row.node, weight };
                edges.push((through * normalised.edge(at, column), edge));
            }
        }
        edges.sort_by(|a, b| b.0.total_cmp(&a.0));
        edges.into_iter().map(|(_, edge)| edge).collect()
    }
}

pub(super) fn is_token(node: &GraphNode) -> bool {
    matches!(node, GraphNode::Token { .. })
}

pub(super) fn is_error(node: &GraphNode) -> bool {
    matches!(node, GraphNode::Error { .. })
}
