//! Effects and the convention of their numbers.
//!
//! Patching reports levels of the metric, integrated gradients report what is lost from the clean run, and papers plot shares of
//! the difference between two runs. An [`Effect`] says which of these it is, and converts.

use std::fmt;

use ndarray::{ArrayD, Axis as NdAxis, IxDyn, Zip};
use serde::{Deserialize, Serialize};

use super::per_prompt::PerPrompt;
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::statistics::{Statistics, StatisticsOptions};

/// The convention of an [`Effect`]'s numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scale {
    /// The metric itself, with the change made.
    Metric,
    /// What the metric loses: that of the clean run minus that with the change made. Negative where the change raises the
    /// metric.
    Lost,
    /// `(metric - corrupted) / (clean - corrupted)`: 0 is the corrupted run, 1 the clean one. It can leave that range.
    Share,
}

/// What changes at each site do to a metric, in a named convention that can be converted into the others.
///
/// ```
/// use candle_lens::prelude::*;
/// let metric = Labelled::new("logit difference", vec![Axis::numbered("head", 3)], vec![2.0, 0.5, -1.0])?;
/// let effect = Effect::new(metric, Scale::Metric, 2.0, -1.0)?;
/// assert_eq!(effect.as_lost().values.values().as_slice(), Some(&[0.0, 1.5, 3.0][..]));
/// assert_eq!(effect.as_share()?.values.values().as_slice(), Some(&[1.0, 0.5, 0.0][..]));
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct Effect {
    /// The numbers, with the convention in their title.
    pub values: Labelled,
    /// The convention of the numbers.
    pub scale: Scale,
    /// The title without the convention.
    pub(super) what: String,
    pub(super) levels: Levels,
    /// The level of the metric of each prompt, where it is known.
    pub(super) prompts: Option<(Labelled, PerPrompt)>,
}

/// The metric of the clean and of the corrupted run at each site. They differ between sites only where prompts are padded, so
/// that a position has the means of some prompts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Levels {
    pub clean: ArrayD<f32>,
    pub corrupted: ArrayD<f32>,
}

impl Levels {
    /// The levels of each site, row-major.
    pub fn new(shape: &[usize], clean: Vec<f32>, corrupted: Vec<f32>) -> Self {
        let shaped = |levels| ArrayD::from_shape_vec(IxDyn(shape), levels).expect("one level for each site");
        Self { clean: shaped(clean), corrupted: shaped(corrupted) }
    }

    /// The same levels at all sites of this shape.
    pub fn alike(shape: &[usize], clean: f32, corrupted: f32) -> Self {
        let all = |level| ArrayD::from_elem(IxDyn(shape), level);
        Self { clean: all(clean), corrupted: all(corrupted) }
    }

    /// Those at one index of the first axis.
    pub fn only(&self, index: usize) -> Self {
        let of = |levels: &ArrayD<f32>| levels.index_axis(NdAxis(0), index).to_owned();
        Self { clean: of(&self.clean), corrupted: of(&self.corrupted) }
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Metric => "level of the metric",
            Self::Lost => "lost: clean minus changed",
            Self::Share => "share: 0 is corrupted, 1 is clean",
        })
    }
}

impl Effect {
    /// Numbers in this convention, of a clean and a corrupted run with these metrics. The title gets the convention added.
    ///
    /// # Errors
    /// Levels that are not finite, by which nothing could be converted.
    pub fn new(values: Labelled, scale: Scale, clean: f32, corrupted: f32) -> Result<Self> {
        if !clean.is_finite() || !corrupted.is_finite() {
            return Err(Error::argument(format!(
                "the metric of the clean run is {clean} and that of the corrupted run {corrupted}: give finite \
                 numbers, by which effects are converted."
            )));
        }
        let levels = Levels::alike(&values.shape(), clean, corrupted);
        Ok(Self::of(values, scale, levels))
    }

    pub(crate) fn of(values: Labelled, scale: Scale, levels: Levels) -> Self {
        let what = values.title.clone();
        let values = values.titled(format!("{what} ({scale})"));
        Self { values, scale, what, levels, prompts: None }
    }

    /// With the level of the metric of each prompt.
    pub(crate) fn by_prompt(mut self, metric: Labelled, runs: PerPrompt) -> Self {
        self.prompts = Some((metric, runs));
        self
    }

