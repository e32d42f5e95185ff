//! A sweep as the numbers of its prompts, from which the same result is made again: of these prompts with others.

use ndarray::{ArrayD, IxDyn};

use super::result::{PatchResult, Untouched};
use crate::error::{Error, Result};
use crate::experiment::{Levels, PerPrompt, check_difference};
use crate::labelled::{Axis, Labelled};
use crate::metrics::mean;

/// The numbers of a sweep by prompt.
pub(crate) struct SweptPrompts {
    /// The title of the result.
    pub title: String,
    /// The axes of the result: of several metrics `metric` in front.
    pub axes: Vec<Axis>,
    pub is_noising: bool,
    /// What takes the place of activations, and what is spliced in.
    pub setting: String,
    /// `[(metric), site, prompt]`.
    pub values: Vec<f32>,
    /// `[metric, prompt]`.
    pub clean: Vec<f32>,
    /// `[metric, prompt]`.
    pub corrupted: Vec<f32>,
    /// `[(metric), site]`.
    pub untouched: Vec<Option<Untouched>>,
}

impl PatchResult {
    /// Its numbers by prompt.
    ///
    /// # Errors
    /// Padded prompts, at whose positions only some have a token.
    pub(crate) fn by_prompt(&self) -> Result<SweptPrompts> {
        if self.runs.is_padded() {
            return Err(Error::argument(
                "some prompts of this sweep are padded, so its means are of some prompts only: take prompts of one length.",
            ));
        }
        Ok(SweptPrompts {
            title: self.raw.title.clone(),
            axes: self.raw.axes().to_vec(),
            is_noising: self.runs.is_noising,
            setting: self.setting.clone(),
            values: self.per_prompt.values().iter().copied().collect(),
            clean: self.runs.clean.clone(),
            corrupted: self.runs.corrupted.clone(),
            untouched: self.untouched.iter().copied().collect(),
        })
    }

    /// The result of these prompts, none of which is padded; the numbers are those that [`Experiment::sweep`] makes of the same
    /// numbers of each prompt.
    ///
    /// # Errors
    /// A metric whose mean is the same clean and corrupted.
    ///
    /// [`Experiment::sweep`]: crate::experiment::Experiment::sweep
    pub(crate) fn of_prompts(swept: SweptPrompts) -> Result<Self> {
        let SweptPrompts { title, axes, is_noising, setting, values, clean, corrupted, untouched } = swept;
        let sites = untouched.len();
        let prompts = values.len() / sites.max(1);
        let metrics = clean.len() / prompts.max(1);
        let names: Vec<String> = match axes.first() {
            Some(axis) if axis.name == "metric" => axis.labels.clone(),
            _ => vec!["metric".into()],
        };
        let levels_of = |values: &[f32]| values.chunks(prompts.max(1)).map(mean).collect::<Vec<f32>>();
        for (name, (clean, corrupted)) in
            names.iter().zip(clean.chunks(prompts.max(1)).zip(corrupted.chunks(prompts.max(1))))
        {
            check_difference(name, clean, corrupted)?;
        }
        let (clean_levels, corrupted_levels) = (levels_of(&clean), levels_of(&corrupted));
        let raw = levels_of(&values);
        let of_metric = |site: usize| site / (sites / metrics.max(1)).max(1);
        let spread = |levels: &[f32]| (0..sites).map(|site| levels[of_metric(site)]).collect::<Vec<f32>>();
        let (clean_sites, corrupted_sites) = (spread(&clean_levels), spread(&corrupted_levels));
        let levels = clean_sites.iter().zip(&corrupted_sites);
        let normalised =
            raw.iter().zip(levels).map(|(value, (clean, corrupted))| (value - corrupted) / (clean - corrupted));
        let shape: Vec<usize> = axes.iter().map(|axis| axis.labels.len()).collect();
        let with_prompts = [&axes[..], &[Axis::numbered("prompt", prompts)]].concat();
        Ok(Self {
            normalised: Labelled::new(format!("normalised {title}"), axes.clone(), normalised.collect())?,
            per_prompt: Labelled::new(title.clone(), with_prompts, values)?,
            raw: Labelled::new(title, axes, raw)?,
            clean: clean_levels.first().copied().unwrap_or(f32::NAN),
            corrupted: corrupted_levels.first().copied().unwrap_or(f32::NAN),
            untouched: ArrayD::from_shape_vec(IxDyn(&shape), untouched)
                .map_err(|error| Error::argument(format!("the sites do not fit their axes: {error}.")))?,
            levels: Levels::new(&shape, clean_sites, corrupted_sites),
            runs: PerPrompt::everywhere(clean, corrupted, is_noising),
            setting,
        })
    }
}
