//! Answers of this section that are wrong, or right in another way.

use candle_core::{DType, Tensor};

use super::{attention_pattern, induction_scores, losses_by_half};
use crate::cache::ActivationCache;
use crate::error::Result;
use crate::hooks::HookPlan;
use crate::model::ops::softmax;
use crate::model::{HookedTransformer, log_probs_of};
use crate::random::Random;
use crate::tensors::{TensorWords, einsum};
use crate::tokens::Tokens;

/// What a stripe of each head's pattern is worth: the shared form of the mistakes below.
fn stripes(cache: &ActivationCache, of: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let layers = (0..cache.dims().n_layers).map(|layer| of(&cache.get(("pattern", layer))?));
    Ok(Tensor::stack(&layers.collect::<Result<Vec<_>>>()?, 0)?)
}

fn matches(logits: &Tensor, tokens: &Tokens, shift: isize) -> Result<usize> {
    let guesses = logits.argmax(2)?.to_vec2::<u32>()?;
    let mut count = 0;
    for (row, guesses) in guesses.iter().enumerate() {
        let ids = tokens.row(row);
        let pairs = (0..ids.len()).filter_map(|pos| Some((guesses[pos], ids.get(pos.checked_add_signed(shift)?)?)));
        count += pairs.filter(|(guess, id)| guess == *id).count();
    }
    Ok(count)
}

pub(super) fn counts_itself(logits: &Tensor, tokens: &Tokens) -> Result<usize> {
    matches(logits, tokens, 0)
}

pub(super) fn counts_the_token_before(logits: &Tensor, tokens: &Tokens) -> Result<usize> {
    matches(logits, tokens, -1)
}

fn pattern(q: &Tensor, k: &Tensor, scale: f64, past: impl Fn(usize, usize) -> bool) -> Result<Tensor> {
    let pos = q.dim(1)?;
    let scores = (einsum("b q h d, b k h d -> b h q k", &[q, k])? / scale)?;
    let future = (0..pos * pos).map(|at| u8::from(!past(at / pos, at % pos))).collect::<Vec<_>>();
    softmax(&scores.masked_fill(&Tensor::from_vec(future, (pos, pos), q.device())?, f32::NEG_INFINITY)?)
}

fn root(q: &Tensor) -> Result<f64> {
    Ok((q.dim(3)? as f64).sqrt())
}

pub(super) fn no_scale(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    pattern(q, k, 1.0, |q, k| k <= q)
}

pub(super) fn scale_without_root(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    pattern(q, k, q.dim(3)? as f64, |q, k| k <= q)
}

pub(super) fn no_mask(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    pattern(q, k, root(q)?, |_, _| true)
}

pub(super) fn diagonal_masked(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    pattern(q, k, root(q)?, |q, k| k < q)
}

/// As softmax is elsewhere: a row of which all is hidden is NaN.
pub(super) fn nothing_left(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    let masked = diagonal_masked(q, k)?;
    let first = (masked.narrow(2, 0, 1)?.zeros_like()? + f64::NAN)?;
    Ok(Tensor::cat(&[first, masked.narrow(2, 1, masked.dim(2)? - 1)?], 2)?)
}

pub(super) fn mask_multiplied(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    let scores = (einsum("b q h d, b k h d -> b h q k", &[q, k])? / root(q)?)?;
    let future = Tensor::tril2(q.dim(1)?, DType::U8, q.device())?.eq(0u8)?.to_dtype(DType::F32)?;
    softmax(&scores.broadcast_add(&(future * f64::NEG_INFINITY)?)?)
}

pub(super) fn upside_down(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    pattern(q, k, root(q)?, |q, k| k >= q)
}

pub(super) fn past_masked(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    pattern(q, k, root(q)?, |q, k| k > q)
}

pub(super) fn one_too_many(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    pattern(q, k, root(q)?, |q, k| k <= q + 1)
}

pub(super) fn over_queries(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    let scores = (einsum("b q h d, b k h d -> b h k q", &[q, k])? / root(q)?)?;
    let later = Tensor::tril2(q.dim(1)?, DType::U8, q.device())?.t()?.eq(0u8)?;
    Ok(softmax(&scores.masked_fill(&later, f32::NEG_INFINITY)?)?.transpose(2, 3)?)
}

pub(super) fn swapped(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    attention_pattern(k, q)
}

pub(super) fn probability_kept_zero(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    let whole = no_mask(q, k)?;
    Ok(whole.broadcast_mul(&Tensor::tril2(q.dim(1)?, DType::F32, q.device())?)?)
}

fn on_diagonal(cache: &ActivationCache, offset: isize) -> Result<Tensor> {
    stripes(cache, |pattern| Ok(pattern.diagonal(offset)?.mean((0, 2))?))
}

pub(super) fn the_next_token(cache: &ActivationCache) -> Result<Tensor> {
    on_diagonal(cache, 1)
}

pub(super) fn two_before(cache: &ActivationCache) -> Result<Tensor> {
    on_diagonal(cache, -2)
}

