//! The part of a graph through which most of the influence goes.

use rayon::prelude::*;

use super::graph::AttributionGraph;
use super::influence::Normalised;
use super::node::GraphNode;
use crate::error::{Error, Result};

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
        let kept: Vec<bool> = scored.map(|(node, &value)| stays(node) || value >= least).collect();
        Ok(self.among(&kept).with_strongest_edges(edges).without_dangling())
    }

    /// With the fewest edges that have this share of the influence.
    fn with_strongest_edges(mut self, share: f64) -> Self {
        let normalised = Normalised::new(&self);
        let through = normalised.through_all(&normalised.influence());
        let score = |row: usize, weight: f32| through[row] * normalised.share(row, weight);
        let rows = || self.rows.iter().enumerate();
        let scores = rows().flat_map(|(at, row)| row.edges.iter().map(move |(_, weight)| score(at, weight)));
        let least = threshold(scores.filter(|score| *score > 0.0).collect(), share);
        // An edge without influence is none, whatever the share.
        let is_kept = |score: f64| score > 0.0 && score >= least;
        let edges: Vec<_> = rows().map(|(at, row)| row.edges.only(|_, weight| is_kept(score(at, weight)))).collect();
        self.rows.iter_mut().zip(edges).for_each(|(row, edges)| row.edges = edges);
        self
    }

    /// Without the nodes that lead nowhere and the features that come from nowhere, and then those that this leaves so.
    fn without_dangling(mut self) -> Self {
        loop {
            let mut leads = vec![false; self.sources.len()];
            self.rows.iter().flat_map(|row| row.edges.iter()).for_each(|(column, _)| leads[column] = true);
            for row in self.rows.iter().filter(|row| row.edges.is_empty()) {
                if let Ok(column) = self.sources.binary_search(&row.node) {
                    leads[column] = false;
                }
            }
            let kept: Vec<bool> = self.sources.iter().zip(leads).map(|(node, leads)| leads || stays(node)).collect();
            if kept.iter().all(|kept| *kept) {
                return self;
            }
            self = self.among(&kept);
        }
    }
}

/// Whether a node stays whatever its influence.
fn stays(node: &GraphNode) -> bool {
    matches!(node, GraphNode::Token { .. })
}

/// The least score among the largest that reach this share of the sum.
fn threshold(mut scores: Vec<f64>, share: f64) -> f64 {
    scores.par_sort_unstable_by(|a, b| b.total_cmp(a));
    let total: f64 = scores.iter().sum();
    let mut sum = 0.0;
    for &score in &scores {
        sum += score;
        if sum >= share * total {
            return score;
        }
    }
    scores.last().copied().unwrap_or(0.0)
}
