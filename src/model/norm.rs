//! Layer norm with its two hook points.

use candle_core::Tensor;

use super::ops::centre_and_scale;
use super::transformer::HookedTransformer;
use super::weights::NormWeights;
use crate::error::Result;
use crate::hooks::{HookPoint, HookRun};

/// Which norm of the model this is, and so which hook points it shows.
pub(super) struct NormPoints {
    pub scale: HookPoint,
    pub normalized: HookPoint,
}

/// Layer norm: `(x - mean) / sqrt(variance + eps)`, then scale and shift unless they are folded.
///
/// `hook_normalized` sees the result before scale and shift, as in TransformerLens 3 (2 showed it after them).
///
/// # Shapes
/// `x [.., d_model]`, result the same.
pub(super) fn layer_norm(
    x: &Tensor,
    weights: Option<&NormWeights>,
    eps: f64,
    hooks: Option<(&mut HookRun, NormPoints)>,
) -> Result<Tensor> {
    let (centred, scale) = centre_and_scale(x, eps)?;
    let Some((run, points)) = hooks else {
        return shift(&centred.broadcast_div(&scale)?, weights);
    };
    let scale = run.at(points.scale, scale)?;
    let normalized = run.at(points.normalized, centred.broadcast_div(&scale)?)?;
    shift(&normalized, weights)
}

fn shift(x: &Tensor, weights: Option<&NormWeights>) -> Result<Tensor> {
    match weights {
        Some(norm) => Ok(x.broadcast_mul(&norm.w)?.broadcast_add(&norm.b)?),
        None => Ok(x.clone()),
    }
}

/// The final norm by itself, so that a cache can apply it without keeping the model.
#[derive(Clone)]
pub(crate) struct FinalNorm {
    weights: Option<NormWeights>,
    eps: f64,
}

impl FinalNorm {
    /// The norm of `x [.., d_model]`.
    pub(crate) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        layer_norm(x, self.weights.as_ref(), self.eps, None)
    }
}

impl HookedTransformer {
    /// The final norm.
    pub(crate) fn final_norm(&self) -> FinalNorm {
        FinalNorm { weights: self.weights.ln_final.clone(), eps: self.cfg.eps }
    }
}
