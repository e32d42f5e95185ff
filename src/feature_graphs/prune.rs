//! The part of a graph through which most of the influence goes.

use super::graph::{AttributionGraph, Row};
use super::influence::Normalised;
use super::node::GraphNode;
use crate::error::{Error, Result};

/// Which nodes and edges are kept.
struct Kept {
    columns: Vec<bool>,
    rows: Vec<bool>,
    edges: Vec<Vec<bool>>,
}

impl AttributionGraph {
    /// The fewest nodes that have this share of the influence, and of the edges between them the fewest that have theirs;
    /// features and errors without an edge out, and features without an edge in, are left out until none are left. Tokens and targets
    /// stay. circuit-tracer's `prune_graph`, whose defaults are 0.8 and 0.98; of [`AttributionGraph::without_biases`] it keeps the
    /// same.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let set = DictionarySet::open("tiny")?;
    /// let transcoders = [set.get("mlp0")?, set.get("mlp1")?, set.get("mlp2")?, set.get("mlp3")?];
    /// let graph = model.attribution_graph(&transcoders, "The capital of France is", GraphTargets::top())?;
    /// let pruned = graph.prune(0.8, 0.98)?;
    /// assert!(pruned.features() < graph.features());
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] for a share outside 0 to 1.
    pub fn prune(&self, nodes: f64, edges: f64) -> Result<Self> {
        for (share, of) in [(nodes, "nodes"), (edges, "edges")] {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::argument(format!("{share} is not a share of the influence of {of}: give 0 to 1.")));
            }
        }
        let influence = self.influence();
        let least = threshold(influence.values().to_vec(), nodes);
        let scored = self.sources.iter().zip(influence.values());
        let columns: Vec<bool> = scored.map(|(node, &value)| stays(node) || value >= least).collect();
        let mut kept = Kept { rows: self.rows_of(&columns), columns, edges: Vec::new() };
        kept.edges = self.kept_edges(&kept, edges);
        while self.leave_out_dangling(&mut kept) {}
        Ok(self.only(&kept))
    }

    /// Whether the node of each row is kept.
    fn rows_of(&self, columns: &[bool]) -> Vec<bool> {
        let is_kept = |row: &Row| match row.node {
            GraphNode::Target { .. } => true,
            node => self.column(node).is_ok_and(|column| columns[column]),
        };
        self.rows.iter().map(is_kept).collect()
    }

    /// The fewest edges between kept nodes that have this share of the influence.
    fn kept_edges(&self, kept: &Kept, share: f64) -> Vec<Vec<bool>> {
        let between = |row: usize, column: usize| kept.rows[row] && kept.columns[column];
        let normalised = Normalised::new(self, &between);
        let influence = normalised.influence(&between);
        let score = |row: usize, column: usize| match between(row, column) {
            true => normalised.edge(row, column) * normalised.through(row, &influence),
            false => 0.0,
        };
        let columns = 0..self.sources.len();
        let all = (0..self.rows.len()).flat_map(|row| columns.clone().map(move |column| (row, column)));
        let scores: Vec<f64> = all.map(|(row, column)| score(row, column)).filter(|score| *score > 0.0).collect();
        let least = threshold(scores, share);
        // An edge without influence is none, whatever the share.
        let is_kept = |score: f64| score > 0.0 && score >= least;
        let row = |row: usize| columns.clone().map(|column| is_kept(score(row, column))).collect();
        (0..self.rows.len()).map(row).collect()
    }

    /// Leaves out features and errors that lead nowhere and features that come from nowhere; whether there were any.
    fn leave_out_dangling(&self, kept: &mut Kept) -> bool {
        let mut changed = false;
        for column in (0..self.sources.len()).filter(|&column| !stays(&self.sources[column])) {
            let leads = kept.edges.iter().any(|row| row[column]);
            if kept.columns[column] && !leads {
                kept.columns[column] = false;
                changed = true;
            }
        }
        for (at, row) in self.rows.iter().enumerate() {
            if matches!(row.node, GraphNode::Target { .. }) || !kept.rows[at] {
                continue;
            }
            let column = self.column(row.node).ok();
            let is_out = column.is_none_or(|column| !kept.columns[column]);
            if is_out || !kept.edges[at].contains(&true) {
                kept.rows[at] = false;
                changed = true;
                if let Some(column) = column {
                    kept.columns[column] = false;
                }
            }
        }
        for (at, row) in kept.edges.iter_mut().enumerate() {
            for (column, edge) in row.iter_mut().enumerate() {
                *edge &= kept.rows[at] && kept.columns[column];
            }
        }
        changed
    }

    /// The graph of what is kept.
    fn only(&self, kept: &Kept) -> Self {
        let mut graph = self.clone();
        for (row, edges) in graph.rows.iter_mut().zip(&kept.edges) {
            for (edge, is_kept) in row.edges.iter_mut().zip(edges) {
                if !is_kept {
                    *edge = 0.0;
                }
            }
        }
        let mut is_kept = kept.rows.iter();
        graph.rows.retain(|_| is_kept.next() == Some(&true));
        let columns: Vec<usize> = (0..self.sources.len()).filter(|&column| kept.columns[column]).collect();
        graph.with_columns(&columns)
    }
}

/// Whether a node stays whatever its influence.
fn stays(node: &GraphNode) -> bool {
    matches!(node, GraphNode::Token { .. })
}

/// The least score among the largest that reach this share of the sum.
fn threshold(mut sorted: Vec<f64>, share: f64) -> f64 {
    sorted.sort_by(|a, b| b.total_cmp(a));
    let total: f64 = sorted.iter().sum();
    let mut sum = 0.0;
    for &score in &sorted {
        sum += score;
        if sum >= share * total {
            return score;
        }
    }
    sorted.last().copied().unwrap_or(0.0)
}
