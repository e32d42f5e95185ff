//! The norms with their two hook points: layer norm, and the root-mean-square norm, which does not centre.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use crate::dims::Dims;
use crate::error::{Error, Result};
use crate::hooks::{HookPoint, HookRun};
use crate::host;
use crate::model::config::{HookedTransformerConfig, NormalizationType};
use crate::model::ops::{NormSlope, centred, norm_back, root_mean_square, rows_over, scaled};
use crate::model::transformer::HookedTransformer;
use crate::model::weights::NormWeights;
use crate::wide::widened;

/// Which norm of the model this is, and so which hook points it shows.
pub(in crate::model) struct NormPoints {
    pub scale: HookPoint,
    pub normalized: HookPoint,
}

/// How a model's norms divide.
#[derive(Clone, Copy)]
pub(in crate::model) struct NormRule {
    pub kind: NormalizationType,
    pub eps: f64,
    /// Whether gradients take what is divided by as a constant.
    pub is_frozen: bool,
}

impl HookedTransformerConfig {
    /// The norm through which attention and MLP read: none where they read the residual stream as it is.
    pub(in crate::model) fn norm_before(&self, is_frozen: bool) -> NormRule {
        let kind = match self.use_normalization_after_only {
            true => NormalizationType::None,
            false => self.normalization_type,
        };
        NormRule { kind, eps: self.eps, is_frozen }
    }
}

/// The norm: `(x - mean) / sqrt(variance + eps)`, or `x / sqrt(mean(x^2) + eps)`, then scale and shift unless they are
/// folded; `x` itself for a model without norms.
///
/// `hook_normalized` sees the result before scale and shift, as in TransformerLens 3 (2 showed it after them).
///
/// A norm of half precision is computed in f32 and rounded at its end, as by `transformers`. `hook_scale` sees f32, as
/// in TransformerLens: rounded to bf16, one number would put its error on all of a row.
///
/// # Shapes
/// `x [.., d_model]`, result the same.
pub(in crate::model) fn norm(
    x: &Tensor,
    weights: Option<&NormWeights>,
    NormRule { kind, eps, is_frozen }: NormRule,
    hooks: Option<(&mut HookRun, NormPoints)>,
) -> Result<Tensor> {
    let Some((centred, scale)) = parts(x, kind, eps)? else { return Ok(x.clone()) };
    let scale = if is_frozen { scale.detach() } else { scale };
    divided((&centred, x.dtype()), scale, weights, hooks)
}

/// The rest of a norm, from the numerator, the dtype of the result and what it is divided by.
pub(super) fn divided(
    (numerator, dtype): (&Tensor, DType),
    scale: Tensor,
    weights: Option<&NormWeights>,
    hooks: Option<(&mut HookRun, NormPoints)>,
) -> Result<Tensor> {
    let normalized = |scale: &Tensor| Ok::<_, Error>(rows_over(numerator, scale)?.to_dtype(dtype)?);
    let Some((run, points)) = hooks else {
        return shift(&normalized(&scale)?, weights);
    };
    let scale = run.at(points.scale, scale)?;
    let normalized = run.at(points.normalized, normalized(&scale)?)?;
    shift(&normalized, weights)
}

/// The numerator and the divisor, f32 where `x` is half; `None` for a model without norms.
fn parts(x: &Tensor, kind: NormalizationType, eps: f64) -> Result<Option<(Tensor, Tensor)>> {
    let divided = match kind {
        NormalizationType::None => return Ok(None),
        kind if kind.centres() => centred(x)?,
        _ => widened(x)?,
    };
    let scale = root_mean_square(&divided, eps)?;
    Ok(Some((divided, scale)))
}

/// The gradient at a norm's input, from the gradient at its output: for `y = (x - mean) / s`,
/// `(g - mean(g) - y mean(g y)) / s`, where `g` is the gradient behind the norm times its weights; without the mean of
/// `g` where the norm does not centre, and without `y mean(g y)` where what it divides by is a constant.
///
/// # Shapes
/// `x [row, d_model]`, `gradient [.., row, d_model]`; the result is as `gradient`, f32 where that is half.
pub(in crate::model) fn norm_gradient(
    x: &Tensor,
    weights: Option<&NormWeights>,
    NormRule { kind, eps, is_frozen }: NormRule,
    gradient: &Tensor,
) -> Result<Tensor> {
    let gradient = widened(gradient)?;
    let Some((divided, scale)) = parts(x, kind, eps)? else { return Ok(gradient) };
    let weights = weights.map(|weights| widened(&weights.w)).transpose()?;
    let slope = NormSlope { centres: kind.centres(), is_frozen };
    norm_back(&gradient, (&rows_over(&divided, &scale)?, &scale), weights.as_ref(), slope)
}

fn shift(x: &Tensor, weights: Option<&NormWeights>) -> Result<Tensor> {
    let Some(NormWeights { w, b }) = weights else { return Ok(x.clone()) };
    Ok(scaled(x, w, b.as_ref())?.to_dtype(x.dtype())?)
}

