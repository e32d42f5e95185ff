//! Interchanges at one point of a model: runs of the bases, and the sources' activations.

use candle_core::{DType, Tensor};

use super::pairs::Interchange;
use super::score::InterchangeScore;
use super::subspace::Subspace;
use crate::cache::{check_rows, collected};
use crate::error::{Error, Result};
use crate::hooks::{Edit, HookPlan, HookPoint, HookQuery, check_free};
use crate::model::{HookedTransformer, RunOptions};
use crate::progress::Progress;

/// How many pairs run at once.
const PAIRS: usize = 32;

/// A move of less than this has no direction in which it could be as far as another.
const STILL: f64 = 1e-8;

/// Where each base is moved, given its own activation and its source's.
#[derive(Clone)]
pub(super) enum Move {
    /// It stays.
    Nowhere,
    /// It becomes the source's.
    Onto,
    /// Towards the source within the span of a basis `[width, rank]`.
    Along { basis: Tensor, strength: f64 },
    /// Towards the source within the span of a basis, as far as another move goes.
    AsFar { basis: Tensor, as_far_as: Box<Move> },
}

impl Move {
    /// The interchange of a subspace. All of an activation is replaced, so that it is exactly the source's.
    pub fn along(subspace: &Subspace, strength: f64, place: &Place) -> Result<Self> {
        Ok(match subspace.rank() == subspace.width() && strength == 1. {
            true => Self::Onto,
            false => Self::Along { basis: subspace.basis().to_device(&place.model.device())?, strength },
        })
    }

    /// A move within this subspace, as far as another goes.
    pub fn as_far(subspace: &Subspace, as_far_as: Self, place: &Place) -> Result<Self> {
        let basis = subspace.basis().to_device(&place.model.device())?;
        Ok(Self::AsFar { basis, as_far_as: Box::new(as_far_as) })
    }

    /// # Shapes
    /// `base` and `source [row, width]`, f32; the result is the same.
    fn of(&self, base: &Tensor, source: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Nowhere => base.clone(),
            Self::Onto => source.clone(),
            Self::Along { basis, strength } => (base + (within(basis, base, source)? * *strength)?)?,
            Self::AsFar { basis, as_far_as } => {
                let (own, other) = (within(basis, base, source)?, (as_far_as.of(base, source)? - base)?);
                let length = |x: &Tensor| x.sqr()?.sum_keepdim(1)?.sqrt();
                (base + own.broadcast_mul(&(length(&other)? / length(&own)?.maximum(STILL)?)?)?)?
            }
        })
    }
}

/// The part of `source - base` in the span of a basis.
fn within(basis: &Tensor, base: &Tensor, source: &Tensor) -> Result<Tensor> {
    Ok((source - base)?.matmul(basis)?.matmul(&basis.t()?)?)
}

/// One point of a model, with what enters its block in the bases, and the sources' activations at it.
pub(super) struct Place<'a> {
    pub model: &'a HookedTransformer,
    pub pairs: &'a Interchange,
    pub point: HookPoint,
    pub width: usize,
    /// `[row, width]`, f32: the sources' activations, those of each pair after those of the pair before.
    pub source: Tensor,
    /// The residual stream of the bases before the block of the point, `[pair, pos, d_model]`; none where a run cannot begin there.
    entering: Option<Tensor>,
    layer: usize,
}

impl<'a> Place<'a> {
    pub fn new(pairs: &'a Interchange, point: &HookQuery) -> Result<Self> {
        let point = pairs.model.point_of(point)?;
        Self::of(pairs, &pairs.model, point)
    }

    /// The same pairs and point in another model of the same sizes.
    pub fn of(pairs: &'a Interchange, model: &'a HookedTransformer, point: HookPoint) -> Result<Self> {
        let Some(layer) = point.layer() else {
            return Err(Error::argument(format!(
                "{point} is outside the blocks, where nothing is exchanged: take a point of a block, (\"resid_pre\", 0) in place of \
                 embeddings and (\"resid_post\", -1) in place of the final norm."
            )));
        };
        check_rows(point)?;
        let mut progress = Progress::of("running bases and sources", 2, "runs");
        let rows: &[Vec<usize>] = &pairs.source_at;
        let source = collected(model, &pairs.source, &[point], &[rows])?.remove(0).remove(0).to_dtype(DType::F32)?;
        progress.step(1)?;
        let sum = source.sum_all()?.to_scalar::<f32>()?;
        if !sum.is_finite() && source.flatten_all()?.to_vec1::<f32>()?.iter().any(|x| !x.is_finite()) {
            return Err(Error::argument(format!(
                "a source's activation at {point} is not finite, so it cannot be put into a base: run_with_cache shows the first that is not."
            )));
        }
        let entering = entering(model, pairs, layer)?;
        progress.step(1)?;
        let width = source.dim(1)?;
        Ok(Self { model, pairs, point, width, source, entering, layer })
    }

