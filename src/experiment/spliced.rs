//! Experiments on a model into which something is spliced.

use super::baseline::Baseline;
use super::experiment::Experiment;
use crate::error::Result;
use crate::hooks::HookPlan;
use crate::metrics::Metrics;
use crate::model::HookedTransformer;
use crate::tokens::Input;

impl Experiment {
    /// As [`Experiment::new`], with what the plan splices into the model in every run, such as a sparse dictionary. Points
    /// inside are swept, attributed and patched as any point, by features ([`AxisName::Feature`](crate::hooks::AxisName)) or
    /// positions; an example of a splice is at [`Splice`](crate::hooks::Splice).
    ///
    /// ```
    /// use candle_lens::Result;
    /// use candle_lens::prelude::*;
    ///
    /// /// Shows the coordinates of the residual stream as features, and leaves them as they are.
    /// struct Coordinates(usize);
    ///
    /// impl Splice for Coordinates {
    ///     fn name(&self) -> String {
    ///         "coordinates".into()
    ///     }
    ///     fn inner(&self) -> Vec<InnerSite> {
    ///         vec![InnerSite::features("hook_coordinates", self.0)]
    ///     }
    ///     fn is_by_position(&self) -> bool {
    ///         true
    ///     }
    ///     fn run(&self, x: &Tensor, at: &mut SpliceRun) -> Result<Tensor> {
    ///         at.show(0, x.clone())
    ///     }
    /// }
    ///
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let clean = "When John and Mary went to the shops, John gave the bag to";
    /// let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let plan = HookPlan::new().splice(("resid_post", 2), Coordinates(model.cfg().d_model));
    /// let experiment = Experiment::with_splices(&model, &plan, clean, corrupted, metric)?;
    /// let by_feature = experiment.attribution("coordinates")?.sweep("coordinates", &[AxisName::Feature])?;
    /// assert_eq!(by_feature.raw.shape(), [model.cfg().d_model]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A plan that does anything but splice, a splice outside the blocks; and as [`Experiment::new`].
    pub fn with_splices(
        model: &HookedTransformer,
        plan: &HookPlan,
        clean: impl Into<Input>,
        baseline: impl Into<Baseline>,
        metric: impl Into<Metrics>,
    ) -> Result<Self> {
        Self::new(&model.with_splices_of(plan)?, clean, baseline, metric)
    }
}
