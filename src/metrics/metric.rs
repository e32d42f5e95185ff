//! What a metric is: its name and direction, the logits that it reads, and its function.

use std::fmt;
use std::sync::Arc;

use candle_core::{D, DType, Tensor};

use super::bound::BoundMetric;
use super::positions::{Positions, Rows};
use crate::error::{Error, Result};
use crate::labelled::{Axis, Labelled};
use crate::model::HookedTransformer;
use crate::tokens::{Input, Tokens};
use crate::visible::visible;

/// Whether more or less of a metric is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A larger number is better.
    More,
    /// A smaller number is better.
    Less,
}

/// The logits that a metric reads at a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Columns {
    /// Those of all tokens.
    All,
    /// Those of these tokens, in this order.
    Only(Vec<u32>),
}

impl Columns {
    /// These tokens, each once.
    pub fn of(tokens: impl IntoIterator<Item = u32>) -> Self {
        let mut columns: Vec<u32> = tokens.into_iter().collect();
        columns.sort_unstable();
        columns.dedup();
        Self::Only(columns)
    }

    /// All columns of these, each once.
    pub fn union<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let parts: Option<Vec<_>> = parts.into_iter().map(Self::chosen).collect();
        parts.map_or(Self::All, |parts| Self::of(parts.into_iter().flatten()))
    }

    /// The tokens, where they are not all.
    pub fn chosen(&self) -> Option<Vec<u32>> {
        match self {
            Self::All => None,
            Self::Only(columns) => Some(columns.clone()),
        }
    }

    /// How many they are.
    pub fn width(&self, model: &HookedTransformer) -> usize {
        match self {
            Self::All => model.cfg().d_vocab_out(),
            Self::Only(columns) => columns.len(),
        }
    }

    /// These columns of all logits, `[row, d_vocab_out]`.
    pub fn of_all(&self, logits: &Tensor) -> Result<Tensor> {
        match self {
            Self::All => Ok(logits.clone()),
            Self::Only(columns) => Ok(logits.index_select(&Tensor::new(&columns[..], logits.device())?, 1)?),
        }
    }

    /// The columns `wanted` of logits that have these columns, in the order of tokens.
    pub fn of_these(&self, logits: &Tensor, wanted: &Self) -> Result<Tensor> {
        let (Self::Only(there), Self::Only(tokens)) = (self, wanted) else { return wanted.of_all(logits) };
        if there == tokens {
            return Ok(logits.clone());
        }
        let place = |token: &u32| there.binary_search(token).unwrap_or(0) as u32;
        let places: Vec<u32> = tokens.iter().map(place).collect();
        Ok(logits.index_select(&Tensor::new(places, logits.device())?, 1)?)
    }
}

/// Where a metric has a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slope {
    /// Everywhere.
    Everywhere,
    /// Everywhere but at the clean run, where it has its minimum.
    NotAtClean,
    /// Nowhere, because it changes in steps.
    Nowhere,
    /// Not known before its values are computed.
    Unknown,
}

/// What distinguishes a metric from others: what it reads, and the number that it computes.
pub(crate) trait Measure: Send + Sync {
    fn name(&self) -> &str;

    fn direction(&self) -> Option<Direction>;

    /// The positions that it reads by default.
    fn positions(&self) -> Positions {
        Positions::Last
    }

    fn columns(&self) -> Columns {
        Columns::All
    }

    /// The same metric of these columns only; `None` for a metric that determines its columns itself.
    fn with_columns(&self, _columns: Vec<u32>) -> Option<Arc<dyn Measure>> {
        None
    }

    /// Whether it is measured from the clean run.
    fn needs_clean(&self) -> bool {
        false
    }

    /// Whether it compares the prediction at each position with the next token.
    fn compares_with_next(&self) -> bool {
        false
    }

    fn slope(&self) -> Slope {
        Slope::Everywhere
    }

    /// The number of its answers, one for each prompt or for each position; `None` where it needs none.
    fn answers(&self) -> Option<usize> {
        None
    }

    /// The largest token of its answers.
    fn largest_token(&self) -> Option<u32> {
        None
    }

    /// One number for each row, or for each prompt.
    fn values(&self, read: &Read) -> Result<Tensor>;
}

/// What a metric has read.
pub(crate) struct Read<'a> {
    /// Copies of the rows one after the other, `[copy * row, column]`, f32.
    pub logits: &'a Tensor,
    /// All columns of the clean run's rows, `[row, d_vocab_out]`, where there is a clean run.
    pub clean: Option<&'a Tensor>,
    pub rows: &'a Rows,
    pub columns: &'a Columns,
}

impl Read<'_> {
    pub fn copies(&self) -> Result<usize> {
        Ok(self.logits.dim(0)? / self.rows.len())
    }

    /// The columns of `x [copy * row, column]` that belong to these tokens, a list of one length for each row.
    ///
    /// # Shapes
    /// `[copy * row, token]`.
    pub fn gather(&self, x: &Tensor, tokens: &[Vec<u32>]) -> Result<Tensor> {
        let place = |id: &u32| match self.columns {
            Columns::All => *id,
            Columns::Only(columns) => columns.binary_search(id).unwrap_or(0) as u32,
        };
        let (copies, each) = (self.copies()?, tokens.first().map_or(0, Vec::len));
        let places: Vec<u32> = tokens.iter().flatten().map(place).collect();
        let places = Tensor::from_vec(places, (tokens.len(), each), x.device())?.repeat((copies, 1))?;
        Ok(x.contiguous()?.gather(&places.contiguous()?, 1)?)
    }

    /// As [`Read::gather`] with one token for each row, `[copy * row]`.
    pub fn pick(&self, x: &Tensor, tokens: &[u32]) -> Result<Tensor> {
        let tokens: Vec<Vec<u32>> = tokens.iter().map(|&token| vec![token]).collect();
        Ok(self.gather(x, &tokens)?.squeeze(1)?)
    }
}

