//! Patched runs from one block to the next, and the metric behind the last.

use candle_core::Tensor;

use super::engine::BUDGET;
use crate::error::Result;
use crate::experiment::{Experiment, copied};
use crate::hooks::{HookRun, Site};
use crate::host;
use crate::progress::Progress;

/// Metrics report their progress as often, unless what they read is smaller than this many bytes: a product with the unembedding
/// is slow for few rows at a time.
const REPORTS: usize = 8;
const SMALL: u64 = 1 << 23;

/// The memory of a metric's evaluation, in multiples of the logits that it reads.
const METRIC_TIMES: usize = 5;

impl Experiment {
    /// The first position of the last block that is needed in full: attention there only looks back, so earlier positions are
    /// needed for their keys and values alone.
    pub(super) fn first_read(&self) -> usize {
        // A splice there may be at the keys themselves.
        let spliced = self.model.splices().is_in(self.model.cfg().n_layers - 1);
        if self.is_causal() && !spliced { self.metrics.rows().first() } else { 0 }
    }

    /// Of a residual stream whose positions begin at `from`, the positions that matter after the last block.
    pub(super) fn what_is_read_from(&self, resid: Tensor, from: usize) -> Result<Tensor> {
        match self.first_read().saturating_sub(from) {
            0 => Ok(resid),
            before => Ok(resid.narrow(1, before, resid.dim(1)? - before)?.contiguous()?),
        }
    }

    /// The residual stream after block `layer` of runs that begin at position `from`; after the last block, from the first
    /// position that is read.
    pub(super) fn next_layer(&self, layer: usize, from: usize, resid: Tensor) -> Result<Tensor> {
        let hooks = self.model.hooks(self.base_tokens(), from);
        self.next_layer_under(layer, from, resid, hooks)
    }

    /// As [`Experiment::next_layer`], under these hooks.
    pub(super) fn next_layer_under(
        &self,
        layer: usize,
        from: usize,
        resid: Tensor,
        mut run: HookRun,
    ) -> Result<Tensor> {
        let tokens = self.base_tokens();
        let copies = resid.dim(0)? / tokens.batch();
        let suffix = self.model.suffix_of_copies(tokens, from, copies)?;
        let past = self.base_run()?.past(layer, from, copies)?;
        let (last, first) = (layer + 1 == self.model.cfg().n_layers, self.first_read());
        if !last || first <= from {
            return self.model.block_on_suffix(layer, resid, &suffix, past, &mut run);
        }
        if run.has_edits() {
            let left = self.model.block_on_suffix(layer, resid, &suffix, past, &mut run)?;
            return self.what_is_read_from(left, from);
        }
        let before = resid.narrow(1, 0, first - from)?.contiguous()?;
        let past = self.model.keys_and_values(layer, &before, &suffix.first(first - from)?, past)?;
        let suffix = self.model.suffix_of_copies(tokens, first, copies)?;
        self.model.block_on_suffix(layer, self.what_is_read_from(resid, from)?, &suffix, Some(past), &mut run)
    }

    /// As [`Experiment::next_layer`], of runs that enter the block as the base run does but for position `from`,
    /// `[run * batch, 1, d_model]`: queries, keys and values of all others are known.
    pub(super) fn next_layer_after_one(&self, layer: usize, from: usize, one: Tensor) -> Result<Tensor> {
        let (model, base, tokens) = (&self.model, self.base_run()?, self.base_tokens());
        if model.splices().is_in(layer) {
            return self.next_layer(layer, from, self.with_others(layer, from, &one)?);
        }
        let copies = one.dim(0)? / tokens.batch();
        let is_last = layer + 1 == model.cfg().n_layers;
        let first = if is_last { from.max(self.first_read()) } else { from };
        let own = model.suffix_of_copies(tokens, from, copies)?.first(1)?;
        let (k, v) = model.keys_and_values(layer, &one, &own, None)?;
        let [k, v] = base.keys_and_values(layer, from, [Some(&k), Some(&v)], copies)?;
        let count = tokens.pos() - first;
        let mut q = base.queries(layer, (first, count), copies)?;
        let mut resid = copied(&base.resid[layer].narrow(1, first, count)?, copies)?;
        if first == from {
            let own_q = model.as_compared(layer, Site::Q, &model.read_by(layer, Site::Q, &one, &own)?, &own)?;
            q = with_first(own_q, &q)?;
            resid = with_first(one, &resid)?;
        }
        let suffix = model.suffix_of_copies(tokens, first, copies)?;
        let z = model.attended(layer, [&q, &k, &v], &suffix)?;
        model.block_from(layer, Site::Z, z, (&resid, &resid), &suffix)
    }

