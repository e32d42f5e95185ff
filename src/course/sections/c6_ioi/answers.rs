//! Answers of this section that are wrong.

use candle_core::{D, Device, IndexOp, Tensor};

use super::{answer_directions, attention_to, head_logit_diffs, logit_diff, stack_to_logit_diff};
use crate::cache::ActivationCache;
use crate::course::answer::Answer;
use crate::course::choice::{Choice, choose};
use crate::error::Result;
use crate::model::HookedTransformer;
use crate::model::ops::softmax;
use crate::tensors::{TensorWords, einsum};

fn difference_at(logits: &Tensor, pos: usize, right: &[u32], wrong: &[u32]) -> Result<Tensor> {
    logit_diff(&logits.narrow(1, pos, 1)?, right, wrong)
}

pub(super) fn first_position(logits: &Tensor, right: &[u32], wrong: &[u32]) -> Result<Tensor> {
    difference_at(logits, 0, right, wrong)
}

pub(super) fn one_before_last(logits: &Tensor, right: &[u32], wrong: &[u32]) -> Result<Tensor> {
    difference_at(logits, logits.dim(1)? - 2, right, wrong)
}

pub(super) fn other_way_round(logits: &Tensor, right: &[u32], wrong: &[u32]) -> Result<Tensor> {
    logit_diff(logits, wrong, right)
}

pub(super) fn averaged(logits: &Tensor, right: &[u32], wrong: &[u32]) -> Result<Tensor> {
    Ok(logit_diff(logits, right, wrong)?.mean_all()?)
}

pub(super) fn probabilities(logits: &Tensor, right: &[u32], wrong: &[u32]) -> Result<Tensor> {
    logit_diff(&softmax(logits)?, right, wrong)
}

pub(super) fn first_prompt_s_answers(logits: &Tensor, right: &[u32], wrong: &[u32]) -> Result<Tensor> {
    logit_diff(logits, &vec![right[0]; right.len()], &vec![wrong[0]; wrong.len()])
}

pub(super) fn embedding_rows(model: &HookedTransformer, right: &[u32], wrong: &[u32]) -> Result<Tensor> {
    let w_e = model.W_E();
    let rows = |ids: &[u32]| -> Result<Tensor> { Ok(w_e.index_select(&Tensor::new(ids, w_e.device())?, 0)?) };
    Ok((rows(right)? - rows(wrong)?)?)
}

pub(super) fn directions_exchanged(model: &HookedTransformer, right: &[u32], wrong: &[u32]) -> Result<Tensor> {
    answer_directions(model, wrong, right)
}

pub(super) fn right_alone(model: &HookedTransformer, right: &[u32], _wrong: &[u32]) -> Result<Tensor> {
    let w_u = model.W_U();
    Ok(w_u.index_select(&Tensor::new(right, w_u.device())?, 1)?.t()?)
}

/// Each part along each prompt's direction, divided by a scale.
fn along(stack: &Tensor, scale: &Tensor, directions: &Tensor) -> Result<Tensor> {
    einsum("component batch d_model, batch d_model -> component batch", &[&stack.broadcast_div(scale)?, directions])
}

fn scale_at(cache: &ActivationCache, pos: isize) -> Result<Tensor> {
    let scale = cache.get("ln_final.hook_scale")?;
    let pos = if pos < 0 { scale.dim(1)? - 1 } else { pos as usize };
    Ok(scale.i((.., pos))?)
}

pub(super) fn without_norm(stack: &Tensor, _cache: &ActivationCache, directions: &Tensor) -> Result<Tensor> {
    Ok(along(stack, &Tensor::ones(1, stack.dtype(), stack.device())?, directions)?.mean(1)?)
}

pub(super) fn own_norm(stack: &Tensor, _cache: &ActivationCache, directions: &Tensor) -> Result<Tensor> {
    let scale = (stack.sqr()?.mean_keepdim(D::Minus1)? + 1e-5)?.sqrt()?;
    Ok(along(stack, &scale, directions)?.mean(1)?)
}

pub(super) fn first_scale(stack: &Tensor, cache: &ActivationCache, directions: &Tensor) -> Result<Tensor> {
    Ok(along(stack, &scale_at(cache, 0)?, directions)?.mean(1)?)
}

pub(super) fn multiplied(stack: &Tensor, cache: &ActivationCache, directions: &Tensor) -> Result<Tensor> {
    Ok(along(stack, &scale_at(cache, -1)?.recip()?, directions)?.mean(1)?)
}

pub(super) fn summed(stack: &Tensor, cache: &ActivationCache, directions: &Tensor) -> Result<Tensor> {
    Ok(along(stack, &scale_at(cache, -1)?, directions)?.sum(1)?)
}