    /// The logits of the answers under a move, of all pairs or of these.
    ///
    /// # Shapes
    /// `[pair, answer]`.
    pub fn logits(&self, to: &Move, which: Option<&[usize]>) -> Result<Tensor> {
        let all: Vec<usize> = (0..self.pairs.len()).collect();
        let which = which.unwrap_or(&all);
        let mut progress = Progress::of("interchanging", which.len() as u64, "pairs");
        let parts = which.chunks(PAIRS).map(|part| {
            progress.together(part.len());
            let logits = self.together(to, part)?;
            progress.step(part.len() as u64)?;
            Ok(logits)
        });
        Ok(Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?)
    }

    /// How often the answer under a move is the target.
    pub fn score(&self, to: &Move, targets: &[u32]) -> Result<InterchangeScore> {
        InterchangeScore::new(&self.logits(to, None)?, targets)
    }

    /// As [`Place::logits`], in one run; gradients flow to what the move is made of.
    fn together(&self, to: &Move, which: &[usize]) -> Result<Tensor> {
        let (pairs, layers) = (self.pairs, self.model.cfg().n_layers as isize);
        let tokens = pairs.base.chosen(which);
        let mut options = RunOptions { stop_at_layer: Some(layers), logits: false, ..Default::default() };
        if let Some(entering) = &self.entering {
            options.start_at_layer =
                Some((self.layer as isize, rows(entering, which.iter().map(|&pair| pair as u32))?));
        }
        let plan = match to {
            Move::Nowhere => HookPlan::new(),
            _ => HookPlan::new().edit(self.point, self.edit(to, which, tokens.pos())?),
        };
        let resid = self.model.run(&tokens, plan, options)?.resid()?;
        let last = tokens.last_positions().into_iter().enumerate().map(|(row, at)| (row * tokens.pos() + at) as u32);
        self.model.logits_after(&rows(&resid.flatten(0, 1)?, last)?, Some(pairs.answers.clone()))
    }

    /// The edit that moves the bases of these pairs, which are run together.
    fn edit(&self, to: &Move, which: &[usize], pos: usize) -> Result<Edit> {
        let (base_at, source_at) = (&self.pairs.base_at, &self.pairs.source_at);
        let places = which
            .iter()
            .enumerate()
            .flat_map(|(row, &pair)| base_at[pair].iter().map(move |at| (row * pos + at) as u32));
        let places: Vec<u32> = places.collect();
        let starts: Vec<usize> =
            source_at.iter().scan(0, |sum, of| Some(std::mem::replace(sum, *sum + of.len()))).collect();
        let own =
            which.iter().flat_map(|&pair| (starts[pair]..starts[pair] + source_at[pair].len()).map(|row| row as u32));
        let source = rows(&self.source, own)?;
        let mut is_moved = vec![0u8; which.len() * pos];
        places.iter().for_each(|&place| is_moved[place as usize] = 1);
        let is_moved = Tensor::from_vec(is_moved, (which.len() * pos, 1), self.source.device())?;
        let (places, to) = (Tensor::new(places, self.source.device())?, to.clone());
        Ok(Edit::custom("interchange", move |x, _| {
            let flat = x.flatten_from(2)?.flatten(0, 1)?;
            let base = flat.index_select(&places, 0)?.to_dtype(DType::F32)?;
            let moved = to.of(&base, &source)?.to_dtype(x.dtype())?;
            let laid = flat.zeros_like()?.index_add(&places, &moved, 0)?;
            let is_moved = is_moved.broadcast_as(flat.shape())?;
            Ok::<_, Error>(is_moved.where_cond(&laid, &flat.contiguous()?)?.reshape(x.shape())?)
        }))
    }
}

/// These rows of `x`.
fn rows(x: &Tensor, which: impl Iterator<Item = u32>) -> Result<Tensor> {
    Ok(x.index_select(&Tensor::new(which.collect::<Vec<u32>>(), x.device())?, 0)?)
}

/// The residual stream of the bases before a block.
fn entering(model: &HookedTransformer, pairs: &Interchange, layer: usize) -> Result<Option<Tensor>> {
    if layer == 0 || !model.splices().are_by_block() {
        return Ok(None);
    }
    let tokens = &pairs.base;
    let numbers = (tokens.batch() * tokens.pos()) as u64 * model.cfg().d_model as u64;
    let bytes = numbers.saturating_mul(2 * model.dtype().size_in_bytes() as u64);
    check_free(bytes, "keeping the residual stream of the bases", "give fewer pairs")?;
    let options = RunOptions { stop_at_layer: Some(layer as isize), logits: false, ..Default::default() };
    let mut progress = Progress::of("running the bases", tokens.batch() as u64, "prompts");
    let mut parts = Vec::new();
    for from in (0..tokens.batch()).step_by(PAIRS) {
        let count = PAIRS.min(tokens.batch() - from);
        progress.together(count);
        parts.push(model.run(tokens.rows(from, count), HookPlan::new(), &options)?.resid()?);
        progress.step(count as u64)?;
    }
    Ok(Some(Tensor::cat(&parts, 0)?))
}
