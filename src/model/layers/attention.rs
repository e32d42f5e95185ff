//! Multi-head attention with every hook point of it.
//!
//! `pattern = softmax(mask(q k^T / scale))`, `z = pattern v`, `out = sum_h z_h W_O_h + b_O`
//! (Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits").

use candle_core::Tensor;

use super::block::{BlockContext, norm_after};
use super::kv_cache::LayerKv;
use super::mixing::mixed;
use super::norm::{NormPoints, NormRule, divided, norm};
use crate::error::Result;
use crate::hooks::{HookPoint, HookRun, Site};
use crate::model::config::{NormalizationType, QkNormType};
use crate::model::matrix::Matrix;
use crate::model::ops::{product, root_mean_square};
use crate::model::suffix::Suffix;
use crate::model::transformer::HookedTransformer;
use crate::model::weights::{AttentionWeights, BlockWeights, NormWeights};
use crate::wide::{spread, sum};

const SPLIT_INPUTS: [Site; 4] = [Site::AttnIn, Site::QInput, Site::KInput, Site::VInput];

/// What attention adds to the residual stream, `[batch, pos, d_model]`, from the stream that enters the block. With a
/// `past`, queries attend to its keys too, and the new keys and values join it.
pub(in crate::model) fn attention(
    resid_pre: &Tensor,
    weights: &BlockWeights,
    ctx: &BlockContext,
    run: &mut HookRun,
    past: Option<&mut LayerKv>,
) -> Result<Tensor> {
    let layer = ctx.layer;
    let (q, k, v) = queries_keys_values(resid_pre, weights, ctx, run)?;
    let q = run.at_site(layer, Site::Q, q)?;
    let k = run.at_site(layer, Site::K, k)?;
    let v = run.at_site(layer, Site::V, v)?;
    let z = mixed([q, k, v], weights, ctx, run, past)?;
    let out = project(&z, weights, ctx, run)?;
    let out = norm_after(out, weights.ln1_post.as_ref(), ctx, run, (Site::Ln1PostScale, Site::Ln1PostNormalized))?;
    run.at_site(layer, Site::AttnOut, out)
}

/// `q`, `k` and `v`, each `[batch, pos, n_heads, d_head]`.
fn queries_keys_values(
    resid_pre: &Tensor,
    weights: &BlockWeights,
    ctx: &BlockContext,
    run: &mut HookRun,
) -> Result<(Tensor, Tensor, Tensor)> {
    let attn = &weights.attn;
    if run.goes_through_any(ctx.layer, &SPLIT_INPUTS) {
        return split_inputs(resid_pre, weights, ctx, run);
    }
    // Captured only: every head's input is the residual stream itself.
    for site in SPLIT_INPUTS {
        if run.wants(ctx.layer, site) {
            run.at_site(ctx.layer, site, ctx.for_heads_of(site, resid_pre)?)?;
        }
    }
    let normed = norm(resid_pre, weights.ln1.as_ref(), ctx.norm_before(), Some((run, ctx.ln1_points())))?;
    let placed = ctx.placed(&normed)?;
    let heads = |x: &Tensor, w: &Matrix, b: &Tensor| ctx.by_heads(&w.apply(x, Some(b))?);
    Ok((
        heads(&placed, &attn.w_q, &attn.b_q)?,
        heads(&placed, &attn.w_k, &attn.b_k)?,
        heads(&normed, &attn.w_v, &attn.b_v)?,
    ))
}

