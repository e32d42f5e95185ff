//! Answers of this section that are wrong.

use candle_core::{DType, Device, IndexOp, Tensor};

use super::{elevations, is_balanced, out_by_components, post_final_ln_dir};
use crate::cache::ActivationCache;
use crate::error::Result;
use crate::model::HookedTransformer;
use crate::tensors::einsum;
use crate::tokens::Tokens;

/// The depth after each bracket.
fn depths(text: &str) -> Vec<i32> {
    let mut depth = 0;
    let after = text.chars().map(|bracket| {
        depth += if bracket == '(' { 1 } else { -1 };
        depth
    });
    after.collect()
}

pub(super) fn counts_only(text: &str) -> Result<bool> {
    Ok(depths(text).last() == Some(&0))
}

pub(super) fn never_below(text: &str) -> Result<bool> {
    Ok(depths(text).iter().all(|depth| *depth >= 0))
}

pub(super) fn never_back_before_the_end(text: &str) -> Result<bool> {
    let depths = depths(text);
    Ok(depths.split_last().is_some_and(|(last, before)| *last == 0 && before.iter().all(|depth| *depth > 0)))
}

/// Each token's step: up for a `)`, down for a `(`.
fn steps(tokens: &Tokens) -> Result<Tensor> {
    let ids = tokens.to_tensor(&Device::Cpu)?;
    Ok((ids.eq(3u32)?.to_dtype(DType::F32)? - ids.eq(2u32)?.to_dtype(DType::F32)?)?)
}

fn to_the_end(steps: &Tensor) -> Result<Tensor> {
    let before = (steps.cumsum(1)? - steps)?;
    Ok(steps.sum_keepdim(1)?.broadcast_sub(&before)?)
}

pub(super) fn from_the_left(tokens: &Tokens) -> Result<Tensor> {
    Ok(steps(tokens)?.cumsum(1)?)
}

pub(super) fn signs_exchanged(tokens: &Tokens) -> Result<Tensor> {
    Ok(elevations(tokens)?.neg()?)
}

pub(super) fn without_itself(tokens: &Tokens) -> Result<Tensor> {
    Ok((elevations(tokens)? - steps(tokens)?)?)
}

pub(super) fn padding_counts(tokens: &Tokens) -> Result<Tensor> {
    let padding = tokens.to_tensor(&Device::Cpu)?.eq(1u32)?.to_dtype(DType::F32)?;
    to_the_end(&(steps(tokens)? + padding)?)
}

fn marked(total: &Tensor, negative: &Tensor) -> Result<(Tensor, Tensor)> {
    Ok((total.to_dtype(DType::F32)?, negative.to_dtype(DType::F32)?))
}

pub(super) fn read_left_to_right(tokens: &Tokens) -> Result<(Tensor, Tensor)> {
    let from_the_left = from_the_left(tokens)?.neg()?;
    marked(&elevations(tokens)?.i((.., 0))?.ne(0f32)?, &from_the_left.min(1)?.lt(0f32)?)
}

pub(super) fn last_column(tokens: &Tokens) -> Result<(Tensor, Tensor)> {
    let elevations = elevations(tokens)?;
    marked(&elevations.i((.., tokens.pos() - 1))?.ne(0f32)?, &elevations.min(1)?.lt(0f32)?)
}

pub(super) fn touching_zero(tokens: &Tokens) -> Result<(Tensor, Tensor)> {
    let elevations = elevations(tokens)?;
    marked(&elevations.i((.., 0))?.ne(0f32)?, &elevations.min(1)?.le(0f32)?)
}

fn share(model: &HookedTransformer, texts: &[String], last: bool, is: impl Fn(bool, bool) -> bool) -> Result<f32> {
    let logits = model.forward(texts)?;
    let pos = if last { logits.dim(1)? - 1 } else { 0 };
    let says = logits.i((.., pos))?.argmax(1)?.to_vec1::<u32>()?;
    let counted = texts.iter().zip(says).map(|(text, says)| Ok(is(says == 1, is_balanced(text)?)));
    let counted = counted.collect::<Result<Vec<bool>>>()?;
    Ok(counted.iter().filter(|counts| **counts).count() as f32 / texts.len() as f32)
}

pub(super) fn at_the_last_position(model: &HookedTransformer, texts: &[String]) -> Result<f32> {
    share(model, texts, true, |says, is| says == is)
}

pub(super) fn outputs_exchanged(model: &HookedTransformer, texts: &[String]) -> Result<f32> {
    share(model, texts, false, |says, is| says != is)
}

pub(super) fn share_called_balanced(model: &HookedTransformer, texts: &[String]) -> Result<f32> {
    share(model, texts, false, |says, _| says)
}

pub(super) fn balanced_less_unbalanced(model: &HookedTransformer) -> Result<Tensor> {
    Ok(post_final_ln_dir(model)?.neg()?)
}

pub(super) fn one_column(model: &HookedTransformer) -> Result<Tensor> {
    Ok(model.W_U().i((.., 0))?)
}

