//! Layer norm with its two hook points.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::ops::centre_and_scale;
use super::transformer::HookedTransformer;
use super::weights::NormWeights;
use crate::dims::Dims;
use crate::error::{Error, Result};
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

    /// The norm as tensors, for a file.
    pub(crate) fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut tensors = BTreeMap::from([(Self::EPS.into(), Tensor::new(self.eps, &Device::Cpu)?)]);
        if let Some(NormWeights { w, b }) = &self.weights {
            tensors.extend([(Self::W.into(), w.clone()), (Self::B.into(), b.clone())]);
        }
        Ok(tensors)
    }

    /// The norm that [`FinalNorm::tensors`] took apart, taken out of `tensors`.
    pub(crate) fn from_tensors(tensors: &mut BTreeMap<String, Tensor>, dims: &Dims) -> Result<Self> {
        let incomplete = || Error::argument("the final norm is incomplete: save the cache anew.");
        let eps = tensors.remove(Self::EPS).ok_or_else(incomplete)?.to_scalar().map_err(|_| incomplete())?;
        let weights = match (tensors.remove(Self::W), tensors.remove(Self::B)) {
            (Some(w), Some(b)) if w.dims() == [dims.d_model] && b.dims() == [dims.d_model] => {
                Some(NormWeights { w, b })
            }
            (None, None) => None,
            _ => return Err(incomplete()),
        };
        Ok(Self { weights, eps })
    }

    const EPS: &str = "final_norm.eps";
    const W: &str = "final_norm.w";
    const B: &str = "final_norm.b";
}

impl HookedTransformer {
    /// The final norm.
    pub(crate) fn final_norm(&self) -> FinalNorm {
        FinalNorm { weights: self.weights.ln_final.clone(), eps: self.cfg.eps }
    }
}
