//! An effect as plain numbers, from which the mean over prompts is made.

use super::effect::{Effect, Levels, Scale};
use super::per_prompt::PerPrompt;
use crate::error::Result;
use crate::labelled::{Axis, Labelled};
use crate::metrics::mean;

/// An effect of one prompt, or by prompt of several: row-major, prompts last.
pub(crate) struct EffectNumbers {
    /// The title without the convention.
    pub what: String,
    pub axes: Vec<Axis>,
    pub scale: Scale,
    /// Levels of the metric, or what is lost, whose means are effects again; shares are kept as levels.
    pub values: Vec<f32>,
    /// The level of the clean run at each of them.
    pub clean: Vec<f32>,
    /// The level of the corrupted run at each of them.
    pub corrupted: Vec<f32>,
}

impl Effect {
    /// The numbers, of one prompt.
    pub(crate) fn to_numbers(&self) -> EffectNumbers {
        let values = if self.scale == Scale::Share { self.as_metric().values } else { self.values.clone() };
        EffectNumbers {
            what: self.what.clone(),
            axes: self.values.axes().to_vec(),
            scale: self.scale,
            values: values.values().iter().copied().collect(),
            clean: self.levels.clean.iter().copied().collect(),
            corrupted: self.levels.corrupted.iter().copied().collect(),
        }
    }

    /// How many prompts it is of, where they are known.
    pub(crate) fn prompts(&self) -> Option<usize> {
        self.prompts.as_ref().and_then(|(metric, _)| metric.shape().last().copied())
    }

    /// The mean effect of so many prompts.
    ///
    /// # Errors
    /// Shares where the levels are the same.
    pub(crate) fn of_numbers(numbers: EffectNumbers, prompts: usize) -> Result<Self> {
        let EffectNumbers { what, axes, scale, values, clean, corrupted } = numbers;
        let means = |values: &[f32]| values.chunks(prompts.max(1)).map(mean).collect::<Vec<f32>>();
        let shape: Vec<usize> = axes.iter().map(|axis| axis.labels.len()).collect();
        let levels = Levels::new(&shape, means(&clean), means(&corrupted));
        let metric: Vec<f32> = match scale {
            Scale::Lost => values.iter().zip(&clean).map(|(lost, clean)| clean - lost).collect(),
            Scale::Metric | Scale::Share => values.clone(),
        };
        let linear = if scale == Scale::Share { Scale::Metric } else { scale };
        let effect = Self::of(Labelled::new(what.clone(), axes.clone(), means(&values))?, linear, levels);
        let with_prompts = [&axes[..], &[Axis::numbered("prompt", prompts)]].concat();
        let metric = Labelled::new(what, with_prompts, metric)?;
        let metrics = axes.first().filter(|axis| axis.name == "metric").map_or(1, |axis| axis.labels.len());
        let of_metric = (clean.len() / metrics.max(1)).max(1);
        // The levels of a prompt are the same at all sites of a metric.
        let first = |levels: &[f32]| levels.chunks(of_metric).flat_map(|of| of[..prompts].to_vec()).collect();
        let runs = PerPrompt::everywhere(first(&clean), first(&corrupted), false);
        let effect = effect.by_prompt(metric, runs);
        if scale == Scale::Share { effect.as_share() } else { Ok(effect) }
    }
}
