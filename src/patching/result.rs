//! The result of a sweep.

use ndarray::{ArrayD, Axis as NdAxis};

use crate::error::{Error, Result};
use crate::experiment::{Compare, Effect, Levels, PerPrompt, Scale, index_of};
use crate::labelled::Labelled;
use crate::metrics::{BoundMetrics, mean};
use crate::statistics::{Statistics, StatisticsOptions};
use crate::variables::{Holds, flat, holds};

/// Why a site was not computed; its number is exactly that of the run without patching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untouched {
    /// Both runs have the same activation there.
    Identical,
    /// Nothing that the metric reads depends on it.
    NoPath,
}

/// The metric with each site patched; of several metrics, results have an axis `metric` in front.
#[derive(Clone)]
pub struct PatchResult {
    /// The metric itself, the mean over prompts; at a position where some are padded, over those that have a token there.
    pub raw: Labelled,
    /// `(patched - corrupted) / (clean - corrupted)`: 0 is the corrupted run, 1 the clean one, and it may leave that range. All
    /// three are means over the same prompts.
    pub normalised: Labelled,
    /// The metric of each prompt, including those that are padded at the position; one more axis, `prompt`.
    pub per_prompt: Labelled,
    /// The metric of the clean run, the mean over all prompts; of several metrics the first ([`PatchResult::only`] takes another).
    pub clean: f32,
    /// The metric of the corrupted run, the mean over all prompts; of several metrics the first.
    pub corrupted: f32,
    /// Which sites changed nothing by themselves, and why; in the shape of the results.
    pub untouched: ArrayD<Option<Untouched>>,
    /// The metrics of both runs for each site.
    pub(super) levels: Levels,
    /// The metrics of both runs for each prompt.
    pub(super) runs: PerPrompt,
    /// What takes the place of activations, and what is spliced in: results that differ in it are of different experiments.
    pub(super) setting: String,
}

flat!(Untouched);

holds! {
    PatchResult { raw, normalised, per_prompt, untouched } = |result| Holds::shape(&result.raw).unwrap_or_default();
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
        let effect = Effect::of(self.raw.clone(), Scale::Metric, self.levels.clone());
        effect.by_prompt(self.per_prompt.clone(), self.runs.clone())
    }

    /// How sure it is over prompts that patching a site changes the metric: the mean change from the run that is patched, with its
    /// standard error, bootstrap interval and sign-flip p-value. That run is the corrupted one, but for noising and ablations the
    /// clean one, so 0 is a site that changes nothing. At positions where prompts are padded, it is of those that have a token there.
    ///
    /// [`Effect::statistics`] has those of levels, of what is lost and of shares.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let batch = &Task::Ioi.prompts(tasks::Split::Templates, 8, 0)?.aligned(&model)?.batches(&model, 8)?[0];
    /// let heads = batch.experiment(&model)?.get_act_patch_attn_head_out_all_pos()?;
    /// let found = heads.statistics(StatisticsOptions::default())?;
    /// found.show()?;
    /// let (head, change) = found.estimate.top_heads(1)?[0];
    /// assert!(change > 0.0 && found.low.get(&[&head.layer.to_string(), &head.head.to_string()])? > 0.0);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Shapes
    /// As the result, without prompts.
    ///
    /// # Errors
    /// [`Error::Argument`] for a single prompt, metrics that are not finite, options outside their range.
    pub fn statistics(&self, options: impl Into<StatisticsOptions>) -> Result<Statistics> {
        self.runs.of_change(&self.per_prompt, &options.into())
    }

    /// The result of one of several metrics, by name, without the axis of metrics.
    ///
    /// # Errors
    /// A name that none of the metrics has.
    pub fn only(&self, metric: &str) -> Result<Self> {
        let names = match self.raw.labels("metric") {
            Ok(names) => names,
            Err(_) => {
                return Err(Error::argument(format!(
                    "{:?} is of one metric, so none can be taken out: read it as it is, or give the experiment a list \
                     of metrics.",
                    self.raw.title
                )));
            }
        };
        let index = index_of(metric, &names)?;
        let of = |part: &Labelled| {
            let title = part.title.replacen(BoundMetrics::LIST, metric, 1);
            Ok::<_, Error>(part.select("metric", index as isize)?.titled(title))
        };
        let prompts = self.per_prompt.labels("prompt")?.len();
        let runs = self.runs.only(index, prompts);
        Ok(Self {
            raw: of(&self.raw)?,
            normalised: of(&self.normalised)?,
            per_prompt: of(&self.per_prompt)?,
            clean: mean(&runs.clean),
            corrupted: mean(&runs.corrupted),
            untouched: self.untouched.index_axis(NdAxis(0), index).to_owned(),
            levels: self.levels.only(index),
            runs,
            setting: self.setting.clone(),
        })
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
