//! What writes into the residual stream of one run: active features, errors, tokens, biases; and their columns.

use std::ops::Range;

use candle_core::{DType, Tensor};

use super::affine::one;
use super::folded::FoldedBlock;
use super::node::{BiasOf, GraphNode};
use super::transcoders::{Transcoder, refused};
use crate::cache::ActivationCache;
use crate::dictionaries::Dictionary;
use crate::error::Result;
use crate::hooks::{HookPoint, Site};
use crate::model::HookedTransformer;
use crate::model::ops::linear;
use crate::progress::Progress;

/// An active feature.
#[derive(Clone, Copy, Debug)]
pub(super) struct Active {
    pub layer: usize,
    pub pos: usize,
    pub feature: u32,
    pub activation: f32,
    /// By encoding, which knows nothing of graphs.
    pub pre_activation: f32,
}

impl Active {
    pub(super) fn node(&self) -> GraphNode {
        GraphNode::Feature { layer: self.layer, pos: self.pos, feature: self.feature as usize }
    }
}

/// What the features that one dictionary reads write at one layer's output, each times its activation, `[feature, d_model]`.
pub(super) struct Written {
    /// The layer whose features these are.
    pub of: usize,
    pub rows: Tensor,
}

/// What the features of one layer read.
pub(super) struct Read {
    /// The gradients of pre-activations at the residual stream, each at its own position, `[feature, d_model]`.
    pub rows: Tensor,
    /// The pre-activations at 0.
    pub offsets: Vec<f32>,
    /// What the norm's shift adds to each pre-activation; empty where there is none.
    pub shifts: Vec<f32>,
    pub skip: Option<Skip>,
}

/// The skip connection of a transcoder, from the gradient at what it writes to that at the residual stream.
pub(super) struct Skip {
    /// `[d_out, d_model]`, but for the division by the scale.
    pub pull: Tensor,
    /// `1 / s`, `[pos, 1]`.
    pub inverse: Option<Tensor>,
    /// What it makes of the norm's shift, `[d_model]`.
    pub shift: Option<Tensor>,
}

/// The parts of one layer's MLP output that are not features.
pub(super) struct Rest {
    /// What the dictionaries miss, 0 at the first positions, `[pos, d_model]`.
    pub errors: Tensor,
    /// The biases of decoders, 0 at the first positions, `[pos, d_model]`.
    pub decoder_bias: Tensor,
    /// What the MLP writes at the first positions besides the skip connection, 0 elsewhere, `[pos, d_model]`.
    pub first: Tensor,
}

/// All sources of a run.
pub(super) struct Sources {
    pub n_layers: usize,
    pub n_pos: usize,
    pub first_position: usize,
    /// By layer, position and index.
    pub features: Vec<Active>,
    /// Where the features of each layer and position are among them: `layer * n_pos + pos`.
    starts: Vec<usize>,
    /// By the layer that writes.
    pub written: Vec<Vec<Written>>,
    /// By layer; none for a layer without a dictionary.
    pub read: Vec<Option<Read>>,
    /// By layer; none for a block without an MLP.
    pub rest: Vec<Option<Rest>>,
    pub tokens: Tensor,
    pub positions: Option<Tensor>,
}

/// What the sources of a layer are found by.
struct Place<'a> {
    model: &'a HookedTransformer,
    cache: &'a ActivationCache,
    layer: usize,
    block: &'a FoldedBlock,
}

