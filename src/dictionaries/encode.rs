//! From an activation to the features that are active in it.

use candle_core::{CpuStorage, D, DType, Device, Storage, Tensor};
use rayon::prelude::*;

use super::acts::FeatureActs;
use super::dictionary::Dictionary;
use super::input::Undo;
use super::parts::Activation;
use super::pursuit::Pursuit;
use super::select::Selection;
use crate::error::{Error, Result, human_bytes};
use crate::hooks::check_free;
use crate::model::ops::{is_converted, linear};
use crate::wide;

/// The bytes of the products that are in memory at once.
const PIECE: u64 = 64 << 20;

/// What encoding a batch gives, in candle's differentiable operations.
pub(super) struct Encoded {
    /// Before the activation function, `[.., d_sae]` (of a gated dictionary, the path of the magnitude; of matching pursuit, which has
    /// none, the activations).
    pub pre: Tensor,
    /// Whether each feature may be active, as 0 and 1, where the activation function is more than `max(pre, 0)`.
    pub mask: Option<Tensor>,
    pub undo: Undo,
}

impl Dictionary {
    /// The active features of activations. A few positions at a time, so that no tensor of all features at all positions is made.
    ///
    /// # Shapes
    /// `x [.., d_in]`, or `[.., head, d_head]` with `n_heads d_head = d_in`, gives rows `[..]`.
    ///
    /// # Errors
    /// Activations of another width, or with numbers that are not finite; no memory for the working space.
    pub fn encode(&self, x: &Tensor) -> Result<FeatureActs> {
        self.encode_centred(&self.centred(&self.flattened(x)?)?.0, None)
    }

    /// As [`Dictionary::encode`] with at most so many bytes of working space, however many positions there are: the pieces are made as
    /// small as that needs.
    ///
    /// # Errors
    /// As [`Dictionary::encode`], and [`Error::Argument`] where not even one position fits.
    pub fn encode_within(&self, x: &Tensor, budget: u64) -> Result<FeatureActs> {
        self.encode_centred(&self.centred(&self.flattened(x)?)?.0, Some(budget))
    }

    /// As [`Dictionary::encode`], from what is multiplied with the encoder.
    pub(super) fn encode_centred(&self, x: &Tensor, budget: Option<u64>) -> Result<FeatureActs> {
        let (d_in, d_sae, parts) = (self.d_in(), self.d_sae(), &self.parts);
        let shape = x.dims()[..x.rank() - 1].to_vec();
        let rows = x.reshape(((), d_in))?;
        finite(&rows, &parts.name)?;
        let together = self.positions_within(&rows, budget)?;
        let norms = if parts.scaled_by_decoder_norm { Some(self.decoder_norms()?) } else { None };
        let Some(selection) = Selection::of(parts, norms.as_ref())? else {
            return FeatureActs::of_pieces(&shape, d_sae, &rows, together, |piece| {
                let acts = FeatureActs::from_dense(&self.activate(&self.pre_of(piece)?)?)?;
                Ok((0..acts.positions()).map(|row| acts.pairs(row)).collect())
            });
        };
        FeatureActs::of_pieces(&shape, d_sae, &rows, together, |piece| {
            let product = linear(piece, &parts.w_enc, None)?.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
            let (storage, layout) = product.storage_and_layout();
            let Storage::Cpu(CpuStorage::F32(numbers)) = &*storage else {
                return Err(Error::argument("the product with an encoder is not on the CPU."));
            };
            let numbers = &numbers[layout.start_offset()..][..product.elem_count()];
            Ok(numbers.par_chunks(d_sae).map(|row| selection.active(row)).collect())
        })
    }

    /// How many rows of all features a position takes while it is encoded. Matching pursuit keeps its activations, and makes the products
    /// with the residual, their positive part, the chosen feature's place and what is added there.
    fn dense_rows(&self) -> u64 {
        match self.parts.activation {
            Activation::MatchingPursuit { .. } => 5,
            _ => 1,
        }
    }

    /// That there is memory for the activations of all features at these positions, before and after the activation function.
    ///
    /// # Errors
    /// [`Error::Argument`] where there is not.
    pub(super) fn check_dense(&self, x: &Tensor) -> Result<()> {
        let positions = (x.elem_count() / self.d_in()) as u64;
        let rows = (2 + self.dense_rows()).saturating_mul(size_of::<f32>() as u64);
        check_free(
            positions.saturating_mul(self.d_sae() as u64).saturating_mul(rows),
            "the dense activations of all features",
            "give fewer positions, or use `encode`, which keeps the active ones",
        )
    }