/// As [`queries_keys_values`], when the plan changes or watches a head's own input: each head then has a stream of its
/// own.
fn split_inputs(
    resid_pre: &Tensor,
    weights: &BlockWeights,
    ctx: &BlockContext,
    run: &mut HookRun,
) -> Result<(Tensor, Tensor, Tensor)> {
    let attn = &weights.attn;
    // Under grouped-query attention, keys and values have no separate input for each head.
    let shared = match ctx.cfg.n_key_value_heads() == ctx.cfg.n_heads {
        true => Some(run.at_site(ctx.layer, Site::AttnIn, ctx.for_heads_of(Site::AttnIn, resid_pre)?)?),
        false => None,
    };
    let mut project = |site, w: &Tensor, b: &Tensor| -> Result<Tensor> {
        let input = match &shared {
            Some(shared) => shared.clone(),
            None => ctx.for_heads_of(site, resid_pre)?,
        };
        let input = run.at_site(ctx.layer, site, input)?;
        let normed = norm(&input, weights.ln1.as_ref(), ctx.norm_before(), None)?;
        let normed = if site == Site::VInput { normed } else { ctx.placed(&normed)? };
        let (batch, pos, n_heads, d_model) = normed.dims4()?;
        // [head, batch * pos, d_model] times [head, d_model, d_head]
        let rows = normed.permute((2, 0, 1, 3))?.reshape((n_heads, batch * pos, d_model))?.contiguous()?;
        let w = w.reshape((d_model, n_heads, ()))?.transpose(0, 1)?.contiguous()?;
        let y = product(&rows, &w)?.reshape((n_heads, batch, pos, ()))?.permute((1, 2, 0, 3))?.contiguous()?;
        Ok(y.broadcast_add(&b.reshape((n_heads, ()))?)?)
    };
    let q = project(Site::QInput, &attn.w_q, &attn.b_q)?;
    let k = project(Site::KInput, &attn.w_k, &attn.b_k)?;
    Ok((q, k, project(Site::VInput, &attn.w_v, &attn.b_v)?))
}

/// Keys, rotated to their positions, and values of a stream, `[batch, pos, n_key_value_heads, d_head]` each.
pub(in crate::model) fn keys_and_values(
    resid_pre: &Tensor,
    weights: &BlockWeights,
    ctx: &BlockContext,
) -> Result<(Tensor, Tensor)> {
    let attn = &weights.attn;
    let normed = norm(resid_pre, weights.ln1.as_ref(), ctx.norm_before(), None)?;
    let k = ctx.by_heads(&attn.w_k.apply(&ctx.placed(&normed)?, Some(&attn.b_k))?)?;
    Ok((as_compared(Site::K, &k, weights, ctx)?, ctx.by_heads(&attn.w_v.apply(&normed, Some(&attn.b_v))?)?))
}

/// Queries, keys or values of a stream, as they are at their hook point.
///
/// # Shapes
/// `[batch, pos, d_model]` gives `[batch, pos, head, d_head]`.
pub(in crate::model) fn read_by(
    site: Site,
    resid_pre: &Tensor,
    weights: &BlockWeights,
    ctx: &BlockContext,
) -> Result<Tensor> {
    let attn = &weights.attn;
    let normed = norm(resid_pre, weights.ln1.as_ref(), ctx.norm_before(), None)?;
    let (normed, w, b) = match site {
        Site::Q => (ctx.placed(&normed)?, &attn.w_q, &attn.b_q),
        Site::K => (ctx.placed(&normed)?, &attn.w_k, &attn.b_k),
        _ => (normed, &attn.w_v, &attn.b_v),
    };
    ctx.by_heads(&w.apply(&normed, Some(b))?)
}

/// Queries or keys as they are compared, from those at their hook point: after their norm and their rotation.
///
/// # Shapes
/// `[batch, pos, head, d_head]`, result the same.
pub(in crate::model) fn as_compared(
    site: Site,
    x: &Tensor,
    weights: &BlockWeights,
    ctx: &BlockContext,
) -> Result<Tensor> {
    let run = &mut HookRun::default();
    let normed = match (&weights.attn.qk_norm, site) {
        (Some((of_q, _)), Site::Q) => ctx.norm_of_heads(x, of_q, run, ctx.qk_norm_points(Site::Q))?,
        (Some((_, of_k)), _) => ctx.norm_of_heads(x, of_k, run, ctx.qk_norm_points(Site::K))?,
        (None, _) => x.clone(),
    };
    match ctx.rotary {
        Some(rotary) => Ok(rotary.turn(&normed)?),
        None => Ok(normed),
    }
}

