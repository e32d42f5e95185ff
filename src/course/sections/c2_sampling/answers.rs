//! Wrong answers to the exercises on losses, training and distributions.

use candle_core::{Device, Tensor};

use super::{frequency_penalty, get_log_probs, next_token_loss, sample, top_k_probs, with_temperature};
use crate::course::answer::Answer;
use crate::error::Result;
use crate::model::ops::softmax;
use crate::model::{HookedTransformer, HookedTransformerConfig};
use crate::tensors::TensorWords;
use crate::tokens::Tokens;
use crate::train::{AdamW, AdamWOptions};

/// What the guesses at positions from `guess` on say of the tokens from `token` on.
fn paired(logits: &Tensor, tokens: &Tokens, guess: usize, token: usize) -> Result<Tensor> {
    let count = tokens.pos() - guess.max(token);
    let log_probs = candle_nn::ops::log_softmax(logits, 2)?.narrow(1, guess, count)?.contiguous()?;
    let ids = tokens.to_tensor(logits.device())?.narrow(1, token, count)?.unsqueeze(2)?.contiguous()?;
    Ok(log_probs.gather(&ids, 2)?.squeeze(2)?)
}

pub(super) fn of_itself(logits: &Tensor, tokens: &Tokens) -> Result<Tensor> {
    Ok(paired(logits, tokens, 0, 0)?.narrow(1, 0, tokens.pos() - 1)?)
}

pub(super) fn of_itself_everywhere(logits: &Tensor, tokens: &Tokens) -> Result<Tensor> {
    paired(logits, tokens, 0, 0)
}

pub(super) fn of_the_token_before(logits: &Tensor, tokens: &Tokens) -> Result<Tensor> {
    paired(logits, tokens, 1, 0)
}

pub(super) fn probabilities(logits: &Tensor, tokens: &Tokens) -> Result<Tensor> {
    Ok(get_log_probs(logits, tokens)?.exp()?)
}

pub(super) fn raw_logits(logits: &Tensor, tokens: &Tokens) -> Result<Tensor> {
    let count = tokens.pos() - 1;
    let next = tokens.to_tensor(logits.device())?.narrow(1, 1, count)?.unsqueeze(2)?.contiguous()?;
    Ok(logits.narrow(1, 0, count)?.contiguous()?.gather(&next, 2)?.squeeze(2)?)
}

pub(super) fn over_positions(logits: &Tensor, tokens: &Tokens) -> Result<Tensor> {
    let log_probs = candle_nn::ops::log_softmax(logits, 1)?;
    raw_logits(&log_probs, tokens)
}

pub(super) fn not_negated(logits: &Tensor, tokens: &Tokens) -> Result<Tensor> {
    Ok(next_token_loss(logits, tokens)?.neg()?)
}

pub(super) fn summed(logits: &Tensor, tokens: &Tokens) -> Result<Tensor> {
    Ok(get_log_probs(logits, tokens)?.sum_all()?.neg()?)
}

pub(super) fn per_prompt(logits: &Tensor, tokens: &Tokens) -> Result<Tensor> {
    Ok((summed(logits, tokens)? / tokens.batch() as f64)?)
}

pub(super) fn by_all_tokens(logits: &Tensor, tokens: &Tokens) -> Result<Tensor> {
    Ok((per_prompt(logits, tokens)? / tokens.pos() as f64)?)
}

pub(super) fn log_of_the_mean(logits: &Tensor, tokens: &Tokens) -> Result<Tensor> {
    Ok(probabilities(logits, tokens)?.mean_all()?.log()?.neg()?)
}

pub(super) fn in_bits(logits: &Tensor, tokens: &Tokens) -> Result<Tensor> {
    Ok((next_token_loss(logits, tokens)? / std::f64::consts::LN_2)?)
}

/// What a training loop does with the gradients of a batch.
#[derive(Clone, Copy, PartialEq)]
enum Loop {
    NoStep,
    Sum,
    NewOptimiser,
    FirstGradients,
    LossAfterwards,
}

fn trained(how: Loop, (cfg, batches, rate, seed): (&HookedTransformerConfig, &[Tokens], f64, u64)) -> Result<Vec<f32>> {
    let (model, vars) = HookedTransformer::trainable(cfg.clone(), seed, &Device::Cpu)?;
    let mut adam = AdamW::new(AdamWOptions::default());
    let (mut losses, mut first) = (Vec::new(), None);
    for tokens in batches {
        let loss = |tokens: &Tokens| match how {
            Loop::Sum => summed(&model.forward(tokens)?, tokens),
            _ => next_token_loss(&model.forward(tokens)?, tokens),
        };
        let before = loss(tokens)?;
        let gradients = before.backward()?;
        match how {
            Loop::NoStep => {}
            Loop::NewOptimiser => AdamW::new(AdamWOptions::default()).step_vars(rate, &vars, &gradients)?,
            Loop::FirstGradients => adam.step_vars(rate, &vars, first.get_or_insert(gradients))?,
            Loop::Sum | Loop::LossAfterwards => adam.step_vars(rate, &vars, &gradients)?,
        }
        losses.push(if how == Loop::LossAfterwards { loss(tokens)? } else { before }.item()?);
    }
    Ok(losses)
}