pub(super) fn all_queries_count(cache: &ActivationCache) -> Result<Tensor> {
    stripes(cache, |pattern| Ok((pattern.diagonal(-1)?.sum(2)?.mean(0)? / pattern.dim(2)? as f64)?))
}

pub(super) fn one_prompt_previous(cache: &ActivationCache) -> Result<Tensor> {
    stripes(cache, |pattern| Ok(pattern.get(0)?.diagonal(-1)?.mean(1)?))
}

pub(super) fn one_prompt_current(cache: &ActivationCache) -> Result<Tensor> {
    stripes(cache, |pattern| Ok(pattern.get(0)?.diagonal(0)?.mean(1)?))
}

pub(super) fn summed_current(cache: &ActivationCache) -> Result<Tensor> {
    stripes(cache, |pattern| Ok(pattern.diagonal(0)?.sum(2)?.mean(0)?))
}

pub(super) fn first_query(cache: &ActivationCache) -> Result<Tensor> {
    stripes(cache, |pattern| Ok(pattern.narrow(2, pattern.dim(2)? - 1, 1)?.squeeze(2)?.mean((0, 2))?))
}

pub(super) fn last_key(cache: &ActivationCache) -> Result<Tensor> {
    stripes(cache, |pattern| Ok(pattern.narrow(3, pattern.dim(3)? - 1, 1)?.squeeze(3)?.mean((0, 2))?))
}

pub(super) fn without_the_first_query(cache: &ActivationCache) -> Result<Tensor> {
    stripes(cache, |pattern| {
        let rest = pattern.narrow(2, 1, pattern.dim(2)? - 1)?;
        Ok(rest.narrow(3, 0, 1)?.squeeze(3)?.mean((0, 2))?)
    })
}

fn repeated(cache: &ActivationCache, seq_len: usize, back: usize) -> Result<Tensor> {
    stripes(cache, |pattern| {
        let stripe = pattern.diagonal(-(back as isize))?;
        let first = seq_len + 1 - back;
        Ok(stripe.narrow(2, first, seq_len)?.mean((0, 2))?)
    })
}

pub(super) fn the_same_token(cache: &ActivationCache, seq_len: usize) -> Result<Tensor> {
    repeated(cache, seq_len, seq_len)
}

pub(super) fn the_token_before_it(cache: &ActivationCache, seq_len: usize) -> Result<Tensor> {
    repeated(cache, seq_len, seq_len + 1)
}

pub(super) fn summed(cache: &ActivationCache, seq_len: usize) -> Result<Tensor> {
    Ok((induction_scores(cache, seq_len)? * seq_len as f64)?)
}

pub(super) fn one_prompt(cache: &ActivationCache, seq_len: usize) -> Result<Tensor> {
    stripes(cache, |pattern| Ok(pattern.get(0)?.diagonal(1 - seq_len as isize)?.narrow(1, 2, seq_len)?.mean(1)?))
}

pub(super) fn whole_stripe(cache: &ActivationCache, seq_len: usize) -> Result<Tensor> {
    on_diagonal(cache, 1 - seq_len as isize)
}

/// Rows of a BOS and two halves of the tokens that `drawn` gives.
fn rows(
    model: &HookedTransformer,
    seq_len: usize,
    batch: usize,
    mut drawn: impl FnMut(usize, u32) -> Vec<u32>,
) -> Result<(u32, Vec<[Vec<u32>; 2]>)> {
    let bos = model.tokenizer()?.bos_id().unwrap_or(0);
    let halves = (0..batch).map(|_| {
        let half = drawn(seq_len, bos);
        [half.clone(), half]
    });
    Ok((bos, halves.collect()))
}

/// Different random tokens, none of which is the BOS.
fn draw(model: &HookedTransformer, random: &mut Random, count: usize, bos: u32) -> Vec<u32> {
    let mut half = Vec::new();
    while half.len() < count {
        let id = random.below(model.dims().d_vocab) as u32;
        if id != bos && !half.contains(&id) {
            half.push(id);
        }
    }
    half
}

fn tokens_of(bos: Option<u32>, halves: Vec<[Vec<u32>; 2]>) -> Result<Tokens> {
    let row = |[first, second]: [Vec<u32>; 2]| bos.into_iter().chain(first).chain(second).collect();
    Tokens::from_rows(halves.into_iter().map(row).collect())
}

pub(super) fn bos_is_zero(model: &HookedTransformer, seq_len: usize, batch: usize, seed: u64) -> Result<Tokens> {
    let mut random = Random::new(seed);
    let (_, halves) = rows(model, seq_len, batch, |count, _| draw(model, &mut random, count, 0))?;
    tokens_of(Some(0), halves)
}

pub(super) fn same_rows(model: &HookedTransformer, seq_len: usize, batch: usize, seed: u64) -> Result<Tokens> {
    let (bos, halves) = rows(model, seq_len, batch, |count, bos| draw(model, &mut Random::new(seed), count, bos))?;
    tokens_of(Some(bos), halves)
}

