//! One transformer block: attention, then the MLP, each adding to the residual stream.

use candle_core::Tensor;

use super::attention::attention;
use super::kv_cache::LayerKv;
use super::mlp::mlp;
use super::norm::{NormPoints, NormRule, norm};
use super::rotary::Rotary;
use crate::error::Result;
use crate::hooks::{HookPoint, HookRun, Site};
use crate::model::config::HookedTransformerConfig;
use crate::model::frozen::FrozenParts;
use crate::model::ops::added;
use crate::model::weights::{BlockWeights, NormWeights};

/// What a block needs to know besides its weights.
pub(in crate::model) struct BlockContext<'a> {
    pub layer: usize,
    pub cfg: &'a HookedTransformerConfig,
    /// How queries and keys are rotated by position, if they do.
    pub rotary: Option<&'a Rotary>,
    /// What is added to attention scores for the distance between query and key, `[1, head, q_pos, k_pos]`, if anything.
    pub alibi: Option<&'a Tensor>,
    /// Position embeddings that enter queries and keys only, `[batch, pos, d_model]`.
    pub shortformer: Option<&'a Tensor>,
    /// 1 where a key is masked for a query, broadcastable to `[batch, head, q_pos, k_pos]`.
    pub masked: Option<&'a Tensor>,
    /// The parts that gradients do not pass through.
    pub frozen: FrozenParts,
}

impl BlockContext<'_> {
    /// Which norm attention and MLP read through: none where they read the residual stream as it is.
    pub(in crate::model) fn norm_before(&self) -> NormRule {
        self.cfg.norm_before(self.frozen.scales)
    }

    /// Which norm what they write goes through, where it does.
    fn norm_of_written(&self) -> NormRule {
        NormRule { kind: self.cfg.normalization_type, eps: self.cfg.eps, is_frozen: self.frozen.scales }
    }
}

/// The attention or MLP output after its own norm, where the model has one.
pub(in crate::model) fn norm_after(
    written: Tensor,
    weights: Option<&NormWeights>,
    ctx: &BlockContext,
    run: &mut HookRun,
    (scale, normalized): (Site, Site),
) -> Result<Tensor> {
    let Some(weights) = weights else { return Ok(written) };
    let at = |site| HookPoint::Block(ctx.layer, site);
    let points = NormPoints { scale: at(scale), normalized: at(normalized) };
    norm(&written, Some(weights), ctx.norm_of_written(), Some((run, points)))
}

/// The residual stream after the block.
///
/// # Shapes
/// `resid [batch, pos, d_model]`, result the same.
pub(in crate::model) fn block(
    resid: Tensor,
    weights: &BlockWeights,
    ctx: &BlockContext,
    run: &mut HookRun,
    past: Option<&mut LayerKv>,
) -> Result<Tensor> {
    let resid_pre = run.at_site(ctx.layer, Site::ResidPre, resid)?;
    let attn_out = attention(&resid_pre, weights, ctx, run, past)?;
    rest_of_block(resid_pre, attn_out, weights, ctx, run)
}

/// The residual stream after the block, from what entered it and what attention wrote.
pub(in crate::model) fn rest_of_block(
    resid_pre: Tensor,
    attn_out: Tensor,
    weights: &BlockWeights,
    ctx: &BlockContext,
    run: &mut HookRun,
) -> Result<Tensor> {
    let mut resid = added(&resid_pre, &attn_out)?;
    if let Some(mlp_weights) = &weights.mlp {
        if !ctx.cfg.parallel_attn_mlp {
            resid = run.at_site(ctx.layer, Site::ResidMid, resid)?;
        }
        let read = if ctx.cfg.parallel_attn_mlp { resid_pre } else { resid.clone() };
        let mlp_in = run.at_site(ctx.layer, Site::MlpIn, read)?;
        let points = NormPoints {
            scale: HookPoint::Block(ctx.layer, Site::Ln2Scale),
            normalized: HookPoint::Block(ctx.layer, Site::Ln2Normalized),
        };
        let normed = norm(&mlp_in, weights.ln2.as_ref(), ctx.norm_before(), Some((run, points)))?;
        let normed = run.at_site(ctx.layer, Site::MlpHookIn, normed)?;
        let written = mlp(&normed, mlp_weights, ctx, run)?;
        let written =
            norm_after(written, weights.ln2_post.as_ref(), ctx, run, (Site::Ln2PostScale, Site::Ln2PostNormalized))?;
        let written = if ctx.frozen.mlps { written.detach() } else { written };
        resid = added(&resid, &run.at_site(ctx.layer, Site::MlpOut, written)?)?;
    }
    run.at_site(ctx.layer, Site::ResidPost, resid)
}
