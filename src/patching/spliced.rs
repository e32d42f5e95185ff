//! Sites of an experiment, those inside what it splices in among them.

use super::site::PatchSite;
use crate::error::Result;
use crate::experiment::Experiment;
use crate::hooks::HookQuery;

impl Experiment {
    /// The whole activation at a point, one inside a [splice](crate::hooks::Splice) of this experiment among them.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let experiment = Experiment::new(&model, prompt, Baseline::Zero, metric)?;
    /// let site = experiment.site(("z", -1))?.head(-1);
    /// assert_eq!(site.to_string(), "blocks.3.attn.hook_z, head -1");
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A name that is not a point of this model or its splices.
    pub fn site(&self, point: impl Into<HookQuery>) -> Result<PatchSite> {
        Ok(PatchSite::of(self.model.point_of(&point.into())?))
    }
}
