//! Automatic circuit discovery (ACDC): edges are removed one by one, as long as the model does the same without them (Conmy et al.
//! 2023, <https://arxiv.org/abs/2304.14997>).
//!
//! Readers are visited from the logits to the first block, and of each reader the writers from the last to the input. An edge is
//! removed for good if that makes the output differ from the clean run's by less than `tau` more than it did. The
//! difference is the mean over prompts of `|metric - clean metric|`: of [`Metric::kl`](crate::metrics::Metric::kl), which is 0
//! in the clean run, it is the KL divergence, the paper's measure.
//!
//! With `tau` 0 every edge that has an effect stays, with an infinite one none does. What no path leads from to the logits has no
//! effect: edges into a node that nothing reads any more are removed without a run.
//!
//! While a reader is visited, all edges into earlier nodes are still there, so everything before its block is as in the
//! clean run. Runs begin at that block, and what missing edges from earlier nodes change in later readers is computed once for each
//! block. The next edges are tried together, each in its own copy of the prompts without those before it too, as if these had
//! been removed; what follows the first edge that stays is discarded and tried again. So the result is that of one edge after the
//! other.
//!
//! # Limits
//! Greedy: two edges that can each do without the other leave the one that is visited last. The order decides, and no circuit
//! of this size need be the best. All prompts run at once.

use std::sync::Arc;

use candle_core::Tensor;

use super::circuit::Circuit;
use super::edges::Edges;
use super::evaluate::{Before, Missing, summed};
use super::node::Node;
use crate::error::{Error, Result};
use crate::metrics::mean;
use crate::progress::Progress;
use crate::slice::forward;

/// How many edges are tried together at least: weights are read once for all of them, which costs as much as using them.
const FEWEST: usize = 4;

/// A search in progress.
struct Search<'a> {
    edges: &'a Edges,
    tau: f64,
    circuit: Circuit,
    /// What each node writes when corrupted minus what it writes in the clean run, `[n_forward, batch * pos * d_model]`.
    differences: Tensor,
    /// The same, `[batch * pos, n_forward, d_model]`.
    by_position: Tensor,
    /// The block at which runs begin.
    layer: usize,
    /// What the removed edges from nodes before that block change in each column.
    updates: Tensor,
    /// How far the circuit's metric is from the clean one.
    distance: f32,
    /// How many edges were tried in a run.
    tried: usize,
    /// How many edges are tried together next, and at most.
    together: usize,
    most: usize,
}

impl Edges {
    /// The circuit that is left when edges are removed one by one, each for good if the metric then differs from the clean run's
    /// by less than `tau` more than without removing it: ACDC. An edge's score is by how much more, when it was tried, and 0
    /// where nothing reads its reader any more.
    ///
    /// Give the experiment [`Metric::kl`](crate::metrics::Metric::kl) for the divergence of the next token's distribution.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let clean = "When John and Mary went to the shops, John gave the bag to";
    /// let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
    /// let edges = Experiment::new(&model, clean, corrupted, Metric::kl())?.edges()?;
    /// let circuit = edges.acdc(0.05)?;
    /// assert!(circuit.count_included_edges() < 400, "{circuit:?}");
    /// assert!(edges.evaluate(&circuit)?.faithfulness > 0.5);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A threshold below 0 or NaN; prompts that do not fit in the budget together.
    pub fn acdc(&self, tau: impl Into<f64>) -> Result<Circuit> {
        let tau = tau.into();
        if tau.is_nan() || tau < 0.0 {
            return Err(Error::argument(format!(
                "tau is {tau}, but it is how much an edge may change the metric and be removed: give 0 or more."
            )));
        }
        let most = self.copies_at_once()?;
        let all = self.layout.edges().len();
        let mut progress = Progress::of("trying edges", all as u64, "edges");
        let differences =
            self.difference(0, self.tokens.batch())?.stacked(&self.model)?.to_dtype(self.model.dtype())?;
        let by_position = differences.reshape((self.layout.n_forward(), (), self.layout.d_model))?;
        let by_position = by_position.transpose(0, 1)?.contiguous()?;
        let (positions, _, d_model) = by_position.dims3()?;
        let none = by_position.narrow(1, 0, 1)?.zeros_like()?;
        let mut search = Search {
            edges: self,
            tau,
            circuit: Circuit::of_layout(self.layout),
            layer: self.layout.n_layers,
            updates: none.broadcast_as((positions, self.layout.n_backward(), d_model))?,
            differences,
            by_position,
            distance: 0.,
            tried: 0,
            together: FEWEST.min(most),
            most,
        };
        for (column, (node, _)) in self.layout.targets().into_iter().enumerate().rev() {
            search.visit(column, node, &mut progress)?;
        }
        let method = format!("ACDC, tau {tau}, {} of {all} edges tried, {}", search.tried, self.about());
        Ok(Circuit { method, ..search.circuit })
    }
}

