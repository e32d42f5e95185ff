//! Wrong answers to the exercises on generating text.

use candle_core::Tensor;

use super::{beam_search, generate_cached, generate_greedy};
use crate::error::Result;
use crate::hooks::HookPlan;
use crate::model::ops::softmax;
use crate::model::{HookedTransformer, RunOptions};
use crate::tensors::{TensorWords, einsum};
use crate::tokens::Tokens;

/// Greedy text from what `window` makes of the text so far and of `n_ctx`; the guess is read at position `pos`.
fn greedy(
    model: &HookedTransformer,
    tokens: &Tokens,
    new: usize,
    window: impl Fn(&[u32], usize) -> Vec<u32>,
    pos: isize,
) -> Result<Vec<u32>> {
    let mut ids = tokens.row(0);
    for _ in 0..new {
        let logits = model.forward(vec![window(&ids, model.cfg().n_ctx)])?;
        ids.push(logits.at(&[0, pos])?.argmax(0)?.to_scalar()?);
    }
    Ok(ids)
}

fn last(ids: &[u32], count: usize) -> Vec<u32> {
    ids[ids.len().saturating_sub(count)..].to_vec()
}

pub(super) fn first_window(model: &HookedTransformer, tokens: &Tokens, new: usize) -> Result<Vec<u32>> {
    greedy(model, tokens, new, |ids, n_ctx| ids[..ids.len().min(n_ctx)].to_vec(), -1)
}

pub(super) fn bos_each_time(model: &HookedTransformer, tokens: &Tokens, new: usize) -> Result<Vec<u32>> {
    greedy(model, tokens, new, |ids, n_ctx| last(&[&ids[..1], ids].concat(), n_ctx), -1)
}

pub(super) fn last_token_only(model: &HookedTransformer, tokens: &Tokens, new: usize) -> Result<Vec<u32>> {
    greedy(model, tokens, new, |ids, _| last(ids, 1), -1)
}

pub(super) fn first_guess(model: &HookedTransformer, tokens: &Tokens, new: usize) -> Result<Vec<u32>> {
    greedy(model, tokens, new, last, 0)
}

pub(super) fn prompt_alone(model: &HookedTransformer, tokens: &Tokens, new: usize) -> Result<Vec<u32>> {
    let pos = tokens.pos();
    greedy(model, tokens, new, |ids, _| ids[..pos].to_vec(), -1)
}

pub(super) fn without_prompt(model: &HookedTransformer, tokens: &Tokens, new: usize) -> Result<Vec<u32>> {
    Ok(generate_greedy(model, tokens, new)?.split_off(tokens.pos()))
}

/// Beams, from what a score becomes with one more probability, and which of the longer texts stay.
fn beams_by(
    (model, tokens, new): (&HookedTransformer, &Tokens, usize),
    start: f32,
    score: impl Fn(f32, f32) -> f32,
    stay: impl Fn(Vec<(f32, Vec<u32>)>) -> Vec<(f32, Vec<u32>)>,
) -> Result<Vec<(f32, Vec<u32>)>> {
    let mut best = vec![(start, tokens.row(0))];
    for _ in 0..new {
        let mut longer = Vec::new();
        for (before, ids) in &best {
            let probs = softmax(&model.forward(vec![ids.clone()])?.at(&[0, -1])?)?.to_vec1::<f32>()?;
            let children = probs.iter().enumerate();
            longer.extend(children.map(|(id, p)| (score(*before, *p), [&ids[..], &[id as u32]].concat())));
        }
        longer.sort_by(|a, b| b.0.total_cmp(&a.0));
        best = stay(longer);
    }
    Ok(best)
}

fn first(mut texts: Vec<(f32, Vec<u32>)>, beams: usize) -> Vec<(f32, Vec<u32>)> {
    texts.truncate(beams);
    texts
}

type Beams = Result<Vec<(f32, Vec<u32>)>>;

pub(super) fn product(model: &HookedTransformer, tokens: &Tokens, beams: usize, new: usize) -> Beams {
    beams_by((model, tokens, new), 1.0, |before, p| before * p, |texts| first(texts, beams))
}