pub(super) fn divided_twice(stack: &Tensor, cache: &ActivationCache, directions: &Tensor) -> Result<Tensor> {
    Ok((stack_to_logit_diff(stack, cache, directions)? / stack.dim(1)? as f64)?)
}

pub(super) fn largest(stack: &Tensor, cache: &ActivationCache, directions: &Tensor) -> Result<Tensor> {
    Ok(along(stack, &scale_at(cache, -1)?, directions)?.max(1)?)
}

/// These points of every layer at the last position, between others.
fn streams(cache: &ActivationCache, first: Vec<Tensor>, points: &[&str], last: Vec<Tensor>) -> Result<Tensor> {
    let mut parts = first;
    for layer in 0..cache.dims().n_layers {
        for &point in points {
            parts.push(cache.get((point, layer))?);
        }
    }
    parts.extend(last);
    let parts = Tensor::stack(&parts, 0)?;
    Ok(parts.i((.., .., parts.dim(2)? - 1))?)
}

fn end(cache: &ActivationCache) -> Result<Vec<Tensor>> {
    Ok(vec![cache.get(("resid_post", -1))?])
}

pub(super) fn parts_alone(cache: &ActivationCache, directions: &Tensor) -> Result<Tensor> {
    let parts = streams(cache, vec![cache.get(("resid_pre", 0))?], &["attn_out", "mlp_out"], vec![])?;
    stack_to_logit_diff(&parts, cache, directions)
}

pub(super) fn own_norms(cache: &ActivationCache, directions: &Tensor) -> Result<Tensor> {
    own_norm(&streams(cache, vec![], &["resid_pre", "resid_mid"], end(cache)?)?, cache, directions)
}

pub(super) fn without_end(cache: &ActivationCache, directions: &Tensor) -> Result<Tensor> {
    stack_to_logit_diff(&streams(cache, vec![], &["resid_pre", "resid_mid"], vec![])?, cache, directions)
}

pub(super) fn without_middles(cache: &ActivationCache, directions: &Tensor) -> Result<Tensor> {
    stack_to_logit_diff(&streams(cache, vec![], &["resid_pre"], end(cache)?)?, cache, directions)
}

pub(super) fn without_beginning(cache: &ActivationCache, directions: &Tensor) -> Result<Tensor> {
    stack_to_logit_diff(&streams(cache, vec![], &["resid_mid", "resid_post"], vec![])?, cache, directions)
}

/// What heads write if `mixed` is what their output matrices read.
fn heads(
    model: &HookedTransformer,
    cache: &ActivationCache,
    directions: &Tensor,
    mixed: impl Fn(usize) -> Result<Tensor>,
    w_o: impl Fn(usize) -> usize,
) -> Result<Tensor> {
    let one = |layer: usize| {
        let of = [&mixed(layer)?, &model.W_O()?.i(w_o(layer))?];
        let written = einsum("batch head d_head, head d_head d_model -> head batch d_model", &of)?;
        stack_to_logit_diff(&written, cache, directions)
    };
    Ok(Tensor::stack(&(0..cache.dims().n_layers).map(one).collect::<Result<Vec<_>>>()?, 0)?)
}

fn at(cache: &ActivationCache, point: &str, layer: usize, pos: isize) -> Result<Tensor> {
    let x = cache.get((point, layer))?;
    let pos = if pos < 0 { x.dim(1)? - 1 } else { pos as usize };
    Ok(x.i((.., pos))?)
}

pub(super) fn values_of_the_last(
    model: &HookedTransformer,
    cache: &ActivationCache,
    directions: &Tensor,
) -> Result<Tensor> {
    heads(model, cache, directions, |layer| at(cache, "v", layer, -1), |layer| layer)
}

pub(super) fn heads_at_the_first(
    model: &HookedTransformer,
    cache: &ActivationCache,
    directions: &Tensor,
) -> Result<Tensor> {
    heads(model, cache, directions, |layer| at(cache, "z", layer, 0), |layer| layer)
}

pub(super) fn one_output_matrix(
    model: &HookedTransformer,
    cache: &ActivationCache,
    directions: &Tensor,
) -> Result<Tensor> {
    heads(model, cache, directions, |layer| at(cache, "z", layer, -1), |_| 0)
}

pub(super) fn with_biases(model: &HookedTransformer, cache: &ActivationCache, directions: &Tensor) -> Result<Tensor> {
    let (batch, d_model) = directions.dims2()?;
    let biases = model.b_O()?;
    let biases = biases.unsqueeze(1)?.broadcast_as((biases.dim(0)?, batch, d_model))?;
    let biases = stack_to_logit_diff(&biases, cache, directions)?.unsqueeze(1)?;
    Ok(head_logit_diffs(model, cache, directions)?.broadcast_add(&biases)?)
}