/// The components, with something else in one of their places.
fn components(
    model: &HookedTransformer,
    cache: &ActivationCache,
    of: impl Fn(usize, Vec<Tensor>, Tensor) -> Result<Vec<Tensor>>,
) -> Result<Vec<Tensor>> {
    let right = out_by_components(model, cache)?;
    let heads = model.cfg().n_heads;
    let mut parts = vec![right.get(0)?];
    for layer in 0..model.cfg().n_layers {
        let first = 1 + layer * (heads + 1);
        let of_heads = (first..first + heads).map(|at| Ok(right.get(at)?)).collect::<Result<Vec<_>>>()?;
        parts.extend(of(layer, of_heads, right.get(first + heads)?)?);
    }
    Ok(parts)
}

pub(super) fn without_positions(model: &HookedTransformer, cache: &ActivationCache) -> Result<Tensor> {
    let mut parts = components(model, cache, |_, heads, mlp| Ok([heads, vec![mlp]].concat()))?;
    parts[0] = cache.get("embed")?;
    Ok(Tensor::stack(&parts, 0)?)
}

pub(super) fn bias_to_heads(model: &HookedTransformer, cache: &ActivationCache) -> Result<Tensor> {
    let parts = components(model, cache, |layer, heads, mlp| {
        let share = (model.b_O()?.get(layer)? / heads.len() as f64)?;
        let heads = heads.iter().map(|head| Ok(head.broadcast_add(&share)?)).collect::<Result<Vec<_>>>()?;
        Ok([heads, vec![mlp]].concat())
    })?;
    Ok(Tensor::stack(&parts, 0)?)
}

pub(super) fn mlp_first(model: &HookedTransformer, cache: &ActivationCache) -> Result<Tensor> {
    Ok(Tensor::stack(&components(model, cache, |_, heads, mlp| Ok([vec![mlp], heads].concat()))?, 0)?)
}

pub(super) fn heads_exchanged(model: &HookedTransformer, cache: &ActivationCache) -> Result<Tensor> {
    let parts = components(model, cache, |layer, _, mlp| {
        let (z, w_o, heads) = (cache.get(("z", layer))?, model.W_O()?.get(layer)?, model.cfg().n_heads);
        let head = |head: usize| -> Result<Tensor> {
            einsum("b p e, e d -> b p d", &[&z.i((.., .., head))?, &w_o.get(heads - 1 - head)?])
        };
        Ok([(0..heads).map(head).collect::<Result<Vec<_>>>()?, vec![mlp]].concat())
    })?;
    Ok(Tensor::stack(&parts, 0)?)
}

/// The components at [START], centred or not, divided by a scale.
fn normed(components: &Tensor, centred: bool, scale: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let x = components.i((.., .., 0))?;
    let x = if centred { x.broadcast_sub(&x.mean_keepdim(2)?)? } else { x };
    Ok(x.broadcast_div(&scale(&x)?)?)
}

fn scale(cache: &ActivationCache, pos: usize) -> Result<Tensor> {
    Ok(cache.get("ln_final.hook_scale")?.i((.., pos))?)
}

pub(super) fn scale_of_each(components: &Tensor, _: &ActivationCache) -> Result<Tensor> {
    normed(components, true, |x| Ok(x.sqr()?.mean_keepdim(2)?.sqrt()?))
}

pub(super) fn no_centring(components: &Tensor, cache: &ActivationCache) -> Result<Tensor> {
    normed(components, false, |_| scale(cache, 0))
}

pub(super) fn no_scale(components: &Tensor, cache: &ActivationCache) -> Result<Tensor> {
    normed(components, true, |_| Ok(scale(cache, 0)?.ones_like()?))
}

pub(super) fn scale_of_the_end(components: &Tensor, cache: &ActivationCache) -> Result<Tensor> {
    normed(components, true, |_| scale(cache, components.dim(2)? - 1))
}

pub(super) fn mean_scale(components: &Tensor, cache: &ActivationCache) -> Result<Tensor> {
    normed(components, true, |_| Ok(scale(cache, 0)?.mean_all()?.reshape((1, 1))?))
}

/// Shares along the direction, and their means over the strings that count.
fn shares(components: &Tensor, dir: &Tensor, counts: impl Fn(usize) -> bool) -> Result<(Tensor, Tensor)> {
    let shares = einsum("c b d, d -> c b", &[components, dir])?;
    let rows: Vec<u32> = (0..shares.dim(1)?).filter(|&row| counts(row)).map(|row| row as u32).collect();
    let means = shares.index_select(&Tensor::new(rows, shares.device())?, 1)?.mean_keepdim(1)?;
    Ok((shares, means))
}

pub(super) fn mean_of_all(components: &Tensor, dir: &Tensor, _: &[bool]) -> Result<Tensor> {
    let (shares, means) = shares(components, dir, |_| true)?;
    Ok(shares.broadcast_sub(&means)?)
}

pub(super) fn mean_of_unbalanced(components: &Tensor, dir: &Tensor, balanced: &[bool]) -> Result<Tensor> {
    let (shares, means) = shares(components, dir, |row| !balanced[row])?;
    Ok(shares.broadcast_sub(&means)?)
}

pub(super) fn no_mean(components: &Tensor, dir: &Tensor, _: &[bool]) -> Result<Tensor> {
    Ok(shares(components, dir, |_| true)?.0)
}

pub(super) fn one_mean(components: &Tensor, dir: &Tensor, balanced: &[bool]) -> Result<Tensor> {
    let (shares, means) = shares(components, dir, |row| balanced[row])?;
    Ok(shares.broadcast_sub(&means.mean_all()?)?)
}
