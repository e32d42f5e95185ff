//! The result of a sweep.

use ndarray::ArrayD;

use crate::experiment::{Compare, Effect, Levels, Scale};
use crate::labelled::Labelled;

/// Why a site was not computed; its number is exactly that of the run without patching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untouched {
    /// Both runs have the same activation there.
    Identical,
    /// Nothing that the metric reads depends on it.
    NoPath,
}

/// The metric with each site patched.
#[derive(Clone)]
pub struct PatchResult {
    /// The metric itself, the mean over prompts; at a position where some are padded, over those that have a token there.
    pub raw: Labelled,
    /// `(patched - corrupted) / (clean - corrupted)`: 0 is the corrupted run, 1 the clean one, and it may leave that range. All
    /// three are means over the same prompts.
    pub normalised: Labelled,
    /// The metric of each prompt, including those that are padded at the position; one more axis, `prompt`.
    pub per_prompt: Labelled,
    /// The metric of the clean run, the mean over all prompts.
    pub clean: f32,
    /// The metric of the corrupted run, the mean over all prompts.
    pub corrupted: f32,
    /// Which sites changed nothing by themselves, and why; in the shape of the results.
    pub untouched: ArrayD<Option<Untouched>>,
    /// The metrics of both runs for each site.
    pub(super) levels: Levels,
}

impl PatchResult {
    /// The effect of each site: levels of the metric, which convert into what is lost and into shares. At positions where some
    /// prompts are padded, levels are means over the same prompts as the numbers.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// # let model = HookedTransformer::from_pretrained("tiny")?;
    /// # let prompts = ["When John and Mary went to the shops, John gave the bag to"];
    /// # let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let heads = Experiment::new(&model, prompts, Baseline::Zero, metric)?.get_act_patch_attn_head_out_all_pos()?;
    /// assert_eq!(heads.effect().as_share()?.values.values(), heads.normalised.values());
    /// let lost = heads.effect().as_lost().values;
    /// assert_eq!(lost.top(1)[0].labels, heads.raw.bottom(1)[0].labels);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn effect(&self) -> Effect {
        Effect::of(self.raw.clone(), Scale::Metric, self.levels.clone())
    }

    /// How many sites were computed.
    pub fn computed(&self) -> usize {
        self.untouched.iter().filter(|reason| reason.is_none()).count()
    }
}

impl Compare for PatchResult {
    fn numbers(&self) -> Labelled {
        self.raw.clone()
    }

    fn as_effect(&self) -> Option<Effect> {
        Some(self.effect())
    }
}

impl std::fmt::Debug for PatchResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "PatchResult({:?}, clean {:.4}, corrupted {:.4}, {} of {} sites computed)",
            self.normalised,
            self.clean,
            self.corrupted,
            self.computed(),
            self.untouched.len()
        )
    }
}
