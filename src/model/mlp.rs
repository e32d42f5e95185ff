//! The MLP: `act(x W_in + b_in) W_out + b_out`, or with a gate `(act(x W_gate) * (x W_in) + b_in) W_out + b_out`
//! (Shazeer 2020, "GLU Variants Improve Transformer"; the bias as TransformerLens has it, 0 in all known models).

use candle_core::Tensor;

use super::block::BlockContext;
use super::ops::{activate, linear};
use super::weights::MlpWeights;
use crate::error::Result;
use crate::hooks::{HookRun, Site};

/// What the MLP writes.
///
/// # Shapes
/// `normed [batch, pos, d_model]`, result the same.
pub(super) fn mlp(normed: &Tensor, weights: &MlpWeights, ctx: &BlockContext, run: &mut HookRun) -> Result<Tensor> {
    let post = match &weights.w_gate {
        None => {
            let pre = run.at_site(ctx.layer, Site::MlpPre, linear(normed, &weights.w_in, Some(&weights.b_in))?)?;
            activate(&pre, ctx.cfg.act_fn)?
        }
        Some(w_gate) => {
            let pre = run.at_site(ctx.layer, Site::MlpPre, linear(normed, w_gate, None)?)?;
            let gated = run.at_site(ctx.layer, Site::MlpPreLinear, linear(normed, &weights.w_in, None)?)?;
            (activate(&pre, ctx.cfg.act_fn)? * gated)?.broadcast_add(&weights.b_in)?
        }
    };
    let post = run.at_site(ctx.layer, Site::MlpPost, post)?;
    linear(&post, &weights.w_out, Some(&weights.b_out))
}
