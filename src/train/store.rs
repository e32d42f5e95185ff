//! Activations of texts, shuffled, in batches.
//!
//! A model reads the texts a few at a time; what it computes at the chosen points goes, position by position, into a bounded buffer. When
//! half of it has been taken it is filled again and shuffled, so that a batch mixes positions of many texts: neighbours in a
//! text resemble each other, and steps on one text after the other would follow them. (So do the stores of SAELens and
//! dictionary_learning.) BOS, other special tokens and padding are left out by default: their activations are large and always the same.

use std::collections::VecDeque;
use std::fmt;

use candle_core::{DType, Device, Tensor};

use super::shuffled::{Shuffled, bytes_of};
use super::texts::Texts;
use crate::dims::Dims;
use crate::error::{Error, Result};
use crate::hooks::{AxisName, HookPlan, HookPoint, HookQueries, HookQuery, Kind, check_free};
use crate::model::{HookedTransformer, RunOptions};
use crate::random::Random;
use crate::tokens::{PaddingSide, TokenizeOptions, Tokenizer, Tokens};
use crate::variables::holds;

/// Which tokens' activations an [`ActivationStore`] leaves out; padding is always left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SkipTokens {
    /// BOS, ends of text and the padding token, wherever they are in a text. (Splices and scores leave out only a BOS that is the
    /// first token of its text.)
    #[default]
    Special,
    /// These.
    Ids(Vec<u32>),
    /// None.
    Nothing,
}

/// How an [`ActivationStore`] reads and shuffles.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreOptions {
    /// How many rows a batch has.
    pub batch: usize,
    /// How many rows the buffer holds, and the rows of one run more.
    pub buffer: usize,
    /// How many texts the model reads at once.
    pub prompts: usize,
    /// The most tokens of a text, BOS included; a longer one is read in several parts, each with the BOS that the text has. `None` is
    /// the model's `n_ctx`.
    pub context: Option<usize>,
    /// Which tokens are left out.
    pub skip: SkipTokens,
    /// The seed of the order.
    pub seed: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { batch: 1024, buffer: 16 * 1024, prompts: 32, context: None, skip: SkipTokens::Special, seed: 0 }
    }
}

/// Activations of texts at one or several points, position by position in random order. The points of a batch are those of the same
/// positions, so that a transcoder finds its input beside its output, and several dictionaries share the runs of the model.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let texts = Task::Ioi.prompts(tasks::Split::Train, 64, 0)?;
/// let options = StoreOptions { batch: 256, buffer: 512, ..Default::default() };
/// let mut store = ActivationStore::new(&model, (("normalized", 1, "ln2"), ("mlp_out", 1)), &texts, options)?;
/// let batch = store.next_batch()?.expect("64 prompts have more than 256 tokens");
/// assert_eq!(batch.rows(), 256);
/// assert_eq!(batch.get(("mlp_out", 1))?.dims(), [256, model.cfg().d_model]);
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub struct ActivationStore {
    pub(super) model: HookedTransformer,
    tokenizer: Option<Tokenizer>,
    points: Vec<HookPoint>,
    plan: HookPlan,
    run: RunOptions,
    pub(super) texts: Texts,
    pub(super) options: StoreOptions,
    context: usize,
    skip: Vec<u32>,
    /// Rows of ids that were read and not run.
    pub(super) waiting: VecDeque<Vec<u32>>,
    pub(super) buffer: Shuffled,
    pub(super) random: Random,
    pub(super) rows_given: u64,
    pub(super) has_ended: bool,
}

holds! {
    ActivationStore { model, waiting, buffer, skip }
}

impl ActivationStore {
    /// The activations of `texts` at these points. Nothing is computed until a batch is taken.
    ///
    /// # Errors
    /// A point that the model lacks or that has no activation for each position, sizes that do not fit together, a buffer for which
    /// there is no memory, and a model without a tokenizer where special tokens are left out.
    pub fn new(
        model: &HookedTransformer,
        points: impl Into<HookQueries>,
        texts: impl Into<Texts>,
        options: StoreOptions,
    ) -> Result<Self> {
        let (dims, points) = (model.dims(), points.into());
        let mut chosen = Vec::new();
        for query in points.queries() {
            for point in query.resolve_all(&dims)? {
                if !chosen.contains(&point) {
                    chosen.push(point);
                }
            }
        }
        let widths = chosen.iter().map(|point| width(*point, &dims)).collect::<Result<Vec<_>>>()?;
        let context = options.check(&dims, &chosen)?;
        // Texts may be far shorter than the context: what a run of them takes is known when they have been read.
        let bytes = bytes_of(options.buffer, &widths);
        check_free(bytes, "the buffer of activations", "take a smaller `buffer`, or fewer points")?;
        let skip = options.skip.ids(model)?;
        let last =
            chosen.iter().map(|point| point.layer()).collect::<Option<Vec<_>>>().and_then(|l| l.into_iter().max());
        let stop_at_layer = last.map(|last| last + 1).filter(|stop| *stop < dims.n_layers).map(|stop| stop as isize);
        Ok(Self {
            tokenizer: model.tokenizer().ok().map(|tokenizer| tokenizer.with_n_ctx(usize::MAX)),
            model: model.clone(),
            plan: HookPlan::new().capture(&chosen),
            run: RunOptions { logits: false, stop_at_layer, ..RunOptions::default() },
            points: chosen,
            texts: texts.into(),
            random: Random::new(options.seed),
            options,
            context,
            skip,
            waiting: VecDeque::new(),
            buffer: Shuffled::new(widths),
            rows_given: 0,
            has_ended: false,
        })
    }

