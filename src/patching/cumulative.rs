//! Several sites at once, one more in each run.

use super::result::PatchResult;
use super::site::PatchSite;
use crate::error::{Error, Result};
use crate::experiment::Experiment;
use crate::hooks::HookPlan;
use crate::labelled::Axis;
use crate::progress::Progress;

impl Experiment {
    /// Patches (or ablates) the first site, then the first two, and so on to all of them: how the metric
    /// falls as more and more is replaced. What one site writes reaches the next, so each number takes a whole run.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompts = ["When John and Mary went to the shops, John gave the bag to"];
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let ablation = Experiment::new(&model, prompts, Baseline::Zero, metric)?;
    /// let sites = [PatchSite::new(&model, ("z", 2))?.head(5), PatchSite::new(&model, ("mlp_out", 3))?];
    /// let left = ablation.cumulative(&sites)?;
    /// assert_eq!(left.raw.shape(), [2]);
    /// // The first number is that of the first site alone.
    /// let alone = ablation.sites(&sites[..1])?;
    /// assert!((left.raw.at(&[0])? - alone.raw.at(&[0])?).abs() < 1e-3);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Shapes
    /// `[site]`; means over all prompts, also at positions where some are padded.
    ///
    /// # Errors
    /// As [`Experiment::sites`]; a site that is given twice, a file to save to.
    pub fn cumulative(&self, sites: &[PatchSite]) -> Result<PatchResult> {
        self.refuse_saving("cumulative")?;
        self.check_shares()?;
        let mut progress = Progress::of("patching", sites.len() as u64, "sites");
        let sites = &self.resolved(sites)?[..];
        let activations = self.activations_of(sites)?;
        if let Some(twice) = sites.iter().enumerate().find(|(i, site)| sites[..*i].contains(site)) {
            return Err(Error::argument(format!("the site {} is in the list twice: give it once.", twice.1)));
        }
        let mut plan = HookPlan::new();
        let mut values = Vec::with_capacity(sites.len());
        for site in sites {
            plan = plan.edit(site.point, site.edit(&activations[&site.point].0));
            values.push((self.under(&plan)?, None));
            progress.step(1)?;
        }
        let labels =
            sites.iter().enumerate().map(|(i, site)| if i == 0 { site.to_string() } else { format!("+ {site}") });
        self.result(&[], values, vec![Axis::new("site", labels)], "more and more sites")
    }
}