pub(super) fn last_score(model: &HookedTransformer, tokens: &Tokens, beams: usize, new: usize) -> Beams {
    beams_by((model, tokens, new), 0.0, |_, p| p.ln(), |texts| first(texts, beams))
}

pub(super) fn one_parent(model: &HookedTransformer, tokens: &Tokens, beams: usize, new: usize) -> Beams {
    let (mut best, mut ids) = (Vec::new(), tokens.row(0));
    let mut score = 0.0;
    for _ in 0..new {
        let logits = model.forward(vec![ids.clone()])?.at(&[0, -1])?;
        let (values, next) = candle_nn::ops::log_softmax(&logits, 0)?.top_k(beams)?;
        let children = values.to_vec1::<f32>()?.into_iter().zip(next.to_vec1::<u32>()?);
        best = children.map(|(value, id)| (score + value, [&ids[..], &[id]].concat())).collect();
        (score, ids) = best[0].clone();
    }
    Ok(best)
}

/// Each beginning keeps its own best child only, after the first step.
pub(super) fn one_child_each(model: &HookedTransformer, tokens: &Tokens, beams: usize, new: usize) -> Beams {
    let mut best = beam_search(model, tokens, beams, 1)?;
    for (score, ids) in &mut best {
        let tokens = Tokens::from_rows(vec![ids.clone()])?;
        let rest = beam_search(model, &tokens, 1, new - 1)?;
        (*score, *ids) = (*score + rest[0].0, rest[0].1.clone());
    }
    best.sort_by(|a, b| b.0.total_cmp(&a.0));
    Ok(best)
}

pub(super) fn by_length(model: &HookedTransformer, tokens: &Tokens, beams: usize, new: usize) -> Beams {
    let best = beam_search(model, tokens, beams, new)?;
    Ok(best.into_iter().map(|(score, ids)| (score / new as f32, ids)).collect())
}

pub(super) fn best_last(model: &HookedTransformer, tokens: &Tokens, beams: usize, new: usize) -> Beams {
    let mut best = beam_search(model, tokens, beams, new)?;
    best.reverse();
    Ok(best)
}

/// Attention of new queries to all keys where `sees(query, key)` of the whole text's positions.
fn attention(
    q: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    scale: f64,
    past: usize,
    sees: fn(usize, usize, usize) -> bool,
) -> Result<Tensor> {
    let (new, all) = (q.dim(1)?, keys.dim(1)?);
    let scores = (einsum("b q h d, b k h d -> b h q k", &[q, keys])? / scale)?;
    let masked = (0..new * all).map(|at| u8::from(!sees(at / all, at % all, past))).collect::<Vec<_>>();
    let masked = Tensor::from_vec(masked, (new, all), q.device())?;
    let pattern = softmax(&scores.masked_fill(&masked, f32::NEG_INFINITY)?)?;
    einsum("b h q k, b k h d -> b q h d", &[&pattern, values])
}

fn root(q: &Tensor) -> Result<f64> {
    Ok((q.dim(3)? as f64).sqrt())
}

fn joined(
    q: &Tensor,
    [past_k, k]: [&Tensor; 2],
    [past_v, v]: [&Tensor; 2],
    scale: f64,
    sees: fn(usize, usize, usize) -> bool,
) -> Result<Tensor> {
    let (keys, values) = (Tensor::cat(&[past_k, k], 1)?, Tensor::cat(&[past_v, v], 1)?);
    attention(q, &keys, &values, scale, past_k.dim(1)?, sees)
}

pub(super) fn mask_from_the_start(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    past_k: &Tensor,
    past_v: &Tensor,
) -> Result<Tensor> {
    joined(q, [past_k, k], [past_v, v], root(q)?, |query, key, _| key <= query)
}

pub(super) fn no_mask(q: &Tensor, k: &Tensor, v: &Tensor, past_k: &Tensor, past_v: &Tensor) -> Result<Tensor> {
    joined(q, [past_k, k], [past_v, v], root(q)?, |_, _, _| true)
}

