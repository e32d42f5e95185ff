//! C5: the induction circuit, read off the weights.

mod answers;
pub mod handles;
mod inputs;

use candle_core::{DType, Tensor};

use crate::cache::ActivationCache;
use crate::course::notebook::{Part, Section};
use crate::error::Result;
use crate::factored_matrix::FactoredMatrix;
use crate::hooks::{Edit, HookPlan};
use crate::model::HookedTransformer;
use crate::model::ops::softmax;
use crate::tensors::{TensorWords, einsum};
use crate::tokens::Tokens;

/// This file, from which solutions are cut.
const SOURCE: &str = include_str!("mod.rs");

pub(super) fn section() -> Section {
    let parts = vec![
        Part::Text(INTRODUCTION),
        Part::Code("let model = HookedTransformer::from_pretrained_no_processing(\"induction\")?;"),
        Part::Text(COPYING),
        Part::Exercise(handles::full_ov().task()),
        Part::Exercise(handles::top_1_acc().task()),
        Part::Exercise(handles::joint_ov().task()),
        Part::Text(DIAGONAL),
        Part::Code(CORNER),
        Part::Text(POSITIONS),
        Part::Exercise(handles::pos_by_pos().task()),
        Part::Text(RUN),
        Part::Code(STRIPES),
        Part::Text(MATCHING),
        Part::Exercise(handles::decompose_qk_input().task()),
        Part::Exercise(handles::decompose_scores().task()),
        Part::Text(PAIRS),
        Part::Code(TABLE),
        Part::Exercise(handles::k_comp_circuit().task()),
        Part::Text(COMPOSITION),
        Part::Exercise(handles::composition_score().task()),
        Part::Code(SCORES),
        Part::Text(PROOF),
        Part::Exercise(handles::induction_without().task()),
        Part::Text(OUTLOOK),
    ];
    Section { file: "c5_circuit", parts }
}

const INTRODUCTION: &str = "# C5 · The induction circuit in the weights

C3 and C4 looked at runs. Here you look at nothing but weights, and predict from them what every run must do. The claim, in three parts:

1. heads of layer 1 **copy**: of most tokens that they look at, they raise the token's own logit most, and together they do so of nearly all;
2. a head of layer 0 looks at the **token before**, because of positions alone (a second one helps it, over short distances);
3. heads of layer 1 look for a position *that this head has told*: the token before you is the one seen now. What the first head writes, the others read as keys: **K-composition**.

Together: at `A`, look for a place whose token before was `A`, and copy what is there.

Weights have TransformerLens' names: `model.W_E()` is `[d_vocab, d_model]`, `model.W_Q()?` is `[layer, head, d_model, d_head]` and so on. Vectors are rows, so a product reads from left to right: `W_E W_V W_O W_U` goes from token to logits.";

const COPYING: &str = "## What a head does with what it sees

`W_E W_V W_O W_U` is the *full OV circuit* of a head: row `i` has what looking at token `i` adds to each logit. It has 128 rows and columns here and 50,000 in GPT-2, but a rank of at most `d_head`. A `FactoredMatrix` keeps it as two thin factors: `FactoredMatrix::new(&a, &b)?`, of which `.AB()?` is the product.";

const DIAGONAL: &str =
    "A head that copies shows as a diagonal. Which tokens does L1H0 miss, and what does it raise in their place?";

const CORNER: &str = r#"let ov = FactoredMatrix::new(&model.W_E().matmul(&model.W_V()?.i((1, 0))?)?, &model.W_O()?.i((1, 0))?.matmul(&model.W_U())?)?;
imshow(ov.get_corner(40)?).title("L1H0: what looking at a token adds to each logit")"#;

const POSITIONS: &str = "## What a head sees in positions

Now layer 0. In a shortformer, queries and keys read embedding plus position. If a head needs only positions to find the token before, then `W_pos W_Q W_K^T W_pos^T`, with the scale, the mask and softmax, is its pattern on any text.";