    /// How sure the mean effect over prompts is, in this effect's convention: standard error, bootstrap interval and sign-flip
    /// p-value. Means of shares are of each prompt's share, whereas [`Effect::as_share`] is the share of the means; a prompt whose
    /// clean and corrupted metrics are equal has none and does not count.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// # let model = HookedTransformer::from_pretrained("tiny")?;
    /// # let prompts = ["When John and Mary went to the shops, John gave the bag to", "When Mary and John went to the shops, John gave the bag to"];
    /// # let metric = Metric::logit_diff(&model.answers([(" Mary", " John"), (" Mary", " John")])?);
    /// let heads = Experiment::new(&model, prompts, Baseline::Zero, metric)?.get_act_patch_attn_head_out_all_pos()?;
    /// let lost = heads.effect().as_lost();
    /// let found = lost.statistics(StatisticsOptions::default())?;
    /// assert!((found.estimate.at(&[2, 5])? - lost.values.at(&[2, 5])?).abs() < 1e-5);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Shapes
    /// As the effect's values.
    ///
    /// # Errors
    /// [`Error::Argument`] for an effect whose prompts are not known, as of edges, which are scored over all prompts at once; and as
    /// [`Labelled::statistics_over`].
    pub fn statistics(&self, options: impl Into<StatisticsOptions>) -> Result<Statistics> {
        let Some((metric, runs)) = &self.prompts else {
            return Err(Error::argument(format!(
                "{:?} is known as a mean over prompts only, so nothing can be said about how prompts differ: take the \
                 effect of a sweep or of integrated gradients, or compute it for parts of the prompts.",
                self.values.title
            )));
        };
        runs.of_scale(metric, self.scale, &options.into())
    }

    /// The level of the metric at each site.
    pub fn as_metric(&self) -> Self {
        match self.scale {
            Scale::Metric => self.clone(),
            Scale::Lost => self.with(Scale::Metric, |lost, clean, _| clean - lost),
            Scale::Share => self.with(Scale::Metric, |share, clean, corrupted| corrupted + share * (clean - corrupted)),
        }
    }

    /// What is lost at each site: the metric of the clean run minus that with the change made.
    pub fn as_lost(&self) -> Self {
        match self.scale {
            Scale::Lost => self.clone(),
            _ => self.as_metric().with(Scale::Lost, |metric, clean, _| clean - metric),
        }
    }

    /// The share of the difference between the corrupted run (0) and the clean one (1) at each site.
    ///
    /// # Errors
    /// Runs with the same metric, between which there are no shares.
    pub fn as_share(&self) -> Result<Self> {
        if self.scale == Scale::Share {
            return Ok(self.clone());
        }
        let levels = self.levels.clean.iter().zip(&self.levels.corrupted);
        if let Some((clean, corrupted)) = levels.into_iter().find(|(clean, corrupted)| clean == corrupted) {
            return Err(Error::argument(format!(
                "the metric is {clean} for the clean run and {corrupted} for the corrupted one, so there is no \
                 difference to take shares of: compare what is lost (as_lost)."
            )));
        }
        let share = |metric: f32, clean: f32, corrupted: f32| (metric - corrupted) / (clean - corrupted);
        Ok(self.as_metric().with(Scale::Share, share))
    }

    fn with(&self, scale: Scale, convert: impl Fn(f32, f32, f32) -> f32) -> Self {
        let mut values = self.values.clone();
        Zip::from(values.values_mut())
            .and(&self.levels.clean)
            .and(&self.levels.corrupted)
            .for_each(|value, &clean, &corrupted| *value = convert(*value, clean, corrupted));
        let converted = Self::of(values.titled(self.what.clone()), scale, self.levels.clone());
        Self { prompts: self.prompts.clone(), ..converted }
    }
}

impl fmt::Debug for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Effect({:?})", self.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labelled::Axis;

    fn metric() -> Labelled {
        Labelled::new("metric", vec![Axis::numbered("site", 4)], vec![2.5, -0.25, 7.0, -3.0]).expect("four numbers")
    }

    /// By way of every other convention the numbers come back.
    #[test]
    fn conversions_go_both_ways() -> Result<()> {
        let effect = Effect::new(metric(), Scale::Metric, 3.5, -1.5)?;
        for through in [effect.as_lost(), effect.as_share()?, effect.as_lost().as_share()?] {
            for (back, value) in through.as_metric().values.values().iter().zip(&effect.values.values()) {
                assert!((back - value).abs() < 1e-5, "{back} and {value} through {through:?}");
            }
            assert_eq!(through.as_metric().values.title, "metric (level of the metric)");
            assert_eq!(through.as_metric().scale, Scale::Metric);
        }
        assert_eq!(effect.as_lost().values.values().as_slice(), Some(&[1.0, 3.75, -3.5, 6.5][..]));
        assert_eq!(effect.as_share()?.values.title, "metric (share: 0 is corrupted, 1 is clean)");
        Ok(())
    }

    #[test]
    fn runs_with_the_same_metric_have_no_shares() -> Result<()> {
        let same = Effect::new(metric(), Scale::Lost, 1.0, 1.0)?;
        assert!(same.as_share().unwrap_err().to_string().contains("no difference"), "{same:?}");
        assert!(Effect::new(metric(), Scale::Metric, f32::NAN, 1.0).is_err());
        Ok(())
    }
}
