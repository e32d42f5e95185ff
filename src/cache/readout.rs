//! What parts of the residual stream add to logits: the projection on directions of the unembedding.
//!
//! The logits are `LN(x) W_U + b_U` with `LN(x) = (x - mean(x)) / s * w + b`. With the scale `s` held at its value in the
//! run, component `c` of the residual stream adds `(c - mean(c)) / s . (w * d)` along a direction `d` of the unembedding. The norm's
//! weights `w` go into the direction, so shares are the same whether or not the norm is folded into the unembedding. `b . d`
//! and `b_U` do not belong to any component.

use candle_core::Tensor;

use super::stack::{ResidualStack, directions_for};
use super::store::ActivationCache;
use super::target::Target;
use crate::dims::{ReadBy, Reader};
use crate::error::Result;
use crate::labelled::Labelled;
use crate::model::HookedTransformer;

impl ActivationCache {
    /// What each component of a stack adds to the logit of a token, or to a logit difference, through the final norm with its
    /// cached scale and its weights. `b_U`, and the norm's bias where it is not folded, belong to no component and are not
    /// included ([`Target::bias`]). Of a model with a soft cap on its logits (Gemma 2) it is the logit before the cap, and the
    /// title says so.
    ///
    /// # Shapes
    /// `[component, (batch), (pos)]`.
    ///
    /// # Errors
    /// A target for another number of prompts; a model that did not make the cache; and as
    /// [`ActivationCache::apply_ln_to_stack`].
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let (logits, cache) = model.run_with_cache("When John and Mary went to the shops, John gave the bag to")?;
    /// let parts = cache.stack(&model, Stack::components().pos(-1))?;
    /// // The shares of the components and that of the biases sum to the logit.
    /// let shares = cache.logit_attrs(&model, &parts, " Mary")?;
    /// let bias = Target::from(" Mary").bias(&model)?.scalar()?;
    /// let mary = model.to_single_token(" Mary")? as usize;
    /// let logit = logits.i((0, cache.tokens().pos() - 1, mary))?.to_scalar::<f32>()?;
    /// assert!((shares.values().sum() + bias - logit).abs() < 1e-3);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn logit_attrs(
        &self,
        model: &HookedTransformer,
        stack: &ResidualStack,
        target: impl Into<Target>,
    ) -> Result<Labelled> {
        self.check_model(model)?;
        let directions = target.into().directions(model)?;
        Ok(self.onto_unembedding(stack, &directions)?.titled(self.logit_title("logit attribution")))
    }

    /// Each component projected on directions of the unembedding, through the final norm.
    pub(crate) fn onto_unembedding(&self, stack: &ResidualStack, directions: &Tensor) -> Result<Labelled> {
        let end = ReadBy::End.resolve(&self.dims)?;
        self.through_norm(stack, end)?.project(&self.behind_norm(directions, end)?)
    }

    /// Directions of the reader's input, pulled back through the weights of its norm. The final norm has its weights applied; those
    /// of the norms inside blocks are left out, as in TransformerLens.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for directions of the wrong width or number.
    pub(super) fn behind_norm(&self, directions: &Tensor, reader: Reader) -> Result<Tensor> {
        let batch = self.has_batch_dim.then_some(self.tokens.batch());
        let directions = directions_for(directions, self.dims.d_model, batch)?;
        match reader.layer == self.dims.n_layers {
            true => self.final_norm.through_weights(&directions),
            false => Ok(directions),
        }
    }

    /// The title of a projection on the unembedding; where the model has a soft cap on its logits, it says that shares are of the
    /// logits before the cap.
    pub(crate) fn logit_title(&self, title: &str) -> String {
        if self.soft_cap { format!("{title} before the soft cap") } else { title.into() }
    }
}
