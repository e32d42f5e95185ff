//! Gradients of pre-activations and logits along the residual stream of the affine model, from the last layer to the first: no
//! autograd, a few products a layer for all targets of a batch at once.

use candle_core::{DType, Tensor};

use super::affine::{AffineBlock, NormMap};
use super::contract::Rows;
use super::node::BiasOf;
use super::sources::{Read, Sources};
use crate::error::Result;
use crate::hooks::Site;
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
    pub blocks: Vec<AffineBlock>,
    pub last: NormMap,
}

impl Pull {
    /// The edges into these targets.
    pub(super) fn rows(&self, wanted: &[Wanted]) -> Result<Rows> {
        let mut rows = Rows::new(wanted.len(), self.sources.columns());
        let (mut g, from) = self.start(wanted, &mut rows)?;
        for layer in (0..from).rev() {
            g = self.block(layer, wanted, &g, &mut rows)?;
        }
        rows.embeddings(&self.sources, &g)?;
        Ok(rows)
    }

    /// The gradient behind the last block that any target reads, and how many blocks are before it.
    fn start(&self, wanted: &[Wanted], rows: &mut Rows) -> Result<(Tensor, usize)> {
        let like = &self.sources.tokens;
        let (pos, d_model) = like.dims2()?;
        let nothing = Tensor::zeros((1, d_model), like.dtype(), like.device())?;
        let mut deepest = 0;
        let mut directions = Vec::new();
        for (number, target) in wanted.iter().enumerate() {
            match target {
                Wanted::Feature(index) => {
                    let active = self.sources.features[*index];
                    deepest = deepest.max(active.layer + 1);
                    directions.push(nothing.clone());
                    let own = index - self.sources.of_layer(active.layer).start;
                    rows.own_bias(
                        number,
                        self.sources.read[active.layer].as_ref().map_or(0.0, |read| read.offsets[own]),
                    );
                }
                Wanted::Direction(direction, bias) => {
                    deepest = self.blocks.len();
                    directions.push(direction.to_dtype(like.dtype())?.reshape((1, d_model))?);
                    rows.own_bias(number, *bias);
                }
            }
        }
        let at_last = Tensor::stack(&directions, 0)?;
        let g = at_last.pad_with_zeros(1, pos - 1, 0)?;
        if wanted.iter().all(|target| matches!(target, Wanted::Feature(_))) {
            return Ok((g, deepest));
        }
        let (g, shift) = self.last.pull(&g)?;
        if let Some(shift) = shift {
            rows.bias(BiasOf::Norms, &shift)?;
        }
        Ok((g, deepest))
    }

    /// The gradient at what enters a block, from that at what leaves it.
    fn block(&self, layer: usize, wanted: &[Wanted], g: &Tensor, rows: &mut Rows) -> Result<Tensor> {
        let block = &self.blocks[layer];
        rows.mlp(&self.sources, layer, g)?;
        let of_mlp = self.read_by_mlp(layer, wanted, g, rows)?;
        let through_mlp = |g: &Tensor| -> Result<Tensor> {
            Ok(match &of_mlp {
                Some(read) => (g + read)?,
                None => g.clone(),
            })
        };
        let mid = if block.parallel { g.clone() } else { through_mlp(g)? };
        let pulled = block.attention(&mid)?;
        rows.bias(BiasOf::Attention, &pulled.biases)?;
        for shift in &pulled.shifts {
            rows.bias(BiasOf::Norms, shift)?;
        }
        let entering = (&mid + pulled.read)?;
        if block.parallel { through_mlp(&entering) } else { Ok(entering) }
    }

    /// The gradient at the residual stream that the MLP reads: of targets of this layer, and through the skip connection.
    pub(super) fn read_by_mlp(
        &self,
        layer: usize,
        wanted: &[Wanted],
        g: &Tensor,
        rows: &mut Rows,
    ) -> Result<Option<Tensor>> {
        let Some(read) = &self.sources.read[layer] else { return Ok(None) };
        let own = self.own(layer, read, wanted)?;
        let skipped = match &read.skip {
            Some(skip) => Some(linear(g, &skip.t()?.contiguous()?, None)?),
            None => None,
        };
        let at_read = match (own, skipped) {
            (Some(own), Some(skipped)) => (own + skipped)?,
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return Ok(None),
        };
        let norm = &self.blocks[layer].ln2;
        Ok(Some(match (read.site, norm) {
            (Site::Ln2Normalized, Some(norm)) => norm.pull_normalized(&at_read)?,
            (Site::MlpHookIn, Some(norm)) => {
                let (at_stream, shift) = norm.pull(&at_read)?;
                if let Some(shift) = shift {
                    rows.bias(BiasOf::Norms, &shift)?;
                }
                at_stream
            }
            _ => at_read,
        }))
    }

    /// What the targets of this layer read, each at its position; none if there are none.
    fn own(&self, layer: usize, read: &Read, wanted: &[Wanted]) -> Result<Option<Tensor>> {
        let first = self.sources.of_layer(layer).start;
        let mut places = Vec::new();
        let mut rows = Vec::new();
        for (number, target) in wanted.iter().enumerate() {
            if let Wanted::Feature(index) = target
                && self.sources.features[*index].layer == layer
            {
                places.push((number * self.sources.n_pos + self.sources.features[*index].pos) as u32);
                rows.push((index - first) as u32);
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let (count, width, device) = (rows.len(), read.rows.dim(1)?, read.rows.device());
        let chosen = read.rows.index_select(&Tensor::from_vec(rows, count, device)?, 0)?;
        let all = Tensor::zeros((wanted.len() * self.sources.n_pos, width), DType::F32, device)?;
        let all = all.to_dtype(chosen.dtype())?.index_add(&Tensor::from_vec(places, count, device)?, &chosen, 0)?;
        Ok(Some(all.reshape((wanted.len(), self.sources.n_pos, width))?))
    }
}
