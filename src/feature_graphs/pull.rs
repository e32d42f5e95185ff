//! Gradients of pre-activations and logits along the residual stream of the affine model, from the last layer to the first: no
//! autograd, a few products a layer for all targets of a batch at once. A target has no gradient behind its own position, so a batch has
//! the positions up to its last target's only.

use candle_core::Tensor;

use super::affine::NormMap;
use super::contract::{Place, Rows};
use super::folded::FoldedBlock;
use super::node::BiasOf;
use super::sources::{Read, Sources};
use crate::error::Result;
use crate::model::ops::linear;

/// A target whose edges are wanted.
#[derive(Clone)]
pub(super) enum Wanted<'a> {
    /// The active feature of this number.
    Feature(usize),
    /// A direction at the last position of what the unembedding reads, and a bias that it has besides.
    Direction(&'a Tensor, f32),
}

/// A run of the model with all that does not change between targets.
pub(super) struct Pull {
    pub sources: Sources,
    blocks: Vec<FoldedBlock>,
    last: NormMap,
    /// By layer.
    pub of_mlps: Vec<Place>,
    of_attention: Vec<Place>,
    pub of_embeddings: Place,
}

impl Pull {
    pub(super) fn new(mut sources: Sources, blocks: Vec<FoldedBlock>, last: NormMap) -> Result<Self> {
        let of_mlps = (0..sources.n_layers).map(|layer| Place::mlp(&sources, layer)).collect::<Result<_>>()?;
        let of_attention = |block: &FoldedBlock| Place::attention(&sources, &block.biases, block.shifts.as_ref());
        let of_attention = blocks.iter().map(of_attention).collect::<Result<_>>()?;
        let of_embeddings = Place::embeddings(&sources)?;
        // Places have them now.
        sources.written.clear();
        Ok(Self { of_mlps, of_attention, of_embeddings, sources, blocks, last })
    }

    /// All numbers that edges are computed from.
    pub(super) fn numbers(&self) -> Vec<&Tensor> {
        let places = self.of_mlps.iter().chain(&self.of_attention).chain([&self.of_embeddings]);
        let read = self.sources.read.iter().flatten();
        let read = read.flat_map(|read| [Some(&read.rows), read.skip.as_ref().map(|skip| &skip.pull)]).flatten();
        places.flat_map(Place::numbers).chain(read).chain(self.blocks.iter().flat_map(FoldedBlock::numbers)).collect()
    }

    /// The edges into these targets.
    pub(super) fn rows(&self, wanted: &[Wanted]) -> Result<Rows> {
        let mut rows = Rows::new(wanted.len(), self.sources.columns());
        let (mut g, from) = self.start(wanted, &mut rows)?;
        for layer in (0..from).rev() {
            g = self.block(layer, wanted, &g, &mut rows)?;
        }
        rows.add(&self.of_embeddings, &g)?;
        Ok(rows)
    }

    /// The gradient behind the last block that any target reads, and how many blocks are before it.
    fn start(&self, wanted: &[Wanted], rows: &mut Rows) -> Result<(Tensor, usize)> {
        let like = &self.sources.tokens;
        let (n_pos, d_model) = like.dims2()?;
        let nothing = Tensor::zeros((1, d_model), like.dtype(), like.device())?;
        let (mut positions, mut deepest) = (1, 0);
        let mut directions = Vec::new();
        for (number, target) in wanted.iter().enumerate() {
            match target {
                Wanted::Feature(index) => {
                    let active = self.sources.features[*index];
                    deepest = deepest.max(active.layer + 1);
                    positions = positions.max(active.pos + 1);
                    let own = index - self.sources.of_layer(active.layer).start;
                    if let Some(read) = &self.sources.read[active.layer] {
                        rows.bias(number, BiasOf::Target, read.offsets[own]);
                        rows.bias(number, BiasOf::Norms, read.shifts.get(own).copied().unwrap_or(0.0));
                    }
                    directions.push(nothing.clone());
                }
                Wanted::Direction(direction, bias) => {
                    (deepest, positions) = (self.blocks.len(), n_pos);
                    let direction = direction.to_dtype(like.dtype())?.reshape((1, d_model))?;
                    rows.bias(number, BiasOf::Target, *bias);
                    if let Some(b) = &self.last.b {
                        let shift = (&direction * b.reshape((1, d_model))?)?.sum_all()?;
                        rows.bias(number, BiasOf::Norms, shift.to_dtype(candle_core::DType::F32)?.to_scalar()?);
                    }
                    directions.push(self.last.pull_at(&direction, n_pos - 1)?);
                }
            }
        }
        let at_last = Tensor::stack(&directions, 1)?;
        Ok((at_last.pad_with_zeros(0, positions - 1, 0)?, deepest))
    }

    /// The gradient at what enters a block, from that at what leaves it.
    fn block(&self, layer: usize, wanted: &[Wanted], g: &Tensor, rows: &mut Rows) -> Result<Tensor> {
        let block = &self.blocks[layer];
        rows.add(&self.of_mlps[layer], g)?;
        let mid = if block.parallel { g.clone() } else { self.before_mlp(layer, wanted, g, g)? };
        rows.add(&self.of_attention[layer], &mid)?;
        let entering = (&mid + block.attention(&mid)?)?;
        if block.parallel { self.before_mlp(layer, wanted, &entering, g) } else { Ok(entering) }
    }

    /// Adds what comes from the MLP to the gradient at the residual stream that it reads: the targets of this layer, and the skip
    /// connection, from the gradient at what it writes.
    pub(super) fn before_mlp(&self, layer: usize, wanted: &[Wanted], at_stream: &Tensor, g: &Tensor) -> Result<Tensor> {
        let Some(read) = &self.sources.read[layer] else { return Ok(at_stream.clone()) };
        let mut at_stream = self.with_targets(layer, read, wanted, at_stream)?;
        if let Some(skip) = &read.skip {
            let mut skipped = linear(g, &skip.pull, None)?;
            if let Some(inverse) = &skip.inverse {
                skipped = skipped.broadcast_mul(&inverse.narrow(0, 0, g.dim(0)?)?.unsqueeze(2)?)?;
            }
            at_stream = (at_stream + skipped)?;
        }
        Ok(at_stream)
    }

    /// Adds what the targets of this layer read, each at its position.
    fn with_targets(&self, layer: usize, read: &Read, wanted: &[Wanted], at_stream: &Tensor) -> Result<Tensor> {
        let first = self.sources.of_layer(layer).start;
        let mut places = Vec::new();
        let mut rows = Vec::new();
        for (number, target) in wanted.iter().enumerate() {
            if let Wanted::Feature(index) = target
                && self.sources.features[*index].layer == layer
            {
                places.push((self.sources.features[*index].pos * wanted.len() + number) as u32);
                rows.push((index - first) as u32);
            }
        }
        if rows.is_empty() {
            return Ok(at_stream.clone());
        }
        let device = read.rows.device();
        let chosen = read.rows.index_select(&Tensor::new(rows, device)?, 0)?.to_dtype(at_stream.dtype())?;
        let flat = at_stream.flatten(0, 1)?;
        Ok(flat.index_add(&Tensor::new(places, device)?, &chosen, 0)?.reshape(at_stream.shape())?)
    }
}
