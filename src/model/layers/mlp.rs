//! The MLP: `act(x W_in + b_in) W_out + b_out`, or with a gate
//! `(act(x W_gate + b_gate) * (x W_in + b_pre_linear) + b_in) W_out + b_out` (Shazeer 2020, "GLU Variants Improve
//! Transformer"; `b_in` as TransformerLens has it, 0 in all known models, and the other two where models have them).

use candle_core::Tensor;

use super::block::BlockContext;
use super::norm::{NormPoints, NormRule, norm};
use crate::error::Result;
use crate::hooks::{HookPoint, HookRun, Site};
use crate::model::config::{ActFn, NormalizationType};
use crate::model::ops::{activate, activate_by_ratio, gated, halved_gradient};
use crate::model::weights::MlpWeights;

/// The MLP output.
///
/// # Shapes
/// `normed [batch, pos, d_model]`, result the same.
pub(in crate::model) fn mlp(
    normed: &Tensor,
    weights: &MlpWeights,
    ctx: &BlockContext,
    run: &mut HookRun,
) -> Result<Tensor> {
    let post = match &weights.w_gate {
        None => {
            let pre = run.at_site(ctx.layer, Site::MlpPre, weights.w_in.apply(normed, Some(&weights.b_in))?)?;
            let active = active(&pre, ctx)?;
            match ctx.cfg.act_fn {
                ActFn::SoluLn => norm_of_neurons(active, weights, ctx, run)?,
                _ => active,
            }
        }
        Some(w_gate) => {
            let (b_gate, b_linear) = weights.gate_biases.as_ref().map(|(gate, linear)| (gate, linear)).unzip();
            let pre = run.at_site(ctx.layer, Site::MlpPre, w_gate.apply(normed, b_gate)?)?;
            let linear = run.at_site(ctx.layer, Site::MlpPreLinear, weights.w_in.apply(normed, b_linear)?)?;
            let active = active(&pre, ctx)?;
            match ctx.frozen.gates {
                true => halved_gradient(&(active * linear)?)?.broadcast_add(&weights.b_in)?,
                false => gated(&active, &linear, &weights.b_in)?,
            }
        }
    };
    let post = run.at_site(ctx.layer, Site::MlpPost, post)?;
    write(&post, weights)
}

/// The activation function of neurons, with the gradient that the run's rules give it.
fn active(pre: &Tensor, ctx: &BlockContext) -> Result<Tensor> {
    match ctx.frozen.ratios {
        true => activate_by_ratio(pre, ctx.cfg.act_fn),
        false => activate(pre, ctx.cfg.act_fn),
    }
}

/// The MLP output, from the neurons' values after the activation function.
pub(in crate::model) fn write(post: &Tensor, weights: &MlpWeights) -> Result<Tensor> {
    weights.w_out.apply(post, Some(&weights.b_out))
}

/// The layer norm behind `solu_ln`; TransformerLens takes the mean out whatever the model's other norms do.
fn norm_of_neurons(active: Tensor, weights: &MlpWeights, ctx: &BlockContext, run: &mut HookRun) -> Result<Tensor> {
    let mid = run.at_site(ctx.layer, Site::MlpMid, active)?;
    let at = |site| HookPoint::Block(ctx.layer, site);
    let points = NormPoints { scale: at(Site::MlpLnScale), normalized: at(Site::MlpLnNormalized) };
    let rule = NormRule { kind: NormalizationType::LN, ..ctx.norm_before() };
    norm(&mid, weights.ln.as_ref(), rule, Some((run, points)))
}