/// `z` through `W_O`: summed over heads at once, or head by head where the plan changes or watches `hook_result`.
pub(in crate::model) fn project(
    z: &Tensor,
    weights: &BlockWeights,
    ctx: &BlockContext,
    run: &mut HookRun,
) -> Result<Tensor> {
    let attn = &weights.attn;
    let (batch, pos, n_heads, d_head) = z.dims4()?;
    if run.wants(ctx.layer, Site::Result) {
        let result = run.at_site(ctx.layer, Site::Result, head_results(z, &attn.w_o)?)?;
        if run.goes_through_any(ctx.layer, &[Site::Result]) {
            return Ok(sum(&result, 2)?.broadcast_add(&attn.b_o)?);
        }
    }
    attn.w_o.apply(&z.reshape((batch, pos, n_heads * d_head))?, Some(&attn.b_o))
}

/// Each head's contribution to the residual stream, `z[h] W_O[h]`, without `b_O`.
///
/// # Shapes
/// `z [.., n_heads, d_head]`, `w_o [n_heads * d_head, d_model]` give `[.., n_heads, d_model]`.
fn head_results(z: &Tensor, w_o: &Tensor) -> Result<Tensor> {
    let results = results_by_head(z, w_o)?.transpose(0, 1)?.contiguous()?;
    let mut shape = z.dims().to_vec();
    let last = shape.len() - 1;
    shape[last] = results.dim(2)?;
    Ok(results.reshape(shape)?)
}

/// The same with heads first, as the product makes them: `[head, row, d_model]`.
fn results_by_head(z: &Tensor, w_o: &Tensor) -> Result<Tensor> {
    let shape = z.dims();
    let (n_heads, d_head) = (shape[shape.len() - 2], shape[shape.len() - 1]);
    let by_head = z.reshape(((), n_heads, d_head))?.transpose(0, 1)?.contiguous()?;
    product(&by_head, &w_o.reshape((n_heads, d_head, ()))?)
}

impl HookedTransformer {
    /// Each head's contribution to the residual stream, made from its z: `z[h] W_O[h]`, without `b_O`.
    ///
    /// # Shapes
    /// `z [.., n_heads, d_head]` gives `[.., n_heads, d_model]`.
    pub(crate) fn head_results(&self, layer: usize, z: &Tensor) -> Result<Tensor> {
        head_results(z, &self.weights.blocks[layer].attn.w_o)
    }

    /// As [`HookedTransformer::head_results`], with heads first.
    ///
    /// # Shapes
    /// `z [batch, pos, n_heads, d_head]` gives `[n_heads, batch * pos, d_model]`.
    pub(crate) fn results_by_head(&self, layer: usize, z: &Tensor) -> Result<Tensor> {
        results_by_head(z, &self.weights.blocks[layer].attn.w_o)
    }

    /// The masked attention scores of a layer from its queries and keys, as `attn.hook_q` and `attn.hook_k` have them.
    ///
    /// # Shapes
    /// `q [batch, pos, n_heads, d_head]`, `k [batch, pos, n_key_value_heads, d_head]` give `[batch, head, q_pos, k_pos]`.
    pub(crate) fn scores_of(&self, layer: usize, q: &Tensor, k: &Tensor, suffix: &Suffix) -> Result<Tensor> {
        let (ctx, attn) = (suffix.context(self, layer), &self.weights.blocks[layer].attn);
        let (q, k) = ctx.compared(q.clone(), k.clone(), attn, &mut HookRun::default())?;
        ctx.scores(&q, &k)
    }
}

