//! Each edge corrupted alone, by brute force.
//!
//! One edge changes one input, by what its node would write when corrupted minus what it writes; everything upstream of that
//! input is as in the clean run. So runs begin at the reader's block, and edges into one reader run together as one batch.

use candle_core::Tensor;

use super::edges::Edges;
use super::node::{Node, Qkv};
use super::outputs::rows;
use super::stability::Sums;
use crate::error::Result;
use crate::experiment::copied;
use crate::hooks::{Edit, HookPlan, HookPoint, Site};
use crate::model::RunOptions;
use crate::progress::Progress;

impl Edges {
    /// How much each edge changes the metric, summed over prompts, or of each prompt; matrices of all rows and columns.
    pub(super) fn exact(&self, each: bool) -> Result<Vec<Vec<f64>>> {
        let mut sums = Sums::of(self.no_scores(), each.then_some(self.tokens.batch()));
        let per_copy = self.numbers_of_copy();
        // The differences of all nodes, and the tensors that they are stacked from.
        let written = 2 * self.numbers_of_nodes() + self.numbers_of_difference();
        let of_logits = self.numbers_of_logits();
        let parts = self.parts_for(each, self.prompts_at_once(written + per_copy, of_logits)?);
        let edges = parts.len() * self.layout.edges().len();
        let mut progress = Progress::of("corrupting edges", edges as u64, "edges");
        for (from, prompts) in parts {
            let scores = sums.at(from);
            let differences = self.difference(from, prompts)?.stacked(&self.model)?.to_dtype(self.model.dtype())?;
            let room = self.numbers_in_budget().saturating_sub(written * prompts);
            let most = (room / (per_copy * prompts + of_logits)).max(1);
            for (column, (node, qkv)) in self.layout.targets().into_iter().enumerate() {
                let before = self.layout.prev_index(node);
                for first in (0..before).step_by(most) {
                    let count = most.min(before - first);
                    progress.together(count);
                    let corrupted = self.corrupted_inputs(node, qkv, &differences.narrow(0, first, count)?, from)?;
                    for (row, changed) in corrupted.into_iter().enumerate() {
                        scores[(first + row) * self.layout.n_backward() + column] += changed;
                    }
                    progress.step(count as u64)?;
                }
            }
        }
        Ok(sums.matrices())
    }

    /// How much the metric changes, summed over the prompts from prompt `from` on, when each of these differences,
    /// `[edge, prompts * pos * d_model]`, is added to one input.
    pub(super) fn corrupted_inputs(
        &self,
        node: Node,
        qkv: Option<Qkv>,
        differences: &Tensor,
        from: usize,
    ) -> Result<Vec<f64>> {
        let (copies, width) = differences.dims2()?;
        let (pos, d_model) = (self.tokens.pos(), self.layout.d_model);
        let prompts = width / (pos * d_model);
        let added = differences.reshape((copies * prompts, pos, d_model))?;
        let Some(layer) = node.layer() else {
            let last = copied(&rows(&self.run.resid[self.layout.n_layers], from, prompts)?, copies)?;
            return self.changes(&(last + added)?, (from, prompts));
        };
        let site = match qkv {
            Some(Qkv::Q) => Site::QInput,
            Some(Qkv::K) => Site::KInput,
            Some(Qkv::V) => Site::VInput,
            None => Site::MlpIn,
        };
        let edit = match node {
            Node::Head(_, head) => Edit::add(added).head(head),
            _ => Edit::add(added),
        };
        let resid = copied(&rows(&self.run.resid[layer], from, prompts)?, copies)?;
        self.changes_from(layer, resid, HookPlan::new().edit(HookPoint::Block(layer, site), edit), (from, prompts))
    }

    /// As [`Edges::changes`], for runs that begin at a block with this residual stream.
    ///
    /// # Shapes
    /// `resid [copies * prompts, pos, d_model]`.
    pub(super) fn changes_from(
        &self,
        layer: usize,
        resid: Tensor,
        plan: HookPlan,
        (from, prompts): (usize, usize),
    ) -> Result<Vec<f64>> {
        if layer == self.layout.n_layers {
            return self.changes(&resid, (from, prompts));
        }
        let tokens = self.tokens.rows(from, prompts).repeated(resid.dim(0)? / prompts);
        let options = RunOptions {
            start_at_layer: Some((layer as isize, resid)),
            stop_at_layer: Some(self.layout.n_layers as isize),
            ..Default::default()
        };
        let run = self.model.run(tokens, plan, &options)?;
        self.changes(&run.resid.expect("a run that stops returns the stream"), (from, prompts))
    }

    /// How much the metric changes, summed over the prompts from prompt `from` on, where this is the final residual stream of
    /// copies of them, one after the other; one number for each copy.
    fn changes(&self, resid: &Tensor, (from, prompts): (usize, usize)) -> Result<Vec<f64>> {
        let values = self.metrics_after(resid, (from, prompts))?;
        let sum = |values: &[f32]| values[from..from + prompts].iter().map(|&value| f64::from(value)).sum::<f64>();
        let clean = sum(self.clean_values());
        Ok(values.chunks(self.tokens.batch()).map(|values| sum(values) - clean).collect())
    }

    /// The metric of all prompts where this is the final residual stream of copies of some of them, one after the other, and the
    /// others are clean.
    ///
    /// # Shapes
    /// `resid [copies * prompts, pos, d_model]` gives `copies * batch` numbers.
    pub(super) fn metrics_after(&self, resid: &Tensor, (from, prompts): (usize, usize)) -> Result<Vec<f32>> {
        let logits = self.metric.logits_after(&self.model, &self.metric.read_of(resid, (from, prompts))?)?;
        self.metric.evaluate(&self.among_clean(&logits, from, prompts)?, Some(&self.run.logits))
    }
}
