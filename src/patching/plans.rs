//! The general form: whole runs under the user's own plans.

use super::result::PatchResult;
use crate::error::{Error, Result};
use crate::experiment::Experiment;
use crate::hooks::HookPlan;
use crate::labelled::Axis;
use crate::model::RunOptions;
use crate::progress::Progress;

impl Experiment {
    /// The metric of the run that is patched under each of these plans: for your own hooks
    /// ([`Edit::custom`](crate::hooks::Edit::custom)) and whatever no sweep does. What a plan changes cannot be known beforehand,
    /// so each takes a whole run, and the result's title says so.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let clean = ["When John and Mary went to the shops, John gave the bag to"];
    /// let corrupted = ["When John and Mary went to the shops, Mary gave the bag to"];
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let experiment = Experiment::new(&model, clean, corrupted, metric)?;
    /// let plan = |layer: i32| HookPlan::new().edit(("mlp_out", layer), Edit::custom("halve", |x, _point| x * 0.5));
    /// let halved = experiment.plans((0..4).map(|layer| (format!("half of MLP {layer}"), plan(layer))))?;
    /// assert!(halved.raw.title.ends_with("whole runs"));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Shapes
    /// `[plan]`.
    ///
    /// # Errors
    /// No plan; every mistake in one, as [`HookedTransformer::run`](crate::model::HookedTransformer::run); a file to save to.
    pub fn plans<N: Into<String>>(&self, plans: impl IntoIterator<Item = (N, HookPlan)>) -> Result<PatchResult> {
        self.refuse_saving("a list of plans")?;
        let (names, plans): (Vec<String>, Vec<HookPlan>) =
            plans.into_iter().map(|(name, plan)| (name.into(), plan)).unzip();
        if plans.is_empty() {
            return Err(Error::argument("there is no plan to run: give at least one."));
        }
        self.check_shares()?;
        let mut progress = Progress::of("whole runs", plans.len() as u64, "plans");
        let values =
            plans.iter().map(|plan| Ok((self.under(plan).and_then(|found| progress.step(1).map(|()| found))?, None)));
        let values = values.collect::<Result<_>>()?;
        self.result(&[], values, vec![Axis::new("plan", names)], "by plans, in whole runs")
    }

    /// The metric of each prompt of the run that is patched, under a plan.
    pub(super) fn under(&self, plan: &HookPlan) -> Result<Vec<f32>> {
        self.evaluate(&self.model.run(self.base_tokens(), plan, RunOptions::default())?.logits()?)
    }
}