/// One number for each prompt, computed from the logits after its last token, or at other [`Positions`] ([`Metric::at`]).
///
/// A metric knows which logits it reads, so that no others are computed. At several positions of a prompt, its number is the
/// mean over them.
#[derive(Clone)]
pub struct Metric {
    pub(super) measure: Arc<dyn Measure>,
    pub(super) positions: Positions,
    direction: Option<Direction>,
    name: String,
    /// The name that the user gave, if any.
    named: Option<String>,
}

impl Metric {
    pub(super) fn of(measure: impl Measure + 'static) -> Self {
        Self::shared(Arc::new(measure))
    }

    fn shared(measure: Arc<dyn Measure>) -> Self {
        let (positions, direction, name) = (measure.positions(), measure.direction(), measure.name().to_string());
        Self { measure, positions, direction, name, named: None }
    }

    /// The same metric at these positions: `0`, `-2`, `2..5`, `[3, 5]`, [`Positions::First`], [`Positions::each`], ..
    ///
    /// If it has answers, there must be one for each prompt, which then holds at each of its positions, or one for each position
    /// that is read, prompt after prompt.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompt = "When John and Mary went to the shops";
    /// let whole = Metric::mean_loss().measure(&model, prompt)?.scalar()?;
    /// let end = Metric::mean_loss().at(5..).measure(&model, prompt)?.scalar()?;
    /// assert!(whole > 0. && end > 0. && whole != end);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn at(mut self, positions: impl Into<Positions>) -> Self {
        self.positions = positions.into();
        self.name = match (self.named.clone(), self.positions == self.measure.positions()) {
            (Some(named), _) => named,
            (None, true) => self.measure.name().to_string(),
            (None, false) => format!("{} at {}", self.measure.name(), self.positions),
        };
        self
    }

    /// The same metric under a name of your own, in titles and among several metrics of one experiment.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let names = Metric::logit_diff(&model.answers([(" Mary", " John")])?).named("Mary or John");
    /// assert_eq!(names.name(), "Mary or John");
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self.named = Some(self.name.clone());
        self
    }

    /// The same metric at every token of each prompt.
    pub fn at_all(self) -> Self {
        self.at(Positions::All)
    }

    /// The same metric with the direction "more is better", which a custom metric does not have by default.
    pub fn more_is_better(mut self) -> Self {
        self.direction = Some(Direction::More);
        self
    }

    /// The same metric with the direction "less is better".
    pub fn less_is_better(mut self) -> Self {
        self.direction = Some(Direction::Less);
        self
    }

    /// Its name: the one given by [`Metric::named`], or its own with the positions that it reads where they are not its default
    /// ones.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether more or less is better; `None` for a custom metric whose direction was not set.
    pub fn direction(&self) -> Option<Direction> {
        self.direction
    }

    /// The positions that it reads.
    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// The metric of each prompt in a run of the model.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let found = metric.measure(&model, "When John and Mary went to the shops, John gave the bag to")?;
    /// assert!(found.scalar()? > 0.);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Shapes
    /// `[prompt]`.
    ///
    /// # Errors
    /// Answers for another number of prompts, tokens without a logit, positions outside the prompts; a metric that needs a clean
    /// run ([`Metric::kl`], [`Metric::custom_from_clean`]); and as [`HookedTransformer::run`].
    pub fn measure(&self, model: &HookedTransformer, input: impl Into<Input>) -> Result<Labelled> {
        let tokens = model.to_tokens(input)?;
        let bound = self.bind(&tokens, model.cfg().d_vocab_out())?;
        let values = bound.of_run(model, &tokens)?;
        Labelled::new(self.name(), vec![Axis::numbered("prompt", tokens.batch())], values)
    }

    /// The metric with the rows that it reads of these prompts.
    ///
    /// # Errors
    /// Answers for another number of prompts, tokens without a logit, positions outside the prompts.
    pub(crate) fn bind(&self, tokens: &Tokens, d_vocab_out: usize) -> Result<BoundMetric> {
        BoundMetric::new(self, tokens, d_vocab_out)
    }
}

/// # Shapes
/// As `logits [row, token]`.
pub(super) fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.detach().max_keepdim(D::Minus1)?)?;
    Ok(shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)?)
}

/// 1 where the condition holds, else 0, as f32.
pub(super) fn as_numbers(so: &Tensor) -> Result<Tensor> {
    Ok(so.to_dtype(DType::F32)?)
}

pub(super) fn with_columns(metric: &Metric, columns: Vec<u32>) -> Result<Metric> {
    let Some(measure) = metric.measure.with_columns(columns) else {
        return Err(Error::argument(format!(
            "the metric {:?} determines itself which logits it reads: set the columns of custom metrics only.",
            metric.name()
        )));
    };
    Ok(Metric { measure, ..metric.clone() })
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metric({})", visible(self.name()))
    }
}
