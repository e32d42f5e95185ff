//! Answers of this section that are wrong, or right in another way.

use candle_core::{DType, Tensor};

use super::{decompose_qk_input, decompose_scores, full_ov, k_comp_circuit};
use crate::cache::ActivationCache;
use crate::error::Result;
use crate::factored_matrix::FactoredMatrix;
use crate::hooks::{Edit, HookPlan};
use crate::model::HookedTransformer;
use crate::model::ops::softmax;
use crate::tensors::TensorWords;
use crate::tokens::Tokens;

/// A head's own matrix out of those of all.
fn of(all: Result<Tensor>, layer: usize, head: usize) -> Result<Tensor> {
    Ok(all?.get(layer)?.get(head)?)
}

pub(super) fn transposed(model: &HookedTransformer, layer: usize, head: usize) -> Result<FactoredMatrix> {
    full_ov(model, layer, head)?.T()
}

pub(super) fn between_streams(model: &HookedTransformer, layer: usize, head: usize) -> Result<FactoredMatrix> {
    FactoredMatrix::new(&of(model.W_V(), layer, head)?, &of(model.W_O(), layer, head)?)
}

pub(super) fn of_the_keys(model: &HookedTransformer, layer: usize, head: usize) -> Result<FactoredMatrix> {
    let w_k = of(model.W_K(), layer, head)?;
    FactoredMatrix::new(&model.W_E().matmul(&w_k)?, &of(model.W_O(), layer, head)?.matmul(&model.W_U())?)
}

pub(super) fn layer_and_head_exchanged(model: &HookedTransformer, layer: usize, head: usize) -> Result<FactoredMatrix> {
    full_ov(model, head, layer)
}

pub(super) fn circuit_multiplied_out(model: &HookedTransformer, layer: usize, head: usize) -> Result<FactoredMatrix> {
    FactoredMatrix::from_matrix(&full_ov(model, layer, head)?.AB()?)
}

fn share(square: &Tensor, axis: usize) -> Result<f32> {
    let best = square.argmax(axis)?.to_vec1::<u32>()?;
    let right = best.iter().zip(0..).filter(|(found, own)| *found == own).count();
    Ok(right as f32 / best.len() as f32)
}

pub(super) fn over_columns(circuit: &FactoredMatrix) -> Result<f32> {
    share(&circuit.AB()?, 0)
}

pub(super) fn by_size(circuit: &FactoredMatrix) -> Result<f32> {
    share(&circuit.AB()?.abs()?, 1)
}

pub(super) fn lowest(circuit: &FactoredMatrix) -> Result<f32> {
    share(&circuit.AB()?.neg()?, 1)
}

pub(super) fn a_count(circuit: &FactoredMatrix) -> Result<f32> {
    Ok(share(&circuit.AB()?, 1)? * circuit.ldim() as f32)
}

pub(super) fn averaged(model: &HookedTransformer, layer: usize) -> Result<FactoredMatrix> {
    super::joint_ov(model, layer)?.scale(1.0 / model.dims().n_heads as f64)
}

pub(super) fn first_head(model: &HookedTransformer, layer: usize) -> Result<FactoredMatrix> {
    full_ov(model, layer, 0)
}

pub(super) fn sum_multiplied_out(model: &HookedTransformer, layer: usize) -> Result<FactoredMatrix> {
    FactoredMatrix::from_matrix(&super::joint_ov(model, layer)?.AB()?)
}

/// Heads laid out wrongly: the axes of `W_V` are merged as they lie.
pub(super) fn scrambled(model: &HookedTransformer, layer: usize) -> Result<FactoredMatrix> {
    let (heads, d_model, d_head) = model.W_V()?.get(layer)?.dims3()?;
    let w_v = model.W_V()?.get(layer)?.reshape((d_model, heads * d_head))?;
    let w_o = model.W_O()?.get(layer)?.flatten_to(1)?;
    FactoredMatrix::new(&model.W_E().matmul(&w_v)?, &w_o.matmul(&model.W_U())?)
}

/// What is masked.
#[derive(Clone, Copy)]
enum Masked {
    Future,
    Past,
    Nothing,
}

/// The pattern of queries and keys, the scores divided by `scale`.
fn pattern((q, k): (Tensor, Tensor), scale: impl Fn(usize) -> f64, masked: Masked) -> Result<Tensor> {
    let scores = (q.matmul(&k.t()?)? / scale(q.dim(1)?))?;
    let past = Tensor::tril2(scores.dim(0)?, DType::U8, scores.device())?;
    let mask = match masked {
        Masked::Future => past.eq(0u8)?,
        Masked::Past => past,
        Masked::Nothing => past.zeros_like()?,
    };
    softmax(&scores.masked_fill(&mask, f32::NEG_INFINITY)?)
}

