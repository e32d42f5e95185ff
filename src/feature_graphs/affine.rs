//! One run of the model with patterns and scales held: the affine maps between what is written to the residual stream and what is
//! read from it. Whatever does not change between targets is multiplied out here, once: the weights and the centring of norms are in the
//! matrices, their scales in the pattern, and biases are vectors that a block writes at each position.
//!
//! Gradients are `[pos, target, d_model]` throughout, so that the positions behind a target, where it has none, are left out.

use candle_core::{D, Tensor};

use crate::cache::ActivationCache;
use crate::error::Result;
use crate::hooks::{HookPoint, Site};
use crate::model::ops::linear;
use crate::model::{HookedTransformer, NormalizationType};
use crate::wide;

/// A norm with its scale held: `x -> C x / s * w + b`.
pub(super) struct NormMap {
    centres: bool,
    /// `1 / s`, `[pos, 1]`; nothing is divided without.
    pub inverse: Option<Tensor>,
    w: Option<Tensor>,
    pub b: Option<Tensor>,
}

impl NormMap {
    fn new(model: &HookedTransformer, name: &str, scale: Option<Tensor>) -> Result<Self> {
        let weight = |part: &str| model.weight(&format!("{name}.{part}")).ok();
        let wide = |x: Option<Tensor>| -> Result<Option<Tensor>> { Ok(x.as_ref().map(wide::widened).transpose()?) };
        let centres = matches!(model.cfg().normalization_type, NormalizationType::LN | NormalizationType::LNPre);
        Ok(Self {
            centres: centres && scale.is_some(),
            inverse: wide(scale)?.map(|s| s.recip()).transpose()?,
            w: wide(weight("w"))?,
            b: wide(weight("b"))?,
        })
    }

    /// The gradient at what the norm reads from that at what it gives, but for the division by the scale.
    ///
    /// # Shapes
    /// `[.., d_model]`.
    fn unscaled(&self, g: &Tensor) -> Result<Tensor> {
        match &self.w {
            Some(w) => self.unscaled_normalized(&g.broadcast_mul(w)?),
            None => self.unscaled_normalized(g),
        }
    }

    /// As [`NormMap::unscaled`], from the gradient at `hook_normalized`, which is before the norm's weights.
    fn unscaled_normalized(&self, g: &Tensor) -> Result<Tensor> {
        Ok(match self.centres {
            true => g.broadcast_sub(&g.mean_keepdim(D::Minus1)?)?,
            false => g.clone(),
        })
    }

    /// The gradient at what the norm reads at one position.
    ///
    /// # Shapes
    /// `[.., d_model]`.
    pub(super) fn pull_at(&self, g: &Tensor, pos: usize) -> Result<Tensor> {
        let g = self.unscaled(g)?;
        Ok(match &self.inverse {
            Some(inverse) => g.broadcast_mul(&inverse.get(pos)?)?,
            None => g,
        })
    }

    /// What something more at its input adds to what it gives, but for the division by the scale.
    ///
    /// # Shapes
    /// `[.., d_model]`.
    fn push_unscaled(&self, x: &Tensor) -> Result<Tensor> {
        // Centring is its own transpose.
        let x = self.unscaled_normalized(x)?;
        Ok(match &self.w {
            Some(w) => x.broadcast_mul(w)?,
            None => x,
        })
    }

    /// As [`NormMap::push_unscaled`], divided by the scale.
    ///
    /// # Shapes
    /// `x [pos, d_model]`.
    fn push(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.push_unscaled(x)?;
        Ok(match &self.inverse {
            Some(inverse) => x.broadcast_mul(inverse)?,
            None => x,
        })
    }
}

/// A block with pattern and scales held.
pub(super) struct AffineBlock {
    /// Before the MLP.
    ln2: Option<NormMap>,
    /// `[head, k_pos, q_pos]`, over the scales of the norms before and after attention.
    pattern: Tensor,
    /// `[d_model, head d_head]`: from what attention writes to `z`.
    to_z: Tensor,
    /// `[head d_head, d_model]`: from values to what attention reads.
    from_v: Tensor,
    /// What `b_V` and `b_O` write, `[pos, d_model]`.
    pub biases: Tensor,
    /// What the shifts of the norms around attention write, `[pos, d_model]`.
    pub shifts: Option<Tensor>,
    /// Attention and MLP read the same residual stream.
    pub parallel: bool,
}

