//! What writes into the residual stream of one prompt: active features, errors, tokens, positions, biases; and their columns. Of two runs
//! it is the difference.

use std::ops::Range;

use candle_core::Tensor;

use super::super::affine::{AffineBlock, one};
use super::super::node::{BiasOf, GraphNode};
use super::fitted::{Fitted, Part, Stage, read_of};
use crate::cache::ActivationCache;
use crate::dictionaries::{Dictionary, FeatureActs};
use crate::error::Result;
use crate::hooks::{HookPoint, Site, check_free};
use crate::model::HookedTransformer;
use crate::model::ops::linear;
use crate::visible::visible;

/// A feature that is active in one of the runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Active {
    pub stage: Stage,
    pub pos: usize,
    pub feature: u32,
    /// Whether it is active in the clean run: otherwise nothing that it reads moves it.
    pub is_clean: bool,
    pub change: f32,
}

impl Active {
    fn node(&self) -> GraphNode {
        let (layer, pos, feature) = (self.stage.layer, self.pos, self.feature as usize);
        match self.stage.part {
            Part::Attention => GraphNode::AttnFeature { layer, pos, feature },
            Part::Mlp => GraphNode::Feature { layer, pos, feature },
        }
    }
}

/// What one unit of each feature of a stage writes to the residual stream in one place, `[feature, d_model]`.
pub(super) struct Written {
    /// Whose features these are.
    pub of: Stage,
    pub rows: Tensor,
}

/// What the features of one stage read.
pub(super) struct Read {
    pub site: Site,
    /// `[feature, d_in]`; of attention `[feature, head d_head]`.
    pub rows: Tensor,
    /// The pre-activation at 0.
    pub offsets: Vec<f32>,
    /// `[d_in, d_out]`.
    pub skip: Option<Tensor>,
}

/// What a stage writes that is not of features, `[pos, d_model]` each.
pub(super) struct Rest {
    /// What the dictionaries miss, 0 at the first positions.
    pub errors: Tensor,
    /// The biases of decoders, 0 at the first positions.
    pub decoder_bias: Tensor,
    /// All that is written at the first positions, 0 elsewhere.
    pub first: Tensor,
    /// `b_O`, `[d_model]`.
    pub own_bias: Option<Tensor>,
}

/// All sources of a prompt.
pub(super) struct Sources {
    pub n_layers: usize,
    pub n_pos: usize,
    /// By stage, position and index.
    pub features: Vec<Active>,
    /// Where the features of each stage and position begin: `stage * n_pos + pos`.
    starts: Vec<usize>,
    /// By the stage that writes.
    pub written: Vec<Vec<Written>>,
    /// By stage; none without a dictionary.
    pub read: Vec<Option<Read>>,
    /// By stage; none for a block without an MLP.
    pub rest: Vec<Option<Rest>>,
    pub tokens: Tensor,
    pub positions: Option<Tensor>,
    /// 1 at the positions that dictionaries act on, `[pos, 1]`.
    pub mask: Tensor,
}

/// The runs that are compared: the second is taken off the first.
pub(super) struct Runs<'a> {
    pub clean: &'a ActivationCache,
    pub corrupted: Option<&'a ActivationCache>,
}

impl Runs<'_> {
    fn change(&self, of: impl Fn(&ActivationCache) -> Result<Tensor>) -> Result<Tensor> {
        let clean = of(self.clean)?;
        match self.corrupted {
            Some(corrupted) => Ok((clean - of(corrupted)?)?),
            None => Ok(clean),
        }
    }
}

impl Sources {
    pub(super) fn new(
        model: &HookedTransformer,
        fitted: &Fitted,
        (runs, blocks): (&Runs, &[AffineBlock]),
        first_position: usize,
    ) -> Result<Self> {
        let (n_layers, n_pos) = (model.cfg().n_layers, runs.clean.tokens().pos());
        let tokens = runs.change(|cache| one(cache, HookPoint::Embed))?;
        let positions = match model.dims().adds_positions() {
            true => Some(runs.change(|cache| one(cache, HookPoint::PosEmbed))?),
            false => None,
        };
        let mask: Vec<f32> = (0..n_pos).map(|pos| if pos < first_position { 0.0 } else { 1.0 }).collect();
        let mask = Tensor::from_vec(mask, (n_pos, 1), tokens.device())?.to_dtype(tokens.dtype())?;
        let stages = 2 * n_layers;
        let mut sources = Self {
            n_layers,
            n_pos,
            features: Vec::new(),
            starts: Vec::with_capacity(stages * n_pos + 1),
            written: (0..stages).map(|_| Vec::new()).collect(),
            read: (0..stages).map(|_| None).collect(),
            rest: (0..stages).map(|_| None).collect(),
            tokens,
            positions,
            mask,
        };
        let mut outputs = Outputs::new(model, runs, blocks)?;
        for number in 0..stages {
            let stage = Stage::numbered(number);
            match fitted.open(model, stage)? {
                Some(dictionary) => sources.add(runs, blocks, (stage, &dictionary, first_position), &mut outputs)?,
                None => sources.starts.extend(std::iter::repeat_n(sources.features.len(), n_pos)),
            }
        }
        sources.starts.push(sources.features.len());
        for (number, output) in outputs.0.into_iter().enumerate() {
            sources.rest[number] = output.map(|output| output.rest(&sources.mask, runs)).transpose()?;
        }
        Ok(sources)
    }