const RUN: &str = "Look at the line under the diagonal of L0H0 in the run below: at the first 24 queries it gives more than 99 % of its attention to the token before, and your pattern of positions alone says the same. Farther on both blur in the same way: over 50 queries they give 76 % and 75 %, over all 63 your pattern gives 62 %. So positions alone do it, and tokens add nothing. L0H3 looks back as well, and blurs sooner: 61 % over 24 queries, 34 % over 50.";

const STRIPES: &str = r#"let rows = candle_lens::analysis::repeated_tokens(&model, RepeatOptions { seq_len: 12, batch: 1, seed: 0 })?;
let (_logits, cache) = model.run_with_cache(rows.clone())?;
attention_explorer(&model, &cache)"#;

const MATCHING: &str = "## What layer 1 looks for

A score of layer 1 is a product of a query and a key, and each of them is a sum: of what the embedding gives, the position, and each head of layer 0. So a score is a table of products, one for each pair of parts, and you can ask which entry makes the stripe.";

const PAIRS: &str = "On the run above, for L1H1: how far each table is, along the stripe, above the mean of all keys that the query may see. (Softmax does not see a number that all keys of a query have in common.) Rows are what the query is made of, columns what the key is made of. Read the brightest cell as a sentence: which part of the query asks, and which part of the key answers?";

const TABLE: &str = r#"let plan = HookPlan::new().capture("embed").capture("pos_embed").capture(("result", 0));
let (_logits, split) = model.run_with_hooks(rows.clone(), plan)?;
let written = split.get(("result", 0))?.get(0)?.transpose(0, 1)?;
let parts = Tensor::cat(&[split.get("embed")?, split.get("pos_embed")?, written], 0)?;
let (w_q, w_k) = (model.W_Q()?.i((1, 1))?, model.W_K()?.i((1, 1))?);
let scores = (einsum("a q d, d h, e h, b k e -> a b q k", &[&parts, &w_q, &w_k, &parts])? / 4.0)?;
let names = ["embed", "position", "L0H0", "L0H1", "L0H2", "L0H3"];
let past = Tensor::tril2(25, DType::F32, &Device::Cpu)?;
let mean = scores.broadcast_mul(&past)?.sum_keepdim(3)?.broadcast_div(&past.sum_keepdim(1)?)?;
let stripe = scores.broadcast_sub(&mean)?.diagonal(-11)?.narrow(2, 2, 12)?.mean(2)?;
imshow(Labelled::from_tensor("Score along the stripe, above the query's mean", vec![Axis::new("query's part", names), Axis::new("key's part", names)], &stripe)?)"#;

const COMPOSITION: &str = "## How much one head reads of another

The last circuit went through one pair of heads. `|A B| / (|A| |B|)`, in Frobenius norms, says for any two matrices how much of what `A` writes `B` reads: 1 at most, and 0 where they do not meet. Two random matrices score about `1 / sqrt(d_model)`, here 0.125, so that is the level to compare with, not 0.";

const SCORES: &str = r#"imshow(Labelled::from_tensor(
    "K-composition of layer 0 (rows) with layer 1 (columns)",
    vec![Axis::numbered("head of layer 0", 4), Axis::numbered("head of layer 1", 4)],
    &composition_scores(&model.OV()?.get(&[0])?, &model.QK()?.get(&[1])?.T()?)?,
)?)"#;

const PROOF: &str = "## The proof by ablation

One row stands out, and a second comes after it: L0H3, which looks back too. If the story is right, then without the first the heads of layer 1 lose their stripe, although nobody touched them; and without any other head of layer 0 they keep part of it. How much depends on the length. With halves of 25 tokens more than half of their attention stays on it whichever other head is gone. With 12, as in your `rows`, L0H3 is near enough to matter, and without it little more than half of the stripe is left. (Without L0H2 some of it goes as well, and that head does not look back. What could it do? The table above has a hint.)";

const OUTLOOK: &str = "You have taken a model apart that somebody trained on nothing but examples, and can say what it does on text that nobody has seen. Read your three claims at the top again: which cell shows which? And what have you *not* shown? (The loss in the second half is not 0. Where does the model fail?)";

