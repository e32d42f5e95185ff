//! What writes into the residual stream of one run: active features, errors, tokens, biases; and their columns.

use std::ops::Range;

use candle_core::{DType, Tensor};

use super::affine::one;
use super::node::{BiasOf, GraphNode};
use crate::cache::ActivationCache;
use crate::dictionaries::{Dictionary, FeatureActs};
use crate::error::{Error, Result};
use crate::hooks::{HookPoint, Site};
use crate::model::HookedTransformer;
use crate::visible::visible;

/// An active feature.
#[derive(Clone, Copy, Debug)]
pub(super) struct Active {
    pub layer: usize,
    pub pos: usize,
    pub feature: u32,
    pub activation: f32,
}

/// What the features that one dictionary reads write at one layer's output, each times its activation, `[feature, d_model]`.
pub(super) struct Written {
    /// The layer whose features these are.
    pub of: usize,
    pub rows: Tensor,
}

/// What the features of one layer read.
pub(super) struct Read {
    /// The point.
    pub site: Site,
    /// `[feature, d_in]`.
    pub rows: Tensor,
    /// The pre-activation at 0.
    pub offsets: Vec<f32>,
    /// `[d_in, d_out]`.
    pub skip: Option<Tensor>,
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

impl Sources {
    /// # Errors
    /// Dictionaries that a graph cannot have.
    pub(super) fn new(
        model: &HookedTransformer,
        cache: &ActivationCache,
        dictionaries: &[(usize, Dictionary)],
        first_position: usize,
    ) -> Result<Self> {
        let (n_layers, n_pos) = (model.cfg().n_layers, cache.tokens().pos());
        let positions = match model.dims().adds_positions() {
            true => Some(one(cache, HookPoint::PosEmbed)?),
            false => None,
        };
        let tokens = one(cache, HookPoint::Embed)?;
        let mut sources = Self {
            n_layers,
            n_pos,
            first_position,
            features: Vec::new(),
            starts: Vec::with_capacity(n_layers * n_pos + 1),
            written: (0..n_layers).map(|_| Vec::new()).collect(),
            read: (0..n_layers).map(|_| None).collect(),
            rest: (0..n_layers).map(|_| None).collect(),
            tokens,
            positions,
        };
        let mut outputs: Vec<Option<Output>> = (0..n_layers).map(|_| None).collect();
        for layer in 0..n_layers {
            let of_layer = dictionaries.iter().find(|(own, _)| *own == layer).map(|(_, dictionary)| dictionary);
            sources.add_layer(model, cache, (layer, of_layer), &mut outputs)?;
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

    /// The features that a layer's dictionary finds, and what they write.
    fn add_layer(
        &mut self,
        model: &HookedTransformer,
        cache: &ActivationCache,
        (layer, dictionary): (usize, Option<&Dictionary>),
        outputs: &mut [Option<Output>],
    ) -> Result<()> {
        let begin = self.features.len();
        let Some(dictionary) = dictionary else {
            self.starts.extend(std::iter::repeat_n(begin, self.n_pos));
            return output(model, cache, layer, outputs).map(|_| ());
        };
        let (site, x) = read_of(dictionary, cache, layer)?;
        let acts = dictionary.encode(&x)?;
        for pos in 0..self.n_pos {
            self.starts.push(self.features.len());
            if pos >= self.first_position {
                self.features.extend(active(&acts, layer, pos));
            }
        }
        let own = &self.features[begin..];
        let indices: Vec<u32> = own.iter().map(|active| active.feature).collect();
        let values: Vec<f32> = own.iter().map(|active| active.activation).collect();
        let positions: Vec<u32> = own.iter().map(|active| active.pos as u32).collect();
        let count = own.len();
        let values = Tensor::from_vec(values, (count, 1), x.device())?.to_dtype(self.tokens.dtype())?;
        let positions = Tensor::from_vec(positions, count, x.device())?;
        for write in 0..dictionary.n_writes() {
            let to = layer + write;
            let Some(output) = output(model, cache, to, outputs)? else {
                return refused(dictionary, format!("writes to layer {to}, which has no MLP."));
            };
            let rows = dictionary.writers(&indices, write)?.broadcast_mul(&values)?;
            let mut explained = output.written.zeros_like()?;
            if count > 0 {
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
            self.written[to].push(Written { of: layer, rows });
        }
        let (rows, offsets) = dictionary.readers(&indices)?;
        self.read[layer] = Some(Read { site, rows, offsets, skip: dictionary.skip()? });
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
        let feature = |active: &Active| GraphNode::Feature {
            layer: active.layer,
            pos: active.pos,
            feature: active.feature as usize,
        };
        let positions = 0..self.n_pos;
        let errors =
            (0..self.n_layers).flat_map(|layer| (0..self.n_pos).map(move |pos| GraphNode::Error { layer, pos }));
        self.features
            .iter()
            .map(feature)
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

/// One layer's MLP output while it is being explained.
pub(super) struct Output {
    written: Tensor,
    explained: Option<Tensor>,
    bias: Tensor,
}

/// The output of a layer's MLP, if it has one.
fn output<'a>(
    model: &HookedTransformer,
    cache: &ActivationCache,
    layer: usize,
    outputs: &'a mut [Option<Output>],
) -> Result<Option<&'a mut Output>> {
    let point = HookPoint::Block(layer, Site::MlpOut);
    if point.check(&model.dims()).is_err() {
        return Ok(None);
    }
    if outputs[layer].is_none() {
        let written = one(cache, point)?;
        let bias = written.zeros_like()?;
        outputs[layer] = Some(Output { written, explained: None, bias });
    }
    Ok(outputs[layer].as_mut())
}

fn active(acts: &FeatureActs, layer: usize, pos: usize) -> impl Iterator<Item = Active> + '_ {
    let (features, values) = acts.row(pos);
    features.iter().zip(values).map(move |(&feature, &activation)| Active { layer, pos, feature, activation })
}

/// The point that a dictionary reads, and what is there.
fn read_of(dictionary: &Dictionary, cache: &ActivationCache, layer: usize) -> Result<(Site, Tensor)> {
    let reads = dictionary.expects().hook_in;
    match reads {
        Some(HookPoint::Block(own, site @ (Site::Ln2Normalized | Site::MlpHookIn | Site::MlpIn | Site::ResidMid)))
            if own == layer =>
        {
            Ok((site, one(cache, HookPoint::Block(layer, site))?.to_dtype(DType::F32)?))
        }
        _ => refused(
            dictionary,
            "does not read what the MLP of its layer reads: a graph takes transcoders from ln2.hook_normalized, mlp.hook_in, \
             hook_mlp_in or hook_resid_mid to hook_mlp_out."
                .into(),
        ),
    }
}

fn refused<T>(dictionary: &Dictionary, why: String) -> Result<T> {
    Err(Error::argument(format!("the dictionary \"{}\" {why}", visible(&dictionary.name()))))
}