impl AffineBlock {
    pub(super) fn new(model: &HookedTransformer, cache: &ActivationCache, layer: usize) -> Result<Self> {
        let at = |site| HookPoint::Block(layer, site);
        let norm = |name: &str, scale: Site| -> Result<Option<NormMap>> {
            let scale = at(scale);
            match scale.absent(&model.dims()) {
                Some(_) => Ok(None),
                None => NormMap::new(model, &format!("blocks.{layer}.{name}"), Some(one(cache, scale)?)).map(Some),
            }
        };
        let weight = |name: &str| -> Result<Tensor> {
            Ok(wide::widened(&model.weight(&format!("blocks.{layer}.attn.{name}"))?)?)
        };
        let (before, after) = (norm("ln1", Site::Ln1Scale)?, norm("ln1_post", Site::Ln1PostScale)?);
        // [head d_head, d_model], both.
        let values = weight("W_V")?.transpose(1, 2)?.contiguous()?.flatten(0, 1)?;
        let out = weight("W_O")?.flatten(0, 1)?;
        let pattern = one(cache, at(Site::Pattern))?;
        let written = Written { pattern: &pattern, out: &out, after: after.as_ref() };
        let biases = written.of(&weight("b_V")?.flatten_all()?, Some(&weight("b_O")?))?;
        let before_shift = match before.as_ref().and_then(|norm| norm.b.as_ref()) {
            Some(b) => {
                Some(written.of(&linear(&b.unsqueeze(0)?, &values.t()?.contiguous()?, None)?.squeeze(0)?, None)?)
            }
            None => None,
        };
        let after_shift = after.as_ref().and_then(|norm| norm.b.as_ref());
        let shifts = match (before_shift, after_shift) {
            (Some(own), Some(b)) => Some(own.broadcast_add(b)?),
            (Some(own), None) => Some(own),
            (None, Some(b)) => Some(biases.zeros_like()?.broadcast_add(b)?),
            (None, None) => None,
        };
        let mut scaled = pattern.transpose(1, 2)?;
        if let Some(inverse) = before.as_ref().and_then(|norm| norm.inverse.as_ref()) {
            scaled = scaled.broadcast_mul(inverse)?;
        }
        if let Some(inverse) = after.as_ref().and_then(|norm| norm.inverse.as_ref()) {
            scaled = scaled.broadcast_mul(&inverse.t()?)?;
        }
        let through = |norm: &Option<NormMap>, g: &Tensor| norm.as_ref().map_or(Ok(g.clone()), |norm| norm.unscaled(g));
        Ok(Self {
            ln2: norm("ln2", Site::Ln2Scale)?,
            pattern: scaled.contiguous()?,
            to_z: match &after {
                Some(norm) => norm.push_unscaled(&out)?.t()?.contiguous()?,
                None => out.t()?.contiguous()?,
            },
            from_v: through(&before, &values)?.contiguous()?,
            biases,
            shifts,
            parallel: model.cfg().parallel_attn_mlp,
        })
    }

    /// The gradient at what attention reads from that at what it adds to the residual stream.
    ///
    /// # Shapes
    /// `[pos, target, d_model]`, of the first positions only.
    pub(super) fn attention(&self, g: &Tensor) -> Result<Tensor> {
        let (pos, targets, _) = g.dims3()?;
        let heads = self.pattern.dim(0)?;
        // One product for each head mixes the positions of all targets.
        let z = linear(g, &self.to_z, None)?.reshape((pos, targets, heads, ()))?;
        let d_head = z.dim(3)?;
        let z = z.permute((2, 0, 1, 3))?.reshape((heads, pos, targets * d_head))?;
        let v = self.pattern.narrow(1, 0, pos)?.narrow(2, 0, pos)?.contiguous()?.matmul(&z)?;
        let v =
            v.reshape((heads, pos, targets, d_head))?.permute((1, 2, 0, 3))?.reshape((pos, targets, heads * d_head))?;
        linear(&v, &self.from_v, None)
    }

    /// The norm before the MLP as the point that a dictionary reads has it: whole, without its weights, not at all.
    pub(super) fn reading(&self, site: Site) -> Reading<'_> {
        match (site, &self.ln2) {
            (Site::Ln2Normalized, Some(norm)) => Reading { norm: Some(norm), weighted: false },
            (Site::MlpHookIn, Some(norm)) => Reading { norm: Some(norm), weighted: true },
            _ => Reading { norm: None, weighted: false },
        }
    }
}

/// What lies between the residual stream and the point that a dictionary reads.
pub(super) struct Reading<'a> {
    norm: Option<&'a NormMap>,
    weighted: bool,
}

impl Reading<'_> {
    /// The gradient at the residual stream, but for the division by the scale.
    ///
    /// # Shapes
    /// `[.., d_model]`.
    pub(super) fn unscaled(&self, g: &Tensor) -> Result<Tensor> {
        match self.norm {
            Some(norm) if self.weighted => norm.unscaled(g),
            Some(norm) => norm.unscaled_normalized(g),
            None => Ok(g.clone()),
        }
    }

    /// `1 / s`, `[pos, 1]`, where the stream is divided by a scale.
    pub(super) fn inverse(&self) -> Option<&Tensor> {
        self.norm.and_then(|norm| norm.inverse.as_ref())
    }

    /// The norm's shift, where it is read.
    pub(super) fn shift(&self) -> Option<&Tensor> {
        self.norm.filter(|_| self.weighted).and_then(|norm| norm.b.as_ref())
    }
}

/// What values that are the same at all positions write.
struct Written<'a> {
    pattern: &'a Tensor,
    out: &'a Tensor,
    after: Option<&'a NormMap>,
}

impl Written<'_> {
    /// # Shapes
    /// `values [head d_head]`, `more [d_model]` give `[pos, d_model]`.
    fn of(&self, values: &Tensor, more: Option<&Tensor>) -> Result<Tensor> {
        let (heads, pos, _) = self.pattern.dims3()?;
        // How much of a value arrives: 1 in each row of a softmax without sinks.
        let arrives = self.pattern.sum(2)?.t()?.reshape((pos, heads, 1))?;
        let z = arrives.broadcast_mul(&values.reshape((1, heads, ()))?)?.reshape((pos, ()))?;
        let mut written = linear(&z, self.out, None)?;
        if let Some(more) = more {
            written = written.broadcast_add(more)?;
        }
        self.after.map_or(Ok(written.clone()), |norm| norm.push(&written))
    }
}

/// The final norm of the run.
pub(super) fn final_norm(model: &HookedTransformer, cache: &ActivationCache) -> Result<NormMap> {
    let scale = match HookPoint::LnFinalScale.absent(&model.dims()) {
        Some(_) => None,
        None => Some(one(cache, HookPoint::LnFinalScale)?),
    };
    NormMap::new(model, "ln_final", scale)
}

/// What the only prompt of a run has at a point.
pub(super) fn one(cache: &ActivationCache, point: HookPoint) -> Result<Tensor> {
    Ok(wide::widened(&cache.get(point)?.squeeze(0)?)?)
}