/// The final norm by itself, so that a cache can apply it without keeping the model.
#[derive(Clone)]
pub(crate) struct FinalNorm {
    weights: Option<NormWeights>,
    kind: NormalizationType,
    eps: f64,
    is_frozen: bool,
}

impl FinalNorm {
    /// The norm of `x [.., d_model]`.
    pub(crate) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let rule = NormRule { kind: self.kind, eps: self.eps, is_frozen: self.is_frozen };
        norm(x, self.weights.as_ref(), rule, None)
    }

    /// The same norm with numbers of its own, on this device.
    pub(crate) fn copied(&self, device: &Device) -> Result<Self> {
        let copied = |x: &Tensor| -> Result<Tensor> { Ok(x.to_device(device)?.copy()?.detach()) };
        let both = |NormWeights { w, b }: &NormWeights| -> Result<NormWeights> {
            Ok(NormWeights { w: copied(w)?, b: b.as_ref().map(copied).transpose()? })
        };
        Ok(Self { weights: self.weights.as_ref().map(both).transpose()?, ..*self })
    }

    /// Whether it takes the mean out; a model's norms are all of one kind.
    pub(crate) fn centres(&self) -> bool {
        self.kind.centres()
    }

    /// Directions of the stream before the norm's weights, from directions after them: the one place where directions
    /// of the unembedding meet a norm that is not folded into it.
    ///
    /// # Shapes
    /// `[.., d_model]`, result the same.
    pub(crate) fn through_weights(&self, directions: &Tensor) -> Result<Tensor> {
        match &self.weights {
            Some(NormWeights { w, .. }) => Ok(directions.broadcast_mul(w)?),
            None => Ok(directions.clone()),
        }
    }

    /// The norm as tensors, for a file.
    pub(crate) fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut tensors = BTreeMap::from([(Self::EPS.into(), Tensor::new(self.eps, &Device::Cpu)?)]);
        if !self.kind.centres() {
            tensors.insert(Self::RMS.into(), Tensor::new(1u32, &Device::Cpu)?);
        }
        if let Some(NormWeights { w, b }) = &self.weights {
            tensors.insert(Self::W.into(), w.clone());
            tensors.extend(b.iter().map(|b| (Self::B.into(), b.clone())));
        }
        Ok(tensors)
    }

    /// Rebuilds the norm from what [`FinalNorm::tensors`] returned, removing it from `tensors`.
    pub(crate) fn from_tensors(tensors: &mut BTreeMap<String, Tensor>, dims: &Dims) -> Result<Self> {
        let incomplete = || Error::argument("the final norm is incomplete: save the cache anew.");
        let eps = tensors.remove(Self::EPS).ok_or_else(incomplete)?.to_scalar().map_err(|_| incomplete())?;
        let centres = tensors.remove(Self::RMS).is_none();
        let fits = |tensor: &Tensor| tensor.dims() == [dims.d_model];
        let weights = match (tensors.remove(Self::W), tensors.remove(Self::B)) {
            (Some(w), b) if fits(&w) && b.as_ref().is_none_or(fits) && b.is_some() == centres => {
                Some(NormWeights { w, b })
            }
            (None, None) => None,
            _ => return Err(incomplete()),
        };
        let kind = match (dims.has_norm, centres) {
            (false, _) => NormalizationType::None,
            (true, true) => NormalizationType::LN,
            (true, false) => NormalizationType::RMS,
        };
        Ok(Self { weights, kind, eps, is_frozen: false })
    }

    const EPS: &str = "final_norm.eps";
    const RMS: &str = "final_norm.rms";
    const W: &str = "final_norm.w";
    const B: &str = "final_norm.b";
}

impl HookedTransformer {
    /// The final norm.
    pub(crate) fn final_norm(&self) -> FinalNorm {
        let NormRule { kind, eps, is_frozen } = self.norm_rule();
        FinalNorm { weights: self.weights.ln_final.clone(), kind, eps, is_frozen }
    }

    /// What the logits of these tokens are where the stream adds nothing to them: `b_U`, and the final norm's bias
    /// through the unembedding.
    ///
    /// # Errors
    /// As [`HookedTransformer::token_ids`].
    pub(crate) fn logit_biases(&self, ids: &[u32]) -> Result<Vec<f32>> {
        let directions = self.tokens_to_residual_directions(ids.iter().copied())?.to_dtype(DType::F32)?;
        let chosen = Tensor::new(ids, self.weights.device())?;
        let b_u = self.weights.b_u.index_select(&chosen, 0)?.to_dtype(DType::F32)?;
        let all = match self.weights.ln_final.as_ref().and_then(|norm| norm.b.as_ref()) {
            Some(b) => (b_u + directions.broadcast_mul(&b.to_dtype(DType::F32)?)?.sum(1)?)?,
            None => b_u,
        };
        Ok(host::numbers(&all)?)
    }

    /// How its norms divide.
    pub(in crate::model) fn norm_rule(&self) -> NormRule {
        NormRule { kind: self.cfg.normalization_type, eps: self.cfg.eps, is_frozen: self.frozen.scales }
    }
}
