//! What edits of features did: a clean run and an edited one side by side.

use std::fmt;

use candle_core::Tensor;

use super::list::FeatureEdits;
use super::options::EditMode;
use super::run::Runs;
use crate::cache::ActivationCache;
use crate::error::{Error, Result};
use crate::labelled::{Axis, Labelled};
use crate::statistics::{Statistics, StatisticsOptions};
use crate::tokens::Tokens;
use crate::visible::visible;

/// A clean run and one under edits of features ([`HookedTransformer::run_with_feature_edits`]): logits, a metric, and what was
/// captured of both.
///
/// [`HookedTransformer::run_with_feature_edits`]: crate::model::HookedTransformer::run_with_feature_edits
#[derive(Clone)]
pub struct FeatureEditRun {
    edits: FeatureEdits,
    mode: EditMode,
    logits: [Tensor; 2],
    pub(super) caches: [ActivationCache; 2],
    /// Its name, and what it is of each prompt before and after.
    metric: Option<(String, [Vec<f32>; 2])>,
    /// What positions are called.
    pub(super) labels: Vec<String>,
}

/// What the two runs are called along an axis.
pub(super) fn runs() -> Axis {
    Axis::new("run", ["clean", "edited"])
}

impl FeatureEditRun {
    pub(super) fn new(
        edits: FeatureEdits,
        mode: EditMode,
        runs: Runs,
        metric: Option<(String, [Vec<f32>; 2])>,
        labels: Vec<String>,
    ) -> Self {
        let (clean, edited) = (runs.clean, runs.edited);
        Self { edits, mode, logits: [clean.0, edited.0], caches: [clean.1, edited.1], metric, labels }
    }

    /// The edits.
    pub fn edits(&self) -> FeatureEdits {
        self.edits.clone()
    }

    /// What happened behind them.
    pub fn mode(&self) -> EditMode {
        self.mode
    }

    /// The prompts.
    pub fn tokens(&self) -> Tokens {
        self.caches[0].tokens()
    }

    /// The logits of the edited run.
    ///
    /// # Shapes
    /// `[batch, pos, d_vocab_out]`.
    pub fn logits(&self) -> Tensor {
        self.logits[1].clone()
    }

    /// The logits of the clean run.
    ///
    /// # Shapes
    /// `[batch, pos, d_vocab_out]`.
    pub fn clean_logits(&self) -> Tensor {
        self.logits[0].clone()
    }

    /// What was captured of the clean run.
    pub fn before(&self) -> ActivationCache {
        self.caches[0].clone()
    }

    /// What was captured of the edited run.
    pub fn after(&self) -> ActivationCache {
        self.caches[1].clone()
    }

    /// The metric of each prompt before and after.
    ///
    /// # Shapes
    /// `[run, prompt]`: clean, edited.
    ///
    /// # Errors
    /// [`Error::Argument`] where no metric was given.
    pub fn metric(&self) -> Result<Labelled> {
        let (name, values) = self.evaluated()?;
        let axes = vec![runs(), Axis::numbered("prompt", values[0].len())];
        Labelled::new(name, axes, values.concat())
    }

    /// By how many per cent the mean metric is lower than that of the clean run: `100 (clean - edited) / clean`.
    ///
    /// # Errors
    /// [`Error::Argument`] where no metric was given, or the clean one is 0.
    pub fn reduction(&self) -> Result<f32> {
        let (name, [clean, edited]) = self.evaluated()?;
        let mean = |values: &[f32]| values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64;
        percent(name, mean(clean), mean(edited))
    }

    /// As [`FeatureEditRun::reduction`], of each prompt.
    ///
    /// # Shapes
    /// `[prompt]`.
    ///
    /// # Errors
    /// As [`FeatureEditRun::reduction`].
    pub fn reductions(&self) -> Result<Labelled> {
        let (name, [clean, edited]) = self.evaluated()?;
        let of = |(clean, edited): (&f32, &f32)| percent(name, f64::from(*clean), f64::from(*edited));
        let values = clean.iter().zip(edited).map(of).collect::<Result<Vec<f32>>>()?;
        let title = format!("reduction of the {name} in per cent of the clean run");
        Labelled::new(title, vec![Axis::numbered("prompt", values.len())], values)
    }

    /// How sure it is over prompts that the edits change the metric: the mean of edited minus clean, with its standard error, bootstrap
    /// interval and sign-flip p-value.
    ///
    /// # Errors
    /// [`Error::Argument`] where no metric was given; and as [`Labelled::statistics_over`].
    pub fn statistics(&self, options: impl Into<StatisticsOptions>) -> Result<Statistics> {
        let (name, [clean, edited]) = self.evaluated()?;
        let changes: Vec<f32> = edited.iter().zip(clean).map(|(edited, clean)| edited - clean).collect();
        let axis = Axis::numbered("prompt", changes.len());
        Labelled::new(format!("change of the {name}"), vec![axis], changes)?.statistics_over("prompt", options)
    }

    fn evaluated(&self) -> Result<(&str, &[Vec<f32>; 2])> {
        self.metric.as_ref().map(|(name, values)| (name.as_str(), values)).ok_or_else(|| {
            Error::argument("no metric was evaluated: give one with FeatureEditOptions::metric, and run again.")
        })
    }
}

fn percent(name: &str, clean: f64, edited: f64) -> Result<f32> {
    if clean == 0.0 {
        return Err(Error::argument(format!(
            "the {} of the clean run is 0, of which nothing is a percentage: read metric() instead.",
            visible(name)
        )));
    }
    Ok((100.0 * (clean - edited) / clean) as f32)
}

impl fmt::Display for FeatureEditRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prompts = self.tokens().batch();
        let unit = if prompts == 1 { "prompt" } else { "prompts" };
        write!(f, "{} ({}), {prompts} {unit}", self.edits, self.mode)?;
        if let Some((name, [clean, edited])) = &self.metric {
            let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
            let (clean, edited) = (mean(clean), mean(edited));
            write!(f, ": {} {clean:.4} before, {edited:.4} after", visible(name))?;
            if let Ok(percent) = self.reduction() {
                write!(f, " ({percent:.1} % less)")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for FeatureEditRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FeatureEditRun({self})")
    }
}
