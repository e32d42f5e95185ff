//! The MLP: `act(x W_in + b_in) W_out + b_out`.

use candle_core::Tensor;

use super::block::BlockContext;
use super::ops::{activate, linear};
use super::weights::MlpWeights;
use crate::error::Result;
use crate::hooks::{HookRun, Site};

/// What the MLP adds to the residual stream.
///
/// # Shapes
/// `normed [batch, pos, d_model]`, result the same.
pub(super) fn mlp(normed: &Tensor, weights: &MlpWeights, ctx: &BlockContext, run: &mut HookRun) -> Result<Tensor> {
    let pre = run.at_site(ctx.layer, Site::MlpPre, linear(normed, &weights.w_in, Some(&weights.b_in))?)?;
    let post = run.at_site(ctx.layer, Site::MlpPost, activate(&pre, ctx.cfg.act_fn)?)?;
    run.at_site(ctx.layer, Site::MlpOut, linear(&post, &weights.w_out, Some(&weights.b_out))?)
}
