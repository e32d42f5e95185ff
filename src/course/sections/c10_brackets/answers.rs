//! Answers of this section that are wrong.

use candle_core::{DType, Device, IndexOp, Tensor};

use super::{accuracy_without, out_by_neuron, out_by_neuron_in_dir, pre_head_dir};
use crate::cache::ActivationCache;
use crate::error::Result;
use crate::hooks::{Edit, HookPlan};
use crate::model::HookedTransformer;
use crate::tensors::{TensorWords, einsum};

fn accuracy(model: &HookedTransformer, texts: &[String], balanced: &[bool], plan: HookPlan) -> Result<f32> {
    let says = model.run_with_hooks(texts, plan)?.0.i((.., 0))?.argmax(1)?.to_vec1::<u32>()?;
    let right = says.iter().zip(balanced).filter(|(says, balanced)| (**says == 1) == **balanced).count();
    Ok(right as f32 / texts.len() as f32)
}

pub(super) fn with_all_heads(
    model: &HookedTransformer,
    texts: &[String],
    balanced: &[bool],
    _: usize,
    _: usize,
) -> Result<f32> {
    accuracy(model, texts, balanced, HookPlan::new())
}

pub(super) fn without_the_layer(
    model: &HookedTransformer,
    texts: &[String],
    balanced: &[bool],
    layer: usize,
    _: usize,
) -> Result<f32> {
    accuracy(model, texts, balanced, HookPlan::new().edit(("z", layer), Edit::zero()))
}

pub(super) fn without_another_head(
    model: &HookedTransformer,
    texts: &[String],
    balanced: &[bool],
    layer: usize,
    head: usize,
) -> Result<f32> {
    accuracy_without(model, texts, balanced, layer, (head + 1) % model.cfg().n_heads)
}

pub(super) fn without_the_mlp_too(
    model: &HookedTransformer,
    texts: &[String],
    balanced: &[bool],
    layer: usize,
    head: usize,
) -> Result<f32> {
    let plan = HookPlan::new().edit(("z", layer), Edit::zero().head(head)).edit(("mlp_out", layer), Edit::zero());
    accuracy(model, texts, balanced, plan)
}

pub(super) fn padding_averaged_in(cache: &ActivationCache, layer: usize, head: usize) -> Result<Tensor> {
    Ok(cache.get(("pattern", layer))?.i((.., head, 0))?.mean(0)?)
}

/// A mean over the strings that have a token at each position.
fn mean_there(cache: &ActivationCache, rows: &Tensor) -> Result<Tensor> {
    let there = cache.tokens().to_tensor(&Device::Cpu)?.ne(1u32)?.to_dtype(DType::F32)?;
    Ok(((rows * &there)?.sum(0)? / there.sum(0)?)?)
}

pub(super) fn received_by_start(cache: &ActivationCache, layer: usize, head: usize) -> Result<Tensor> {
    mean_there(cache, &cache.get(("pattern", layer))?.i((.., head, .., 0))?)
}

pub(super) fn of_the_last_query(cache: &ActivationCache, layer: usize, head: usize) -> Result<Tensor> {
    let pattern = cache.get(("pattern", layer))?;
    mean_there(cache, &pattern.i((.., head, pattern.dim(2)? - 1))?)
}

fn marked_attention(cache: &ActivationCache, layer: usize, head: usize, marked: &Tensor) -> Result<Tensor> {
    Ok((cache.get(("pattern", layer))?.i((.., head, 0))? * marked)?)
}

pub(super) fn mean_of_marked(cache: &ActivationCache, layer: usize, head: usize, marked: &Tensor) -> Result<Tensor> {
    Ok((marked_attention(cache, layer, head, marked)?.sum(1)? / marked.sum(1)?)?)
}

pub(super) fn mean_of_all_positions(
    cache: &ActivationCache,
    layer: usize,
    head: usize,
    marked: &Tensor,
) -> Result<Tensor> {
    Ok(marked_attention(cache, layer, head, marked)?.mean(1)?)
}

pub(super) fn elsewhere(cache: &ActivationCache, layer: usize, head: usize, marked: &Tensor) -> Result<Tensor> {
    Ok(marked_attention(cache, layer, head, marked)?.sum(1)?.affine(-1.0, 1.0)?)
}

pub(super) fn from_the_marked(cache: &ActivationCache, layer: usize, head: usize, marked: &Tensor) -> Result<Tensor> {
    Ok((cache.get(("pattern", layer))?.i((.., head, .., 0))? * marked)?.sum(1)?)
}

/// The head's two matrices.
fn of_head(model: &HookedTransformer, layer: usize, head: usize) -> Result<(Tensor, Tensor)> {
    Ok((model.W_V()?.i((layer, head))?, model.W_O()?.i((layer, head))?))
}

pub(super) fn head_transposed(model: &HookedTransformer, dir: &Tensor, layer: usize, head: usize) -> Result<Tensor> {
    let (w_v, w_o) = of_head(model, layer, head)?;
    einsum("d, d e, e a -> a", &[dir, &w_v, &w_o])
}

