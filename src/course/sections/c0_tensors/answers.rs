//! Answers of this section that are wrong.

use candle_core::{D, DType, Tensor};

use super::{causal_mask, log_softmax, masked_fill, rows_at, scores, split_heads, top_k};
use crate::error::Result;
use crate::model::ops::softmax;
use crate::tensors::einsum;

pub(super) fn outer_exchanged(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    super::outer(b, a)
}

pub(super) fn outer_sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok(a.unsqueeze(1)?.broadcast_add(&b.unsqueeze(0)?)?)
}

pub(super) fn mask_without_itself(n: usize) -> Result<Tensor> {
    let pos = Tensor::arange(0u32, n as u32, &candle_core::Device::Cpu)?;
    Ok(pos.unsqueeze(1)?.broadcast_gt(&pos.unsqueeze(0)?)?)
}

pub(super) fn mask_upside_down(n: usize) -> Result<Tensor> {
    Ok(causal_mask(n)?.t()?)
}

pub(super) fn mask_of_the_future(n: usize) -> Result<Tensor> {
    Ok(causal_mask(n)?.eq(0u8)?)
}

pub(super) fn mask_of_floats(n: usize) -> Result<Tensor> {
    Ok(causal_mask(n)?.to_dtype(DType::F32)?)
}

pub(super) fn filled_elsewhere(x: &Tensor, mask: &Tensor, value: f32) -> Result<Tensor> {
    masked_fill(x, &mask.eq(0u8)?, value)
}

pub(super) fn filled_with_zero(x: &Tensor, mask: &Tensor, _value: f32) -> Result<Tensor> {
    masked_fill(x, mask, 0.0)
}

pub(super) fn value_added(x: &Tensor, mask: &Tensor, value: f32) -> Result<Tensor> {
    Ok(x.broadcast_add(&(mask.to_dtype(DType::F32)? * f64::from(value))?)?)
}

pub(super) fn the_largest(logits: &Tensor, _ids: &Tensor) -> Result<Tensor> {
    Ok(logits.max(2)?)
}

pub(super) fn first_prompt_for_all(logits: &Tensor, ids: &Tensor) -> Result<Tensor> {
    rows_at(logits, &ids.narrow(0, 0, 1)?.repeat((ids.dim(0)?, 1))?)
}

pub(super) fn probabilities_at(logits: &Tensor, ids: &Tensor) -> Result<Tensor> {
    rows_at(&softmax(logits)?, ids)
}

pub(super) fn above_the_diagonal(x: &Tensor, offset: usize) -> Result<Tensor> {
    super::diagonal(&x.transpose(1, 2)?, offset)
}

pub(super) fn one_further(x: &Tensor, offset: usize) -> Result<Tensor> {
    super::diagonal(x, offset + 1)
}

pub(super) fn the_main_one(x: &Tensor, _offset: usize) -> Result<Tensor> {
    super::diagonal(x, 0)
}

pub(super) fn averaged(x: &Tensor, offset: usize) -> Result<Tensor> {
    Ok(super::diagonal(x, offset)?.mean(1)?)
}

pub(super) fn reshaped_only(x: &Tensor, n_heads: usize) -> Result<Tensor> {
    let (batch, pos, width) = x.dims3()?;
    Ok(x.reshape((batch, n_heads, pos, width / n_heads))?)
}

pub(super) fn head_axis_behind(x: &Tensor, n_heads: usize) -> Result<Tensor> {
    let (batch, pos, width) = x.dims3()?;
    Ok(x.reshape((batch, pos, width / n_heads, n_heads))?.permute((0, 3, 1, 2))?)
}

pub(super) fn heads_not_in_front(x: &Tensor, n_heads: usize) -> Result<Tensor> {
    Ok(split_heads(x, n_heads)?.transpose(1, 2)?)
}

pub(super) fn heads_with_heads(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    Ok(q.matmul(&k.t()?)?)
}

pub(super) fn keys_before_queries(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    scores(k, q)
}