    /// The features that a dictionary finds, and what they write.
    fn add(
        &mut self,
        runs: &Runs,
        blocks: &[AffineBlock],
        (stage, dictionary, first_position): (Stage, &Dictionary, usize),
        outputs: &mut Outputs,
    ) -> Result<()> {
        let begin = self.features.len();
        let (site, x) = read_of(dictionary, runs.clean)?;
        let clean = dictionary.encode(&x)?;
        let corrupted = match runs.corrupted {
            Some(cache) => Some(dictionary.encode(&read_of(dictionary, cache)?.1)?),
            None => None,
        };
        for pos in 0..self.n_pos {
            self.starts.push(self.features.len());
            if pos >= first_position {
                self.features.extend(active(&clean, corrupted.as_ref(), stage, pos));
            }
        }
        let own = &self.features[begin..];
        let indices: Vec<u32> = own.iter().map(|active| active.feature).collect();
        let changes: Vec<f32> = own.iter().map(|active| active.change).collect();
        let positions: Vec<u32> = own.iter().map(|active| active.pos as u32).collect();
        let count = own.len();
        check_rows(count, dictionary)?;
        let changes = Tensor::from_vec(changes, (count, 1), x.device())?.to_dtype(self.tokens.dtype())?;
        let positions = Tensor::from_vec(positions, count, x.device())?;
        for write in 0..dictionary.n_writes() {
            let to = Stage { layer: stage.layer + write, part: stage.part };
            let rows = to_stream(dictionary, &dictionary.writers(&indices, write)?, &blocks[stage.layer], stage)?;
            if let Some(output) = &mut outputs.0[to.number()] {
                if count > 0 {
                    let by_change = rows.broadcast_mul(&changes)?;
                    output.explained = output.explained.index_add(&positions, &by_change, 0)?;
                }
                if write == 0 {
                    let bias = dictionary.decoder_bias()?.unsqueeze(0)?;
                    output.bias = Some(to_stream(dictionary, &bias, &blocks[stage.layer], stage)?);
                    if let Some(skip) = dictionary.skip()? {
                        let x = runs.change(|cache| Ok(read_of(dictionary, cache)?.1))?;
                        let skipped = x.to_dtype(skip.dtype())?.matmul(&skip)?.broadcast_mul(&self.mask)?;
                        output.explained = (&output.explained + skipped)?;
                    }
                }
            }
            self.written[to.number()].push(Written { of: stage, rows });
        }
        let (rows, offsets) = dictionary.readers(&indices)?;
        let rows = all_heads(dictionary, &rows, &blocks[stage.layer], stage)?;
        self.read[stage.number()] = Some(Read { site, rows, offsets, skip: dictionary.skip()? });
        Ok(())
    }

    /// The features of a stage, or those at one of its positions, among all.
    pub(super) fn of_stage(&self, stage: Stage) -> Range<usize> {
        self.starts[stage.number() * self.n_pos]..self.starts[(stage.number() + 1) * self.n_pos]
    }

    pub(super) fn at(&self, stage: Stage, pos: usize) -> Range<usize> {
        let index = stage.number() * self.n_pos + pos;
        self.starts[index]..self.starts[index + 1]
    }

    pub(super) fn columns(&self) -> Columns {
        let errors = self.features.len();
        let tokens = errors + 2 * self.n_layers * self.n_pos;
        let positions = tokens + self.n_pos;
        let biases = positions + self.n_pos;
        Columns { errors, tokens, positions, biases, all: biases + BiasOf::ALL.len() }
    }

    /// The node of each column, and its change.
    pub(super) fn nodes(&self) -> Vec<(GraphNode, f32)> {
        let positions = 0..self.n_pos;
        let error = |number: usize, pos: usize| {
            let Stage { layer, part } = Stage::numbered(number);
            match part {
                Part::Attention => GraphNode::AttnError { layer, pos },
                Part::Mlp => GraphNode::Error { layer, pos },
            }
        };
        let errors = (0..2 * self.n_layers).flat_map(|number| (0..self.n_pos).map(move |pos| error(number, pos)));
        let others = errors
            .chain(positions.clone().map(|pos| GraphNode::Token { pos }))
            .chain(positions.map(|pos| GraphNode::Position { pos }))
            .chain(BiasOf::ALL.map(GraphNode::Bias));
        self.features
            .iter()
            .map(|active| (active.node(), active.change))
            .chain(others.map(|node| (node, 1.0)))
            .collect()
    }
}

