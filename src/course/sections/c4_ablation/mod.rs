//! C4: attribution of logits to heads, and ablation.

mod answers;
pub mod handles;
mod inputs;

use candle_core::{Device, Tensor};

use crate::course::notebook::{Part, Section};
use crate::error::Result;
use crate::hooks::{Edit, HookPlan};
use crate::model::{HookedTransformer, log_probs_of};
use crate::tensors::{TensorWords, einsum};
use crate::tokens::Tokens;

/// This file, from which solutions are cut.
const SOURCE: &str = include_str!("mod.rs");

pub(super) fn section() -> Section {
    let parts = vec![
        Part::Text(INTRODUCTION),
        Part::Code(MODEL),
        Part::Text(SUMS),
        Part::Exercise(handles::logit_attribution().task()),
        Part::Text(NORM),
        Part::Exercise(handles::logit_attribution_ln().task()),
        Part::Code(ATTRIBUTION),
        Part::Text(ABLATION),
        Part::Exercise(handles::zero_head().task()),
        Part::Exercise(handles::ablation_scores().task()),
        Part::Text(LIBRARY),
        Part::Code(WITHOUT),
        Part::Exercise(handles::mean_head().task()),
        Part::Text(LOOK),
        Part::Code(PATTERNS),
        Part::Exercise(handles::previous_token_head().task()),
        Part::Text(OUTLOOK),
    ];
    Section { file: "c4_ablation", parts }
}

const INTRODUCTION: &str = "# C4 · Attribution and ablation

C3 found heads by where they look. Two questions remain: what does each head *add* to the answer, and what is lost *without* it? The answers need not agree, and where they differ there is something to learn: a head may write nothing into the answer and still be what everything rests on.

The model is `induction`: two layers of four heads, no MLPs, no norms, so small that nothing hides in it. Its tokens are plain words. Positions are *shortformer*: they are added to what queries and keys read, and never to the residual stream.";

const MODEL: &str = r#"let model = HookedTransformer::from_pretrained_no_processing("induction")?;
let rows = candle_lens::analysis::repeated_tokens(&model, RepeatOptions { seq_len: 25, batch: 1, seed: 0 })?;
let (logits, cache) = model.run_with_cache(rows.clone())?;
attention_explorer(&model, &cache)"#;

const SUMS: &str = "## What each head adds to the answer

The residual stream at the end is a sum: the token's embedding and what each head of each layer wrote. Logits are a linear function of that sum, so the logit of any token is a sum too, with one term for each part. The terms for the *right* token say who is responsible.";

const NORM: &str = "## With a norm at the end

