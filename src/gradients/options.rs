//! What attribution patching does besides one gradient.

use super::query_key;
use crate::error::{Error, Result, human_bytes};
use crate::experiment::Experiment;
use crate::hooks::{HookPlan, HookPoint, Site};

/// Working memory by default, in bytes.
const BUDGET: u64 = 1 << 30;

/// The two corrections of attribution patching that make AtP* (Kramár et al. 2024, <https://arxiv.org/abs/2403.00745>).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttributionOptions {
    /// Computes the softmax of attention with patched queries and keys, and takes to first order only what follows it. A saturated
    /// softmax has no slope, so that a gradient misses what its queries and keys do.
    pub qk_fix: bool,
    /// Also takes gradients with one block's share of the gradient dropped at a time, for [`Attribution::grad_drop`](super::Attribution::grad_drop): where a
    /// direct effect and one through a later block cancel in the gradient, they do not without that block. One backward pass for
    /// each block, through those before it.
    pub grad_drop: bool,
}

impl AttributionOptions {
    /// Both.
    pub const ATP_STAR: Self = Self { qk_fix: true, grad_drop: true };

    /// # Errors
    /// Options that the model or the points do not have; more numbers than the budget holds.
    pub(super) fn check(self, experiment: &Experiment, points: &[HookPoint]) -> Result<()> {
        let model = &experiment.model;
        if (self.qk_fix || self.grad_drop) && !model.splices().is_empty() {
            return Err(Error::argument(
                "the query-key fix and GradDrop are of the model's own attention and blocks, and this experiment splices \
                 functions in (with_splices): leave AttributionOptions out.",
            ));
        }
        if self.qk_fix {
            query_key::check(model, points)?;
        }
        if !self.grad_drop {
            return Ok(());
        }
        let layers = model.cfg().n_layers;
        if layers < 2 {
            return Err(Error::argument(
                "GradDrop leaves out one block's gradient at a time, and this model has no other block: leave \
                 AttributionOptions::grad_drop out.",
            ));
        }
        let tokens = experiment.base_tokens();
        let numbers = |point: &HookPoint| {
            let mut shape = point.shape(&model.dims(), tokens.batch(), tokens.pos());
            if self.qk_fix && query_key::is_fixed(*point) {
                shape.pop();
            }
            let behind = layers - point.layer().unwrap_or(0);
            shape.iter().fold(behind as u64, |product, &size| product.saturating_mul(size as u64))
        };
        let bytes = points.iter().map(numbers).fold(0u64, u64::saturating_add).saturating_mul(4);
        let budget = experiment.budget.unwrap_or(BUDGET);
        match bytes > budget {
            true => Err(Error::argument(format!(
                "GradDrop keeps the products of every point for each block behind it, {} in all, and the budget is {}: \
                 name fewer points or prompts, or give more with Experiment::budget.",
                human_bytes(bytes),
                human_bytes(budget)
            ))),
            false => Ok(()),
        }
    }

    /// What the run watches and keeps.
    pub(super) fn plan(self, points: &[HookPoint]) -> HookPlan {
        let mut plan = points.iter().fold(HookPlan::new(), |plan, &point| plan.watch(point));
        let mut fixed: Vec<usize> =
            points.iter().filter(|&&p| query_key::is_fixed(p)).filter_map(|p| p.layer()).collect();
        fixed.dedup();
        for layer in fixed.into_iter().filter(|_| self.qk_fix) {
            let at = |site| HookPoint::Block(layer, site);
            plan = plan.watch(at(Site::Pattern)).capture(at(Site::Q)).capture(at(Site::K));
        }
        if self.grad_drop { plan.watch("resid_post").capture("resid_pre") } else { plan }
    }
}