impl BlockContext<'_> {
    /// `[batch, pos, n_heads * d_head]` as `[batch, pos, n_heads, d_head]`; likewise for keys and values.
    fn by_heads(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, pos, _) = x.dims3()?;
        Ok(x.reshape((batch, pos, (), self.cfg.d_head()))?)
    }

    /// Queries and keys as they are compared: after their norms and their rotation, where the model has them.
    pub(super) fn compared(
        &self,
        q: Tensor,
        k: Tensor,
        attn: &AttentionWeights,
        run: &mut HookRun,
    ) -> Result<(Tensor, Tensor)> {
        let (q, k) = self.norm_qk(q, k, attn, run)?;
        let Some(rotary) = self.rotary else { return Ok((q, k)) };
        let q = run.at_site(self.layer, Site::RotQ, rotary.turn(&q)?)?;
        Ok((q, run.at_site(self.layer, Site::RotK, rotary.turn(&k)?)?))
    }

    /// Queries and keys after their norms, where the model has them.
    fn norm_qk(&self, q: Tensor, k: Tensor, attn: &AttentionWeights, run: &mut HookRun) -> Result<(Tensor, Tensor)> {
        let Some((of_q, of_k)) = &attn.qk_norm else { return Ok((q, k)) };
        let q = self.norm_of_heads(&q, of_q, run, self.qk_norm_points(Site::Q))?;
        Ok((q, self.norm_of_heads(&k, of_k, run, self.qk_norm_points(Site::K))?))
    }

    /// The points of the norm of queries, or of keys.
    fn qk_norm_points(&self, of: Site) -> NormPoints {
        let (scale, normalized) = match of {
            Site::Q => (Site::QNormScale, Site::QNormNormalized),
            _ => (Site::KNormScale, Site::KNormNormalized),
        };
        let at = |site| HookPoint::Block(self.layer, site);
        NormPoints { scale: at(scale), normalized: at(normalized) }
    }

    /// The norm of queries or of keys, of each head by itself or of all of them.
    ///
    /// # Shapes
    /// `x [batch, pos, head, d_head]`, result the same.
    fn norm_of_heads(
        &self,
        x: &Tensor,
        weights: &NormWeights,
        run: &mut HookRun,
        points: NormPoints,
    ) -> Result<Tensor> {
        let kind = match self.cfg.qk_norm_type {
            QkNormType::RMS => NormalizationType::RMS,
            QkNormType::LN | QkNormType::LNPerHead => NormalizationType::LN,
            QkNormType::RMSAcrossHeads => {
                let (batch, pos, heads, _) = x.dims4()?;
                let one = root_mean_square(&x.flatten_from(2)?.contiguous()?, self.cfg.eps)?;
                let one = if self.frozen.scales { one.detach() } else { one };
                // Each head shows the number that all of them share.
                let scale = spread(&one.unsqueeze(2)?, &[batch, pos, heads, 1])?.contiguous()?;
                return divided((x, x.dtype()), scale, Some(weights), Some((run, points)));
            }
        };
        norm(x, Some(weights), NormRule { kind, ..self.norm_before() }, Some((run, points)))
    }

    /// What queries and keys are made of: with positions that enter only here, their vectors are added, to each head's
    /// own input too.
    fn placed(&self, normed: &Tensor) -> Result<Tensor> {
        match self.shortformer {
            Some(placed) if normed.rank() == 4 => Ok(normed.broadcast_add(&placed.unsqueeze(2)?)?),
            Some(placed) => Ok(normed.broadcast_add(placed)?),
            None => Ok(normed.clone()),
        }
    }

    /// The stream repeated for each head that has an input of its own at this site, `[batch, pos, head, d_model]`.
    fn for_heads_of(&self, site: Site, resid: &Tensor) -> Result<Tensor> {
        let (batch, pos, d_model) = resid.dims3()?;
        let heads = match site {
            Site::KInput | Site::VInput => self.cfg.n_key_value_heads(),
            _ => self.cfg.n_heads,
        };
        Ok(spread(&resid.unsqueeze(2)?, &[batch, pos, heads, d_model])?.contiguous()?)
    }

    fn ln1_points(&self) -> NormPoints {
        NormPoints {
            scale: HookPoint::Block(self.layer, Site::Ln1Scale),
            normalized: HookPoint::Block(self.layer, Site::Ln1Normalized),
        }
    }
}
