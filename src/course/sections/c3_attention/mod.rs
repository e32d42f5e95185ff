//! C3: attention patterns and induction heads.

mod answers;
pub mod handles;
mod inputs;

use candle_core::{DType, Tensor};

use crate::cache::ActivationCache;
use crate::course::notebook::{Part, Section};
use crate::error::Result;
use crate::model::ops::softmax;
use crate::tensors::{TensorWords, einsum};
use crate::tokens::Tokens;

/// This file, from which solutions are cut.
const SOURCE: &str = include_str!("mod.rs");

pub(super) fn section() -> Section {
    let parts = vec![
        Part::Text(INTRODUCTION),
        Part::Code("let model = HookedTransformer::from_pretrained(\"tiny\")?;"),
        Part::Exercise(handles::n_correct().task()),
        Part::Exercise(handles::attention_pattern().task()),
        Part::Text(SCORES),
        Part::Exercise(handles::current_token_scores().task()),
        Part::Exercise(handles::previous_token_scores().task()),
        Part::Exercise(handles::first_token_scores().task()),
        Part::Exercise(handles::induction_scores().task()),
    ];
    Section { file: "c3_attention", parts }
}

const INTRODUCTION: &str = "# C3 · Attention and induction

A head decides where to look by its *attention pattern*: for each position (the query) a probability of every position up to it (the keys).
Here you compute that pattern yourself, then read off patterns which heads look at the token before, and which find what came after the same token earlier: **induction heads**.

Replace each `todo!()`, run the cell, and run the check below it. A check says what is wrong and where, and never costs you a variable.";

const SCORES: &str = "## What a head looks at

A cache holds the pattern of every layer, `cache.get((\"pattern\", layer))?`, with axes `[batch, head, q_pos, k_pos]`. A *score* of a head is how much of its attention goes to one kind of place, averaged over queries and prompts.";

fn n_correct(logits: &Tensor, tokens: &Tokens) -> Result<usize> {
    let guesses = logits.argmax(2)?.to_vec2::<u32>()?;
    let mut correct = 0;
    for (row, guesses) in guesses.iter().enumerate() {
        let ids = tokens.row(row);
        correct += (1..ids.len()).filter(|&pos| guesses[pos - 1] == ids[pos]).count();
    }
    Ok(correct)
}

fn attention_pattern(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    let (pos, d_head) = (q.dim(1)?, q.dim(3)?);
    let scores = (einsum("b q h d, b k h d -> b h q k", &[q, k])? / (d_head as f64).sqrt())?;
    let past = Tensor::tril2(pos, DType::U8, q.device())?;
    let future = past.eq(0u8)?;
    softmax(&scores.masked_fill(&future, f32::NEG_INFINITY)?)
}

fn current_token_scores(cache: &ActivationCache) -> Result<Tensor> {
    let mut layers = Vec::new();
    for layer in 0..cache.dims().n_layers {
        layers.push(cache.get(("pattern", layer))?.diagonal(0)?.mean((0, 2))?);
    }
    Ok(Tensor::stack(&layers, 0)?)
}

fn previous_token_scores(cache: &ActivationCache) -> Result<Tensor> {
    let mut layers = Vec::new();
    for layer in 0..cache.dims().n_layers {
        layers.push(cache.get(("pattern", layer))?.diagonal(-1)?.mean((0, 2))?);
    }
    Ok(Tensor::stack(&layers, 0)?)
}

fn first_token_scores(cache: &ActivationCache) -> Result<Tensor> {
    let mut layers = Vec::new();
    for layer in 0..cache.dims().n_layers {
        layers.push(cache.get(("pattern", layer))?.narrow(3, 0, 1)?.squeeze(3)?.mean((0, 2))?);
    }
    Ok(Tensor::stack(&layers, 0)?)
}

fn induction_scores(cache: &ActivationCache, seq_len: usize) -> Result<Tensor> {
    let mut layers = Vec::new();
    for layer in 0..cache.dims().n_layers {
        // From query seq_len + 1 on: the second half, behind the BOS and the first.
        let stripe = cache.get(("pattern", layer))?.diagonal(1 - seq_len as isize)?.narrow(2, 2, seq_len)?;
        layers.push(stripe.mean((0, 2))?);
    }
    Ok(Tensor::stack(&layers, 0)?)
}
