//! A metric bound to prompts: the one place that knows which rows of a run's logits are read.

use std::ops::Deref;

use candle_core::{DType, Tensor};

use super::metric::{Columns, Metric, Read, Slope};
use super::positions::Rows;
use crate::error::{Error, Result};
use crate::hooks::HookPlan;
use crate::host;
use crate::model::{HookedTransformer, RunOptions};
use crate::tokens::Tokens;

/// A metric with the rows that it reads of some prompts. If it compares predictions with the next tokens, they are those of these
/// prompts, whichever prompts are run.
#[derive(Clone)]
pub(crate) struct BoundMetric {
    metric: Metric,
    rows: Rows,
    columns: Columns,
}

impl Deref for BoundMetric {
    type Target = Metric;

    fn deref(&self) -> &Metric {
        &self.metric
    }
}

impl BoundMetric {
    pub(super) fn new(metric: &Metric, tokens: &Tokens, d_vocab_out: usize) -> Result<Self> {
        let measure = &metric.measure;
        let rows = metric.positions.rows(tokens, measure.compares_with_next())?;
        let (prompts, count) = (rows.prompts(), rows.len());
        if let Some(answers) = measure.answers().filter(|answers| ![prompts, count].contains(answers)) {
            let or_each = match count == prompts {
                true => String::new(),
                false => format!(", or one for each of the {count} positions that it reads"),
            };
            return Err(Error::argument(format!(
                "the metric {:?} has answers for {answers} prompts, but there are {prompts}: give one for \
                 each{or_each}.",
                metric.name()
            )));
        }
        let next = rows.next().iter().max().copied().filter(|_| measure.compares_with_next());
        if let Some(largest) = measure.largest_token().max(next).filter(|largest| *largest as usize >= d_vocab_out) {
            return Err(Error::tokens(format!(
                "token id {largest} of the metric has no logit: the model has ids 0 to {}.",
                d_vocab_out - 1
            )));
        }
        Ok(Self { metric: metric.clone(), rows, columns: measure.columns() })
    }

    /// The rows that it reads.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The columns that it reads.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// The number of logits that it reads in each row.
    pub fn width(&self, model: &HookedTransformer) -> usize {
        self.columns.width(model)
    }

    /// Whether it compares a run with the clean run.
    pub fn needs_clean(&self) -> bool {
        self.metric.measure.needs_clean()
    }

    /// The rows that it reads of a run.
    ///
    /// # Shapes
    /// `x [copy * prompt, pos, ..]`, a stream or logits of copies of all prompts one after the other; the result is
    /// `[copy * row, ..]`.
    pub fn read(&self, x: &Tensor) -> Result<Tensor> {
        self.rows.read(x)
    }

    /// As [`BoundMetric::read`], of copies of `count` prompts from prompt `from` on.
    pub fn read_of(&self, x: &Tensor, prompts: (usize, usize)) -> Result<Tensor> {
        self.rows.read_of(x, prompts)
    }

    /// The columns that it reads, of all logits.
    pub fn columns_of(&self, logits: &Tensor) -> Result<Tensor> {
        self.columns.of_all(logits)
    }

    /// The logits that it reads after rows of the final stream.
    ///
    /// # Shapes
    /// `rows [row, d_model]` gives `[row, column]`.
    pub fn logits_after(&self, model: &HookedTransformer, rows: &Tensor) -> Result<Tensor> {
        model.logits_after(rows, self.columns.chosen())
    }

    /// The metric of each prompt from the columns that it reads; `clean` are all columns of the clean run's rows.
    pub fn evaluate(&self, logits: &Tensor, clean: Option<&Tensor>) -> Result<Vec<f32>> {
        Ok(host::numbers(&self.values(logits, clean)?)?)
    }

    /// As [`BoundMetric::evaluate`], as a tensor through which gradients flow to the logits.
    ///
    /// # Shapes
    /// `logits [copy * row, column]`, `clean [row, d_vocab_out]`; the result is `[copy * prompt]`, f32.
    pub fn values(&self, logits: &Tensor, clean: Option<&Tensor>) -> Result<Tensor> {
        let logits = &logits.to_dtype(DType::F32)?;
        let (rows, columns) = (&self.rows, &self.columns);
        let read = Read { logits, clean, rows, columns };
        let (copies, values) = (read.copies()?, self.metric.measure.values(&read)?);
        match values.elem_count() == copies * rows.prompts() {
            true => Ok(values),
            false => self.mean(&values, copies),
        }
    }

