//! The level of the logits, which centring the unembedding takes out and sampling with penalties needs.
//!
//! Centring shifts all logits of a position by one number, so likelihoods stay. A repetition penalty divides logits that are
//! above 0 and multiplies those below, so it depends on where 0 is: it is meant for logits as the model was trained to give
//! them. What was taken out is linear in what the final norm gives, `mean_v(W_U) x + mean(b_U)`, and is kept as such.

use candle_core::Tensor;

use super::ops::linear;
use crate::error::Result;

/// By how much centring the unembedding has lowered all logits of a position: `x w + b`, where `x` has been through the
/// final norm.
#[derive(Clone)]
pub(crate) struct Level {
    /// `[d_model, 1]`.
    pub w: Tensor,
    /// `[1]`.
    pub b: Tensor,
}

impl Level {
    /// Adds the means that are taken out of an unembedding and its bias to what was taken out before.
    pub(super) fn add(level: &mut Option<Self>, w: Tensor, b: Tensor) -> Result<()> {
        *level = Some(match level.take() {
            Some(before) => Self { w: (before.w + w)?, b: (before.b + b)? },
            None => Self { w, b },
        });
        Ok(())
    }

    /// The level at the last column of a stream that has been through the final norm.
    ///
    /// # Shapes
    /// `normed [batch, pos, d_model]` gives `[batch]`.
    pub(super) fn of_last(&self, normed: &Tensor) -> Result<Tensor> {
        let last = normed.detach().narrow(1, normed.dim(1)? - 1, 1)?.squeeze(1)?;
        Ok(linear(&last.to_dtype(self.w.dtype())?.contiguous()?, &self.w, Some(&self.b))?.squeeze(1)?)
    }
}