pub(super) fn another_head(model: &HookedTransformer, dir: &Tensor, layer: usize, head: usize) -> Result<Tensor> {
    pre_head_dir(model, dir, layer, (head + 1) % model.cfg().n_heads)
}

pub(super) fn another_layer(model: &HookedTransformer, dir: &Tensor, layer: usize, head: usize) -> Result<Tensor> {
    pre_head_dir(model, dir, layer - 1, head)
}

/// What neurons with these activations write.
fn written(model: &HookedTransformer, activations: &Tensor, layer: usize) -> Result<Tensor> {
    einsum("b n, n d -> b n d", &[activations, &model.W_out()?.get(layer)?])
}

pub(super) fn before_the_nonlinearity(
    model: &HookedTransformer,
    cache: &ActivationCache,
    layer: usize,
) -> Result<Tensor> {
    written(model, &cache.get(("pre", layer))?.i((.., 0))?, layer)
}

pub(super) fn bias_to_neurons(model: &HookedTransformer, cache: &ActivationCache, layer: usize) -> Result<Tensor> {
    let share = (model.b_out()?.get(layer)? / model.cfg().d_mlp() as f64)?;
    Ok(out_by_neuron(model, cache, layer)?.broadcast_add(&share)?)
}

pub(super) fn neurons_at_the_end(model: &HookedTransformer, cache: &ActivationCache, layer: usize) -> Result<Tensor> {
    let post = cache.get(("post", layer))?;
    written(model, &post.i((.., post.dim(1)? - 1))?, layer)
}

pub(super) fn before_the_nonlinearity_in_dir(
    model: &HookedTransformer,
    cache: &ActivationCache,
    layer: usize,
    dir: &Tensor,
) -> Result<Tensor> {
    einsum("b n d, d -> b n", &[&before_the_nonlinearity(model, cache, layer)?, dir])
}

pub(super) fn unit_direction(
    model: &HookedTransformer,
    cache: &ActivationCache,
    layer: usize,
    dir: &Tensor,
) -> Result<Tensor> {
    let length = f64::from(dir.sqr()?.sum_all()?.item()?).sqrt();
    Ok((out_by_neuron_in_dir(model, cache, layer, dir)? / length)?)
}

pub(super) fn through_w_in(
    model: &HookedTransformer,
    cache: &ActivationCache,
    layer: usize,
    dir: &Tensor,
) -> Result<Tensor> {
    let post = cache.get(("post", layer))?.i((.., 0))?;
    einsum("b n, d n, d -> b n", &[&post, &model.W_in()?.get(layer)?, dir])
}

/// What a head of layer 0 passes on for both brackets, with a position and a norm of one's own, and something before W_O.
fn passed_on(
    model: &HookedTransformer,
    head: usize,
    position: &Tensor,
    normalised: bool,
    before_w_o: Option<Tensor>,
) -> Result<(Tensor, Tensor)> {
    let (w_v, w_o) = of_head(model, 0, head)?;
    let of = |id: usize| -> Result<Tensor> {
        let x = (model.W_E().get(id)? + position)?;
        let centred = x.broadcast_sub(&x.mean_keepdim(0)?)?;
        let scale = (f64::from(centred.sqr()?.mean_all()?.item()?) + model.cfg().eps).sqrt();
        let value = einsum("d, d e -> e", &[&if normalised { (centred / scale)? } else { x }, &w_v])?;
        let value = match &before_w_o {
            Some(more) => (value + more)?,
            None => value,
        };
        einsum("e, e f -> f", &[&value, &w_o])
    };
    Ok((of(2)?, of(3)?))
}

fn mean_position(model: &HookedTransformer, from: usize) -> Result<Tensor> {
    Ok(model.W_pos()?.i(from..)?.mean(0)?)
}

pub(super) fn no_position(model: &HookedTransformer, head: usize) -> Result<(Tensor, Tensor)> {
    passed_on(model, head, &mean_position(model, 1)?.zeros_like()?, true, None)
}

pub(super) fn not_normalised(model: &HookedTransformer, head: usize) -> Result<(Tensor, Tensor)> {
    passed_on(model, head, &mean_position(model, 1)?, false, None)
}

pub(super) fn start_in_the_mean(model: &HookedTransformer, head: usize) -> Result<(Tensor, Tensor)> {
    passed_on(model, head, &mean_position(model, 0)?, true, None)
}

pub(super) fn brackets_exchanged(model: &HookedTransformer, head: usize) -> Result<(Tensor, Tensor)> {
    let (left, right) = passed_on(model, head, &mean_position(model, 1)?, true, None)?;
    Ok((right, left))
}

pub(super) fn with_b_v(model: &HookedTransformer, head: usize) -> Result<(Tensor, Tensor)> {
    passed_on(model, head, &mean_position(model, 1)?, true, Some(model.b_V()?.i((0, head))?))
}