    /// The mean over the rows of each prompt.
    fn mean(&self, values: &Tensor, copies: usize) -> Result<Tensor> {
        let (rows, prompts) = (self.rows.len(), self.rows.prompts());
        let counts = self.rows.positions().iter().map(Vec::len);
        if counts.clone().all(|count| count * prompts == rows) {
            return Ok(values.reshape((copies * prompts, rows / prompts))?.mean(1)?);
        }
        let of_prompt: Vec<u32> = counts.clone().enumerate().flat_map(|(b, count)| vec![b as u32; count]).collect();
        let shares: Vec<f32> = counts.flat_map(|count| vec![1. / count as f32; count]).collect();
        let shares = Tensor::from_vec(shares, (1, rows), values.device())?;
        let shared = values.reshape((copies, rows))?.broadcast_mul(&shares)?;
        let sums = Tensor::zeros((copies, prompts), DType::F32, values.device())?;
        Ok(sums.index_add(&Tensor::new(of_prompt, values.device())?, &shared, 1)?.flatten_all()?)
    }

    /// The metric of each prompt from all logits of a whole run, `[prompt, pos, d_vocab_out]`.
    pub fn of_logits(&self, logits: &Tensor, clean: Option<&Tensor>) -> Result<Vec<f32>> {
        self.evaluate(&self.columns_of(&self.read(logits)?)?, clean)
    }

    /// The metric of each prompt in a plain run.
    ///
    /// # Errors
    /// A metric that needs a clean run; and as [`HookedTransformer::run`].
    pub fn of_run(&self, model: &HookedTransformer, tokens: &Tokens) -> Result<Vec<f32>> {
        self.check_alone()?;
        let options = RunOptions { stop_at_layer: Some(model.cfg().n_layers as isize), ..Default::default() };
        let model = &model.without_weight_gradients();
        let resid = model.run(tokens, HookPlan::new(), &options)?.resid;
        let rows = self.read(&resid.expect("a run that stops returns the stream"))?;
        self.evaluate(&self.logits_after(model, &rows)?, None)
    }

    /// # Errors
    /// A metric that needs a clean run.
    pub fn check_alone(&self) -> Result<()> {
        match self.needs_clean() {
            true => Err(Error::argument(format!(
                "the {} compares a run with a clean run, which a single run does not have: take the gradients of an \
                 experiment (Experiment::attribution), or another metric.",
                self.name()
            ))),
            false => Ok(()),
        }
    }

    /// # Errors
    /// A metric whose gradient at the clean run is 0: KL divergence has its minimum there.
    pub fn check_slope_at_clean(&self, instead: &str) -> Result<()> {
        match self.metric.measure.slope() {
            Slope::NotAtClean => Err(Error::argument(format!(
                "{} compares a run with the clean run and has its minimum there, so all its gradients at that run are \
                 0 and would rank rounding errors: {instead}, or take another metric.",
                self.name()
            ))),
            _ => Ok(()),
        }
    }

    /// # Errors
    /// A metric that is known to have no gradient: the rank and the accuracy change in steps.
    pub fn check_slope(&self) -> Result<()> {
        match self.metric.measure.slope() {
            Slope::Nowhere => Err(Error::argument(format!(
                "the {} of a token changes in steps, so it has no gradient: use Metric::log_prob or \
                 Metric::logit_diff.",
                self.name()
            ))),
            _ => Ok(()),
        }
    }

    /// As [`BoundMetric::check_slope`], and for custom metrics by their `values` for logits that have a gradient.
    ///
    /// # Errors
    /// A custom metric that was not computed with tensor operations.
    pub fn check_gradient(&self, values: &Tensor) -> Result<()> {
        match self.metric.measure.slope() {
            Slope::Unknown if !values.track_op() => Err(Error::argument(format!(
                "the metric {:?} has no gradient: compute it from its logits with tensor operations, not from numbers \
                 taken out of them (to_scalar, to_vec1).",
                self.name()
            ))),
            _ => self.check_slope(),
        }
    }
}
