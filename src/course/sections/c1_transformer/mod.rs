//! C1: a transformer, written piece by piece and compared with the library's.

mod answers;
pub mod handles;
mod inputs;
mod rules;
mod texts;

use candle_core::{D, DType, Tensor};

use crate::course::notebook::{Part, Section};
use crate::course::weights::{AttnWeights, BlockWeights, MlpWeights, UnembedWeights, block_weights, unembed_weights};
use crate::error::Result;
use crate::model::HookedTransformer;
use crate::model::ops::softmax;
use crate::tensors::{TensorWords, einsum};
use crate::tokens::Tokens;

/// This file, from which solutions are cut.
const SOURCE: &str = include_str!("mod.rs");

pub(super) fn section() -> Section {
    let parts = vec![
        Part::Text(texts::INTRODUCTION),
        Part::Code(texts::THE_MODEL),
        Part::Code(texts::THE_WEIGHTS),
        Part::Text(texts::NORM),
        Part::Exercise(handles::layer_norm().task()),
        Part::Text(texts::EMBEDDINGS),
        Part::Exercise(handles::embed().task()),
        Part::Exercise(handles::pos_embed().task()),
        Part::Text(texts::POSITIONS),
        Part::Code(texts::LIKENESS_OF_POSITIONS),
        Part::Text(texts::ATTENTION),
        Part::Exercise(handles::apply_causal_mask().task()),
        Part::Exercise(handles::attention().task()),
        Part::Text(texts::PATTERNS),
        Part::Code(texts::REAL_PATTERNS),
        Part::Text(texts::MLP),
        Part::Code(texts::ACTIVATION),
        Part::Exercise(handles::mlp().task()),
        Part::Text(texts::BLOCK),
        Part::Exercise(handles::block().task()),
        Part::Text(texts::STREAM),
        Part::Code(texts::SIZE_OF_THE_STREAM),
        Part::Exercise(handles::unembed().task()),
        Part::Text(texts::WHOLE),
        Part::Exercise(handles::demo_transformer().task()),
        Part::Text(texts::END),
        Part::Code(texts::NEXT_TOKEN),
    ];
    Section { file: "c1_transformer", parts }
}

fn layer_norm(x: &Tensor, w: &Tensor, b: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let normalised = centred.broadcast_div(&(variance + eps)?.sqrt()?)?;
    Ok(normalised.broadcast_mul(w)?.broadcast_add(b)?)
}

fn embed(tokens: &Tokens, w_e: &Tensor) -> Result<Tensor> {
    let ids = tokens.to_tensor(w_e.device())?.flatten_all()?;
    let rows = w_e.index_select(&ids, 0)?;
    Ok(rows.reshape((tokens.batch(), tokens.pos(), w_e.dim(1)?))?)
}

fn pos_embed(tokens: &Tokens, w_pos: &Tensor) -> Result<Tensor> {
    Ok(w_pos.narrow(0, 0, tokens.pos())?.broadcast_left(tokens.batch())?)
}

fn apply_causal_mask(scores: &Tensor) -> Result<Tensor> {
    let future = Tensor::tril2(scores.dim(3)?, DType::U8, scores.device())?.eq(0u8)?;
    scores.masked_fill(&future, f32::NEG_INFINITY)
}

fn attention(x: &Tensor, weights: &AttnWeights) -> Result<Tensor> {
    let q = einsum("b p m, h m d -> b p h d", &[x, &weights.W_Q])?.broadcast_add(&weights.b_Q)?;
    let k = einsum("b p m, h m d -> b p h d", &[x, &weights.W_K])?.broadcast_add(&weights.b_K)?;
    let v = einsum("b p m, h m d -> b p h d", &[x, &weights.W_V])?.broadcast_add(&weights.b_V)?;
    let d_head = q.dim(3)? as f64;
    let scores = (einsum("b q h d, b k h d -> b h q k", &[&q, &k])? / d_head.sqrt())?;
    let pattern = softmax(&apply_causal_mask(&scores)?)?;
    let z = einsum("b h q k, b k h d -> b q h d", &[&pattern, &v])?;
    Ok(einsum("b q h d, h d m -> b q m", &[&z, &weights.W_O])?.broadcast_add(&weights.b_O)?)
}

fn mlp(x: &Tensor, weights: &MlpWeights) -> Result<Tensor> {
    let pre = einsum("b p m, m n -> b p n", &[x, &weights.W_in])?.broadcast_add(&weights.b_in)?;
    let post = pre.gelu()?;
    Ok(einsum("b p n, n m -> b p m", &[&post, &weights.W_out])?.broadcast_add(&weights.b_out)?)
}

fn block(x: &Tensor, weights: &BlockWeights) -> Result<(Tensor, Tensor)> {
    let read = layer_norm(x, &weights.ln1_w, &weights.ln1_b, weights.eps)?;
    let mid = (x + attention(&read, &weights.attn)?)?;
    let read = layer_norm(&mid, &weights.ln2_w, &weights.ln2_b, weights.eps)?;
    let post = (&mid + mlp(&read, &weights.mlp)?)?;
    Ok((mid, post))
}

fn unembed(x: &Tensor, weights: &UnembedWeights) -> Result<Tensor> {
    let read = layer_norm(x, &weights.ln_final_w, &weights.ln_final_b, weights.eps)?;
    Ok(einsum("b p m, m v -> b p v", &[&read, &weights.W_U])?.broadcast_add(&weights.b_U)?)
}

fn demo_transformer(model: &HookedTransformer, tokens: &Tokens) -> Result<Vec<Tensor>> {
    let embedded = embed(tokens, &model.weight("embed.W_E")?)?;
    let mut x = (embedded + pos_embed(tokens, &model.weight("pos_embed.W_pos")?)?)?;
    let mut stream = vec![x.clone()];
    for layer in 0..model.cfg().n_layers {
        let (mid, post) = block(&x, &block_weights(model, layer)?)?;
        x = post.clone();
        stream.extend([mid, post]);
    }
    stream.push(unembed(&x, &unembed_weights(model)?)?);
    Ok(stream)
}
