//! The norm that reads the residual stream, applied to its components.

use candle_core::Tensor;

use super::stack::ResidualStack;
use super::store::ActivationCache;
use crate::dims::{ReadBy, Reader};
use crate::error::{Error, Result};
use crate::hooks::{HookPoint, Site};
use crate::slice::Slice;
use crate::wide::widened;

/// The scale by which [`ActivationCache::apply_ln_to_stack`] divides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LnScale {
    /// The scale that the norm had in the run: what the whole residual stream was divided by.
    Cached(ReadBy),
    /// Each component's own, by the whole final norm with its weights, as in the logit lens (`recompute_ln=True` in
    /// TransformerLens).
    Recomputed,
}

impl From<ReadBy> for LnScale {
    fn from(read_by: ReadBy) -> Self {
        Self::Cached(read_by)
    }
}

impl ActivationCache {
    /// Centres each component, if the model's norms do, and divides it by the norm's scale of the whole residual stream at the
    /// same positions. The norm's own weights are not applied, as in TransformerLens: where they are not folded, they belong
    /// in the directions that the result is projected on, as in `logit_attrs` and all other attributions. With
    /// [`LnScale::Recomputed`] each component goes through the whole final norm by itself. Where what reads has no
    /// norm the stack comes back unchanged.
    ///
    /// # Shapes
    /// Those of the stack.
    ///
    /// # Errors
    /// A stack that has been through a norm, or is of other prompts or positions than the cache; a scale that is not cached,
    /// a layer that does not exist.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let (_, cache) = model.run_with_cache("The keys on the cabinet")?;
    /// // The norm is linear once its scale is fixed: the normed parts sum to what block 2 reads.
    /// let parts = cache.stack(&model, Stack::components().before(2))?;
    /// let normed = cache.apply_ln_to_stack(&parts, ReadBy::Block(2))?;
    /// let apart = (normed.sum()? - cache.get(("normalized", 2, "ln1"))?)?.abs()?.max_all()?.to_scalar::<f32>()?;
    /// assert!(apart < 1e-4);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn apply_ln_to_stack(&self, stack: &ResidualStack, scale: impl Into<LnScale>) -> Result<ResidualStack> {
        match scale.into() {
            LnScale::Cached(read_by) => self.through_norm(stack, read_by.resolve(&self.dims)?),
            LnScale::Recomputed => self.through_final_norm(stack),
        }
    }

    /// The components through the whole final norm, each with its own scale.
    pub(super) fn through_final_norm(&self, stack: &ResidualStack) -> Result<ResidualStack> {
        if !self.dims.has_norm {
            return Ok(stack.clone());
        }
        self.check_stack(stack)?;
        Ok(ResidualStack { values: self.final_norm.apply(&stack.values)?, normed: true, ..stack.clone() })
    }

    /// The components centred and divided by the scale of the norm in the run.
    pub(super) fn through_norm(&self, stack: &ResidualStack, reader: Reader) -> Result<ResidualStack> {
        if !self.dims.has_norm {
            return Ok(stack.clone());
        }
        self.check_stack(stack)?;
        let Some(scale) = self.cached_scale(reader, &stack.pos)? else { return Ok(stack.clone()) };
        let last = stack.values.rank() - 1;
        let values = widened(&stack.values)?;
        let centred = match self.final_norm.centres() {
            true => values.broadcast_sub(&values.mean_keepdim(last)?)?,
            false => values,
        };
        let values = centred.broadcast_div(&widened(&scale)?)?.to_dtype(stack.values.dtype())?;
        Ok(ResidualStack { values, normed: true, ..stack.clone() })
    }

    /// That the norm of this cache's run can be applied to a stack.
    pub(crate) fn check_stack(&self, stack: &ResidualStack) -> Result<()> {
        if stack.normed {
            return Err(Error::argument(
                "this stack has already been through a norm, and a norm's output does not go through it again: take \
                 the stack without .normed().",
            ));
        }
        if stack.has_batch_dim != self.has_batch_dim {
            let has = |batch: bool| if batch { "a batch axis" } else { "no batch axis" };
            return Err(Error::argument(format!(
                "the stack has {}, but the cache has {}: take the stack from this cache.",
                has(stack.has_batch_dim),
                has(self.has_batch_dim)
            )));
        }
        let dims = stack.values.dims();
        let (own, prompts) = (self.positions_of(&stack.pos)?, self.tokens.batch());
        let stacked = if stack.has_batch_dim { dims.get(1).copied().unwrap_or(0) } else { 1 };
        let width = dims.last().copied().unwrap_or(0);
        if (stacked, &stack.positions, width) == (prompts, &own, self.dims.d_model) {
            return Ok(());
        }
        Err(Error::argument(format!(
            "the stack is of {stacked} prompts at positions {:?} with d_model = {width}, but the cache has {prompts} \
             prompts at positions {own:?} with d_model = {}: give the cache that the stack was taken from.",
            stack.positions, self.dims.d_model
        )))
    }

    /// The scale that the norm of this reader had in the run, `[(batch), (pos), 1]`; none where it reads the residual
    /// stream without a norm.
    pub(super) fn cached_scale(&self, reader: Reader, pos: &Slice) -> Result<Option<Tensor>> {
        let is_end = reader.layer == self.dims.n_layers;
        if !self.dims.has_norm || (self.dims.reads_unnormed && !is_end) {
            return Ok(None);
        }
        let point = match (is_end, reader.is_mlp) {
            (true, _) => HookPoint::LnFinalScale,
            (false, false) => HookPoint::Block(reader.layer, Site::Ln1Scale),
            (false, true) => HookPoint::Block(reader.layer, Site::Ln2Scale).check(&self.dims)?,
        };
        Ok(Some(self.at_positions(&self.get(point)?, pos, 2)?))
    }
}
