//! C3: attention patterns and induction heads.

mod answers;
pub mod handles;
mod inputs;

use candle_core::{DType, Tensor};

use crate::cache::ActivationCache;
use crate::course::notebook::{Part, Section};
use crate::error::Result;
use crate::model::ops::softmax;
use crate::model::{HookedTransformer, log_probs_of};
use crate::random::Random;
use crate::tensors::{TensorWords, einsum};
use crate::tokens::Tokens;

/// This file, from which solutions are cut.
const SOURCE: &str = include_str!("mod.rs");

pub(super) fn section() -> Section {
    let parts = vec![
        Part::Text(INTRODUCTION),
        Part::Text(super::pytorch::TABLE),
        Part::Code("let model = HookedTransformer::from_pretrained(\"tiny\")?;"),
        Part::Exercise(handles::n_correct().task()),
        Part::Exercise(handles::attention_pattern().task()),
        Part::Text(SCORES),
        Part::Code(LOOK),
        Part::Exercise(handles::current_token_scores().task()),
        Part::Exercise(handles::previous_token_scores().task()),
        Part::Exercise(handles::first_token_scores().task()),
        Part::Text(REPEATS),
        Part::Exercise(handles::repeated_tokens().task()),
        Part::Exercise(handles::losses_by_half().task()),
        Part::Text(CURVE),
        Part::Code(PLOT),
        Part::Exercise(handles::induction_scores().task()),
        Part::Text(STRIPES),
        Part::Code(DRAW),
        Part::Exercise(handles::induction_scores_in_run().task()),
        Part::Text(OUTLOOK),
    ];
    Section { file: "c3_attention", parts }
}

const INTRODUCTION: &str = "# C3 · Attention and induction

A head decides where to look by its *attention pattern*: for each position (the query) a probability of every position up to it (the keys).
Here you compute that pattern yourself, then read off patterns which heads look at the token before, and which find what came after the same token earlier: **induction heads**.

Replace each `todo!()`, run the cell, and run the check below it. A check says what is wrong and where, and never costs you a variable.";

const SCORES: &str = "## What a head looks at

A cache holds the pattern of every layer, `cache.get((\"pattern\", layer))?`, with axes `[batch, head, q_pos, k_pos]`; `cache.dims().n_layers` is how many there are, and the checks use models of other sizes too. A *score* of a head is how much of its attention goes to one kind of place, averaged over queries and prompts.

First look: in the cell below, sort the heads by a score and click through them. Which ones have a bright diagonal? Which have a bright line just under it, or a bright first column?";

const LOOK: &str = r#"let (_logits, cache) = model.run_with_cache("When John and Mary went to the shops, John gave the bag to")?;
attention_explorer(&model, &cache)"#;

const REPEATS: &str = "## Text that can be known only by looking back

Different random tokens, twice: whatever the first half is, the second is the same. A model that has learnt *look for the token you see now, and say what came after it* knows every token of the second half but the first. Heads that do it have been found in every language model of two layers or more that was looked into, and they appear within a short stretch of training.";

const CURVE: &str = "Below, the loss at each position of such rows. Before you run the cell: where will it fall, and how far? (`tiny` knows 2827 tokens; a guess that gives each the same chance costs ln 2827 ≈ 7.9.)";

const PLOT: &str = r#"let rows = candle_lens::analysis::repeated_tokens(&model, RepeatOptions { seq_len: 20, batch: 8, seed: 0 })?;
let losses = log_probs_of(&model.forward(rows.clone())?, &rows)?.neg()?.mean(0)?;
line(losses.to_vec1::<f32>()?).title("Loss at the token after each position").x_label("position").y_label("loss")"#;

const STRIPES: &str = "A head with a high score shows as a *stripe*: `seq_len - 1` below the diagonal, with little else in the second half; in the first half, where there is nothing to find, such heads rest on the BOS. Look for it (in layer 1), then for the head in layer 0 whose stripe is just below the diagonal. What could the first have to do with the second? C5 answers that from the weights of `induction`, a smaller model in which they can be read.";

const DRAW: &str = r#"let one = candle_lens::analysis::repeated_tokens(&model, RepeatOptions { seq_len: 12, batch: 1, seed: 0 })?;
let (_logits, repeated) = model.run_with_cache(one)?;
attention_explorer(&model, &repeated)"#;

const OUTLOOK: &str =
    "Scores say where heads look, not what that is good for. C4 takes heads away and sees what breaks.";

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

fn repeated_tokens(model: &HookedTransformer, seq_len: usize, batch: usize, seed: u64) -> Result<Tokens> {
    let bos = model.tokenizer()?.bos_id().expect("a tokenizer with a BOS");
    let mut random = Random::new(seed);
    let mut rows = Vec::new();
    for _ in 0..batch {
        let mut half = Vec::new();
        while half.len() < seq_len {
            let id = random.below(model.cfg().d_vocab) as u32;
            if id != bos && !half.contains(&id) {
                half.push(id);
            }
        }
        rows.push([&[bos], &half[..], &half[..]].concat());
    }
    Tokens::from_rows(rows)
}

fn losses_by_half(model: &HookedTransformer, tokens: &Tokens, seq_len: usize) -> Result<(f32, f32)> {
    let logits = model.forward(tokens.clone())?;
    let losses = log_probs_of(&logits, tokens)?.neg()?;
    let first = losses.narrow(1, 0, seq_len)?;
    // Entry seq_len is about the first token of the second half.
    let second = losses.narrow(1, seq_len + 1, seq_len - 1)?;
    Ok((first.mean_all()?.item()?, second.mean_all()?.item()?))
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

fn induction_scores_in_run(model: &HookedTransformer, tokens: &Tokens, seq_len: usize) -> Result<Tensor> {
    let mut layers = Vec::new();
    model.visit(tokens.clone(), "pattern", |pattern, _point| {
        let stripe = pattern.diagonal(1 - seq_len as isize)?.narrow(2, 2, seq_len)?;
        layers.push(stripe.mean((0, 2))?);
        Ok(())
    })?;
    Ok(Tensor::stack(&layers, 0)?)
}