    /// The next batch; the last one may have fewer rows, and after it there is none.
    ///
    /// # Errors
    /// Texts that cannot be read or tokenized, repeated texts of which all tokens are left out, and what a run of the model refuses.
    pub fn next_batch(&mut self) -> Result<Option<ActivationBatch>> {
        if self.buffer.len() < self.options.batch.max(self.options.buffer.div_ceil(2)) {
            self.fill()?;
        }
        let count = self.options.batch.min(self.buffer.len());
        if count == 0 {
            return Ok(None);
        }
        self.rows_given += count as u64;
        let of_point = |numbers: Vec<f32>| {
            let width = numbers.len() / count;
            Tensor::from_vec(numbers, (count, width), &Device::Cpu)
        };
        let tensors = self.buffer.take(count).into_iter().map(of_point).collect::<candle_core::Result<_>>()?;
        Ok(Some(ActivationBatch { points: self.points.clone(), dims: self.model.dims(), tensors }))
    }

    /// The points, in the order in which they were given.
    pub fn points(&self) -> Vec<HookPoint> {
        self.points.clone()
    }

    /// How many rows were given so far.
    pub fn rows_given(&self) -> u64 {
        self.rows_given
    }

    /// Runs the model until the buffer is full or the texts have ended, and shuffles.
    fn fill(&mut self) -> Result<()> {
        if self.has_ended {
            return Ok(());
        }
        self.buffer.reserve(self.options.buffer);
        let (mut rows, mut passes) = (self.buffer.len(), self.texts.passes());
        while self.buffer.len() < self.options.buffer {
            self.read_texts()?;
            if self.waiting.is_empty() {
                self.has_ended = true;
                break;
            }
            let count = self.options.prompts.min(self.waiting.len());
            let run = self.waiting.drain(..count).collect();
            self.collect(run)?;
            if self.buffer.len() > rows {
                (rows, passes) = (self.buffer.len(), self.texts.passes());
            } else if self.texts.passes() > passes + 1 {
                // All that was read before the last text has been run, a whole pass among it.
                return Err(Error::argument(
                    "all tokens of these texts are left out, so there would never be an activation: change `skip`, or give other \
                     texts.",
                ));
            }
        }
        self.buffer.shuffle(&mut self.random);
        Ok(())
    }

    /// Reads texts until there are enough for a run.
    fn read_texts(&mut self) -> Result<()> {
        while self.waiting.len() < self.options.prompts {
            let Some(input) = self.texts.next()? else { break };
            let tokens = input.into_tokens(self.tokenizer.as_ref(), TokenizeOptions::default())?;
            for row in (0..tokens.batch()).map(|b| tokens.real_row(b)) {
                self.waiting.extend(self.parts(row));
            }
        }
        Ok(())
    }

    /// A row in parts that fit; each begins with the BOS that the row has.
    fn parts(&self, row: Vec<u32>) -> Vec<Vec<u32>> {
        if row.len() <= self.context {
            return vec![row];
        }
        let bos = self.tokenizer.as_ref().and_then(Tokenizer::bos_id).filter(|bos| row.first() == Some(bos));
        let begins = usize::from(bos.is_some());
        let part = |ids: &[u32]| bos.into_iter().chain(ids.iter().copied()).collect();
        row[begins..].chunks((self.context - begins).max(1)).map(part).collect()
    }

    /// Runs the model on rows of ids and keeps what is not left out.
    fn collect(&mut self, rows: Vec<Vec<u32>>) -> Result<()> {
        let pad = self.tokenizer.as_ref().and_then(Tokenizer::filler).unwrap_or(0);
        let tokens = Tokens::padded(rows.clone(), pad, PaddingSide::Right)?;
        let positions = tokens.batch() * tokens.pos();
        // Captured, copied and in the buffer.
        let bytes = bytes_of(positions, self.buffer.widths()).saturating_mul(3);
        let what = format!("the activations of {} texts of up to {} tokens", tokens.batch(), tokens.pos());
        check_free(bytes, &what, "give shorter texts, fewer points, or fewer texts at once (StoreOptions::prompts)")?;
        self.buffer.reserve(self.buffer.len() + rows.iter().map(Vec::len).sum::<usize>());
        let run = self.model.run(&tokens, &self.plan, &self.run)?;
        let of_point = |point: &HookPoint| -> Result<Vec<f32>> {
            Ok(run.captured[point].to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?)
        };
        let numbers = self.points.iter().map(of_point).collect::<Result<Vec<_>>>()?;
        for (b, row) in rows.iter().enumerate() {
            for (p, _) in row.iter().enumerate().filter(|(_, id)| !self.skip.contains(id)) {
                let place = b * tokens.pos() + p;
                self.buffer.push(numbers.iter().map(|all| {
                    let width = all.len() / positions;
                    &all[place * width..][..width]
                }));
            }
        }
        Ok(())
    }
}

