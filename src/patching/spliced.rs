//! Experiments on a model into which something is spliced.

use super::experiment::Patching;
use super::site::PatchSite;
use crate::error::Result;
use crate::hooks::{HookPlan, HookQuery};
use crate::metrics::Metric;
use crate::model::HookedTransformer;
use crate::tokens::Input;

impl Patching {
    /// As [`Patching::new`], with what the plan splices into the model in every run, such as a sparse dictionary. What is
    /// inside is swept, attributed and patched as any point, by its features ([`AxisName::Feature`](crate::hooks::AxisName))
    /// or positions; an example of a splice is at [`Splice`](crate::hooks::Splice).
    ///
    /// # Errors
    /// A plan that does anything but splice, a splice outside the blocks; and as [`Patching::new`].
    pub fn with_splices(
        model: &HookedTransformer,
        plan: &HookPlan,
        clean: impl Into<Input>,
        corrupted: impl Into<Input>,
        metric: Metric,
    ) -> Result<Self> {
        Self::new(&model.with_splices_of(plan)?, clean, corrupted, metric)
    }

    /// The whole activation at a point, one inside a splice of this experiment among them.
    ///
    /// # Errors
    /// A name that is not a point of this model or its splices.
    pub fn site(&self, point: impl Into<HookQuery>) -> Result<PatchSite> {
        Ok(PatchSite::of(self.model.point_of(&point.into())?))
    }
}
