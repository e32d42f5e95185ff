//! Wrong blocks, unembeddings and models.

use candle_core::Tensor;

use super::super::{attention, block, demo_transformer, embed, layer_norm, mlp, unembed};
use crate::course::weights::{BlockWeights, UnembedWeights, block_weights, unembed_weights};
use crate::error::Result;
use crate::model::HookedTransformer;
use crate::model::ops::softmax;
use crate::tensors::einsum;
use crate::tokens::Tokens;

/// What attention and the MLP add, each from what it reads, which is normalised first.
fn attn_out(read: &Tensor, weights: &BlockWeights) -> Result<Tensor> {
    attention(&layer_norm(read, &weights.ln1_w, &weights.ln1_b, weights.eps)?, &weights.attn)
}

fn mlp_out(read: &Tensor, weights: &BlockWeights) -> Result<Tensor> {
    mlp(&layer_norm(read, &weights.ln2_w, &weights.ln2_b, weights.eps)?, &weights.mlp)
}

pub(crate) fn side_by_side(x: &Tensor, weights: &BlockWeights) -> Result<(Tensor, Tensor)> {
    let mid = (x + attn_out(x, weights)?)?;
    let post = (&mid + mlp_out(x, weights)?)?;
    Ok((mid, post))
}

pub(crate) fn no_first_sum(x: &Tensor, weights: &BlockWeights) -> Result<(Tensor, Tensor)> {
    let mid = attn_out(x, weights)?;
    let post = (&mid + mlp_out(&mid, weights)?)?;
    Ok((mid, post))
}

pub(crate) fn no_second_sum(x: &Tensor, weights: &BlockWeights) -> Result<(Tensor, Tensor)> {
    let mid = (x + attn_out(x, weights)?)?;
    let post = mlp_out(&mid, weights)?;
    Ok((mid, post))
}

pub(crate) fn second_sum_with_the_first(x: &Tensor, weights: &BlockWeights) -> Result<(Tensor, Tensor)> {
    let mid = (x + attn_out(x, weights)?)?;
    let post = (x + mlp_out(&mid, weights)?)?;
    Ok((mid, post))
}

pub(crate) fn norms_after_the_sums(x: &Tensor, weights: &BlockWeights) -> Result<(Tensor, Tensor)> {
    let mid = (x + attention(x, &weights.attn)?)?;
    let mid = layer_norm(&mid, &weights.ln1_w, &weights.ln1_b, weights.eps)?;
    let post = (&mid + mlp(&mid, &weights.mlp)?)?;
    let post = layer_norm(&post, &weights.ln2_w, &weights.ln2_b, weights.eps)?;
    Ok((mid, post))
}

pub(crate) fn no_norms(x: &Tensor, weights: &BlockWeights) -> Result<(Tensor, Tensor)> {
    let mid = (x + attention(x, &weights.attn)?)?;
    let post = (&mid + mlp(&mid, &weights.mlp)?)?;
    Ok((mid, post))
}

pub(crate) fn normalised_is_added(x: &Tensor, weights: &BlockWeights) -> Result<(Tensor, Tensor)> {
    let read = layer_norm(x, &weights.ln1_w, &weights.ln1_b, weights.eps)?;
    let mid = (&read + attention(&read, &weights.attn)?)?;
    let read = layer_norm(&mid, &weights.ln2_w, &weights.ln2_b, weights.eps)?;
    let post = (&read + mlp(&read, &weights.mlp)?)?;
    Ok((mid, post))
}

pub(crate) fn first_norm_twice(x: &Tensor, weights: &BlockWeights) -> Result<(Tensor, Tensor)> {
    let (w, b) = (weights.ln1_w.clone(), weights.ln1_b.clone());
    block(x, &BlockWeights { ln2_w: w, ln2_b: b, ..weights.clone() })
}

pub(crate) fn other_order(x: &Tensor, weights: &BlockWeights) -> Result<(Tensor, Tensor)> {
    let (mid, post) = block(x, weights)?;
    Ok((post, mid))
}

pub(crate) fn no_final_norm(x: &Tensor, weights: &UnembedWeights) -> Result<Tensor> {
    Ok(einsum("b p m, m v -> b p v", &[x, &weights.W_U])?.broadcast_add(&weights.b_U)?)
}

pub(crate) fn no_b_u(x: &Tensor, weights: &UnembedWeights) -> Result<Tensor> {
    unembed(x, &UnembedWeights { b_U: weights.b_U.zeros_like()?, ..weights.clone() })
}

pub(crate) fn probabilities(x: &Tensor, weights: &UnembedWeights) -> Result<Tensor> {
    softmax(&unembed(x, weights)?)
}

pub(crate) fn last_position_only(x: &Tensor, weights: &UnembedWeights) -> Result<Tensor> {
    unembed(&x.narrow(1, x.dim(1)? - 1, 1)?, weights)
}

/// The blocks and the unembedding on a stream of one's own, each block with the weights and the input that are chosen.
fn run(
    model: &HookedTransformer,
    start: Tensor,
    layer_of: impl Fn(usize) -> usize,
    chained: bool,
) -> Result<Vec<Tensor>> {
    let mut stream = vec![start.clone()];
    let mut x = start.clone();
    for layer in 0..model.cfg().n_layers {
        let read = if chained { &x } else { &start };
        let (mid, post) = block(read, &block_weights(model, layer_of(layer))?)?;
        x = post.clone();
        stream.extend([mid, post]);
    }
    stream.push(unembed(&x, &unembed_weights(model)?)?);
    Ok(stream)
}

fn start(model: &HookedTransformer, tokens: &Tokens) -> Result<Tensor> {
    Ok(demo_transformer(model, tokens)?.swap_remove(0))
}

pub(crate) fn no_positions(model: &HookedTransformer, tokens: &Tokens) -> Result<Vec<Tensor>> {
    run(model, embed(tokens, &model.weight("embed.W_E")?)?, |layer| layer, true)
}

pub(crate) fn same_block_each_time(model: &HookedTransformer, tokens: &Tokens) -> Result<Vec<Tensor>> {
    run(model, start(model, tokens)?, |_| 0, true)
}

pub(crate) fn blocks_not_chained(model: &HookedTransformer, tokens: &Tokens) -> Result<Vec<Tensor>> {
    run(model, start(model, tokens)?, |layer| layer, false)
}

pub(crate) fn blocks_backwards(model: &HookedTransformer, tokens: &Tokens) -> Result<Vec<Tensor>> {
    let last = model.cfg().n_layers - 1;
    run(model, start(model, tokens)?, |layer| last - layer, true)
}

pub(crate) fn blocks_only(model: &HookedTransformer, tokens: &Tokens) -> Result<Vec<Tensor>> {
    let all = demo_transformer(model, tokens)?;
    let last = all.len() - 1;
    Ok((1..all.len()).filter(|at| at % 2 == 0 || *at == last).map(|at| all[at].clone()).collect())
}

pub(crate) fn unembedded_without_norm(model: &HookedTransformer, tokens: &Tokens) -> Result<Vec<Tensor>> {
    let mut all = demo_transformer(model, tokens)?;
    let last = all.len() - 1;
    all[last] = no_final_norm(&all[last - 1], &unembed_weights(model)?)?;
    Ok(all)
}