/// Where the columns of each kind begin.
#[derive(Clone, Copy)]
pub(super) struct Columns {
    pub errors: usize,
    pub tokens: usize,
    pub positions: usize,
    pub biases: usize,
    pub all: usize,
}

/// What each stage writes while it is being explained; none for a block without an MLP.
struct Outputs(Vec<Option<Output>>);

struct Output {
    /// Without `b_O`.
    written: Tensor,
    explained: Tensor,
    /// `[1, d_model]`.
    bias: Option<Tensor>,
    own_bias: Option<Tensor>,
}

impl Outputs {
    fn new(model: &HookedTransformer, runs: &Runs, blocks: &[AffineBlock]) -> Result<Self> {
        let of = |number: usize| -> Result<Option<Output>> {
            let Stage { layer, part } = Stage::numbered(number);
            let (written, own_bias) = match part {
                Part::Attention => {
                    let z = runs.change(|cache| one(cache, HookPoint::Block(layer, Site::Z)))?;
                    (written_by_heads(&z.flatten_from(1)?, &blocks[layer])?, Some(blocks[layer].b_o.clone()))
                }
                Part::Mlp => {
                    let point = HookPoint::Block(layer, Site::MlpOut);
                    if point.absent(&model.dims()).is_some() {
                        return Ok(None);
                    }
                    (runs.change(|cache| one(cache, point))?, None)
                }
            };
            Ok(Some(Output { explained: written.zeros_like()?, written, bias: None, own_bias }))
        };
        Ok(Self((0..2 * blocks.len()).map(of).collect::<Result<_>>()?))
    }
}

impl Output {
    fn rest(self, mask: &Tensor, runs: &Runs) -> Result<Rest> {
        let missed = (self.written - self.explained)?;
        let first = (&missed - missed.broadcast_mul(mask)?)?;
        // Between two runs biases do not change.
        let bias = match self.bias.filter(|_| runs.corrupted.is_none()) {
            Some(bias) => bias.broadcast_mul(mask)?,
            None => missed.zeros_like()?,
        };
        let errors = (missed.broadcast_mul(mask)? - &bias)?;
        Ok(Rest { errors, decoder_bias: bias, first, own_bias: self.own_bias })
    }
}

/// The features that are active at a position in one of the runs, by index.
fn active(clean: &FeatureActs, corrupted: Option<&FeatureActs>, stage: Stage, pos: usize) -> Vec<Active> {
    let of = |acts: &FeatureActs| -> Vec<(u32, f32)> {
        let (features, values) = acts.row(pos);
        features.iter().copied().zip(values.iter().copied()).collect()
    };
    let mut found: Vec<Active> =
        of(clean).into_iter().map(|(feature, change)| Active { stage, pos, feature, is_clean: true, change }).collect();
    let n_clean = found.len();
    for (feature, value) in corrupted.map(of).unwrap_or_default() {
        match found[..n_clean].binary_search_by_key(&feature, |active| active.feature) {
            Ok(there) => found[there].change -= value,
            Err(_) => found.push(Active { stage, pos, feature, is_clean: false, change: -value }),
        }
    }
    found.sort_by_key(|active| active.feature);
    found
}

/// That there is memory for what active features read and write.
///
/// # Errors
/// [`Error::Argument`](crate::Error) where there is not.
fn check_rows(count: usize, dictionary: &Dictionary) -> Result<()> {
    let numbers = dictionary.d_in() + dictionary.n_writes() * dictionary.d_out();
    let bytes = (count as u64).saturating_mul(numbers as u64).saturating_mul(2 * size_of::<f32>() as u64);
    let what = format!("what the {count} active features of \"{}\" read and write", visible(&dictionary.name()));
    check_free(bytes, &what, "give shorter prompts, or dictionaries with fewer active features")
}

/// What is written to the residual stream, before a norm behind attention, from rows of what a dictionary writes.
fn to_stream(dictionary: &Dictionary, rows: &Tensor, block: &AffineBlock, stage: Stage) -> Result<Tensor> {
    match stage.part {
        Part::Attention => written_by_heads(&all_heads(dictionary, rows, block, stage)?, block),
        Part::Mlp => Ok(rows.clone()),
    }
}

/// # Shapes
/// `z [row, head d_head]` gives `[row, d_model]`.
fn written_by_heads(z: &Tensor, block: &AffineBlock) -> Result<Tensor> {
    linear(&z.contiguous()?, &block.w_o.t()?.contiguous()?, None)
}

/// Rows of a dictionary of one head with zeros for the others.
fn all_heads(dictionary: &Dictionary, rows: &Tensor, block: &AffineBlock, stage: Stage) -> Result<Tensor> {
    let Some(head) = dictionary.expects().head.filter(|_| stage.part == Part::Attention) else {
        return Ok(rows.clone());
    };
    let (width, all) = (rows.dim(1)?, block.w_o.dim(1)?);
    Ok(rows.pad_with_zeros(1, head * width, all - (head + 1) * width)?)
}