impl Search<'_> {
    /// Tries all edges into one reader.
    fn visit(&mut self, column: usize, node: Node, progress: &mut Progress) -> Result<()> {
        let layout = self.edges.layout;
        let rows = layout.prev_index(node);
        if !self.is_read(node) {
            (0..rows).for_each(|row| self.decide((row, column), 0., false));
            progress.step(rows as u64)?;
            return Ok(());
        }
        let layer = node.layer().unwrap_or(layout.n_layers);
        if layer != self.layer {
            self.layer = layer;
            self.updates = self.of_known(0, layout.n_backward())?;
        }
        let missing = Arc::new(Missing::of(&self.circuit, self.differences.device())?);
        let mut removed = self.differences.narrow(0, 0, 1)?.zeros_like()?;
        let mut left: Vec<usize> = (0..rows).rev().collect();
        while !left.is_empty() {
            let count = self.together.min(left.len());
            let changes = self.without(&removed, &left[..count])?;
            let distances = self.distances(&missing, column, &changes)?;
            let mut done = 0;
            let mut stays = false;
            while done < count && !stays {
                let growth = distances[done] - self.distance;
                // A growth of NaN is not below the threshold.
                let falls = f64::from(growth) < self.tau;
                self.decide((left[done], column), growth, !falls);
                if falls {
                    self.distance = distances[done];
                    removed = changes.narrow(0, done, 1)?;
                }
                stays = !falls;
                done += 1;
            }
            self.tried += done;
            let next = if stays { done.max(FEWEST) } else { 2 * self.together };
            self.together = next.min(self.most);
            left.drain(..done);
            progress.step(done as u64)?;
        }
        if layer < layout.n_layers {
            // In place: no run has these updates any more.
            self.updates.slice_set(&self.of_known(column, 1)?, 1, column)?;
        }
        Ok(())
    }

    fn decide(&mut self, (row, column): (usize, usize), growth: f32, stays: bool) {
        let place = row * self.edges.layout.n_backward() + column;
        self.circuit.scores[place] = growth;
        self.circuit.included[place] = stays;
    }

    /// Whether some edge of the circuit leaves the node, or it is the logits.
    fn is_read(&self, node: Node) -> bool {
        let columns = self.edges.layout.n_backward();
        match self.edges.layout.forward_index(node) {
            Some(row) => self.circuit.included[row * columns..(row + 1) * columns].contains(&true),
            None => true,
        }
    }

    /// How many of the first nodes are computed before the block at which runs begin.
    fn known(&self) -> usize {
        let layout = self.edges.layout;
        layout.prev_index(if self.layer == layout.n_layers { Node::Logits } else { Node::Head(forward(self.layer), 0) })
    }

    /// What removed edges from known nodes change in `count` columns from `first` on, `[batch * pos, column, d_model]`.
    fn of_known(&self, first: usize, count: usize) -> Result<Tensor> {
        let missing = Missing::of(&self.circuit, self.differences.device())?;
        let mask = missing.mask.narrow(0, first, count)?.narrow(1, 0, self.known())?;
        summed(&mask, &self.by_position.narrow(1, 0, self.known())?)
    }

    /// What a reader's input changes by without the edges removed so far and without the first, the first two, .. of these,
    /// `[copy, batch * pos * d_model]`.
    fn without(&self, removed: &Tensor, rows: &[usize]) -> Result<Tensor> {
        let mut sum = removed.clone();
        let mut changes = Vec::new();
        for &row in rows {
            sum = (sum + self.differences.narrow(0, row, 1)?)?;
            changes.push(sum.clone());
        }
        Ok(Tensor::cat(&changes, 0)?)
    }

    /// How far the metric is from that of the clean run, the mean over prompts, for each of these changes of one column.
    fn distances(&self, missing: &Arc<Missing>, column: usize, changes: &Tensor) -> Result<Vec<f32>> {
        let (edges, clean) = (self.edges, self.edges.clean_values());
        let before = Before { nodes: self.known(), updates: self.updates.clone(), changes: changes.clone(), column };
        let last = edges.final_streams(missing, self.layer, before)?;
        let values = edges.metrics_after(&last, (0, clean.len()))?;
        let distance = |values: &[f32]| mean(&values.iter().zip(clean).map(|(a, b)| (a - b).abs()).collect::<Vec<_>>());
        Ok(values.chunks(clean.len()).map(distance).collect())
    }
}
