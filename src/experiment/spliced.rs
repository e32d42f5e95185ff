//! Experiments on a model into which something is spliced.

use super::baseline::Baseline;
use super::experiment::Experiment;
use crate::error::Result;
use crate::hooks::HookPlan;
use crate::metrics::Metric;
use crate::model::HookedTransformer;
use crate::tokens::Input;

impl Experiment {
    /// As [`Experiment::new`], with what the plan splices into the model in every run, such as a sparse dictionary. Points
    /// inside are swept, attributed and patched as any point, by features ([`AxisName::Feature`](crate::hooks::AxisName)) or
    /// positions; an example of a splice is at [`Splice`](crate::hooks::Splice).
    ///
    /// # Errors
    /// A plan that does anything but splice, a splice outside the blocks; and as [`Experiment::new`].
    pub fn with_splices(
        model: &HookedTransformer,
        plan: &HookPlan,
        clean: impl Into<Input>,
        baseline: impl Into<Baseline>,
        metric: Metric,
    ) -> Result<Self> {
        Self::new(&model.with_splices_of(plan)?, clean, baseline, metric)
    }
}