pub(super) fn no_step(cfg: &HookedTransformerConfig, batches: &[Tokens], rate: f64, seed: u64) -> Result<Vec<f32>> {
    trained(Loop::NoStep, (cfg, batches, rate, seed))
}

pub(super) fn of_sums(cfg: &HookedTransformerConfig, batches: &[Tokens], rate: f64, seed: u64) -> Result<Vec<f32>> {
    trained(Loop::Sum, (cfg, batches, rate, seed))
}

pub(super) fn forgetful(cfg: &HookedTransformerConfig, batches: &[Tokens], rate: f64, seed: u64) -> Result<Vec<f32>> {
    trained(Loop::NewOptimiser, (cfg, batches, rate, seed))
}

pub(super) fn old_slopes(cfg: &HookedTransformerConfig, batches: &[Tokens], rate: f64, seed: u64) -> Result<Vec<f32>> {
    trained(Loop::FirstGradients, (cfg, batches, rate, seed))
}

pub(super) fn afterwards(cfg: &HookedTransformerConfig, batches: &[Tokens], rate: f64, seed: u64) -> Result<Vec<f32>> {
    trained(Loop::LossAfterwards, (cfg, batches, rate, seed))
}

/// Training is right when it begins as it must, and learns: rounding grows with the steps, so that later losses are only bounded.
pub(super) fn has_learnt(
    (cfg, batches, rate, seed): &(HookedTransformerConfig, Vec<Tokens>, f64, u64),
    answer: &Answer,
) -> Result<Option<String>> {
    /// Rounding after three steps.
    const BEGINNING_TOLERANCE: f32 = 2e-3;
    let losses = answer.parts[0].flatten_all()?.to_vec1::<f32>()?;
    if losses.len() != batches.len() {
        return Ok(Some(format!("it has {} losses, and there are {} batches.", losses.len(), batches.len())));
    }
    let begins = super::train(cfg, &batches[..4], *rate, *seed)?;
    for (step, (got, wanted)) in losses.iter().zip(begins).enumerate() {
        // NaN is not close.
        if !matches!((got - wanted).abs(), distance if distance <= BEGINNING_TOLERANCE) {
            return Ok(Some(format!("the loss of step {step} is {got:.4}, and {wanted:.4} was expected.")));
        }
    }
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    Ok((losses.len() > 20 && !matches!(last / first, share if share < 0.5))
        .then(|| format!("the loss begins at {first:.3} and ends at {last:.3}: it should fall below half.")))
}

pub(super) fn multiplied(logits: &Tensor, temperature: f64) -> Result<Tensor> {
    with_temperature(logits, 1.0 / temperature)
}

pub(super) fn probabilities_divided(logits: &Tensor, temperature: f64) -> Result<Tensor> {
    with_temperature(&softmax(logits)?, temperature)
}

pub(super) fn softmax_as_well(logits: &Tensor, temperature: f64) -> Result<Tensor> {
    softmax(&with_temperature(logits, temperature)?)
}

pub(super) fn once_each(logits: &Tensor, ids: &[u32], penalty: f64) -> Result<Tensor> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    frequency_penalty(logits, &ids, penalty)
}

pub(super) fn rewarded(logits: &Tensor, ids: &[u32], penalty: f64) -> Result<Tensor> {
    frequency_penalty(logits, ids, -penalty)
}

pub(super) fn of_the_last_token(logits: &Tensor, ids: &[u32], penalty: f64) -> Result<Tensor> {
    frequency_penalty(logits, &ids[ids.len() - 1..], penalty)
}

pub(super) fn of_every_token(logits: &Tensor, _: &[u32], penalty: f64) -> Result<Tensor> {
    Ok((logits - penalty)?)
}

fn without_rest(logits: &Tensor, probs: &Tensor) -> Result<Tensor> {
    let dropped = probs.eq(0f32)?;
    softmax(logits)?.masked_fill(&dropped, 0.0)
}

pub(super) fn k_not_renormalised(logits: &Tensor, k: usize) -> Result<Tensor> {
    without_rest(logits, &top_k_probs(logits, k)?)
}

