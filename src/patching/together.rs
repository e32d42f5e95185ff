//! A set of sites at once.

use super::result::PatchResult;
use super::site::PatchSite;
use crate::error::Result;
use crate::experiment::Experiment;
use crate::hooks::HookPlan;
use crate::progress::Progress;

impl Experiment {
    /// Patches (or ablates) all these sites in one run: heads, as [`Head`](crate::head::Head)s or pairs of layer and head, or
    /// [`PatchSite`]s. Of an empty set it is the run as it is.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompts = ["When John and Mary went to the shops, John gave the bag to"];
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let ablation = Experiment::new(&model, prompts, Baseline::Zero, metric)?;
    /// let two = ablation.together([(2, 5), (3, 1)])?;
    /// assert_eq!(two.per_prompt.shape(), [1]);
    /// let all = ablation.together((0..4).flat_map(|layer| (0..8).map(move |head| (layer, head))))?;
    /// assert!(all.normalised.scalar()? < 0.9, "heads matter: {:?}", all.normalised.scalar()?);
    /// assert_eq!(ablation.together(Vec::<Head>::new())?.raw.scalar()?, ablation.clean());
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Shapes
    /// `[]`: one number, the mean over all prompts; `per_prompt` is `[prompt]`.
    ///
    /// # Errors
    /// A site that the model or the prompts do not have, a file to save to.
    pub fn together(&self, sites: impl IntoIterator<Item = impl Into<PatchSite>>) -> Result<PatchResult> {
        self.refuse_saving("together")?;
        self.check_shares()?;
        let sites: Vec<PatchSite> = sites.into_iter().map(Into::into).collect();
        let what = match sites.len() {
            1 => "1 site".into(),
            count => format!("{count} sites together"),
        };
        if sites.is_empty() {
            return self.result(&[], vec![(self.base_values().to_vec(), None)], Vec::new(), &what);
        }
        let sites = self.resolved(&sites)?;
        let mut progress = Progress::of("patching", 2, "runs");
        let activations = self.activations_of(&sites)?;
        progress.step(1)?;
        let edit = |plan: HookPlan, site: &PatchSite| plan.edit(site.point, site.edit(&activations[&site.point].0));
        let values = self.under(&sites.iter().fold(HookPlan::new(), edit))?;
        progress.step(1)?;
        self.result(&[], vec![(values, None)], Vec::new(), &what)
    }
}