pub(super) fn past_masked(q: &Tensor, k: &Tensor, v: &Tensor, past_k: &Tensor, past_v: &Tensor) -> Result<Tensor> {
    joined(q, [past_k, k], [past_v, v], root(q)?, |query, key, past| key > past + query)
}

pub(super) fn not_scaled(q: &Tensor, k: &Tensor, v: &Tensor, past_k: &Tensor, past_v: &Tensor) -> Result<Tensor> {
    joined(q, [past_k, k], [past_v, v], 1.0, |query, key, past| key <= past + query)
}

pub(super) fn past_behind(q: &Tensor, k: &Tensor, v: &Tensor, past_k: &Tensor, past_v: &Tensor) -> Result<Tensor> {
    let (keys, values) = (Tensor::cat(&[k, past_k], 1)?, Tensor::cat(&[v, past_v], 1)?);
    attention(q, &keys, &values, root(q)?, past_k.dim(1)?, |query, key, past| key <= past + query)
}

pub(super) fn without_past(q: &Tensor, k: &Tensor, v: &Tensor, _: &Tensor, _: &Tensor) -> Result<Tensor> {
    attention(q, k, v, root(q)?, 0, |query, key, _| key <= query)
}

pub(super) fn past_alone(q: &Tensor, _: &Tensor, _: &Tensor, past_k: &Tensor, past_v: &Tensor) -> Result<Tensor> {
    attention(q, past_k, past_v, root(q)?, 0, |_, _, _| true)
}

pub(super) fn nothing_kept(model: &HookedTransformer, tokens: &Tokens, new: usize) -> Result<(Vec<u32>, usize)> {
    let computed = (0..new).map(|step| tokens.pos() + step).sum();
    Ok((generate_greedy(model, tokens, new)?, computed))
}

/// Text generated from a cache, where `feed` says which of the ids so far are run next.
fn continued(
    model: &HookedTransformer,
    tokens: &Tokens,
    new: usize,
    feed: impl Fn(&[u32]) -> Vec<u32>,
) -> Result<(Vec<u32>, usize)> {
    let (mut ids, mut computed) = (tokens.row(0), 0);
    let mut options = RunOptions { keep_kv_cache: true, ..Default::default() };
    let mut rest = ids.clone();
    for _ in 0..new {
        computed += rest.len();
        let run = model.run(vec![rest], HookPlan::new(), &options)?;
        ids.push(run.logits()?.at(&[0, -1])?.argmax(0)?.to_scalar()?);
        rest = feed(&ids);
        options.past_kv_cache = Some(run.kv_cache()?);
    }
    Ok((ids, computed))
}

/// Each step runs the whole text again behind what is cached of it.
pub(super) fn twice(model: &HookedTransformer, tokens: &Tokens, new: usize) -> Result<(Vec<u32>, usize)> {
    continued(model, tokens, new, <[u32]>::to_vec)
}

pub(super) fn last_twice(model: &HookedTransformer, tokens: &Tokens, new: usize) -> Result<(Vec<u32>, usize)> {
    continued(model, tokens, new, |ids| last(ids, 2))
}

pub(super) fn one_more_run(model: &HookedTransformer, tokens: &Tokens, new: usize) -> Result<(Vec<u32>, usize)> {
    let (ids, computed) = generate_cached(model, tokens, new)?;
    Ok((ids, computed + 1))
}

/// Every step continues the prompt's own cache, so that what was generated in between is not seen.
pub(super) fn cache_of_the_prompt(model: &HookedTransformer, tokens: &Tokens, new: usize) -> Result<(Vec<u32>, usize)> {
    let (mut ids, mut computed) = (tokens.row(0), 0);
    let mut options = RunOptions { keep_kv_cache: true, ..Default::default() };
    let mut rest = ids.clone();
    for _ in 0..new {
        computed += rest.len();
        let run = model.run(vec![rest], HookPlan::new(), &options)?;
        let id: u32 = run.logits()?.at(&[0, -1])?.argmax(0)?.to_scalar()?;
        ids.push(id);
        rest = vec![id];
        if options.past_kv_cache.is_none() {
            options.past_kv_cache = Some(run.kv_cache()?);
        }
    }
    Ok((ids, computed))
}
