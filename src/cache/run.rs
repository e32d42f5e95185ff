//! The two usual ways to run a model: with every activation cached, or under a plan.

use candle_core::Tensor;

use super::sink::Sink;
use super::store::{ActivationCache, Provenance};
use crate::error::Result;
use crate::files;
use crate::hooks::HookPlan;
use crate::model::{HookedTransformer, Run, RunOptions};
use crate::tokens::Input;

impl HookedTransformer {
    /// The logits, and every activation that the model computes anyway (those that cost extra are captured by name).
    ///
    /// # Shapes
    /// `[batch, pos, d_vocab_out]`, and each activation with its point's axes.
    ///
    /// # Errors
    /// As [`HookedTransformer::run`].
    pub fn run_with_cache(&self, input: impl Into<Input>) -> Result<(Tensor, ActivationCache)> {
        self.run_with_hooks(input, HookPlan::new().capture_all())
    }

    /// The logits under a plan of edits and captures, and what was captured. The plan is checked before anything is
    /// computed and does not affect any other run.
    ///
    /// # Errors
    /// As [`HookedTransformer::run`].
    pub fn run_with_hooks(
        &self,
        input: impl Into<Input>,
        plan: impl AsRef<HookPlan>,
    ) -> Result<(Tensor, ActivationCache)> {
        let plan = plan.as_ref();
        let run = self.run(input, plan, RunOptions::default())?;
        Ok((run.logits()?, self.cache_of(run, plan)?))
    }

    /// What a run under `plan` captured, as a cache.
    ///
    /// # Errors
    /// Names in the plan that the model does not have; candle's, when the device of what was captured cannot hold the final norm.
    pub fn cache_of(&self, run: Run, plan: &HookPlan) -> Result<ActivationCache> {
        let device = run.captured.values().next().map_or_else(|| self.device(), |tensor| tensor.device().clone());
        let mut of = plan.to_string();
        if let Some(began) = &run.began {
            of += &format!("\n{}{began}", Provenance::BEGAN);
        }
        Ok(ActivationCache {
            // Training changes a model's weights where they are: the cache keeps those of its run.
            final_norm: self.final_norm().copied(&device)?,
            captured: run.captured,
            dims: self.dims(),
            tokens: run.tokens,
            pos: plan.pos_slice().clone(),
            has_batch_dim: plan.keeps_batch_dim(),
            soft_cap: self.cfg().output_logits_soft_cap.is_some(),
            edited: plan.edited(&self.dims())?,
            any_model: false,
            provenance: Provenance {
                model: self.provenance(),
                plan: of,
                version: files::VERSION.into(),
                date: files::now(),
            },
            sink: Sink::default(),
        })
    }
}
