//! Small inputs for the exercises of this section.

use std::sync::OnceLock;

use candle_core::{Device, Tensor};

use super::decoding_answers::{cache_of_the_prompt, first_window};
use super::{generate_cached, generate_greedy};
use crate::course::models::{once, other, tiny};
use crate::course::seed::{first_drawn, reordered, seed, seeded};
use crate::error::Result;
use crate::model::{HookedTransformer, HookedTransformerConfig};
use crate::tokens::Tokens;

pub(in crate::course::sections) fn guesses() -> Result<Vec<(Tensor, Tokens)>> {
    let mut random = seeded(21);
    let mut one = |batch: usize, pos: usize, d_vocab: usize| -> Result<(Tensor, Tokens)> {
        let rows = (0..batch).map(|_| (0..pos).map(|_| random.below(d_vocab) as u32).collect()).collect();
        Ok(((random.normal((batch, pos, d_vocab))? * 3.)?, Tokens::from_rows(rows)?))
    };
    Ok(vec![one(2, 5, 7)?, one(3, 4, 6)?])
}

type Training = (HookedTransformerConfig, Vec<Tokens>, f64, u64);

/// Counting: enough batches to learn it, and a few of another size.
pub(in crate::course::sections) fn trainings() -> Result<Vec<Training>> {
    let mut random = seeded(22);
    let mut one = |d_vocab: usize, shape: (usize, usize), steps: usize| -> Result<(_, Vec<Tokens>)> {
        let cfg = HookedTransformerConfig {
            n_layers: 1,
            d_model: 8,
            n_heads: 2,
            d_mlp: Some(12),
            d_vocab,
            n_ctx: 6,
            eps: 0.01,
            ..Default::default()
        };
        let mut row = || {
            let first = random.below(d_vocab);
            (first..first + shape.1).map(|token| (token % d_vocab) as u32).collect()
        };
        let batches = (0..steps).map(|_| Tokens::from_rows((0..shape.0).map(|_| row()).collect()));
        Ok((cfg, batches.collect::<Result<_>>()?))
    };
    let ((small, few), (cfg, many)) = (one(7, (3, 4), 4)?, one(5, (4, 5), 30)?);
    Ok(vec![(small, few, 0.02, seed(4)), (cfg, many, 0.05, seed(5))])
}

pub(in crate::course::sections) fn temperatures() -> Result<Vec<(Tensor, f64)>> {
    let mut random = seeded(23);
    Ok(vec![(random.normal(9)?, 0.7), (random.normal(6)?, 2.5)])
}

pub(in crate::course::sections) fn repeated() -> Result<Vec<(Tensor, Vec<u32>, f64)>> {
    let mut random = seeded(24);
    Ok(vec![(random.normal(8)?, reordered(vec![5, 1, 5, 5, 0, 1], 28), 0.3), (random.normal(6)?, vec![2, 2, 4], 1.7)])
}

pub(in crate::course::sections) fn cut_at_k() -> Result<Vec<(Tensor, usize)>> {
    let mut random = seeded(25);
    Ok(vec![(random.normal(9)?, 4), (random.normal(7)?, 2)])
}

/// Logits of probabilities of which the largest ones reach `p` before all of them do. The smallest is the first, or a sum in the order of
/// ids might stop at the same tokens.
pub(in crate::course::sections) fn cut_at_p() -> Result<Vec<(Tensor, f64)>> {
    let logits = |mut probs: Vec<f32>, place| {
        let rest = reordered(probs.split_off(1), place);
        Tensor::new([probs, rest].concat(), &Device::Cpu)?.log()
    };
    let (few, more) = (vec![0.05, 0.3, 0.1, 0.15, 0.4], vec![0.02, 0.08, 0.5, 0.2, 0.06, 0.14]);
    Ok(vec![(logits(few, 26)?, 0.8), (logits(more, 29)?, 0.95)])
}

/// Each token is drawn by some uniform number, and the first and last of these are at the edges. Token 0 has no probability.
pub(in crate::course::sections) fn draws() -> Result<Vec<(Tensor, f64)>> {
    let (probs, more) = ([0f32, 0.25, 0.5, 0.25], [0.125f32, 0.375, 0.25, 0.125, 0.125]);
    let first = [0.0, 0.2, 0.25, 0.6, 0.9].map(|uniform| (Tensor::new(&probs, &Device::Cpu), uniform));
    let second = [0.1, 0.5, 0.7, 0.999].map(|uniform| (Tensor::new(&more, &Device::Cpu), uniform));
    let mut random = seeded(20);
    let drawn = [5, 8].map(|d_vocab| {
        let sizes: Vec<f32> = (0..d_vocab).map(|_| random.uniform() as f32).collect();
        let total: f32 = sizes.iter().sum();
        (Tensor::new(sizes.iter().map(|x| x / total).collect::<Vec<_>>(), &Device::Cpu), random.uniform())
    });
    first.into_iter().chain(second).chain(drawn).map(|(probs, uniform)| Ok((probs?, uniform))).collect()
}