    /// How many positions are multiplied with the encoder at once.
    ///
    /// # Errors
    /// [`Error::Argument`] where there is no memory for one.
    fn positions_within(&self, rows: &Tensor, budget: Option<u64>) -> Result<usize> {
        let (d_in, d_sae, size) = (self.d_in() as u64, self.d_sae() as u64, rows.dtype().size_in_bytes() as u64);
        let parts = &self.parts;
        let is_converted = match parts.activation {
            Activation::MatchingPursuit { .. } => self.dtype() != rows.dtype(),
            _ => is_converted(rows, &parts.w_enc),
        };
        let weights = if is_converted { d_in * d_sae * size } else { 0 };
        let position = (d_in + self.dense_rows() * d_sae) * size.max(4);
        let limit = budget.unwrap_or(weights + PIECE.max(position));
        let name = crate::visible::visible(&self.parts.name);
        match limit.checked_sub(weights).map(|left| left / position) {
            None | Some(0) => Err(Error::argument(format!(
                "encoding with the dictionary \"{name}\" takes {} for one position, more than the budget of {}: give a larger one.",
                human_bytes(weights + position),
                human_bytes(limit)
            ))),
            Some(positions) => {
                let what = format!("encoding with the dictionary \"{name}\"");
                check_free(
                    weights.saturating_add(PIECE.min(limit)),
                    &what,
                    "take one of fewer features, or free memory",
                )?;
                Ok(usize::try_from(positions).unwrap_or(usize::MAX))
            }
        }
    }

    /// As [`Dictionary::encode`], as a dense tensor through which gradients flow.
    ///
    /// # Shapes
    /// `[.., d_sae]`.
    ///
    /// # Errors
    /// As [`Dictionary::encode`].
    pub fn encode_dense(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.flattened(x)?;
        self.check_dense(&x)?;
        self.activate(&self.pre(&x)?)
    }

    /// The input with the axes of heads flattened, in the dtype in which it is summed.
    pub(super) fn flattened(&self, x: &Tensor) -> Result<Tensor> {
        let x = wide::widened(x)?;
        let dims = x.dims();
        match *dims {
            [.., last] if last == self.d_in() => Ok(x),
            [.., heads, d_head] if heads * d_head == self.d_in() => Ok(x.flatten(D::Minus2, D::Minus1)?),
            _ => Err(Error::shape(
                format!("what the dictionary \"{}\" reads", crate::visible::visible(&self.parts.name)),
                format!("[.., {}], or its heads as two axes", self.d_in()),
                dims,
            )),
        }
    }

    /// What is multiplied with the encoder: the input normalised, `b_in` subtracted.
    pub(super) fn centred(&self, x: &Tensor) -> Result<(Tensor, Undo)> {
        let (x, undo) = self.parts.input_norm.apply(x)?;
        Ok(match &self.parts.b_in {
            Some(b) => (x.broadcast_sub(&b.to_dtype(x.dtype())?)?, undo),
            None => (x, undo),
        })
    }

    /// Pre-activations, and which features may be active.
    pub(super) fn pre(&self, x: &Tensor) -> Result<Encoded> {
        let (x, undo) = self.centred(x)?;
        Ok(Encoded { undo, ..self.pre_of(&x)? })
    }

    /// As [`Dictionary::pre`], from what [`Dictionary::centred`] gives.
    fn pre_of(&self, x: &Tensor) -> Result<Encoded> {
        let (parts, undo) = (&self.parts, Undo::Nothing);
        if let Activation::MatchingPursuit { max_iterations, residual_threshold, stop_on_duplicate_support } =
            parts.activation
        {
            let pursuit = Pursuit { max_iterations, residual_threshold, stop_on_duplicate_support };
            return Ok(Encoded { pre: pursuit.encode(x, &parts.w_dec)?, mask: None, undo });
        }
        let as_x = |t: &Tensor| t.to_dtype(x.dtype());
        let product = linear(x, &parts.w_enc, None)?;
        let mut mask = None;
        let mut pre = match &parts.activation {
            Activation::Gated { b_gate, b_mag, r_mag } => {
                mask = Some(product.broadcast_add(&as_x(b_gate)?)?.gt(0.0)?.to_dtype(x.dtype())?);
                product.broadcast_mul(&as_x(r_mag)?.exp()?)?.broadcast_add(&as_x(b_mag)?)?
            }
            _ => product.broadcast_add(&as_x(&parts.b_enc)?)?,
        };
        if parts.scaled_by_decoder_norm {
            pre = pre.broadcast_mul(&self.decoder_norms()?.to_dtype(pre.dtype())?)?;
        }
        if mask.is_none() {
            mask = self.chosen(&pre)?;
        }
        Ok(Encoded { pre, mask, undo })
    }