fn ranked(scores: &Tensor, k: usize, row: usize) -> Result<Vec<(usize, usize)>> {
    let places = scores.flatten_all()?.top_k(k)?.1.to_vec1::<u32>()?;
    Ok(places.iter().map(|&place| (place as usize / row, place as usize % row)).collect())
}

pub(super) fn by_value(scores: &Tensor, k: usize) -> Result<Vec<(usize, usize)>> {
    ranked(scores, k, scores.dim(1)?)
}

pub(super) fn divided_by_layers(scores: &Tensor, k: usize) -> Result<Vec<(usize, usize)>> {
    ranked(&scores.abs()?, k, scores.dim(0)?)
}

pub(super) fn head_first(scores: &Tensor, k: usize) -> Result<Vec<(usize, usize)>> {
    Ok(super::top_heads(scores, k)?.into_iter().map(|(layer, head)| (head, layer)).collect())
}

pub(super) fn ascending(scores: &Tensor, k: usize) -> Result<Vec<(usize, usize)>> {
    Ok(super::top_heads(scores, k)?.into_iter().rev().collect())
}

pub(super) fn smallest(scores: &Tensor, k: usize) -> Result<Vec<(usize, usize)>> {
    ranked(&scores.abs()?.neg()?, k, scores.dim(1)?)
}

/// The mean over prompts of one number of each.
fn looks(
    cache: &ActivationCache,
    heads: &[(usize, usize)],
    of: impl Fn(&Tensor, usize, usize) -> Result<f32>,
) -> Result<Tensor> {
    let prompts = cache.tokens().batch();
    let mean = |&(layer, head): &(usize, usize)| -> Result<f32> {
        let pattern = cache.get(("pattern", layer))?;
        let of_prompts = (0..prompts).map(|prompt| of(&pattern, prompt, head)).collect::<Result<Vec<f32>>>()?;
        Ok(of_prompts.iter().sum::<f32>() / prompts as f32)
    };
    Ok(Tensor::new(heads.iter().map(mean).collect::<Result<Vec<f32>>>()?, &Device::Cpu)?)
}

fn entry(pattern: &Tensor, prompt: usize, head: usize, query: usize, key: usize) -> Result<f32> {
    pattern.i((prompt, head, query, key))?.item()
}

pub(super) fn from_the_name(cache: &ActivationCache, heads: &[(usize, usize)], positions: &[usize]) -> Result<Tensor> {
    looks(cache, heads, |pattern, prompt, head| entry(pattern, prompt, head, positions[prompt], pattern.dim(3)? - 1))
}

pub(super) fn every_prompt_s_positions(
    cache: &ActivationCache,
    heads: &[(usize, usize)],
    positions: &[usize],
) -> Result<Tensor> {
    looks(cache, heads, |pattern, prompt, head| {
        let last = pattern.dim(2)? - 1;
        let all = positions.iter().map(|&pos| entry(pattern, prompt, head, last, pos)).collect::<Result<Vec<f32>>>()?;
        Ok(all.iter().sum::<f32>() / positions.len() as f32)
    })
}

pub(super) fn first_prompt_s_position(
    cache: &ActivationCache,
    heads: &[(usize, usize)],
    positions: &[usize],
) -> Result<Tensor> {
    attention_to(cache, heads, &vec![positions[0]; positions.len()])
}

pub(super) fn not_averaged(cache: &ActivationCache, heads: &[(usize, usize)], positions: &[usize]) -> Result<Tensor> {
    Ok((attention_to(cache, heads, positions)? * positions.len() as f64)?)
}

pub(super) fn layer_for_head(cache: &ActivationCache, heads: &[(usize, usize)], positions: &[usize]) -> Result<Tensor> {
    let exchanged: Vec<(usize, usize)> = heads.iter().map(|&(layer, head)| (head, layer)).collect();
    attention_to(cache, &exchanged, positions)
}

/// The three positions of names, and what they may be called.
const NAMES: [Choice; 3] =
    [("IO", &["io", "indirect"]), ("S1", &["s1", "first"]), ("S2", &["s2", "second", "repeated"])];

/// What is to be said of a name that these heads do not attend to.
pub(super) fn is_the_name(_: &(), answer: &Answer) -> Result<Option<String>> {
    let advice = "Compare attention_to for io, s1 and s2.";
    Ok(choose(&answer.text, &NAMES, &super::which_name()?, advice))
}

pub(super) fn indirect_object() -> Result<String> {
    Ok("IO".to_string())
}

pub(super) fn first_subject() -> Result<String> {
    Ok("S1".to_string())
}