Most models divide the residual stream by its size before they unembed it. That is not linear, but at each position the divisor is a number that the run has computed: take it as given, divide each part by it, and the sum is a sum again. (As `from_pretrained` loads `tiny`, the norm's own weights are folded into `W_U` and `b_U`, and no part has a mean that would have to be subtracted.)";

const ATTRIBUTION: &str = r#"let heads = cache.stack(&model, Stack::heads())?;
let parts = Tensor::cat(&[cache.get("embed")?.unsqueeze(0)?, heads.tensor()], 0)?;
let names = [vec!["embed".to_string()], heads.labels()].concat();
let next: Vec<u32> = rows.row(0)[1..].to_vec();
let attribution = einsum("c b p d, d p -> c p", &[&parts.narrow(2, 0, next.len())?, &model.W_U().index_select(&Tensor::new(next, &Device::Cpu)?, 1)?])?;
imshow(Labelled::from_tensor("part of the right token's logit", vec![Axis::new("part", names), Axis::numbered("position", 50)], &attribution)?)"#;

const ABLATION: &str = "## What is lost without a head

Attribution sees only what a head writes straight into the logits. To see everything that rests on a head, take it away and run the model again: *ablation*. The hook `z` is a head's output before `W_O`, `[batch, pos, head, d_head]`.";

const LIBRARY: &str = "The library has this edit ready: `Edit::zero().head(head)`. Below, the loss in the second half without each head of layer 0. Compare it with the attribution above: does the head whose loss matters most write anything into the logits itself?";

const WITHOUT: &str = r#"let mut losses = Vec::new();
for head in 0..4 {
    let (without, _) = model.run_with_hooks(rows.clone(), HookPlan::new().edit(("z", 0), Edit::zero().head(head)))?;
    losses.push(-log_probs_of(&without, &rows)?.narrow(1, 26, 24)?.mean_all()?.item()?);
}
bar(losses).title("Loss in the second half without a head of layer 0").x_label("head").y_label("loss")"#;

const LOOK: &str = "## Which head is it?

Zero is a number that a head may never write, so a large effect may mean no more than that later layers were thrown off; the mean over prompts is the milder change. In this model both name the same head, as you can see with `ablation_scores` and your `mean_head` in its place. Look at the patterns of layer 0, then answer by a function that takes nothing.";

const PATTERNS: &str = r#"attention_patterns(&model.to_str_tokens(rows.row(0))?, cache.get(("pattern", 0))?.get(0)?)"#;

const OUTLOOK: &str = "One head in layer 0 looks at the token before; take it away, and the heads of layer 1 no longer find anything. C5 shows in the weights how the one tells the others.";

fn logit_attribution(embed: &Tensor, l0: &Tensor, l1: &Tensor, w_u: &Tensor, ids: &[u32]) -> Result<Tensor> {
    let known = ids.len() - 1;
    let next = Tensor::new(&ids[1..], w_u.device())?;
    // [d_model, known]: the direction of the right token at each position.
    let directions = w_u.index_select(&next, 1)?;
    let parts = Tensor::cat(&[&embed.unsqueeze(1)?, l0, l1], 1)?;
    einsum("p c d, d p -> p c", &[&parts.narrow(0, 0, known)?, &directions])
}

fn logit_attribution_ln(parts: &Tensor, scale: &Tensor, w_u: &Tensor, b_u: &Tensor, ids: &[u32]) -> Result<Tensor> {
    let known = ids.len() - 1;
    let next = Tensor::new(&ids[1..], w_u.device())?;
    let directions = w_u.index_select(&next, 1)?;
    let normed = parts.broadcast_div(&scale.unsqueeze(2)?)?;
    let of_parts = einsum("p c d, d p -> p c", &[&normed.narrow(0, 0, known)?, &directions])?;
    let of_bias = b_u.index_select(&next, 0)?.unsqueeze(1)?;
    Ok(Tensor::cat(&[&of_parts, &of_bias], 1)?)
}

fn zero_head(z: &Tensor, head: usize) -> Result<Tensor> {
    let heads = z.dim(2)?;
    let kept: Vec<f32> = (0..heads).map(|other| if other == head { 0.0 } else { 1.0 }).collect();
    Ok(z.broadcast_mul(&Tensor::from_vec(kept, (heads, 1), z.device())?)?)
}

fn ablation_scores(model: &HookedTransformer, tokens: &Tokens, seq_len: usize) -> Result<Tensor> {
    let loss = |plan: HookPlan| -> Result<f32> {
        let (logits, _) = model.run_with_hooks(tokens.clone(), plan)?;
        let known = log_probs_of(&logits, tokens)?.narrow(1, seq_len + 1, seq_len - 1)?;
        Ok(-known.mean_all()?.item()?)
    };
    let clean = loss(HookPlan::new())?;
    let dims = model.dims();
    let mut scores = Vec::new();
    for layer in 0..dims.n_layers {
        for head in 0..dims.n_heads {
            let edit = Edit::custom("zero", move |z, _point| zero_head(z, head));
            scores.push(loss(HookPlan::new().edit(("z", layer), edit))? - clean);
        }
    }
    Ok(Tensor::from_vec(scores, (dims.n_layers, dims.n_heads), &Device::Cpu)?)
}

fn mean_head(z: &Tensor, head: usize) -> Result<Tensor> {
    let heads = z.dim(2)?;
    let chosen: Vec<f32> = (0..heads).map(|other| if other == head { 1.0 } else { 0.0 }).collect();
    let chosen = Tensor::from_vec(chosen, (heads, 1), z.device())?;
    let change = z.mean_keepdim(0)?.broadcast_sub(z)?;
    Ok((z + change.broadcast_mul(&chosen)?)?)
}

fn previous_token_head() -> Result<String> {
    Ok("L0H0".to_string())
}
