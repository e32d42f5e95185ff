//! One run of the model with patterns and scales held: the affine maps between what is written to the residual stream and what is
//! read from it.

use candle_core::{D, Tensor};

use crate::cache::ActivationCache;
use crate::error::Result;
use crate::hooks::{HookPoint, Site};
use crate::model::{HookedTransformer, NormalizationType};
use crate::wide;

/// A norm with its scale held: `x -> C x / s * w + b`.
#[derive(Clone)]
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

    /// The same norm at `count` positions from `from` on.
    pub(super) fn at(&self, from: usize, count: usize) -> Result<Self> {
        let inverse = self.inverse.as_ref().map(|inverse| inverse.narrow(0, from, count)).transpose()?;
        Ok(Self { inverse, w: self.w.clone(), b: self.b.clone(), ..*self })
    }

    /// The gradient at what the norm reads, and what its shift adds to each target, from the gradient at what it gives.
    ///
    /// # Shapes
    /// `g [target, pos, d_model]` gives the same and `[target]`.
    pub(super) fn pull(&self, g: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        let shift = match &self.b {
            Some(b) => Some(g.broadcast_mul(b)?.sum((1, 2))?),
            None => None,
        };
        let scaled = match &self.w {
            Some(w) => self.pull_normalized(&g.broadcast_mul(w)?)?,
            None => self.pull_normalized(g)?,
        };
        Ok((scaled, shift))
    }

    /// As [`NormMap::pull`], from the gradient at `hook_normalized`, which is before the norm's weights.
    pub(super) fn pull_normalized(&self, g: &Tensor) -> Result<Tensor> {
        let g = self.unscaled_normalized(g)?;
        Ok(match &self.inverse {
            Some(inverse) => g.broadcast_mul(inverse)?,
            None => g,
        })
    }

    /// The gradient at what the norm reads from that at what it gives, but for the division by the scale.
    ///
    /// # Shapes
    /// `[.., d_model]`.
    pub(super) fn unscaled(&self, g: &Tensor) -> Result<Tensor> {
        match &self.w {
            Some(w) => self.unscaled_normalized(&g.broadcast_mul(w)?),
            None => self.unscaled_normalized(g),
        }
    }

    /// As [`NormMap::unscaled`], from the gradient at `hook_normalized`, which is before the norm's weights.
    pub(super) fn unscaled_normalized(&self, g: &Tensor) -> Result<Tensor> {
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
    pub(super) fn push_unscaled(&self, x: &Tensor) -> Result<Tensor> {
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
    pub(super) fn push(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.push_unscaled(x)?;
        Ok(match &self.inverse {
            Some(inverse) => x.broadcast_mul(inverse)?,
            None => x,
        })
    }
}

/// The parts of one block that are linear once patterns and scales are held.
pub(super) struct AffineBlock {
    /// Before attention; none where it reads the residual stream as it is.
    pub ln1: Option<NormMap>,
    /// After attention.
    pub ln1_post: Option<NormMap>,
    /// Before the MLP.
    pub ln2: Option<NormMap>,
    /// `[head, q_pos, k_pos]`.
    pub pattern: Tensor,
    /// `[head d_head, d_model]`: values pulled back.
    pub w_v: Tensor,
    /// `[d_model, head d_head]`.
    pub w_o: Tensor,
    /// `[head d_head]`.
    pub b_v: Tensor,
    /// `[d_model]`.
    pub b_o: Tensor,
    /// Attention and MLP read the same residual stream.
    pub parallel: bool,
}

impl AffineBlock {
    pub(super) fn new(model: &HookedTransformer, cache: &ActivationCache, layer: usize) -> Result<Self> {
        let at = |site| HookPoint::Block(layer, site);
        let norm = |name: &str, scale: Site| -> Result<Option<NormMap>> {
            let scale = at(scale);
            // The norm after attention runs only where it has weights.
            let is_left_out = name == "ln1_post" && model.weight(&format!("blocks.{layer}.{name}.w")).is_err();
            match scale.absent(&model.dims()).is_some() || !model.dims().has_norm || is_left_out {
                true => Ok(None),
                false => NormMap::new(model, &format!("blocks.{layer}.{name}"), Some(one(cache, scale)?)).map(Some),
            }
        };
        let weight = |name: &str| -> Result<Tensor> {
            Ok(wide::widened(&model.weight(&format!("blocks.{layer}.attn.{name}"))?)?)
        };
        let w_v = weight("W_V")?.transpose(1, 2)?.contiguous()?;
        let w_o = weight("W_O")?.flatten(0, 1)?;
        Ok(Self {
            ln1: norm("ln1", Site::Ln1Scale)?,
            ln1_post: norm("ln1_post", Site::Ln1PostScale)?,
            ln2: norm("ln2", Site::Ln2Scale)?,
            pattern: one(cache, at(Site::Pattern))?,
            w_v: w_v.flatten(0, 1)?,
            w_o: w_o.t()?.contiguous()?,
            b_v: weight("b_V")?.flatten_all()?,
            b_o: weight("b_O")?,
            parallel: model.cfg().parallel_attn_mlp,
        })
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
