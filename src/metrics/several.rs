//! Several metrics of one run: what any of them reads is computed once, and each takes its own part.

use std::fmt;

use candle_core::Tensor;

use super::bound::BoundMetric;
use super::metric::{Columns, Metric};
use super::positions::Rows;
use crate::error::{Error, Result};
use crate::host;
use crate::model::HookedTransformer;
use crate::tokens::Tokens;
use crate::visible::visible;

/// One [`Metric`], or a list of them, by which an experiment is evaluated. Results of a list have one more axis, `metric`, in
/// front.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let answers = model.answers([(" Mary", " John")])?;
/// let two: Metrics = [Metric::logit_diff(&answers), Metric::log_prob(&model, [" Mary"])?].into();
/// assert_eq!(two.names(), ["logit difference", "log-probability"]);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct Metrics {
    all: Vec<Metric>,
    is_list: bool,
}

impl Metrics {
    /// The names of the metrics, in their order.
    pub fn names(&self) -> Vec<String> {
        self.all.iter().map(|metric| metric.name().to_string()).collect()
    }
}

impl From<Metric> for Metrics {
    fn from(metric: Metric) -> Self {
        Self { all: vec![metric], is_list: false }
    }
}

impl From<&Metric> for Metrics {
    fn from(metric: &Metric) -> Self {
        metric.clone().into()
    }
}

impl From<Vec<Metric>> for Metrics {
    fn from(all: Vec<Metric>) -> Self {
        Self { all, is_list: true }
    }
}

impl<const N: usize> From<[Metric; N]> for Metrics {
    fn from(all: [Metric; N]) -> Self {
        all.to_vec().into()
    }
}

impl From<&[Metric]> for Metrics {
    fn from(all: &[Metric]) -> Self {
        all.to_vec().into()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metrics({})", visible(&self.names().join(", ")))
    }
}

/// Metrics with the rows and columns of logits that any of them reads.
#[derive(Clone)]
pub(crate) struct BoundMetrics {
    all: Vec<BoundMetric>,
    is_list: bool,
    rows: Rows,
    columns: Columns,
}

impl BoundMetrics {
    /// # Errors
    /// No metric, two with one name; and as [`Metric::bind`].
    pub fn new(metrics: &Metrics, tokens: &Tokens, d_vocab_out: usize) -> Result<Self> {
        let names = metrics.names();
        if names.is_empty() {
            return Err(Error::argument("there is no metric in the list: give at least one."));
        }
        if let Some((_, twice)) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
            return Err(Error::argument(format!(
                "two of the metrics are called \"{}\", and results name them: give one another name (Metric::named).",
                visible(twice)
            )));
        }
        let all = metrics.all.iter().map(|metric| metric.bind(tokens, d_vocab_out)).collect::<Result<Vec<_>>>()?;
        Ok(Self::of(all, metrics.is_list))
    }

    fn of(all: Vec<BoundMetric>, is_list: bool) -> Self {
        let (rows, columns) = match &all[..] {
            // The order of a metric's own rows and columns is kept where there is no other.
            [only] => (only.rows().clone(), only.columns().clone()),
            several => (
                Rows::union(&several.iter().map(BoundMetric::rows).collect::<Vec<_>>()),
                Columns::union(several.iter().map(BoundMetric::columns)),
            ),
        };
        Self { all, is_list, rows, columns }
    }

    /// Whether results have an axis of metrics.
    pub fn is_list(&self) -> bool {
        self.is_list
    }

    pub fn names(&self) -> Vec<String> {
        self.all.iter().map(|metric| metric.name().to_string()).collect()
    }

    /// What results are of: the metric, or the metrics of a list, whose names are along their axis.
    pub fn name(&self) -> &str {
        match &self.all[..] {
            [only] if !self.is_list => only.name(),
            _ => Self::LIST,
        }
    }

    /// What titles call a list.
    pub const LIST: &str = "metrics";

    pub fn each(&self) -> &[BoundMetric] {
        &self.all
    }

    /// The metric at this index alone, no longer in a list.
    pub fn only(&self, index: usize) -> Self {
        Self::of(vec![self.all[index].clone()], false)
    }

    /// The rows that any of them reads.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The number of logits in each row that any of them reads.
    pub fn width(&self, model: &HookedTransformer) -> usize {
        self.columns.width(model)
    }

    /// The rows that any of them reads, of a run; as [`BoundMetric::read`].
    pub fn read(&self, x: &Tensor) -> Result<Tensor> {
        self.rows.read(x)
    }

    /// The columns that any of them reads, of all logits.
    pub fn columns_of(&self, logits: &Tensor) -> Result<Tensor> {
        self.columns.of_all(logits)
    }

    /// The logits that any of them reads after rows of the final stream, `[row, column]`.
    pub fn logits_after(&self, model: &HookedTransformer, rows: &Tensor) -> Result<Tensor> {
        model.logits_after(rows, self.columns.chosen())
    }

    /// As [`BoundMetrics::values`], copied from the device.
    pub fn evaluate(&self, logits: &Tensor, clean: Option<&Tensor>) -> Result<Vec<f32>> {
        Ok(host::numbers(&self.values(logits, clean)?)?)
    }

    /// The metrics of each prompt from what they read together; `clean` are all columns of the clean run's rows.
    ///
    /// # Shapes
    /// `logits [copy * row, column]`, `clean [row, d_vocab_out]`; the result is `[copy * metric * prompt]`.
    pub fn values(&self, logits: &Tensor, clean: Option<&Tensor>) -> Result<Tensor> {
        if let [only] = &self.all[..] {
            return only.values(logits, clean);
        }
        let (copies, prompts) = (logits.dim(0)? / self.rows.len(), self.rows.prompts());
        let mut values = Vec::with_capacity(self.all.len());
        for metric in &self.all {
            let clean = clean.filter(|_| metric.needs_clean());
            let clean = clean.map(|clean| self.rows_of(metric, clean, 1)).transpose()?;
            let own = self.columns.of_these(&self.rows_of(metric, logits, copies)?, metric.columns())?;
            values.push(metric.values(&own, clean.as_ref())?.reshape((copies, 1, prompts))?);
        }
        Ok(Tensor::cat(&values, 1)?.flatten_all()?)
    }

    /// The metrics of each prompt from all logits of a whole run, `[prompt, pos, d_vocab_out]`; the result is `[metric, prompt]`.
    pub fn of_logits(&self, logits: &Tensor, clean: Option<&Tensor>) -> Result<Vec<f32>> {
        self.evaluate(&self.columns_of(&self.read(logits)?)?, clean)
    }

    /// Of the rows that any metric reads, those that one reads.
    pub fn rows_of(&self, metric: &BoundMetric, x: &Tensor, copies: usize) -> Result<Tensor> {
        // The rows of one metric are in its own order.
        if self.all.len() == 1 {
            return Ok(x.clone());
        }
        let (own, all) = (metric.rows().within(&self.rows), self.rows.len() as u32);
        if own.iter().copied().eq(0..all) {
            return Ok(x.clone());
        }
        let places: Vec<u32> =
            (0..copies as u32).flat_map(|copy| own.iter().map(move |place| copy * all + place)).collect();
        Ok(x.index_select(&Tensor::new(places, x.device())?, 0)?)
    }
}