    /// A stream that enters a block with one position that differs, and all behind it as the base run has them.
    pub(super) fn with_others(&self, layer: usize, from: usize, one: &Tensor) -> Result<Tensor> {
        let (tokens, resid) = (self.base_tokens(), &self.base_run()?.resid[layer]);
        let count = tokens.pos() - from;
        with_first(one.clone(), &copied(&resid.narrow(1, from, count)?, one.dim(0)? / tokens.batch())?)
    }

    /// The metrics of each prompt from the final stream of runs that begin at position `from`, `[run, metric, prompt]`.
    pub(super) fn values(&self, resid: Tensor, from: usize) -> Result<Vec<f32>> {
        Ok(host::numbers_of_all(&self.values_there(resid, from)?)?.concat())
    }

    /// The same on the device, in pieces: as many runs at once as the budget has room for in logits.
    pub(super) fn values_there(&self, resid: Tensor, from: usize) -> Result<Vec<Tensor>> {
        let batch = self.base_tokens().batch();
        let copies = resid.dim(0)? / batch;
        let of_copy = (METRIC_TIMES * self.metrics.rows().len() * self.metrics.width(&self.model) * 4) as u64;
        let within = |bytes: u64| (bytes / of_copy.max(1)).clamp(1, copies as u64) as usize;
        let most = within(self.budget.unwrap_or(BUDGET)).min(within(SMALL).max(copies.div_ceil(REPORTS)));
        let mut progress = Progress::of("evaluating metrics", copies as u64, "runs");
        let mut values = Vec::new();
        for first in (0..copies).step_by(most) {
            let count = most.min(copies - first);
            let rows = self.read_rows(&resid.narrow(0, first * batch, count * batch)?, from, count)?;
            let logits = self.metrics.logits_after(&self.model, &rows)?;
            // Without what gradients would need, or that were kept until the last piece.
            values.push(self.metrics.values(&logits, Some(&self.clean_logits))?.detach());
            progress.step(count as u64)?;
        }
        Ok(values)
    }

    /// The final stream where the metric reads it, `[copy * row, d_model]`; the base run's at positions before `from`, which the
    /// run shares with it.
    fn read_rows(&self, resid: &Tensor, from: usize, copies: usize) -> Result<Tensor> {
        let (batch, rows) = (self.base_tokens().batch(), self.metrics.rows());
        let (begins, positions) = (from.max(self.first_read()), resid.dim(1)?);
        let runs = copies * batch * positions;
        let mut shared = false;
        let mut places = Vec::with_capacity(copies * rows.len());
        for copy in 0..copies {
            for (prompt, of_prompt) in rows.positions().iter().enumerate() {
                places.extend(of_prompt.iter().map(|&position| match position.checked_sub(begins) {
                    Some(place) => ((copy * batch + prompt) * positions + place) as u32,
                    None => {
                        shared = true;
                        (runs + prompt * self.base_tokens().pos() + position) as u32
                    }
                }));
            }
        }
        let mut stream = resid.flatten(0, 1)?;
        if shared {
            stream = Tensor::cat(&[stream, self.base_run()?.resid[self.model.cfg().n_layers].flatten(0, 1)?], 0)?;
        }
        Ok(stream.index_select(&Tensor::new(places, stream.device())?, 0)?)
    }
}

/// A stream in which the first position is another.
fn with_first(one: Tensor, x: &Tensor) -> Result<Tensor> {
    Ok(match x.dim(1)? - 1 {
        0 => one,
        others => Tensor::cat(&[one, x.narrow(1, 1, others)?], 1)?,
    })
}