fn queries_and_keys(x: &Tensor, model: &HookedTransformer, layer: usize, head: usize) -> Result<(Tensor, Tensor)> {
    Ok((x.matmul(&of(model.W_Q(), layer, head)?)?, x.matmul(&of(model.W_K(), layer, head)?)?))
}

fn root(d_head: usize) -> f64 {
    (d_head as f64).sqrt()
}

pub(super) fn of_tokens(model: &HookedTransformer, layer: usize, head: usize) -> Result<Tensor> {
    pattern(queries_and_keys(&model.W_E(), model, layer, head)?, root, Masked::Future)
}

pub(super) fn no_scale(model: &HookedTransformer, layer: usize, head: usize) -> Result<Tensor> {
    pattern(queries_and_keys(&model.W_pos()?, model, layer, head)?, |_| 1.0, Masked::Future)
}

pub(super) fn no_mask(model: &HookedTransformer, layer: usize, head: usize) -> Result<Tensor> {
    pattern(queries_and_keys(&model.W_pos()?, model, layer, head)?, root, Masked::Nothing)
}

pub(super) fn past_masked(model: &HookedTransformer, layer: usize, head: usize) -> Result<Tensor> {
    pattern(queries_and_keys(&model.W_pos()?, model, layer, head)?, root, Masked::Past)
}

pub(super) fn swapped(model: &HookedTransformer, layer: usize, head: usize) -> Result<Tensor> {
    let (q, k) = queries_and_keys(&model.W_pos()?, model, layer, head)?;
    pattern((k, q), root, Masked::Future)
}

pub(super) fn no_positions(cache: &ActivationCache) -> Result<Tensor> {
    let parts = decompose_qk_input(cache)?;
    Ok(Tensor::cat(&[parts.narrow(0, 0, 1)?, parts.narrow(0, 2, parts.dim(0)? - 2)?], 0)?)
}

pub(super) fn positions_first(cache: &ActivationCache) -> Result<Tensor> {
    let parts = decompose_qk_input(cache)?;
    let (embed, positions) = (parts.narrow(0, 0, 1)?, parts.narrow(0, 1, 1)?);
    Ok(Tensor::cat(&[positions, embed, parts.narrow(0, 2, parts.dim(0)? - 2)?], 0)?)
}

pub(super) fn positions_twice(cache: &ActivationCache) -> Result<Tensor> {
    let parts = decompose_qk_input(cache)?;
    let (embed, positions) = (parts.narrow(0, 0, 1)?, parts.narrow(0, 1, 1)?);
    Ok(Tensor::cat(&[(embed + &positions)?, positions, parts.narrow(0, 2, parts.dim(0)? - 2)?], 0)?)
}

pub(super) fn results_of_layer_1(cache: &ActivationCache) -> Result<Tensor> {
    let parts = decompose_qk_input(cache)?;
    let heads = cache.get(("result", 1))?.get(0)?.transpose(0, 1)?;
    Ok(Tensor::cat(&[parts.narrow(0, 0, 2)?, heads], 0)?)
}

pub(super) fn parts_exchanged(parts: &Tensor, w_q: &Tensor, w_k: &Tensor) -> Result<Tensor> {
    Ok(decompose_scores(parts, w_q, w_k)?.transpose(0, 1)?.contiguous()?)
}

pub(super) fn weights_exchanged(parts: &Tensor, w_q: &Tensor, w_k: &Tensor) -> Result<Tensor> {
    decompose_scores(parts, w_k, w_q)
}

pub(super) fn keys_first(parts: &Tensor, w_q: &Tensor, w_k: &Tensor) -> Result<Tensor> {
    Ok(decompose_scores(parts, w_q, w_k)?.transpose(2, 3)?.contiguous()?)
}

pub(super) fn scaled_by_d_head(parts: &Tensor, w_q: &Tensor, w_k: &Tensor) -> Result<Tensor> {
    Ok((decompose_scores(parts, w_q, w_k)? / root(w_q.dim(1)?))?)
}

pub(super) fn not_scaled(parts: &Tensor, w_q: &Tensor, w_k: &Tensor) -> Result<Tensor> {
    Ok((decompose_scores(parts, w_q, w_k)? * root(w_q.dim(1)?))?)
}

/// Queries of the embedding of layer 1, and keys of something else.
fn matching(model: &HookedTransformer, queries: &Tensor, keys: &Tensor, reader: usize) -> Result<FactoredMatrix> {
    let (w_q, w_k) = (of(model.W_Q(), 1, reader)?, of(model.W_K(), 1, reader)?);
    FactoredMatrix::new(&queries.matmul(&w_q)?, &keys.matmul(&w_k)?.t()?)
}