pub(super) fn k_in_order(logits: &Tensor, k: usize) -> Result<Tensor> {
    softmax(&logits.top_k(k)?.0)
}

pub(super) fn zeros_for_logits(logits: &Tensor, k: usize) -> Result<Tensor> {
    let dropped = top_k_probs(logits, k)?.eq(0f32)?;
    softmax(&logits.masked_fill(&dropped, 0.0)?)
}

pub(super) fn one_more(logits: &Tensor, k: usize) -> Result<Tensor> {
    top_k_probs(logits, k + 1)
}

pub(super) fn one_less(logits: &Tensor, k: usize) -> Result<Tensor> {
    top_k_probs(logits, k - 1)
}

pub(super) fn the_others(logits: &Tensor, k: usize) -> Result<Tensor> {
    let kept = top_k_probs(logits, k)?.gt(0f32)?;
    softmax(&logits.masked_fill(&kept, f32::NEG_INFINITY)?)
}

pub(super) fn the_smallest(logits: &Tensor, k: usize) -> Result<Tensor> {
    let dropped = top_k_probs(&logits.neg()?, k)?.eq(0f32)?;
    softmax(&logits.masked_fill(&dropped, f32::NEG_INFINITY)?)
}

/// The probabilities of the tokens for which `stays` holds, given the sum of the more probable ones and their own.
fn cut(logits: &Tensor, stays: impl Fn(f64, f64) -> bool) -> Result<Tensor> {
    let probs = softmax(logits)?.to_vec1::<f32>()?;
    let before = |own: f32| probs.iter().filter(|p| **p > own).map(|p| f64::from(*p)).sum::<f64>();
    let kept = probs.iter().map(|&own| if stays(before(own), f64::from(own)) { own } else { 0.0 });
    Ok(Tensor::new(kept.collect::<Vec<f32>>(), logits.device())?)
}

fn normalised(probs: &Tensor) -> Result<Tensor> {
    Ok(probs.broadcast_div(&probs.sum_all()?)?)
}

pub(super) fn crossing_dropped(logits: &Tensor, p: f64) -> Result<Tensor> {
    normalised(&cut(logits, |before, own| before + own < p)?)
}

pub(super) fn p_not_renormalised(logits: &Tensor, p: f64) -> Result<Tensor> {
    cut(logits, |before, _| before < p)
}

pub(super) fn p_in_order(logits: &Tensor, p: f64) -> Result<Tensor> {
    let probs = super::top_p_probs(logits, p)?;
    Ok(probs.top_k(probs.dim(0)?)?.0)
}

pub(super) fn at_least_p_each(logits: &Tensor, p: f64) -> Result<Tensor> {
    cut(logits, |_, own| own >= p)
}

pub(super) fn at_least_p_each_divided(logits: &Tensor, p: f64) -> Result<Tensor> {
    normalised(&at_least_p_each(logits, p)?)
}

pub(super) fn in_the_order_of_ids(logits: &Tensor, p: f64) -> Result<Tensor> {
    let (probs, mut sum) = (softmax(logits)?.to_vec1::<f32>()?, 0.0);
    let kept = probs.iter().map(|&own| {
        let stays = sum < p;
        sum += f64::from(own);
        if stays { own } else { 0.0 }
    });
    normalised(&Tensor::new(kept.collect::<Vec<f32>>(), logits.device())?)
}

pub(super) fn always_the_best(probs: &Tensor, _: f64) -> Result<u32> {
    Ok(probs.argmax(0)?.to_scalar()?)
}

pub(super) fn all_alike(probs: &Tensor, uniform: f64) -> Result<u32> {
    Ok((uniform * probs.dim(0)? as f64) as u32)
}

pub(super) fn edge_included(probs: &Tensor, uniform: f64) -> Result<u32> {
    let (probs, mut sum) = (probs.to_vec1::<f32>()?, 0.0);
    let reaches = |own: &f32| {
        sum += f64::from(*own);
        sum >= uniform
    };
    Ok(probs.iter().position(reaches).unwrap_or(probs.len() - 1) as u32)
}

pub(super) fn one_further(probs: &Tensor, uniform: f64) -> Result<u32> {
    Ok((sample(probs, uniform)? + 1).min(probs.dim(0)? as u32 - 1))
}

pub(super) fn single_probabilities(probs: &Tensor, uniform: f64) -> Result<u32> {
    let probs = probs.to_vec1::<f32>()?;
    Ok(probs.iter().position(|own| uniform < f64::from(*own)).unwrap_or(probs.len() - 1) as u32)
}
