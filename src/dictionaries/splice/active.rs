//! Activations of features inside a splice: sparse as long as nothing asks for them as a tensor.

use candle_core::Tensor;

use super::super::acts::FeatureActs;
use super::super::dictionary::Dictionary;
use super::super::input::Undo;
use crate::error::Result;

/// The activations of a dictionary's features.
pub(super) enum Active {
    /// `[batch, pos, d_sae]`, through which gradients flow.
    Dense(Tensor),
    Sparse(FeatureActs),
}

/// What encoding gives.
pub(super) struct Encoded {
    pub acts: Active,
    pub undo: Undo,
}

impl Dictionary {
    /// Active features of an input with flat heads. Sparse unless gradients pass, which only dense tensors have.
    pub(super) fn active(&self, input: &Tensor, acts_on: Option<&Tensor>) -> Result<Encoded> {
        let parts = &self.parts;
        if input.track_op() || parts.w_enc.track_op() || parts.w_dec.track_op() {
            let encoded = self.pre(input)?;
            let acts = only_where(self.activate(&encoded)?, acts_on)?;
            return Ok(Encoded { acts: Active::Dense(acts), undo: encoded.undo });
        }
        let (_, undo) = parts.input_norm.apply(input)?;
        let acts = self.encode(input)?;
        let acts = match acts_on {
            Some(acts_on) => {
                let acts_on = acts_on.flatten_all()?.to_vec1::<u8>()?;
                let row = |position: usize| match acts_on[position] {
                    0 => Vec::new(),
                    _ => {
                        let (features, values) = acts.row(position);
                        features.iter().copied().zip(values.iter().copied()).collect()
                    }
                };
                let rows: Vec<Vec<(u32, f32)>> = (0..acts.positions()).map(row).collect();
                FeatureActs::from_rows(&acts.shape(), acts.d_sae(), &rows)?
            }
            None => acts,
        };
        Ok(Encoded { acts: Active::Sparse(acts), undo })
    }

    /// What active features write to their own layer, with the bias, or to one behind it; as `like` in dtype and device.
    pub(super) fn written_by(&self, acts: &Active, write: usize, like: &Tensor) -> Result<Tensor> {
        match acts {
            Active::Dense(acts) => self.decode_dense(acts, write),
            Active::Sparse(acts) => {
                Ok(self.decode_write(acts, write)?.to_device(like.device())?.to_dtype(like.dtype())?)
            }
        }
    }
}

/// `[batch, pos]` with as many axes as `x`.
pub(super) fn as_wide_as(positions: &Tensor, x: &Tensor) -> Result<Tensor> {
    let mut shape = positions.dims().to_vec();
    shape.resize(x.rank(), 1);
    Ok(positions.reshape(shape)?)
}

/// 0 where the dictionary does not act.
pub(super) fn only_where(x: Tensor, acts_on: Option<&Tensor>) -> Result<Tensor> {
    match acts_on {
        Some(acts_on) => Ok(x.broadcast_mul(&as_wide_as(acts_on, &x)?.to_dtype(x.dtype())?)?),
        None => Ok(x),
    }
}
