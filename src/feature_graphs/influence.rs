//! Influence on the targets, and how much of it errors have.
//!
//! `N` is the matrix of absolute edges with every row (the edges into one node) divided by its sum, `w` the weights of the targets:
//! `influence = w (N + N^2 + ..)`. Edges go from earlier to later nodes only, so one pass from the last node to the first is the whole
//! series.

use rayon::prelude::*;

use super::graph::{AttributionGraph, Row};
use super::node::{GraphEdge, GraphNode};
use crate::error::{Error, Result};

/// Influence of sources on the targets of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Influence {
    /// In their order.
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
        let found = self.nodes.binary_search(&node);
        found.map(|at| self.values[at]).map_err(|_| Error::argument(format!("{node} is not a source of this graph.")))
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

/// The edges of a graph with rows divided by their sums.
pub(super) struct Normalised<'a> {
    graph: &'a AttributionGraph,
    /// 1 / the sum of each row's absolute edges.
    factors: Vec<f64>,
    /// The source of each row that is one.
    columns: Vec<Option<usize>>,
}

impl<'a> Normalised<'a> {
    pub(super) fn new(graph: &'a AttributionGraph) -> Self {
        let factor = |row: &Row| match row.edges.iter().map(|(_, edge)| f64::from(edge.abs())).sum::<f64>() {
            sum if sum > 0.0 => sum.recip(),
            _ => 0.0,
        };
        let column = |row: &Row| graph.sources.binary_search(&row.node).ok();
        Self {
            factors: graph.rows.iter().map(factor).collect(),
            columns: graph.rows.iter().map(column).collect(),
            graph,
        }
    }

    /// An edge into the node of a row as a share of all of them.
    pub(super) fn share(&self, row: usize, weight: f32) -> f64 {
        f64::from(weight.abs()) * self.factors[row]
    }

    /// The influence of each source.
    pub(super) fn influence(&self) -> Vec<f64> {
        let mut influence = vec![0.0; self.graph.sources.len()];
        // From the targets, which come last, to the first layer: whatever a feature has influence on comes behind it.
        for (at, row) in self.graph.rows.iter().enumerate().rev() {
            let through = self.through(at, &influence);
            if through == 0.0 {
                continue;
            }
            row.edges.iter().for_each(|(column, weight)| influence[column] += through * self.share(at, weight));
        }
        influence
    }

    /// The influence of the node that a row is of, its own weight included.
    fn through(&self, row: usize, influence: &[f64]) -> f64 {
        self.columns[row].map_or(0.0, |column| influence[column]) + self.graph.rows[row].weight
    }

    /// As [`Normalised::through`], of each row.
    pub(super) fn through_all(&self, influence: &[f64]) -> Vec<f64> {
        (0..self.graph.rows.len()).map(|row| self.through(row, influence)).collect()
    }
}

pub(super) fn influence(graph: &AttributionGraph) -> Influence {
    Influence { nodes: graph.sources.clone(), values: Normalised::new(graph).influence() }
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
        let normalised = Normalised::new(self);
        let influence = normalised.influence();
        let is_error: Vec<bool> = self.sources.iter().map(is_error).collect();
        let (mut explained, mut total) = (0.0, 0.0);
        for (value, _) in influence.iter().zip(&self.sources).filter(|(_, node)| counts(node)) {
            explained += value;
            total += value;
        }
        for (at, row) in self.rows.iter().enumerate() {
            let missed: f64 = row
                .edges
                .iter()
                .filter(|(column, _)| is_error[*column])
                .map(|(_, edge)| normalised.share(at, edge))
                .sum();
            let of_source = normalised.columns[at].filter(|&column| counts(&self.sources[column]));
            explained += row.weight - missed * (row.weight + of_source.map_or(0.0, |column| influence[column]));
            total += row.weight;
        }
        explained / total
    }

    /// All edges, the most influential first: of what reaches the targets, the share that takes the edge.
    pub fn edges(&self) -> Vec<GraphEdge> {
        self.top_edges(usize::MAX)
    }

    /// The first of [`AttributionGraph::edges`], at most so many: a graph of a long prompt has tens of millions before it is pruned.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let set = DictionarySet::open("tiny")?;
    /// let graph = model.attribution_graph([set.get("mlp0")?, set.get("mlp3")?], "The capital of France is", GraphTargets::top())?;
    /// assert_eq!(graph.top_edges(5), graph.edges()[..5]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn top_edges(&self, most: usize) -> Vec<GraphEdge> {
        let normalised = Normalised::new(self);
        let through = normalised.through_all(&normalised.influence());
        let scores = self.rows.iter().enumerate().flat_map(|(at, row)| {
            let (normalised, through) = (&normalised, through[at]);
            row.edges
                .iter()
                .enumerate()
                .map(move |(n, (_, edge))| (through * normalised.share(at, edge), at as u32, n as u32))
        });
        // The order of equal ones is that of rows and columns.
        let order = |a: &(f64, u32, u32), b: &(f64, u32, u32)| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2)));
        let mut best: Vec<(f64, u32, u32)> = Vec::new();
        for score in scores {
            best.push(score);
            if best.len() > most.saturating_mul(2) {
                best.select_nth_unstable_by(most, order);
                best.truncate(most);
            }
        }
        best.par_sort_unstable_by(order);
        best.truncate(most);
        let edge = |(_, row, n): (f64, u32, u32)| {
            let row = &self.rows[row as usize];
            let (column, weight) = row.edges.get(n as usize);
            GraphEdge { source: self.sources[column], target: row.node, weight }
        };
        best.into_iter().map(edge).collect()
    }
}

pub(super) fn is_token(node: &GraphNode) -> bool {
    matches!(node, GraphNode::Token { .. })
}

pub(super) fn is_error(node: &GraphNode) -> bool {
    matches!(node, GraphNode::Error { .. })
}
