//! What a metric is: its name, which way is better, which logits it reads, and its function.

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

/// Which way of a metric is better.
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
}

/// Where a metric has a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slope {
    /// Everywhere.
    Everywhere,
    /// Not at the clean run, where it is at its least.
    NotAtClean,
    /// Nowhere: it changes in steps.
    Nowhere,
    /// Only its values say.
    Unknown,
}

/// A metric's own part: what it reads and what it makes of it.
pub(crate) trait Measure: Send + Sync {
    fn name(&self) -> &str;

    fn direction(&self) -> Option<Direction>;

    /// The positions that it reads unless it is told others.
    fn positions(&self) -> Positions {
        Positions::Last
    }

    fn columns(&self) -> Columns {
        Columns::All
    }

    /// The same metric of these columns only; none for one that knows its own.
    fn with_columns(&self, _columns: Vec<u32>) -> Option<Arc<dyn Measure>> {
        None
    }

    /// Whether it is measured from the clean run.
    fn needs_clean(&self) -> bool {
        false
    }

    /// Whether it compares each position with the token that follows there.
    fn compares_with_next(&self) -> bool {
        false
    }

    fn slope(&self) -> Slope {
        Slope::Everywhere
    }

    /// For how many prompts, or positions of them, it has answers; none where it needs none.
    fn answers(&self) -> Option<usize> {
        None
    }

    /// The largest token of its answers.
    fn largest_token(&self) -> Option<u32> {
        None
    }

    /// The number of each row, or of each prompt.
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

    /// Of `x [copy * row, column]` the columns of these tokens, one list of the same length for each row.
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

    /// Of `x [copy * row, column]` one token for each row, `[copy * row]`.
    pub fn pick(&self, x: &Tensor, tokens: &[u32]) -> Result<Tensor> {
        let tokens: Vec<Vec<u32>> = tokens.iter().map(|&token| vec![token]).collect();
        Ok(self.gather(x, &tokens)?.squeeze(1)?)
    }
}

/// A number for each prompt, read from the logits after its last token or at other [`Positions`] ([`Metric::at`]).
///
/// A metric knows which logits it reads, so that no others are computed. Of a prompt that is read at several positions it is
/// the mean over them.
#[derive(Clone)]
pub struct Metric {
    pub(super) measure: Arc<dyn Measure>,
    pub(super) positions: Positions,
    direction: Option<Direction>,
    name: String,
}

impl Metric {
    pub(super) fn of(measure: impl Measure + 'static) -> Self {
        Self::shared(Arc::new(measure))
    }

    fn shared(measure: Arc<dyn Measure>) -> Self {
        let (positions, direction, name) = (measure.positions(), measure.direction(), measure.name().to_string());
        Self { measure, positions, direction, name }
    }

    /// The same metric at these positions: `0`, `-2`, `2..5`, `[3, 5]`, [`Positions::First`], [`Positions::each`], ..
    ///
    /// Where it has answers, they are one for each prompt, which counts at each of its positions, or one for each position
    /// of each prompt, prompt after prompt.
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
        self.name = match self.positions == self.measure.positions() {
            true => self.measure.name().to_string(),
            false => format!("{} at {}", self.measure.name(), self.positions),
        };
        self
    }

    /// The same metric at every token of each prompt.
    pub fn at_all(self) -> Self {
        self.at(Positions::All)
    }

    /// The same metric, of which more is better: for those of your own, which do not say.
    pub fn more_is_better(mut self) -> Self {
        self.direction = Some(Direction::More);
        self
    }

    /// The same metric, of which less is better.
    pub fn less_is_better(mut self) -> Self {
        self.direction = Some(Direction::Less);
        self
    }

    /// What it is called, with the positions that it reads where they are not its usual ones.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which way is better; `None` for a metric of your own that does not say.
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
    /// Answers for other prompts, tokens without a logit, positions that are outside the prompts; KL divergence, which needs
    /// two runs; and as [`HookedTransformer::run`].
    pub fn measure(&self, model: &HookedTransformer, input: impl Into<Input>) -> Result<Labelled> {
        let tokens = model.to_tokens(input)?;
        let bound = self.bind(&tokens, model.cfg().d_vocab_out())?;
        let values = bound.of_run(model, &tokens)?;
        Labelled::new(self.name(), vec![Axis::numbered("prompt", tokens.batch())], values)
    }

    /// The metric of these prompts, with all that it reads of them.
    ///
    /// # Errors
    /// Answers for other prompts, tokens without a logit, positions that are outside the prompts.
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

/// 1 where it is so, f32.
pub(super) fn as_numbers(so: &Tensor) -> Result<Tensor> {
    Ok(so.to_dtype(DType::F32)?)
}

pub(super) fn with_columns(metric: &Metric, columns: Vec<u32>) -> Result<Metric> {
    let Some(measure) = metric.measure.with_columns(columns) else {
        return Err(Error::argument(format!(
            "the metric {:?} knows itself which logits it reads: give columns to a custom one only.",
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