pub(super) fn over_positions(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    einsum("b p h d, b p h e -> b h d e", &[q, k])
}

pub(super) fn keys_reshaped(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    let (batch, pos, heads, d_head) = k.dims4()?;
    let k = k.transpose(1, 2)?.contiguous()?.reshape((batch, heads, d_head, pos))?;
    Ok(q.transpose(1, 2)?.contiguous()?.matmul(&k)?)
}

pub(super) fn the_smallest(x: &Tensor, k: usize) -> Result<(Vec<f32>, Vec<u32>)> {
    let (numbers, places) = top_k(&x.neg()?, k)?;
    Ok((numbers.into_iter().map(|number| -number).collect(), places))
}

pub(super) fn ascending(x: &Tensor, k: usize) -> Result<(Vec<f32>, Vec<u32>)> {
    let (mut numbers, mut places) = top_k(x, k)?;
    numbers.reverse();
    places.reverse();
    Ok((numbers, places))
}

pub(super) fn places_after_sorting(x: &Tensor, k: usize) -> Result<(Vec<f32>, Vec<u32>)> {
    Ok((top_k(x, k)?.0, (0..k as u32).collect()))
}

pub(super) fn largest_in_size(x: &Tensor, k: usize) -> Result<(Vec<f32>, Vec<u32>)> {
    let (_, places) = top_k(&x.abs()?, k)?;
    let numbers = x.to_vec1::<f32>()?;
    Ok((places.iter().map(|&at| numbers[at as usize]).collect(), places))
}

pub(super) fn overflowing(x: &Tensor) -> Result<Tensor> {
    Ok(x.broadcast_sub(&x.exp()?.sum_keepdim(D::Minus1)?.log()?)?)
}

pub(super) fn log_of_softmax(x: &Tensor) -> Result<Tensor> {
    Ok(softmax(x)?.log()?)
}

pub(super) fn log_of_a_quotient(x: &Tensor) -> Result<Tensor> {
    let exp = x.exp()?;
    Ok(exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)?.log()?)
}

pub(super) fn not_the_log(x: &Tensor) -> Result<Tensor> {
    softmax(x)
}

pub(super) fn along_the_first_axis(x: &Tensor) -> Result<Tensor> {
    Ok(log_softmax(&x.transpose(0, D::Minus1)?)?.transpose(0, D::Minus1)?)
}

pub(super) fn over_everything(x: &Tensor) -> Result<Tensor> {
    Ok(log_softmax(&x.flatten_all()?)?.reshape(x.shape())?)
}

pub(super) fn padding_counted(x: &Tensor, _lengths: &[usize]) -> Result<Tensor> {
    Ok(x.mean(1)?)
}

fn divided(x: &Tensor, lengths: &[usize], by: impl Fn(usize) -> usize) -> Result<Tensor> {
    let mut means = Vec::new();
    for (row, &length) in lengths.iter().enumerate() {
        means.push((x.get(row)?.narrow(0, 0, length)?.sum(0)? / by(length) as f64)?);
    }
    Ok(Tensor::stack(&means, 0)?)
}

pub(super) fn divided_by_the_longest(x: &Tensor, lengths: &[usize]) -> Result<Tensor> {
    divided(x, lengths, |_| lengths.iter().copied().max().unwrap_or(1))
}

pub(super) fn divided_by_all_positions(x: &Tensor, lengths: &[usize]) -> Result<Tensor> {
    let pos = x.dim(1)?;
    divided(x, lengths, |_| pos)
}

pub(super) fn not_divided(x: &Tensor, lengths: &[usize]) -> Result<Tensor> {
    divided(x, lengths, |_| 1)
}

pub(super) fn at_the_end(x: &Tensor, lengths: &[usize]) -> Result<Tensor> {
    let pos = x.dim(1)?;
    let mut means = Vec::new();
    for (row, &length) in lengths.iter().enumerate() {
        means.push(x.get(row)?.narrow(0, pos - length, length)?.mean(0)?);
    }
    Ok(Tensor::stack(&means, 0)?)
}
