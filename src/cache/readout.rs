//! What parts of the residual stream add to logits: the one projection on directions of the unembedding.
//!
//! The logits are `LN(x) W_U + b_U` with `LN(x) = (x - mean(x)) / s * w + b`. With the scale `s` held at its value in the
//! run, component `c` of the stream adds `(c - mean(c)) / s . (w * d)` along a direction `d` of the unembedding. The norm's
//! weights `w` go into the direction, so shares are the same whether or not the norm is folded into the unembedding. `b . d`
//! and `b_U` belong to no component.

use candle_core::Tensor;

use super::options::LnOptions;
use super::stack::{ResidualStack, directions_for};
use super::store::ActivationCache;
use crate::error::Result;
use crate::labelled::Labelled;

impl ActivationCache {
    /// Each component along directions of the unembedding, as the end of the model reads it.
    pub(crate) fn onto_unembedding(&self, stack: &ResidualStack, directions: &Tensor) -> Result<Labelled> {
        let end = LnOptions::default();
        self.apply_ln_to_stack(stack, &end)?.project(&self.behind_norm(directions, &end)?)
    }

    /// Directions of what reads the stream at a place, as directions of what its norm makes of it before its weights. At the end
    /// these are the final norm's; the norms inside blocks have theirs left out, as in TransformerLens.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for directions of another width or count.
    pub(super) fn behind_norm(&self, directions: &Tensor, place: &LnOptions) -> Result<Tensor> {
        let batch = self.has_batch_dim.then_some(self.tokens.batch());
        let directions = directions_for(directions, self.dims.d_model, batch)?;
        match self.dims.layer_or_final(place.layer)? == self.dims.n_layers {
            true => self.final_norm.through_weights(&directions),
            false => Ok(directions),
        }
    }

    /// What a projection on the unembedding is called: where the model squeezes its logits, it is of those before that.
    pub(crate) fn logit_title(&self, title: &str) -> String {
        if self.soft_cap { format!("{title} before the soft cap") } else { title.into() }
    }
}