impl Sources {
    /// # Errors
    /// Dictionaries that a graph cannot have.
    pub(super) fn new(
        model: &HookedTransformer,
        cache: &ActivationCache,
        transcoders: &[Transcoder],
        blocks: &[FoldedBlock],
        first_position: usize,
    ) -> Result<Self> {
        let (n_layers, n_pos) = (model.cfg().n_layers, cache.tokens().pos());
        let positions = match model.dims().adds_positions() {
            true => Some(one(cache, HookPoint::PosEmbed)?),
            false => None,
        };
        let mut sources = Self {
            n_layers,
            n_pos,
            first_position,
            features: Vec::new(),
            starts: Vec::with_capacity(n_layers * n_pos + 1),
            written: (0..n_layers).map(|_| Vec::new()).collect(),
            read: (0..n_layers).map(|_| None).collect(),
            rest: (0..n_layers).map(|_| None).collect(),
            tokens: one(cache, HookPoint::Embed)?,
            positions,
        };
        let mut outputs: Vec<Option<Output>> = (0..n_layers).map(|_| None).collect();
        let mut progress = Progress::of("looking for active features", n_layers as u64, "layers");
        for (layer, block) in blocks.iter().enumerate() {
            let place = Place { model, cache, layer, block };
            let of_layer = transcoders.iter().find(|transcoder| transcoder.layer == layer);
            sources.add_layer(&place, of_layer, &mut outputs)?;
            progress.step(1)?;
        }
        sources.starts.push(sources.features.len());
        let mask = sources.mask()?;
        for (layer, output) in outputs.into_iter().enumerate() {
            let Some(Output { written, explained, bias }) = output else { continue };
            let missed = match explained {
                Some(explained) => (written - explained)?,
                None => written,
            };
            let errors = (&missed - &bias)?;
            sources.rest[layer] = Some(Rest {
                errors: errors.broadcast_mul(&mask)?,
                decoder_bias: bias.broadcast_mul(&mask)?,
                first: (&missed - missed.broadcast_mul(&mask)?)?,
            });
        }
        Ok(sources)
    }

    /// 1 at the positions whose features are looked at, `[pos, 1]`.
    fn mask(&self) -> Result<Tensor> {
        let mask: Vec<f32> = (0..self.n_pos).map(|pos| if pos < self.first_position { 0.0 } else { 1.0 }).collect();
        Ok(Tensor::from_vec(mask, (self.n_pos, 1), self.tokens.device())?.to_dtype(self.tokens.dtype())?)
    }

    /// The features that a layer's dictionary finds, and what they read and write.
    fn add_layer(
        &mut self,
        place: &Place,
        transcoder: Option<&Transcoder>,
        outputs: &mut [Option<Output>],
    ) -> Result<()> {
        let begin = self.features.len();
        let Some(transcoder) = transcoder else {
            self.starts.extend(std::iter::repeat_n(begin, self.n_pos));
            return place.output(place.layer, outputs).map(|_| ());
        };
        let dictionary = transcoder.open(place.model)?;
        let x = transcoder.input(place.cache)?;
        self.find(&dictionary, place.layer, &x)?;
        let own = &self.features[begin..];
        let indices: Vec<u32> = own.iter().map(|active| active.feature).collect();
        let positions: Vec<u32> = own.iter().map(|active| active.pos as u32).collect();
        let positions = Tensor::new(positions, x.device())?;
        self.read[place.layer] = Some(place.read(&dictionary, transcoder.site, &indices, &positions)?);
        let values: Vec<f32> = own.iter().map(|active| active.activation).collect();
        let values = Tensor::from_vec(values, (own.len(), 1), x.device())?.to_dtype(self.tokens.dtype())?;
        for write in 0..dictionary.n_writes() {
            let to = place.layer + write;
            let Some(output) = place.output(to, outputs)? else {
                return refused(&dictionary.name(), format!("writes to layer {to}, which has no MLP."));
            };
            let rows = dictionary.writers(&indices, write)?.broadcast_mul(&values)?;
            let mut explained = output.written.zeros_like()?;
            if !indices.is_empty() {
                explained = explained.index_add(&positions, &rows, 0)?;
            }
            if write == 0 {
                output.bias = output.bias.broadcast_add(&dictionary.decoder_bias()?)?;
                if let Some(skip) = dictionary.skip()? {
                    explained = (explained + x.matmul(&skip)?)?;
                }
            }
            output.explained = Some(match output.explained.take() {
                Some(before) => (before + explained)?,
                None => explained,
            });
            self.written[to].push(Written { of: place.layer, rows });
        }
        Ok(())
    }