fn full_ov(model: &HookedTransformer, layer: usize, head: usize) -> Result<FactoredMatrix> {
    let w_v = model.W_V()?.get(layer)?.get(head)?;
    let w_o = model.W_O()?.get(layer)?.get(head)?;
    FactoredMatrix::new(&model.W_E().matmul(&w_v)?, &w_o.matmul(&model.W_U())?)
}

fn top_1_acc(circuit: &FactoredMatrix) -> Result<f32> {
    let best = circuit.AB()?.argmax(1)?.to_vec1::<u32>()?;
    let right = (0..best.len()).filter(|&token| best[token] as usize == token).count();
    Ok(right as f32 / best.len() as f32)
}

fn joint_ov(model: &HookedTransformer, layer: usize) -> Result<FactoredMatrix> {
    // [d_model, head * d_head] and [head * d_head, d_model]: the product adds the heads up.
    let w_v = model.W_V()?.get(layer)?.transpose(0, 1)?.flatten_from(1)?;
    let w_o = model.W_O()?.get(layer)?.flatten_to(1)?;
    FactoredMatrix::new(&model.W_E().matmul(&w_v)?, &w_o.matmul(&model.W_U())?)
}

fn pos_by_pos(model: &HookedTransformer, layer: usize, head: usize) -> Result<Tensor> {
    let w_pos = model.W_pos()?;
    let q = w_pos.matmul(&model.W_Q()?.get(layer)?.get(head)?)?;
    let k = w_pos.matmul(&model.W_K()?.get(layer)?.get(head)?)?;
    let scores = (q.matmul(&k.t()?)? / (q.dim(1)? as f64).sqrt())?;
    let future = Tensor::tril2(scores.dim(0)?, DType::U8, scores.device())?.eq(0u8)?;
    softmax(&scores.masked_fill(&future, f32::NEG_INFINITY)?)
}

fn decompose_qk_input(cache: &ActivationCache) -> Result<Tensor> {
    let embed = cache.get("embed")?.get(0)?.unsqueeze(0)?;
    let pos_embed = cache.get("pos_embed")?.get(0)?.unsqueeze(0)?;
    let heads = cache.get(("result", 0))?.get(0)?.transpose(0, 1)?;
    Ok(Tensor::cat(&[embed, pos_embed, heads], 0)?)
}

fn decompose_scores(parts: &Tensor, w_q: &Tensor, w_k: &Tensor) -> Result<Tensor> {
    let q = einsum("a q d, d h -> a q h", &[parts, w_q])?;
    let k = einsum("b k d, d h -> b k h", &[parts, w_k])?;
    let d_head = w_q.dim(1)? as f64;
    Ok((einsum("a q h, b k h -> a b q k", &[&q, &k])? / d_head.sqrt())?)
}

fn k_comp_circuit(model: &HookedTransformer, writer: usize, reader: usize) -> Result<FactoredMatrix> {
    let q = model.W_E().matmul(&model.W_Q()?.get(1)?.get(reader)?)?;
    let moved = model.W_E().matmul(&model.W_V()?.get(0)?.get(writer)?)?.matmul(&model.W_O()?.get(0)?.get(writer)?)?;
    let k = moved.matmul(&model.W_K()?.get(1)?.get(reader)?)?;
    FactoredMatrix::new(&q, &k.t()?)
}

fn composition_score(left: &FactoredMatrix, right: &FactoredMatrix) -> Result<f32> {
    let together = left.matmul(right)?.norm()?.item()?;
    Ok(together / (left.norm()?.item()? * right.norm()?.item()?))
}

fn induction_without(model: &HookedTransformer, tokens: &Tokens, seq_len: usize, head: usize) -> Result<Tensor> {
    let plan = HookPlan::new().edit(("z", 0), Edit::zero().head(head)).capture(("pattern", 1));
    let (_, cache) = model.run_with_hooks(tokens.clone(), plan)?;
    let stripe = cache.get(("pattern", 1))?.diagonal(1 - seq_len as isize)?.narrow(2, 2, seq_len)?;
    Ok(stripe.mean((0, 2))?)
}
