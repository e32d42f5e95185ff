//! One transformer block: attention, then the MLP, each adding to the residual stream.

use candle_core::Tensor;

use super::attention::attention;
use super::config::HookedTransformerConfig;
use super::mlp::mlp;
use super::norm::{NormPoints, layer_norm};
use super::weights::BlockWeights;
use crate::error::Result;
use crate::hooks::{HookPoint, HookRun, Site};

/// What a block needs to know besides its weights.
pub(super) struct BlockContext<'a> {
    pub layer: usize,
    pub cfg: &'a HookedTransformerConfig,
    pub has_norm: bool,
    /// 1 where a query may not look at a key, broadcastable to `[batch, head, q_pos, k_pos]`.
    pub hidden: Option<&'a Tensor>,
}

/// The residual stream after the block.
///
/// # Shapes
/// `resid [batch, pos, d_model]`, result the same.
pub(super) fn block(resid: Tensor, weights: &BlockWeights, ctx: &BlockContext, run: &mut HookRun) -> Result<Tensor> {
    let resid_pre = run.at_site(ctx.layer, Site::ResidPre, resid)?;
    let attn_out = attention(&resid_pre, weights, ctx, run)?;
    let mut resid = (resid_pre + attn_out)?;
    if let Some(mlp_weights) = &weights.mlp {
        resid = run.at_site(ctx.layer, Site::ResidMid, resid)?;
        let mlp_in = run.at_site(ctx.layer, Site::MlpIn, resid.clone())?;
        let normed = match ctx.has_norm {
            true => {
                let points = NormPoints {
                    scale: HookPoint::Block(ctx.layer, Site::Ln2Scale),
                    normalized: HookPoint::Block(ctx.layer, Site::Ln2Normalized),
                };
                layer_norm(&mlp_in, weights.ln2.as_ref(), ctx.cfg.eps, Some((run, points)))?
            }
            false => mlp_in,
        };
        resid = (resid + mlp(&normed, mlp_weights, ctx, run)?)?;
    }
    run.at_site(ctx.layer, Site::ResidPost, resid)
}