    /// Adds the active features of a layer.
    fn find(&mut self, dictionary: &Dictionary, layer: usize, x: &Tensor) -> Result<()> {
        let acts = dictionary.encode(x)?;
        let pre_activations = dictionary.pre_activations(x)?.to_vec2::<f32>()?;
        for (pos, pre_activations) in pre_activations.iter().enumerate() {
            self.starts.push(self.features.len());
            if pos < self.first_position {
                continue;
            }
            let (features, values) = acts.row(pos);
            let active = |(&feature, &activation): (&u32, &f32)| {
                let pre_activation = pre_activations[feature as usize];
                Active { layer, pos, feature, activation, pre_activation }
            };
            self.features.extend(features.iter().zip(values).map(active));
        }
        Ok(())
    }

    /// The features of a layer, or those at one of its positions, among all.
    pub(super) fn of_layer(&self, layer: usize) -> Range<usize> {
        self.starts[layer * self.n_pos]..self.starts[(layer + 1) * self.n_pos]
    }

    pub(super) fn at(&self, layer: usize, pos: usize) -> Range<usize> {
        let index = layer * self.n_pos + pos;
        self.starts[index]..self.starts[index + 1]
    }

    /// The first column of errors, of tokens, of positions and of biases, and how many columns there are.
    pub(super) fn columns(&self) -> Columns {
        let errors = self.features.len();
        let tokens = errors + self.n_layers * self.n_pos;
        let positions = tokens + self.n_pos;
        let biases = positions + self.n_pos;
        Columns { errors, tokens, positions, biases, all: biases + BiasOf::ALL.len() }
    }

    /// The node of each column.
    pub(super) fn nodes(&self) -> Vec<GraphNode> {
        let positions = 0..self.n_pos;
        let errors =
            (0..self.n_layers).flat_map(|layer| (0..self.n_pos).map(move |pos| GraphNode::Error { layer, pos }));
        self.features
            .iter()
            .map(Active::node)
            .chain(errors)
            .chain(positions.clone().map(|pos| GraphNode::Token { pos }))
            .chain(positions.map(|pos| GraphNode::Position { pos }))
            .chain(BiasOf::ALL.map(GraphNode::Bias))
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

impl Columns {
    pub(super) fn bias(&self, of: BiasOf) -> usize {
        self.biases + of.column()
    }
}

/// One layer's MLP output while it is being explained.
struct Output {
    written: Tensor,
    explained: Option<Tensor>,
    bias: Tensor,
}

impl Place<'_> {
    /// The output of a layer's MLP, if it has one.
    fn output<'a>(&self, layer: usize, outputs: &'a mut [Option<Output>]) -> Result<Option<&'a mut Output>> {
        let point = HookPoint::Block(layer, Site::MlpOut);
        if point.check(&self.model.dims()).is_err() {
            return Ok(None);
        }
        if outputs[layer].is_none() {
            let written = one(self.cache, point)?;
            let bias = written.zeros_like()?;
            outputs[layer] = Some(Output { written, explained: None, bias });
        }
        Ok(outputs[layer].as_mut())
    }

    /// What features at these positions read.
    fn read(&self, dictionary: &Dictionary, site: Site, features: &[u32], positions: &Tensor) -> Result<Read> {
        let (rows, offsets) = dictionary.readers(features)?;
        let reading = self.block.reading(site);
        let along = |rows: &Tensor, b: &Tensor| -> Result<Vec<f32>> {
            Ok(linear(rows, &b.unsqueeze(1)?, None)?.squeeze(1)?.to_dtype(DType::F32)?.to_vec1()?)
        };
        let shifts = match reading.shift() {
            Some(b) if !features.is_empty() => along(&rows, b)?,
            _ => Vec::new(),
        };
        let mut at_stream = reading.unscaled(&rows)?;
        if let Some(inverse) = reading.inverse() {
            at_stream = at_stream.broadcast_mul(&inverse.index_select(positions, 0)?)?;
        }
        let skip = match dictionary.skip()? {
            Some(skip) => Some(Skip {
                pull: reading.unscaled(&skip.t()?.contiguous()?)?.contiguous()?,
                inverse: reading.inverse().cloned(),
                shift: match reading.shift() {
                    Some(b) => Some(linear(&b.unsqueeze(0)?, &skip, None)?.squeeze(0)?),
                    None => None,
                },
            }),
            None => None,
        };
        Ok(Read { rows: at_stream, offsets, shifts, skip })
    }
}