impl fmt::Display for ActivationStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let points: Vec<String> = self.points.iter().map(HookPoint::to_string).collect();
        write!(
            f,
            "activations of {} at {}, {} rows a batch; {} given, {} in the buffer",
            self.texts,
            points.join(", "),
            self.options.batch,
            self.rows_given,
            self.buffer.len()
        )
    }
}

impl fmt::Debug for ActivationStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl StoreOptions {
    /// The most tokens of a text.
    ///
    /// # Errors
    /// [`Error::Argument`] for sizes that do not fit together.
    fn check(&self, dims: &Dims, points: &[HookPoint]) -> Result<usize> {
        let context = self.context.unwrap_or(dims.n_ctx);
        if points.is_empty() {
            return Err(Error::argument(
                "no point was named: a store of activations needs at least one, such as \"resid_post2\".",
            ));
        }
        if self.batch == 0 || self.buffer < self.batch || self.prompts == 0 {
            return Err(Error::argument(format!(
                "a batch of {} rows from a buffer of {} with {} texts at a time was asked for: all are at least 1, and the buffer \
                 holds at least a batch.",
                self.batch, self.buffer, self.prompts
            )));
        }
        if !(2..=dims.n_ctx.max(2)).contains(&context) {
            return Err(Error::argument(format!(
                "texts of at most {context} tokens were asked for: `context` is from 2 to the model's n_ctx, {}.",
                dims.n_ctx
            )));
        }
        Ok(context)
    }
}

impl SkipTokens {
    fn ids(&self, model: &HookedTransformer) -> Result<Vec<u32>> {
        match self {
            Self::Nothing => Ok(Vec::new()),
            Self::Ids(ids) => Ok(ids.clone()),
            Self::Special => {
                let tokenizer = model.tokenizer().map_err(|_| {
                    Error::argument(
                        "the model has no tokenizer, so its special tokens are not known: give their ids (SkipTokens::Ids), \
                         or keep all tokens (SkipTokens::Nothing).",
                    )
                })?;
                let mut ids = model.end_ids();
                ids.extend([tokenizer.bos_id(), tokenizer.pad_id()].into_iter().flatten());
                Ok(ids)
            }
        }
    }
}

/// How many numbers a point has for each position.
///
/// # Errors
/// [`Error::Argument`] for a point without an activation for each position.
fn width(point: HookPoint, dims: &Dims) -> Result<usize> {
    let axes = point.axes();
    let is_vector = point.kind() == Kind::Vector && matches!(axes, [AxisName::Batch, AxisName::Pos, _, ..]);
    if !is_vector || axes.contains(&AxisName::KPos) {
        return Err(Error::argument(format!(
            "{point} has no activation for each position that could be trained on: give a point such as \"resid_post2\", \
             \"mlp_out1\" or \"z0\"."
        )));
    }
    Ok(point.shape(dims, 1, 1).iter().product())
}

/// What an [`ActivationStore`] gives: for each of its points, the activations of the same positions.
#[derive(Clone, Debug)]
pub struct ActivationBatch {
    points: Vec<HookPoint>,
    dims: Dims,
    tensors: Vec<Tensor>,
}

holds! {
    ActivationBatch { tensors }
}

impl ActivationBatch {
    /// How many positions it has.
    pub fn rows(&self) -> usize {
        self.tensors.first().map_or(0, |tensor| tensor.dims()[0])
    }

    /// The activations at one of the points.
    ///
    /// # Shapes
    /// `[rows, width]` in f32 on the CPU; heads lie side by side, `n_heads d_head`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a point that the store does not collect.
    pub fn get(&self, point: impl Into<HookQuery>) -> Result<Tensor> {
        let point = point.into().resolve(&self.dims)?;
        match self.points.iter().position(|other| *other == point) {
            Some(at) => Ok(self.tensors[at].clone()),
            None => {
                let points: Vec<String> = self.points.iter().map(HookPoint::to_string).collect();
                Err(Error::argument(format!(
                    "{point} is not collected by this store, which has {}.",
                    points.join(", ")
                )))
            }
        }
    }

    /// The activations at each point, in the order in which the store was given them.
    ///
    /// # Shapes
    /// Each `[rows, width]`.
    pub fn tensors(&self) -> Vec<Tensor> {
        self.tensors.clone()
    }
}

impl fmt::Display for ActivationBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} positions at", self.rows())?;
        for (number, (point, tensor)) in self.points.iter().zip(&self.tensors).enumerate() {
            write!(f, "{} {point} [{}]", if number == 0 { "" } else { "," }, tensor.dims()[1])?;
        }
        Ok(())
    }
}