    /// Which features may be active, by their pre-activations.
    pub(super) fn chosen(&self, pre: &Tensor) -> Result<Option<Tensor>> {
        let mask = match &self.parts.activation {
            Activation::Relu | Activation::Gated { .. } | Activation::MatchingPursuit { .. } => return Ok(None),
            Activation::JumpRelu { threshold } => pre.broadcast_gt(&threshold.to_dtype(pre.dtype())?)?,
            Activation::TopK { k } => largest(pre, *k)?,
            Activation::AbsTopK { k } => largest(&pre.abs()?, *k)?,
            Activation::GroupMax { k } => {
                let (d_sae, groups) = (self.d_sae(), *k);
                let rows = pre.elem_count() / d_sae;
                largest(&pre.reshape((rows * groups, d_sae / groups))?, 1)?.reshape(pre.shape())?
            }
        };
        Ok(Some(mask.to_dtype(pre.dtype())?.detach()))
    }

    /// The activations.
    pub(super) fn activate(&self, encoded: &Encoded) -> Result<Tensor> {
        let clipped = match self.parts.activation {
            Activation::AbsTopK { .. } => encoded.pre.clone(),
            _ => encoded.pre.relu()?,
        };
        Ok(match &encoded.mask {
            Some(mask) => (clipped * mask)?,
            None => clipped,
        })
    }

    /// The norms of the decoder's rows, `[d_sae]`.
    pub(super) fn decoder_norms(&self) -> Result<Tensor> {
        let rows = wide::widened(&self.parts.w_dec)?.flatten_from(1)?;
        Ok(rows.sqr()?.sum(1)?.sqrt()?)
    }

    /// What activations are divided by where pre-activations are multiplied by the norms of rows: these norms, and 1 for a row of zeros, which
    /// writes nothing whatever it is divided by.
    ///
    /// # Shapes
    /// `[d_sae]`.
    pub(super) fn divisors(&self) -> Result<Tensor> {
        let norms = self.decoder_norms()?;
        Ok((&norms + norms.eq(0.0)?.to_dtype(norms.dtype())?)?)
    }
}

/// # Errors
/// [`Error::Argument`] for activations that are not finite: a comparison with one says nothing.
fn finite(rows: &Tensor, name: &str) -> Result<()> {
    let sums = rows.abs()?.sum(D::Minus1)?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
    match sums.iter().position(|sum| !sum.is_finite()) {
        None => Ok(()),
        Some(position) => Err(Error::argument(format!(
            "the activations that the dictionary \"{}\" reads at position {position} are not finite numbers: the run before it has \
             overflowed, or an edit put them there.",
            crate::visible::visible(name)
        ))),
    }
}

/// 1 for the `k` largest of each row, the first of equal ones.
fn largest(rows: &Tensor, k: usize) -> Result<Tensor> {
    let width = rows.dim(D::Minus1)?;
    let numbers = rows.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let mut mask = vec![0u8; numbers.len()];
    let mut order: Vec<usize> = Vec::with_capacity(width);
    for (row, mask) in numbers.chunks(width.max(1)).zip(mask.chunks_mut(width.max(1))) {
        order.clear();
        order.extend(0..width);
        let by = |a: &usize, b: &usize| row[*b].total_cmp(&row[*a]).then(a.cmp(b));
        if k < width {
            order.select_nth_unstable_by(k, by);
        }
        for &index in &order[..k.min(width)] {
            mask[index] = 1;
        }
    }
    Ok(Tensor::from_vec(mask, rows.shape(), rows.device())?)
}
