//! Multi-head attention with every hook point of it.
//!
//! `pattern = softmax(mask(q k^T / scale))`, `z = pattern v`, `out = sum_h z_h W_O_h + b_O`
//! (Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits").

use candle_core::{DType, Tensor};

use super::block::{BlockContext, norm_after};
use super::kv_cache::LayerKv;
use super::norm::{NormPoints, NormRule, divided, norm};
use crate::error::Result;
use crate::hooks::{HookPoint, HookRun, Site};
use crate::model::config::{NormalizationType, QkNormType};
use crate::model::ops::{linear, product, root_mean_square, soft_cap, softmax};
use crate::model::suffix::Suffix;
use crate::model::transformer::HookedTransformer;
use crate::model::weights::{AttentionWeights, BlockWeights, NormWeights};
use crate::wide::{matmul, spread, sum, widened};

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

/// Values mixed by the pattern, `[batch, pos, n_heads, d_head]`, of queries, keys and values as they are at their hook points.
pub(in crate::model) fn mixed(
    [q, k, v]: [Tensor; 3],
    weights: &BlockWeights,
    ctx: &BlockContext,
    run: &mut HookRun,
    past: Option<&mut LayerKv>,
) -> Result<Tensor> {
    let layer = ctx.layer;
    let (q, k) = ctx.compared(q, k, &weights.attn, run)?;
    let (k, v) = match past {
        Some(past) => past.extend(k, v)?,
        None => (k, v),
    };

    let scores = run.at_site(layer, Site::AttnScores, ctx.scores(&q, &k)?)?;
    let pattern = softmax(&scores)?;
    let pattern = if ctx.frozen.patterns { pattern.detach() } else { pattern };
    let pattern = run.at_site(layer, Site::Pattern, pattern)?;
    let z = ctx.with_shared(&pattern, &heads_first(&v)?)?.transpose(1, 2)?.contiguous()?;
    run.at_site(layer, Site::Z, z)
}

/// `[batch, pos, head, d_head]` as `[batch, head, pos, d_head]`.
fn heads_first(x: &Tensor) -> Result<Tensor> {
    Ok(x.transpose(1, 2)?.contiguous()?)
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
    let heads = |x: &Tensor, w: &Tensor, b: &Tensor| ctx.by_heads(&linear(x, w, Some(b))?);
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
    let k = ctx.by_heads(&linear(&ctx.placed(&normed)?, &attn.w_k, Some(&attn.b_k))?)?;
    let (_, k) = ctx.norm_qk(k.clone(), k, attn, &mut HookRun::default())?;
    let k = match ctx.rotary {
        Some(rotary) => rotary.turn(&k)?,
        None => k,
    };
    Ok((k, ctx.by_heads(&linear(&normed, &attn.w_v, Some(&attn.b_v))?)?))
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
    linear(&z.reshape((batch, pos, n_heads * d_head))?, &attn.w_o, Some(&attn.b_o))
}

/// Each head's contribution to the residual stream, `z[h] W_O[h]`, without `b_O`.
///
/// # Shapes
/// `z [.., n_heads, d_head]`, `w_o [n_heads * d_head, d_model]` give `[.., n_heads, d_model]`.
fn head_results(z: &Tensor, w_o: &Tensor) -> Result<Tensor> {
    let mut shape = z.dims().to_vec();
    let (n_heads, d_head) = (shape[shape.len() - 2], shape[shape.len() - 1]);
    let by_head = z.reshape(((), n_heads, d_head))?.transpose(0, 1)?.contiguous()?;
    let results = product(&by_head, &w_o.reshape((n_heads, d_head, ()))?)?.transpose(0, 1)?.contiguous()?;
    let last = shape.len() - 1;
    shape[last] = results.dim(2)?;
    Ok(results.reshape(shape)?)
}

