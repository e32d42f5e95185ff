//! What an effect is of each prompt.

use ndarray::{ArrayD, Axis as NdAxis, IxDyn};

use super::effect::{Levels, Scale};
use super::experiment::Experiment;
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::statistics::{Statistics, StatisticsOptions};

/// The metrics of each prompt in both runs, and which prompts an effect is of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PerPrompt {
    /// `[metric, prompt]`.
    pub clean: Vec<f32>,
    /// `[metric, prompt]`.
    pub corrupted: Vec<f32>,
    /// Whether it is the clean run that is changed.
    pub is_noising: bool,
    /// Where a prompt has a token, `[.., prompt]`; none where all have.
    there: Option<ArrayD<bool>>,
}

impl PerPrompt {
    /// Of the prompts of an experiment; `there` says for each number, `[.., prompt]`, whether the prompt has a token.
    pub fn new(experiment: &Experiment, shape: &[usize], there: Vec<bool>) -> Result<Self> {
        let (clean, corrupted) = (experiment.clean_values.clone(), experiment.corrupted_values.clone());
        let there = match there.contains(&false) {
            true => Some(
                ArrayD::from_shape_vec(IxDyn(shape), there)
                    .map_err(|error| Error::argument(format!("the prompts do not fit their axes: {error}.")))?,
            ),
            false => None,
        };
        Ok(Self { clean, corrupted, is_noising: experiment.noising, there })
    }

    /// Of prompts that all have a token everywhere: the metrics of both runs, `[metric, prompt]`.
    pub fn everywhere(clean: Vec<f32>, corrupted: Vec<f32>, is_noising: bool) -> Self {
        Self { clean, corrupted, is_noising, there: None }
    }

    /// Whether some prompts have no token somewhere.
    pub fn is_padded(&self) -> bool {
        self.there.is_some()
    }

    /// The levels of both runs for each number of `of [(metric), .., prompt]`.
    fn levels(&self, of: &Labelled) -> Levels {
        let shape = of.shape();
        let prompts = shape.last().copied().unwrap_or(1);
        let metrics = self.clean.len() / prompts.max(1);
        // The axes between metric and prompt are spread over.
        let mut own = vec![1; shape.len()];
        own[shape.len() - 1] = prompts;
        if metrics > 1 || of.axes()[0].name == "metric" {
            own[0] = metrics;
        }
        let spread = |values: &[f32]| {
            let values = ArrayD::from_shape_vec(IxDyn(&own), values.to_vec()).expect("one for each metric and prompt");
            values.broadcast(IxDyn(&shape)).expect("axes of size 1 spread").to_owned()
        };
        Levels { clean: spread(&self.clean), corrupted: spread(&self.corrupted) }
    }

    /// Statistics of the change of the metric from the run that is patched, over prompts.
    pub fn of_change(&self, metric: &Labelled, options: &StatisticsOptions) -> Result<Statistics> {
        let Levels { clean, corrupted } = self.levels(metric);
        let changes = metric.values().into_owned() - if self.is_noising { clean } else { corrupted };
        let title = format!("change of the {}", metric.title);
        self.statistics(Labelled::new(title, metric.axes(), changes.into_iter().collect())?, None, options)
    }

    /// Statistics of the metric of each prompt in a convention, over prompts. Where a share has no denominator, the prompt does not
    /// count.
    pub fn of_scale(&self, metric: &Labelled, scale: Scale, options: &StatisticsOptions) -> Result<Statistics> {
        let Levels { clean, corrupted } = self.levels(metric);
        let (clean, corrupted) = (clean.iter(), corrupted.iter());
        let all = metric.values();
        let levels = all.iter().zip(clean.zip(corrupted));
        let values: Vec<f32> = levels
            .map(|(&metric, (&clean, &corrupted))| match scale {
                Scale::Metric => metric,
                Scale::Lost => clean - metric,
                Scale::Share => (metric - corrupted) / (clean - corrupted),
            })
            .collect();
        let Levels { clean, corrupted } = self.levels(metric);
        let has_share =
            (scale == Scale::Share).then(|| ndarray::Zip::from(&clean).and(&corrupted).map_collect(|a, b| a != b));
        let title = format!("{} ({scale})", metric.title);
        self.statistics(Labelled::new(title, metric.axes(), values)?, has_share, options)
    }

    fn statistics(
        &self,
        values: Labelled,
        defined: Option<ArrayD<bool>>,
        options: &StatisticsOptions,
    ) -> Result<Statistics> {
        let there = match (self.there.clone(), defined) {
            (Some(mut there), Some(defined)) => {
                there.zip_mut_with(&defined, |there, &defined| *there &= defined);
                Some(there)
            }
            (there, defined) => there.or(defined),
        };
        Statistics::of(&values, "prompt", there.as_ref(), options)
    }

    /// Of the metric at this index alone.
    pub fn only(&self, index: usize, prompts: usize) -> Self {
        let of = |values: &[f32]| values[index * prompts..(index + 1) * prompts].to_vec();
        Self {
            clean: of(&self.clean),
            corrupted: of(&self.corrupted),
            is_noising: self.is_noising,
            there: self.there.as_ref().map(|there| there.index_axis(NdAxis(0), index).to_owned()),
        }
    }
}
