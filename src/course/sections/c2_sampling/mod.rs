//! C2: from logits to a loss, a training loop, and text.

mod answers;
pub mod decoding;
mod decoding_answers;
pub mod handles;
mod inputs;

use candle_core::{DType, Device, Tensor};

use crate::course::notebook::{Part, Section};
use crate::error::Result;
use crate::hooks::HookPlan;
use crate::model::ops::softmax;
use crate::model::{HookedTransformer, HookedTransformerConfig, RunOptions};
use crate::tensors::{TensorWords, einsum};
use crate::tokens::Tokens;
use crate::train::{AdamW, AdamWOptions};

/// This file, from which solutions are cut.
const SOURCE: &str = include_str!("mod.rs");

pub(super) fn section() -> Section {
    let parts = vec![
        Part::Text(INTRODUCTION),
        Part::Code("let model = HookedTransformer::from_pretrained(\"tiny\")?;"),
        Part::Text(LOSS),
        Part::Exercise(handles::get_log_probs().task()),
        Part::Code(SURPRISES),
        Part::Exercise(handles::next_token_loss().task()),
        Part::Code(UNIFORM),
        Part::Text(TRAINING),
        Part::Exercise(handles::train().task()),
        Part::Code(CURVE),
        Part::Text(SAMPLING),
        Part::Exercise(handles::with_temperature().task()),
        Part::Exercise(handles::frequency_penalty().task()),
        Part::Exercise(handles::top_k_probs().task()),
        Part::Exercise(handles::top_p_probs().task()),
        Part::Exercise(handles::sample().task()),
        Part::Code(TEMPERATURES),
        Part::Text(GENERATION),
        Part::Exercise(decoding::generate_greedy().task()),
        Part::Code(GREEDY),
        Part::Text(HARDER),
        Part::Exercise(decoding::beam_search().task()),
        Part::Exercise(decoding::attend_with_cache().task()),
        Part::Exercise(decoding::generate_cached().task()),
    ];
    Section { file: "c2_sampling", parts }
}

const INTRODUCTION: &str = "# C2 · Loss, training and sampling

A model returns logits. This notebook is about what happens to them next: they are compared with the real text (a **loss**), the loss trains the model, and when it is trained they are turned into a choice of the next token, again and again (**sampling**).
The last exercises are harder: they search for probable texts, and avoid computing anything twice.

Replace each `todo!()`, run the cell, and run the check below it.";

const LOSS: &str = "## How good is a guess?

The logits at position `p` are the model's guess about the token at position `p + 1`. Softmax turns them into probabilities, and the logarithm of the probability of the token that really came is the score of the guess: 0 for certainty, very negative for a surprise.
The last position's guess is about a token that nobody has seen, so a text of `pos` tokens has `pos - 1` scores.";

