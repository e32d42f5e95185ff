//! From an activation to the features that are active in it.

use candle_core::{D, DType, Tensor};

use super::acts::FeatureActs;
use super::dictionary::Dictionary;
use super::input::Undo;
use super::parts::Activation;
use super::pursuit::Pursuit;
use crate::error::{Error, Result};
use crate::wide;

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
    /// The active features of activations.
    ///
    /// # Shapes
    /// `x [.., d_in]`, or `[.., head, d_head]` with `n_heads d_head = d_in`, gives rows `[..]`.
    ///
    /// # Errors
    /// Activations of another width.
    pub fn encode(&self, x: &Tensor) -> Result<FeatureActs> {
        FeatureActs::from_dense(&self.encode_dense(x)?)
    }

    /// As [`Dictionary::encode`], as a dense tensor through which gradients flow.
    ///
    /// # Shapes
    /// `[.., d_sae]`.
    ///
    /// # Errors
    /// As [`Dictionary::encode`].
    pub fn encode_dense(&self, x: &Tensor) -> Result<Tensor> {
        let encoded = self.pre(&self.flattened(x)?)?;
        self.activate(&encoded)
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

    /// Pre-activations, and which features may be active.
    pub(super) fn pre(&self, x: &Tensor) -> Result<Encoded> {
        let parts = &self.parts;
        let (x, undo) = parts.input_norm.apply(x)?;
        let x = match &parts.b_in {
            Some(b) => x.broadcast_sub(&b.to_dtype(x.dtype())?)?,
            None => x,
        };
        if let Activation::MatchingPursuit { max_iterations, residual_threshold, stop_on_duplicate_support } =
            parts.activation
        {
            let pursuit = Pursuit { max_iterations, residual_threshold, stop_on_duplicate_support };
            return Ok(Encoded { pre: pursuit.encode(&x, &parts.w_dec)?, mask: None, undo });
        }
        let as_x = |t: &Tensor| t.to_dtype(x.dtype());
        let product = x.broadcast_matmul(&as_x(&parts.w_enc)?)?;
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
