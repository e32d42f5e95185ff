//! Answers of this section that are wrong, or right in another way.

use candle_core::{Device, Tensor};

use super::{ablation_scores, logit_attribution, logit_attribution_ln, zero_head};
use crate::error::Result;
use crate::hooks::{Edit, HookPlan};
use crate::model::{HookedTransformer, log_probs_of};
use crate::tensors::{TensorWords, einsum};
use crate::tokens::Tokens;

pub(super) fn own_token(embed: &Tensor, l0: &Tensor, l1: &Tensor, w_u: &Tensor, ids: &[u32]) -> Result<Tensor> {
    // The token of each position in the place of the next one.
    let own = [&ids[..1], &ids[..ids.len() - 1]].concat();
    logit_attribution(embed, l0, l1, w_u, &own)
}

pub(super) fn every_position(embed: &Tensor, l0: &Tensor, l1: &Tensor, w_u: &Tensor, ids: &[u32]) -> Result<Tensor> {
    let parts = Tensor::cat(&[&embed.unsqueeze(1)?, l0, l1], 1)?;
    let directions = w_u.index_select(&Tensor::new(ids, w_u.device())?, 1)?;
    einsum("p c d, d p -> p c", &[&parts, &directions])
}

pub(super) fn stream_of_the_next(
    embed: &Tensor,
    l0: &Tensor,
    l1: &Tensor,
    w_u: &Tensor,
    ids: &[u32],
) -> Result<Tensor> {
    let later =
        |x: &Tensor| -> Result<Tensor> { Ok(Tensor::cat(&[x.narrow(0, 1, ids.len() - 1)?, x.narrow(0, 0, 1)?], 0)?) };
    logit_attribution(&later(embed)?, &later(l0)?, &later(l1)?, w_u, ids)
}

pub(super) fn without_the_direct_path(
    embed: &Tensor,
    l0: &Tensor,
    l1: &Tensor,
    w_u: &Tensor,
    ids: &[u32],
) -> Result<Tensor> {
    let whole = logit_attribution(embed, l0, l1, w_u, ids)?;
    Ok(whole.narrow(1, 1, whole.dim(1)? - 1)?)
}

pub(super) fn layers_exchanged(embed: &Tensor, l0: &Tensor, l1: &Tensor, w_u: &Tensor, ids: &[u32]) -> Result<Tensor> {
    logit_attribution(embed, l1, l0, w_u, ids)
}

pub(super) fn heads_summed(embed: &Tensor, l0: &Tensor, l1: &Tensor, w_u: &Tensor, ids: &[u32]) -> Result<Tensor> {
    logit_attribution(embed, &l0.sum_keepdim(1)?, &l1.sum_keepdim(1)?, w_u, ids)
}

pub(super) fn no_scale(parts: &Tensor, scale: &Tensor, w_u: &Tensor, b_u: &Tensor, ids: &[u32]) -> Result<Tensor> {
    logit_attribution_ln(parts, &scale.ones_like()?, w_u, b_u, ids)
}

pub(super) fn own_scale(parts: &Tensor, scale: &Tensor, w_u: &Tensor, b_u: &Tensor, ids: &[u32]) -> Result<Tensor> {
    let own = parts.sqr()?.mean_keepdim(2)?.sqrt()?;
    logit_attribution_ln(&parts.broadcast_div(&own)?, &scale.ones_like()?, w_u, b_u, ids)
}

pub(super) fn multiplied(parts: &Tensor, scale: &Tensor, w_u: &Tensor, b_u: &Tensor, ids: &[u32]) -> Result<Tensor> {
    logit_attribution_ln(parts, &scale.recip()?, w_u, b_u, ids)
}

pub(super) fn no_bias(parts: &Tensor, scale: &Tensor, w_u: &Tensor, b_u: &Tensor, ids: &[u32]) -> Result<Tensor> {
    let whole = logit_attribution_ln(parts, scale, w_u, b_u, ids)?;
    Ok(whole.narrow(1, 0, whole.dim(1)? - 1)?)
}

pub(super) fn bias_of_the_own_token(
    parts: &Tensor,
    scale: &Tensor,
    w_u: &Tensor,
    b_u: &Tensor,
    ids: &[u32],
) -> Result<Tensor> {
    let known = ids.len() - 1;
    let whole = logit_attribution_ln(parts, scale, w_u, b_u, ids)?;
    let bias = b_u.index_select(&Tensor::new(&ids[..known], w_u.device())?, 0)?.unsqueeze(1)?;
    Ok(Tensor::cat(&[&whole.narrow(1, 0, whole.dim(1)? - 1)?, &bias], 1)?)
}

pub(super) fn all_heads(z: &Tensor, _head: usize) -> Result<Tensor> {
    Ok(z.zeros_like()?)
}

pub(super) fn the_others(z: &Tensor, head: usize) -> Result<Tensor> {
    Ok((z - zero_head(z, head)?)?)
}

/// `z` with 0 at one place of an axis.
fn without(z: &Tensor, axis: usize, place: usize) -> Result<Tensor> {
    let swapped = z.transpose(axis, 2)?.contiguous()?;
    Ok(zero_head(&swapped, place)?.transpose(axis, 2)?.contiguous()?)
}

pub(super) fn a_position(z: &Tensor, head: usize) -> Result<Tensor> {
    without(z, 1, head)
}