const SURPRISES: &str = "// What surprises the model: the log-probability of each token, by the library.
let tokens = model.to_tokens(\"When John and Mary went to the shops, John gave the bag to Mary.\")?;
token_log_probs(&model, &tokens, &model.forward(&tokens)?)";

const UNIFORM: &str = "// A model that knows nothing gives every token the same probability, 1 / d_vocab, and its loss is ln(d_vocab). What has training gained?
let ignorant = (model.cfg().d_vocab as f32).ln();
Labelled::new(\"loss\", vec![Axis::new(\"of\", [\"a uniform guess\", \"this model\"])], vec![ignorant, model.loss(&tokens)?.item()?])?";

const TRAINING: &str = "## The training loop

Training is four lines in a loop: run the model, compute the loss, take its gradient with respect to every weight (`loss.backward()?`), and let an optimiser move the weights a little.

`HookedTransformer::trainable(cfg, seed, &Device::Cpu)?` returns a new model and its weights as variables, and `AdamW::step_vars(rate, &vars, &gradients)?` moves them.
The task of the check is counting: each token is followed by the next larger one, and the largest by 0. One layer learns that in a few dozen steps.";

const CURVE: &str = "// The same training, longer, with the library's own loss.
let cfg = HookedTransformerConfig { n_layers: 1, d_model: 16, n_heads: 2, d_mlp: Some(16), d_vocab: 7, n_ctx: 6, ..Default::default() };
let (learner, vars) = HookedTransformer::trainable(cfg, 1, &Device::Cpu)?;
let counting: Vec<Vec<u32>> = (0..7).map(|first| (first..first + 5).map(|token| token % 7).collect()).collect();
let mut adam = AdamW::new(AdamWOptions::default());
let mut losses = Vec::new();
for _ in 0..60 {
    let loss = learner.loss(counting.clone())?;
    adam.step_vars(0.01, &vars, &loss.backward()?)?;
    losses.push(loss.item()?);
}
let steps = Axis::numbered(\"step\", losses.len());
line(Labelled::new(\"loss\", vec![steps], losses)?)";

const SAMPLING: &str = "## From logits to a token

Always taking the most probable token makes dull text that repeats itself; drawing from the whole distribution now and then takes a token that makes no sense, because thousands of improbable ones together are probable.
The usual compromises reshape the distribution of **one** position before a token is drawn from it. Each is a small function of the logits `[d_vocab]`.";

const TEMPERATURES: &str = "// Three temperatures on one prompt. Which one would you call a story?
let mut texts = Vec::new();
for temperature in [0.3, 1.0, 2.0] {
    let options = GenerateOptions { max_new_tokens: 20, sampling: Sampling::temperature(temperature).seed(3), ..Default::default() };
    texts.extend(model.generate(\"When John and Mary went to the\", options)?.texts());
}
texts";

const GENERATION: &str = "## One token after another

Generating text is running the model on everything so far, choosing a token, appending it, and starting again.";

const GREEDY: &str = "// The library's greedy text.
model.generate(\"When John and Mary went to the shops, John gave\", GenerateOptions::default())?";

const HARDER: &str = "## Harder: searching, and not computing twice

Greedy decoding can miss the most probable *text*: a token that is second best now may lead to much better ones. **Beam search** keeps several beginnings alive.

And all of the loops above run the whole text at each step, although nothing about the earlier positions has changed: a causal model never looks forward. A **key-value cache** keeps what later positions need of earlier ones.";

fn get_log_probs(logits: &Tensor, tokens: &Tokens) -> Result<Tensor> {
    let count = tokens.pos() - 1;
    let log_probs = candle_nn::ops::log_softmax(logits, 2)?.narrow(1, 0, count)?.contiguous()?;
    let next = tokens.to_tensor(logits.device())?.narrow(1, 1, count)?.unsqueeze(2)?.contiguous()?;
    Ok(log_probs.gather(&next, 2)?.squeeze(2)?)
}

fn next_token_loss(logits: &Tensor, tokens: &Tokens) -> Result<Tensor> {
    Ok(get_log_probs(logits, tokens)?.mean_all()?.neg()?)
}

fn train(cfg: &HookedTransformerConfig, batches: &[Tokens], rate: f64, seed: u64) -> Result<Vec<f32>> {
    let (model, vars) = HookedTransformer::trainable(cfg.clone(), seed, &Device::Cpu)?;
    let mut adam = AdamW::new(AdamWOptions::default());
    let mut losses = Vec::new();
    for tokens in batches {
        let loss = next_token_loss(&model.forward(tokens)?, tokens)?;
        adam.step_vars(rate, &vars, &loss.backward()?)?;
        losses.push(loss.item()?);
    }
    Ok(losses)
}

fn with_temperature(logits: &Tensor, temperature: f64) -> Result<Tensor> {
    Ok((logits / temperature)?)
}

fn frequency_penalty(logits: &Tensor, ids: &[u32], penalty: f64) -> Result<Tensor> {
    let mut counts = vec![0f32; logits.dim(0)?];
    for &id in ids {
        counts[id as usize] += 1.0;
    }
    let counts = Tensor::new(counts, logits.device())?;
    Ok((logits - (counts * penalty)?)?)
}

fn top_k_probs(logits: &Tensor, k: usize) -> Result<Tensor> {
    let least = logits.top_k(k)?.0.at(&[-1])?;
    let dropped = logits.broadcast_lt(&least)?;
    softmax(&logits.masked_fill(&dropped, f32::NEG_INFINITY)?)
}

fn top_p_probs(logits: &Tensor, p: f64) -> Result<Tensor> {
    let probs = softmax(logits)?.to_vec1::<f32>()?;
    let mut order: Vec<usize> = (0..probs.len()).collect();
    order.sort_by(|&a, &b| probs[b].total_cmp(&probs[a]));
    let (mut kept, mut sum) = (vec![0f32; probs.len()], 0.0);
    for id in order {
        if sum >= p {
            break;
        }
        kept[id] = probs[id];
        sum += f64::from(probs[id]);
    }
    Ok((Tensor::new(kept, logits.device())? / sum)?)
}

fn sample(probs: &Tensor, uniform: f64) -> Result<u32> {
    let probs = probs.to_vec1::<f32>()?;
    let mut sum = 0.0;
    for (id, &probability) in probs.iter().enumerate() {
        sum += f64::from(probability);
        if uniform < sum {
            return Ok(id as u32);
        }
    }
    // Rounding may leave the sum just below 1.
    Ok(probs.len() as u32 - 1)
}

fn generate_greedy(model: &HookedTransformer, tokens: &Tokens, new: usize) -> Result<Vec<u32>> {
    let mut ids = tokens.row(0);
    for _ in 0..new {
        let window = ids[ids.len().saturating_sub(model.cfg().n_ctx)..].to_vec();
        let logits = model.forward(vec![window])?;
        ids.push(logits.at(&[0, -1])?.argmax(0)?.to_scalar()?);
    }
    Ok(ids)
}

fn beam_search(model: &HookedTransformer, tokens: &Tokens, beams: usize, new: usize) -> Result<Vec<(f32, Vec<u32>)>> {
    let mut best = vec![(0f32, tokens.row(0))];
    for _ in 0..new {
        let mut longer = Vec::new();
        for (score, ids) in &best {
            let logits = model.forward(vec![ids.clone()])?.at(&[0, -1])?;
            let log_probs = candle_nn::ops::log_softmax(&logits, 0)?;
            // No other child of this beginning can be among the best.
            let (values, next) = log_probs.top_k(beams.min(log_probs.dim(0)?))?;
            for (log_prob, id) in values.to_vec1::<f32>()?.into_iter().zip(next.to_vec1::<u32>()?) {
                longer.push((score + log_prob, [&ids[..], &[id]].concat()));
            }
        }
        longer.sort_by(|a, b| b.0.total_cmp(&a.0));
        longer.truncate(beams);
        best = longer;
    }
    Ok(best)
}

fn attend_with_cache(q: &Tensor, k: &Tensor, v: &Tensor, past_k: &Tensor, past_v: &Tensor) -> Result<Tensor> {
    let (k, v) = (Tensor::cat(&[past_k, k], 1)?, Tensor::cat(&[past_v, v], 1)?);
    let (past, new, d_head) = (past_k.dim(1)?, q.dim(1)?, q.dim(3)?);
    let scores = (einsum("b q h d, b k h d -> b h q k", &[q, &k])? / (d_head as f64).sqrt())?;
    // The last rows of the whole text's mask.
    let seen = Tensor::tril2(past + new, DType::U8, q.device())?.narrow(0, past, new)?;
    let pattern = softmax(&scores.masked_fill(&seen.eq(0u8)?, f32::NEG_INFINITY)?)?;
    einsum("b h q k, b k h d -> b q h d", &[&pattern, &v])
}

fn generate_cached(model: &HookedTransformer, tokens: &Tokens, new: usize) -> Result<(Vec<u32>, usize)> {
    let (mut ids, mut computed) = (tokens.row(0), 0);
    let mut options = RunOptions { keep_kv_cache: true, ..Default::default() };
    let mut rest = ids.clone();
    for _ in 0..new {
        computed += rest.len();
        let run = model.run(vec![rest], HookPlan::new(), &options)?;
        let id: u32 = run.logits()?.at(&[0, -1])?.argmax(0)?.to_scalar()?;
        ids.push(id);
        rest = vec![id];
        options.past_kv_cache = Some(run.kv_cache()?);
    }
    Ok((ids, computed))
}
