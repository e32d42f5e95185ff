//! Runs of circuits, prompt by prompt as many at once as the budget allows.

use candle_core::{DType, Tensor};

use super::place::Named;
use super::prepare::{ACTS, ERROR, FeatureCircuits};
use crate::error::{Error, Result, human_bytes};
use crate::model::RunOptions;
use crate::progress::Progress;

/// Working memory by default, in bytes.
const BUDGET: u64 = 1 << 30;

/// How many numbers of the width of a dictionary a position takes while its features are replaced, as counted in the splice.
const OF_FEATURES: usize = 8;

impl FeatureCircuits {
    /// The metric of each prompt when only this circuit is left.
    pub(super) fn values_of(&self, named: &[Named]) -> Result<Vec<f32>> {
        let most = self.prompts_at_once()?;
        let batch = self.tokens.batch();
        let mut progress = Progress::of("running the circuit", batch as u64, "prompts");
        let mut parts = Vec::new();
        for from in (0..batch).step_by(most) {
            let count = most.min(batch - from);
            progress.together(count);
            parts.push(self.final_stream(named, from, count)?);
            progress.step(count as u64)?;
        }
        let read = self.metric.read(&Tensor::cat(&parts, 0)?)?;
        let logits = self.model.logits_after(&read, None)?.to_dtype(DType::F32)?;
        self.metric.evaluate(&self.metric.columns_of(&logits)?, Some(&self.clean_logits))
    }

    /// The residual stream after the last block for `count` prompts from prompt `from` on.
    fn final_stream(&self, named: &[Named], from: usize, count: usize) -> Result<Tensor> {
        let n_pos = self.tokens.pos();
        let mut plan = self.plan.clone();
        for (place, named) in self.places.iter().zip(named) {
            if let Some(edit) = place.feature_edit(named, from * n_pos..(from + count) * n_pos) {
                plan = plan.edit(place.inner(ACTS), edit);
            }
            if let Some(edit) = place.error_edit(named, &self.acts, (from, count))? {
                plan = plan.edit(place.inner(ERROR), edit);
            }
        }
        let options = RunOptions { stop_at_layer: Some(self.model.cfg().n_layers as isize), ..Default::default() };
        let run = self.model.run(self.tokens.rows(from, count), plan, &options)?;
        Ok(run.resid.expect("a run that stops returns the stream"))
    }

    fn prompts_at_once(&self) -> Result<usize> {
        let widest = self.places.iter().map(|place| place.d_sae).max().unwrap_or(1);
        let dims = self.model.dims();
        let of_model = 40 * dims.d_model + 4 * dims.n_heads * self.tokens.pos();
        let one =
            self.tokens.pos().saturating_mul(OF_FEATURES * widest + of_model).saturating_mul(size_of::<f32>()) as u64;
        if let Some(budget) = self.budget.filter(|budget| one > *budget) {
            return Err(Error::argument(format!(
                "the budget of {} is too small for a single prompt, which takes {}: give more with Experiment::budget.",
                human_bytes(budget),
                human_bytes(one)
            )));
        }
        // Places of features are counted in 32 bits.
        let most = u32::MAX as u64 / (self.tokens.pos() as u64 * widest as u64).max(1);
        let room = self.budget.unwrap_or(BUDGET) / one.max(1);
        Ok((room.min(most) as usize).clamp(1, self.tokens.batch()))
    }

    /// How many dictionaries of this size are read in one run, all prompts together: their activations, and what takes their place.
    pub(super) fn dictionaries_at_once(&self, d_sae: usize) -> usize {
        let numbers = self.tokens.batch().saturating_mul(self.tokens.pos()).saturating_mul(d_sae);
        let one = numbers.saturating_mul(4 * size_of::<f32>()) as u64;
        ((self.budget.unwrap_or(BUDGET) / one.max(1)) as usize).max(1)
    }
}
