//! The level of the logits, which centring the unembedding takes out and sampling with penalties needs.
//!
//! Centring shifts all logits of a position by one number, so likelihoods stay. A repetition penalty divides logits
//! that are above 0 and multiplies those below, so it depends on where 0 is: it is meant for logits as the model was
//! trained to produce them. What was taken out is linear in the final norm's output, `mean_v(W_U) x + mean(b_U)`, and
//! is kept as such.

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

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::{HookedTransformer, LoadOptions, Processing};
    use super::*;

    fn tiny(processing: Processing, dtype: DType) -> Result<HookedTransformer> {
        HookedTransformer::from_pretrained_with(
            "tiny",
            LoadOptions { processing: Some(processing), dtype, ..Default::default() },
        )
    }

    /// The largest difference between the levels of two models, and the largest number of the first.
    fn apart(a: &HookedTransformer, b: &HookedTransformer) -> Result<(f32, f32)> {
        let [a, b] = [a, b].map(|model| model.weights.level.as_ref().expect("the unembedding is centred"));
        let all = |level: &Level| Tensor::cat(&[level.w.flatten_all()?, level.b.clone()], 0);
        let (a, b) = (all(a)?, all(b)?);
        Ok(((&a - b)?.abs()?.max(0)?.to_scalar()?, a.abs()?.max(0)?.to_scalar()?))
    }

    #[test]
    fn the_order_of_steps_and_half_precision_leave_it() -> Result<()> {
        let whole = tiny(Processing::default(), DType::F32)?;
        let centre = Processing { center_unembed: true, ..Processing::NONE };
        let fold = Processing { fold_ln: true, ..Processing::NONE };
        let raw = tiny(Processing::NONE, DType::F32)?;
        assert!(raw.weights.level.is_none());
        let later = raw.clone().process(centre)?.process(fold)?.process(centre)?;
        let earlier = raw.process(fold)?.process(centre)?;
        for other in [later, earlier, tiny(Processing::default(), DType::BF16)?] {
            let (apart, size) = apart(&whole, &other)?;
            // Sums over the vocabulary in another order.
            assert!(size > 1e-3 && apart < 1e-5 * size.max(1.), "{apart} of {size}");
        }
        Ok(())
    }
}
