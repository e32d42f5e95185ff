//! The metrics of an experiment: their values in its own runs, one of several, and what is checked of them.

use super::experiment::Experiment;
use super::runs::first_nan;
use super::source::Source;
use crate::error::{Error, Result};
use crate::hooks::check_free;
use crate::metrics::{BoundMetric, BoundMetrics, mean};
use crate::model::HookedTransformer;
use crate::tokens::Tokens;
use crate::visible::visible;

impl Experiment {
    /// The metric of the clean run, the mean over prompts; of several metrics the first.
    pub fn clean(&self) -> f32 {
        mean(self.of_metric(&self.clean_values, 0))
    }

    /// The metric of the corrupted run, the mean over prompts; 0 where activations are ablated. Of several metrics the first.
    pub fn corrupted(&self) -> f32 {
        mean(self.of_metric(&self.corrupted_values, 0))
    }

    /// The names of the metrics, in their order.
    pub fn metrics(&self) -> Vec<String> {
        self.metrics.names()
    }

    /// The same experiment with one of its metrics, by name; nothing is run again. Its results have no axis of metrics.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let answers = model.answers([(" Mary", " John")])?;
    /// let both = [Metric::logit_diff(&answers), Metric::log_prob(&model, [" Mary"])?];
    /// let experiment = Experiment::new(&model, prompt, Baseline::Zero, both)?;
    /// // Edges are of one metric.
    /// assert!(experiment.edges().is_err());
    /// assert!(experiment.only("logit difference")?.edges()?.clean() > 0.0);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A name that none of the metrics has.
    pub fn only(&self, metric: &str) -> Result<Self> {
        let index = index_of(metric, &self.metrics())?;
        let mut one = self.clone();
        one.metrics = self.metrics.only(index);
        // Of all rows that were read, those of this metric.
        one.clean_logits = self.metrics.rows_of(&self.metrics.each()[index], &self.clean_logits, 1)?;
        one.clean_values = self.of_metric(&self.clean_values, index).to_vec();
        one.corrupted_values = self.of_metric(&self.corrupted_values, index).to_vec();
        Ok(one)
    }

    /// What takes the place of activations, and what acts in every run, in words: with the metric, all that decides what a prompt's
    /// numbers are.
    pub(crate) fn setting(&self) -> String {
        let mut setting = self.source.name().to_string();
        if !matches!(self.source, Source::Run(_)) {
            let mut crc = flate2::Crc::new();
            crc.update(self.source.to_string().as_bytes());
            setting += &format!(" {:08x}", crc.sum());
        }
        if let Some(rules) = self.model.rules() {
            setting += &format!(" with {rules}");
        }
        setting + &self.model.splices_in_words()
    }

    /// The only metric.
    ///
    /// # Errors
    /// [`Error::Argument`] where there are several; `what` needs one.
    pub(crate) fn one_metric(&self, what: &str) -> Result<&BoundMetric> {
        match self.metrics.each() {
            [only] => Ok(only),
            several => Err(Error::argument(format!(
                "{what} is of one metric, and this experiment has {}: take one of them (Experiment::only): {}.",
                several.len(),
                visible(&self.metrics().join(", "))
            ))),
        }
    }

    /// Of values of each metric and prompt, those of one metric.
    pub(crate) fn of_metric<'a>(&self, values: &'a [f32], index: usize) -> &'a [f32] {
        let prompts = self.tokens.batch();
        &values[index * prompts..(index + 1) * prompts]
    }

    pub(super) fn check_numbers(&self) -> Result<()> {
        for (index, name) in self.metrics().iter().enumerate() {
            let [clean, corrupted] =
                [&self.clean_values, &self.corrupted_values].map(|values| self.of_metric(values, index));
            if clean.iter().chain(corrupted).any(|value| value.is_nan()) {
                return Err(self.why_nan(name));
            }
        }
        Ok(())
    }

    /// Refuses runs with the same metric, between which there are no shares.
    pub(crate) fn check_shares(&self) -> Result<()> {
        self.metrics().iter().enumerate().try_for_each(|(index, name)| {
            let [clean, corrupted] =
                [&self.clean_values, &self.corrupted_values].map(|values| self.of_metric(values, index));
            check_difference(name, clean, corrupted)
        })
    }

    /// Why a metric is NaN: the first activation that is, in either run.
    fn why_nan(&self, name: &str) -> Error {
        let mut runs = vec![("clean run", &self.tokens)];
        if let Source::Run(tokens) = &self.source {
            runs.push(("corrupted run", tokens));
        }
        for (which, tokens) in runs {
            match first_nan(&self.model, tokens) {
                Ok(Some(point)) => {
                    return Error::argument(format!(
                        "the {name} of a prompt is NaN, because activations are: the first of the {which} is {point}."
                    ));
                }
                Ok(None) => {}
                Err(error) => return error,
            }
        }
        Error::argument(format!("the {name} of a prompt is NaN, though no activation is."))
    }
}

/// The index of the metric with this name.
///
/// # Errors
/// [`Error::Argument`], which lists the names.
pub(crate) fn index_of(metric: &str, names: &[String]) -> Result<usize> {
    names.iter().position(|name| name == metric).ok_or_else(|| {
        let names: Vec<String> = names.iter().map(|name| format!("\"{}\"", visible(name))).collect();
        Error::argument(format!(
            "there is no metric called \"{}\": the metrics are {}.",
            visible(metric),
            names.join(", ")
        ))
    })
}

/// Refuses metrics that read more logits of these prompts than there is memory for.
pub(super) fn check_room(metrics: &BoundMetrics, model: &HookedTransformer, tokens: &Tokens) -> Result<()> {
    let rows = metrics.rows().len() as u64;
    // All logits of the clean and of the corrupted run, and one metric's copy of its own; then values, by run.
    let largest = metrics.each().iter().map(|metric| metric.rows().len() * metric.width(model)).max().unwrap_or(0);
    let numbers = 2 * rows * model.cfg().d_vocab_out() as u64 + largest as u64;
    let values = 2 * (metrics.each().len() * tokens.batch()) as u64;
    let what = match metrics.each().len() {
        1 => format!("the logits of {rows} positions, at which the metric reads,"),
        count => format!("the logits of {rows} positions, at which the {count} metrics read,"),
    };
    check_free(4 * (numbers + values), &what, "take fewer prompts, fewer metrics, or metrics at fewer positions")
}

/// Refuses NaN, and clean and corrupted values with the same mean.
pub(crate) fn check_difference(metric: &str, of_clean: &[f32], of_corrupted: &[f32]) -> Result<()> {
    let (clean, corrupted) = (mean(of_clean), mean(of_corrupted));
    let values = of_clean.iter().chain(of_corrupted);
    if values.clone().any(|value| value.is_nan()) {
        return Err(Error::argument(format!(
            "the {metric} of a prompt is NaN: run_with_cache shows the first activation that is."
        )));
    }
    let size = values.fold(f32::MIN_POSITIVE, |size, value| size.max(value.abs()));
    if (clean - corrupted).abs() < 1e-5 * size {
        return Err(Error::argument(format!(
            "the {metric} is {clean} for the clean prompts and {corrupted} for the corrupted ones: there is no \
             difference that patching could restore. Do the prompts call for different answers?"
        )));
    }
    Ok(())
}