impl HookedTransformer {
    /// Each head's contribution to the residual stream, made from its z: `z[h] W_O[h]`, without `b_O`.
    ///
    /// # Shapes
    /// `z [.., n_heads, d_head]` gives `[.., n_heads, d_model]`.
    pub(crate) fn head_results(&self, layer: usize, z: &Tensor) -> Result<Tensor> {
        head_results(z, &self.weights.blocks[layer].attn.w_o)
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

    /// Each head's matrix times that of its keys or values. Heads that share one lie next to each other, so that their
    /// rows make one matrix, and nothing is copied for each of them.
    ///
    /// # Shapes
    /// `x [batch, head, row, n]`, `shared [batch, n_key_value_heads, n, m]` give `[batch, head, row, m]`.
    fn with_shared(&self, x: &Tensor, shared: &Tensor) -> Result<Tensor> {
        let (batch, heads, rows, n) = x.dims4()?;
        let groups = shared.dim(1)?;
        let of_groups = x.reshape((batch, groups, heads / groups * rows, n))?.contiguous()?;
        Ok(matmul(&of_groups, shared)?.reshape((batch, heads, rows, ()))?)
    }

    /// Queries and keys as they are compared: after their norms and their rotation, where the model has them.
    fn compared(&self, q: Tensor, k: Tensor, attn: &AttentionWeights, run: &mut HookRun) -> Result<(Tensor, Tensor)> {
        let (q, k) = self.norm_qk(q, k, attn, run)?;
        let Some(rotary) = self.rotary else { return Ok((q, k)) };
        let q = run.at_site(self.layer, Site::RotQ, rotary.turn(&q)?)?;
        Ok((q, run.at_site(self.layer, Site::RotK, rotary.turn(&k)?)?))
    }

    /// Scaled and masked scores.
    ///
    /// # Shapes
    /// `q [batch, pos, n_heads, d_head]`, `k [batch, pos, n_key_value_heads, d_head]` give `[batch, head, q_pos, k_pos]`.
    fn scores(&self, q: &Tensor, k: &Tensor) -> Result<Tensor> {
        // Scaling q instead of the scores touches d_head numbers a query, not pos.
        let q = (heads_first(q)? / self.cfg.attn_scale(self.layer))?;
        let scores = self.with_shared(&q, &heads_first(k)?.transpose(2, 3)?.contiguous()?)?;
        self.mask(&self.lowered(soft_cap(scores, self.cfg.attn_scores_soft_cap, self.frozen.ratios)?)?)
    }

    /// Queries and keys after their norms, where the model has them.
    fn norm_qk(&self, q: Tensor, k: Tensor, attn: &AttentionWeights, run: &mut HookRun) -> Result<(Tensor, Tensor)> {
        let Some((of_q, of_k)) = &attn.qk_norm else { return Ok((q, k)) };
        let at = |site| HookPoint::Block(self.layer, site);
        let points = NormPoints { scale: at(Site::QNormScale), normalized: at(Site::QNormNormalized) };
        let q = self.norm_of_heads(&q, of_q, run, points)?;
        let points = NormPoints { scale: at(Site::KNormScale), normalized: at(Site::KNormNormalized) };
        Ok((q, self.norm_of_heads(&k, of_k, run, points)?))
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

    /// Scores less what the distance between query and key takes off them, in a model with ALiBi.
    fn lowered(&self, scores: Tensor) -> Result<Tensor> {
        match self.alibi {
            Some(alibi) => {
                let wide = widened(&scores)?;
                Ok(wide.broadcast_add(&alibi.to_dtype(wide.dtype())?)?.to_dtype(scores.dtype())?)
            }
            None => Ok(scores),
        }
    }

    /// Scores with `-inf` at masked keys.
    fn mask(&self, scores: &Tensor) -> Result<Tensor> {
        let Some(masked) = self.masked else { return Ok(scores.clone()) };
        let never = Tensor::new(f32::NEG_INFINITY, scores.device())?.to_dtype(scores.dtype())?;
        let masked = masked.to_dtype(DType::U8)?.broadcast_as(scores.shape())?;
        Ok(masked.where_cond(&never.broadcast_as(scores.shape())?, scores)?)
    }

    fn ln1_points(&self) -> NormPoints {
        NormPoints {
            scale: HookPoint::Block(self.layer, Site::Ln1Scale),
            normalized: HookPoint::Block(self.layer, Site::Ln1Normalized),
        }
    }
}