fn moved(model: &HookedTransformer, layer: usize, head: usize) -> Result<Tensor> {
    Ok(model.W_E().matmul(&of(model.W_V(), layer, head)?)?.matmul(&of(model.W_O(), layer, head)?)?)
}

pub(super) fn nothing_moved(model: &HookedTransformer, _writer: usize, reader: usize) -> Result<FactoredMatrix> {
    matching(model, &model.W_E(), &model.W_E(), reader)
}

pub(super) fn queries_moved(model: &HookedTransformer, writer: usize, reader: usize) -> Result<FactoredMatrix> {
    matching(model, &moved(model, 0, writer)?, &model.W_E(), reader)
}

pub(super) fn sides_exchanged(model: &HookedTransformer, writer: usize, reader: usize) -> Result<FactoredMatrix> {
    k_comp_circuit(model, writer, reader)?.T()
}

pub(super) fn moved_by_layer_1(model: &HookedTransformer, writer: usize, reader: usize) -> Result<FactoredMatrix> {
    matching(model, &model.W_E(), &moved(model, 1, writer)?, reader)
}

pub(super) fn heads_exchanged(model: &HookedTransformer, writer: usize, reader: usize) -> Result<FactoredMatrix> {
    k_comp_circuit(model, reader, writer)
}

pub(super) fn matches_multiplied_out(
    model: &HookedTransformer,
    writer: usize,
    reader: usize,
) -> Result<FactoredMatrix> {
    FactoredMatrix::from_matrix(&k_comp_circuit(model, writer, reader)?.AB()?)
}

fn norms(left: &FactoredMatrix, right: &FactoredMatrix) -> Result<f32> {
    Ok(left.norm()?.item()? * right.norm()?.item()?)
}

pub(super) fn squared(left: &FactoredMatrix, right: &FactoredMatrix) -> Result<f32> {
    Ok((left.matmul(right)?.norm()?.item()? / norms(left, right)?).powi(2))
}

pub(super) fn other_order(left: &FactoredMatrix, right: &FactoredMatrix) -> Result<f32> {
    Ok(right.matmul(left)?.norm()?.item()? / norms(left, right)?)
}

pub(super) fn transposed_right(left: &FactoredMatrix, right: &FactoredMatrix) -> Result<f32> {
    Ok(left.matmul(&right.T()?)?.norm()?.item()? / norms(left, right)?)
}

pub(super) fn not_divided(left: &FactoredMatrix, right: &FactoredMatrix) -> Result<f32> {
    left.matmul(right)?.norm()?.item()
}

pub(super) fn largest_singular_values(left: &FactoredMatrix, right: &FactoredMatrix) -> Result<f32> {
    let largest = |m: &FactoredMatrix| -> Result<f32> { m.svd()?.s.max_all()?.item() };
    Ok(largest(&left.matmul(right)?)? / (largest(left)? * largest(right)?))
}

/// The scores of layer 1's stripe, or that of another layer, under a plan.
fn stripe(model: &HookedTransformer, tokens: &Tokens, seq_len: usize, layer: usize, plan: HookPlan) -> Result<Tensor> {
    let (_, cache) = model.run_with_hooks(tokens.clone(), plan.capture(("pattern", layer)))?;
    Ok(cache.get(("pattern", layer))?.diagonal(1 - seq_len as isize)?.narrow(2, 2, seq_len)?.mean((0, 2))?)
}

pub(super) fn nothing_ablated(
    model: &HookedTransformer,
    tokens: &Tokens,
    seq_len: usize,
    _head: usize,
) -> Result<Tensor> {
    stripe(model, tokens, seq_len, 1, HookPlan::new())
}

pub(super) fn all_ablated(model: &HookedTransformer, tokens: &Tokens, seq_len: usize, _head: usize) -> Result<Tensor> {
    stripe(model, tokens, seq_len, 1, HookPlan::new().edit(("z", 0), Edit::zero()))
}

pub(super) fn ablated_in_layer_1(
    model: &HookedTransformer,
    tokens: &Tokens,
    seq_len: usize,
    head: usize,
) -> Result<Tensor> {
    stripe(model, tokens, seq_len, 1, HookPlan::new().edit(("pattern", 1), Edit::zero().head(head)))
}

pub(super) fn stripe_of_layer_0(
    model: &HookedTransformer,
    tokens: &Tokens,
    seq_len: usize,
    head: usize,
) -> Result<Tensor> {
    stripe(model, tokens, seq_len, 0, HookPlan::new().edit(("z", 0), Edit::zero().head(head)))
}