fn drawn(cfg: &HookedTransformerConfig, number: u64) -> Result<HookedTransformer> {
    Ok(HookedTransformer::trainable(cfg.clone(), seed(number), &Device::Cpu)?.0.without_weight_gradients())
}

/// A random model that reads six tokens at a time at most. What it sees decides how its text goes on: many such models repeat one token,
/// whichever six they see.
fn short_sighted() -> Result<HookedTransformer> {
    static MODEL: OnceLock<HookedTransformer> = OnceLock::new();
    let cfg = HookedTransformerConfig {
        n_layers: 2,
        d_model: 12,
        n_heads: 3,
        d_vocab: 11,
        n_ctx: 6,
        initializer_range: Some(0.6),
        ..Default::default()
    };
    once(&MODEL, || {
        first_drawn(6, |number| {
            let (model, (prompt, new)) = (drawn(&cfg, number)?, long_text()?);
            let tells = generate_greedy(&model, &prompt, new)? != first_window(&model, &prompt, new)?;
            Ok(tells.then_some(model))
        })
    })
}

/// A prompt and a number of new tokens that [`short_sighted`] cannot see at once.
fn long_text() -> Result<(Tokens, usize)> {
    Ok((row(&[1, 9, 4, 7])?, 8))
}

fn row(ids: &[u32]) -> Result<Tokens> {
    Tokens::from_rows(vec![ids.to_vec()])
}

pub(in crate::course::sections) fn prompts() -> Result<Vec<(HookedTransformer, Tokens, usize)>> {
    let model = tiny()?;
    let tokens = model.to_tokens("When John and Mary went to the shops, John gave")?;
    let (long, new) = long_text()?;
    Ok(vec![(model, tokens, 5), (other()?, row(&[3, 17, 8])?, 7), (short_sighted()?, long, new)])
}

pub(in crate::course::sections) fn searches() -> Result<Vec<(HookedTransformer, Tokens, usize, usize)>> {
    // The last, with one beam, is greedy.
    Ok(vec![
        (other()?, row(&[3, 17, 8])?, 3, 5),
        (short_sighted()?, row(&[5, 2])?, 4, 3),
        (short_sighted()?, row(&[7, 1])?, 1, 4),
    ])
}

/// A random model whose next token depends on the ones before it: generated from the prompt's keys and values alone, the text is
/// another one.
fn remembering() -> Result<HookedTransformer> {
    static MODEL: OnceLock<HookedTransformer> = OnceLock::new();
    let cfg = HookedTransformerConfig {
        n_layers: 2,
        d_model: 16,
        n_heads: 4,
        d_mlp: Some(20),
        d_vocab: 23,
        n_ctx: 40,
        initializer_range: Some(0.6),
        ..Default::default()
    };
    once(&MODEL, || {
        first_drawn(0, |number| {
            let (model, (prompt, new)) = (drawn(&cfg, number)?, remembered_text()?);
            let tells = generate_cached(&model, &prompt, new)? != cache_of_the_prompt(&model, &prompt, new)?;
            Ok(tells.then_some(model))
        })
    })
}

/// A prompt and a number of new tokens for [`remembering`].
fn remembered_text() -> Result<(Tokens, usize)> {
    Ok((row(&[1, 9, 4])?, 6))
}

/// Texts that fit, since a window that moves gives every token another position.
pub(in crate::course::sections) fn continued() -> Result<Vec<(HookedTransformer, Tokens, usize)>> {
    let (prompt, new) = remembered_text()?;
    Ok(vec![(other()?, row(&[3, 17, 8, 25])?, 6), (short_sighted()?, row(&[1, 9])?, 2), (remembering()?, prompt, new)])
}

type Attention = (Tensor, Tensor, Tensor, Tensor, Tensor);

pub(in crate::course::sections) fn pasts() -> Result<Vec<Attention>> {
    let mut random = seeded(27);
    let mut one = |batch: usize, past: usize, new: usize, heads: usize, d_head: usize| -> Result<Attention> {
        let mut of = |pos: usize| random.normal((batch, pos, heads, d_head));
        Ok((of(new)?, of(new)?, of(new)?, of(past)?, of(past)?))
    };
    Ok(vec![one(2, 5, 3, 4, 6)?, one(3, 4, 2, 2, 9)?])
}