pub(super) fn a_dimension(z: &Tensor, head: usize) -> Result<Tensor> {
    without(z, 3, head)
}

/// The mean loss at some entries, with every head taken away in turn.
fn losses(
    model: &HookedTransformer,
    tokens: &Tokens,
    (from, count): (usize, usize),
    plan: impl Fn(usize, usize) -> HookPlan,
) -> Result<Tensor> {
    let loss = |plan: HookPlan| -> Result<f32> {
        let (logits, _) = model.run_with_hooks(tokens.clone(), plan)?;
        Ok(-log_probs_of(&logits, tokens)?.narrow(1, from, count)?.mean_all()?.item()?)
    };
    let clean = loss(HookPlan::new())?;
    let dims = model.dims();
    let heads = (0..dims.n_layers).flat_map(|layer| (0..dims.n_heads).map(move |head| (layer, head)));
    let scores = heads.map(|(layer, head)| Ok(loss(plan(layer, head))? - clean)).collect::<Result<Vec<f32>>>()?;
    Ok(Tensor::from_vec(scores, (dims.n_layers, dims.n_heads), &Device::Cpu)?)
}

fn without_head(layer: usize, head: usize) -> HookPlan {
    HookPlan::new().edit(("z", layer), Edit::zero().head(head))
}

pub(super) fn over_the_whole_row(model: &HookedTransformer, tokens: &Tokens, seq_len: usize) -> Result<Tensor> {
    losses(model, tokens, (0, 2 * seq_len), without_head)
}

pub(super) fn with_the_turn(model: &HookedTransformer, tokens: &Tokens, seq_len: usize) -> Result<Tensor> {
    losses(model, tokens, (seq_len, seq_len), without_head)
}

pub(super) fn clean_minus_ablated(model: &HookedTransformer, tokens: &Tokens, seq_len: usize) -> Result<Tensor> {
    Ok(ablation_scores(model, tokens, seq_len)?.neg()?)
}

pub(super) fn in_every_layer(model: &HookedTransformer, tokens: &Tokens, seq_len: usize) -> Result<Tensor> {
    let plan = |_, head| HookPlan::new().edit("z", Edit::zero().head(head));
    losses(model, tokens, (seq_len + 1, seq_len - 1), plan)
}

/// Without the heads of these numbers, counted through all layers.
fn without_heads(model: &HookedTransformer, heads: std::ops::RangeInclusive<usize>) -> HookPlan {
    let n_heads = model.dims().n_heads;
    heads.fold(HookPlan::new(), |plan, at| plan.edit(("z", at / n_heads), Edit::zero().head(at % n_heads)))
}

pub(super) fn plan_grows(model: &HookedTransformer, tokens: &Tokens, seq_len: usize) -> Result<Tensor> {
    let n_heads = model.dims().n_heads;
    losses(model, tokens, (seq_len + 1, seq_len - 1), |layer, head| without_heads(model, 0..=layer * n_heads + head))
}

pub(super) fn plan_grows_by_layer(model: &HookedTransformer, tokens: &Tokens, seq_len: usize) -> Result<Tensor> {
    let first = |layer| layer * model.dims().n_heads;
    losses(model, tokens, (seq_len + 1, seq_len - 1), |layer, head| {
        without_heads(model, first(layer)..=first(layer) + head)
    })
}

pub(super) fn no_baseline(model: &HookedTransformer, tokens: &Tokens, seq_len: usize) -> Result<Tensor> {
    let (logits, _) = model.run_with_hooks(tokens.clone(), HookPlan::new())?;
    let clean = log_probs_of(&logits, tokens)?.narrow(1, seq_len + 1, seq_len - 1)?.neg()?.mean_all()?.item()?;
    Ok((ablation_scores(model, tokens, seq_len)? + f64::from(clean))?)
}

/// `z` with a head replaced by its mean over these axes.
fn mean_over(z: &Tensor, head: usize, axes: &[usize]) -> Result<Tensor> {
    let mean = axes.iter().try_fold(z.clone(), |mean, axis| mean.mean_keepdim(*axis))?.broadcast_as(z.shape())?;
    Ok((zero_head(z, head)? + (&mean - zero_head(&mean.contiguous()?, head)?)?)?)
}

pub(super) fn over_positions(z: &Tensor, head: usize) -> Result<Tensor> {
    mean_over(z, head, &[1])
}

pub(super) fn over_heads(z: &Tensor, head: usize) -> Result<Tensor> {
    mean_over(z, head, &[2])
}

pub(super) fn one_number(z: &Tensor, head: usize) -> Result<Tensor> {
    mean_over(z, head, &[3])
}

pub(super) fn all_heads_mean(z: &Tensor, _head: usize) -> Result<Tensor> {
    Ok(z.mean_keepdim(0)?.broadcast_as(z.shape())?.contiguous()?)
}

pub(super) fn over_prompts_and_positions(z: &Tensor, head: usize) -> Result<Tensor> {
    mean_over(z, head, &[0, 1])
}

pub(super) fn a_head_of_layer_1() -> Result<String> {
    Ok("L1H0".to_string())
}

pub(super) fn counted_from_one() -> Result<String> {
    Ok("L1H1".to_string())
}

pub(super) fn the_second_best() -> Result<String> {
    Ok("L0H3".to_string())
}