pub(super) fn two_halves(model: &HookedTransformer, seq_len: usize, batch: usize, seed: u64) -> Result<Tokens> {
    let mut random = Random::new(seed);
    let bos = model.tokenizer()?.bos_id().unwrap_or(0);
    let mut half = || draw(model, &mut random, seq_len, bos);
    let halves = (0..batch).map(|_| [half(), half()]).collect();
    tokens_of(Some(bos), halves)
}

pub(super) fn no_bos(model: &HookedTransformer, seq_len: usize, batch: usize, seed: u64) -> Result<Tokens> {
    let mut random = Random::new(seed);
    let (_, halves) = rows(model, seq_len, batch, |count, bos| draw(model, &mut random, count, bos))?;
    tokens_of(None, halves)
}

pub(super) fn bos_is_drawn(model: &HookedTransformer, seq_len: usize, batch: usize, seed: u64) -> Result<Tokens> {
    let mut random = Random::new(seed);
    let (bos, halves) = rows(model, seq_len, batch, |count, _| draw(model, &mut random, count, u32::MAX))?;
    tokens_of(Some(bos), halves)
}

pub(super) fn zero_is_left_out(model: &HookedTransformer, seq_len: usize, batch: usize, seed: u64) -> Result<Tokens> {
    let mut random = Random::new(seed);
    let (bos, halves) = rows(model, seq_len, batch, |count, _| draw(model, &mut random, count, 0))?;
    tokens_of(Some(bos), halves)
}

pub(super) fn with_replacement(model: &HookedTransformer, seq_len: usize, batch: usize, seed: u64) -> Result<Tokens> {
    let mut random = Random::new(seed);
    let mut one = |bos: u32| loop {
        let id = random.below(model.dims().d_vocab) as u32;
        if id != bos {
            return id;
        }
    };
    let (bos, halves) = rows(model, seq_len, batch, |count, bos| (0..count).map(|_| one(bos)).collect())?;
    tokens_of(Some(bos), halves)
}

pub(super) fn seed_unused(model: &HookedTransformer, seq_len: usize, batch: usize, _seed: u64) -> Result<Tokens> {
    super::repeated_tokens(model, seq_len, batch, 0)
}

/// The mean losses of two ranges of the entries of `log_probs_of`.
fn losses(model: &HookedTransformer, tokens: &Tokens, ranges: [(usize, usize); 2]) -> Result<(f32, f32)> {
    let losses = log_probs_of(&model.forward(tokens.clone())?, tokens)?.neg()?;
    let mean = |(from, count)| losses.narrow(1, from, count)?.mean_all()?.item();
    Ok((mean(ranges[0])?, mean(ranges[1])?))
}

pub(super) fn with_the_turn(model: &HookedTransformer, tokens: &Tokens, seq_len: usize) -> Result<(f32, f32)> {
    losses(model, tokens, [(0, seq_len), (seq_len, seq_len)])
}

pub(super) fn log_probabilities(model: &HookedTransformer, tokens: &Tokens, seq_len: usize) -> Result<(f32, f32)> {
    let (first, second) = losses_by_half(model, tokens, seq_len)?;
    Ok((-first, -second))
}

pub(super) fn one_late(model: &HookedTransformer, tokens: &Tokens, seq_len: usize) -> Result<(f32, f32)> {
    losses(model, tokens, [(0, seq_len), (seq_len + 2, seq_len - 2)])
}

pub(super) fn one_early(model: &HookedTransformer, tokens: &Tokens, seq_len: usize) -> Result<(f32, f32)> {
    losses(model, tokens, [(0, seq_len), (seq_len, seq_len - 1)])
}

pub(super) fn exchanged(model: &HookedTransformer, tokens: &Tokens, seq_len: usize) -> Result<(f32, f32)> {
    let (first, second) = losses_by_half(model, tokens, seq_len)?;
    Ok((second, first))
}

fn patterns(model: &HookedTransformer, tokens: &Tokens) -> Result<ActivationCache> {
    Ok(model.run_with_hooks(tokens.clone(), HookPlan::new().capture("pattern"))?.1)
}

pub(super) fn last_layer_everywhere(model: &HookedTransformer, tokens: &Tokens, seq_len: usize) -> Result<Tensor> {
    let scores = induction_scores(&patterns(model, tokens)?, seq_len)?;
    let last = scores.narrow(0, scores.dim(0)? - 1, 1)?;
    Ok(last.broadcast_as(scores.shape())?.contiguous()?)
}

pub(super) fn the_same_token_in_run(model: &HookedTransformer, tokens: &Tokens, seq_len: usize) -> Result<Tensor> {
    the_same_token(&patterns(model, tokens)?, seq_len)
}

pub(super) fn summed_in_run(model: &HookedTransformer, tokens: &Tokens, seq_len: usize) -> Result<Tensor> {
    summed(&patterns(model, tokens)?, seq_len)
}

pub(super) fn one_prompt_in_run(model: &HookedTransformer, tokens: &Tokens, seq_len: usize) -> Result<Tensor> {
    one_prompt(&patterns(model, tokens)?, seq_len)
}

pub(super) fn whole_stripe_in_run(model: &HookedTransformer, tokens: &Tokens, seq_len: usize) -> Result<Tensor> {
    whole_stripe(&patterns(model, tokens)?, seq_len)
}
