//! C0: the tensor operations that all later sections need, in candle's words.

mod answers;
pub mod handles;
mod inputs;
mod texts;

use candle_core::{D, Device, Tensor};

use crate::course::notebook::{Part, Section};
use crate::error::Result;
use crate::tensors::einsum;

/// This file, from which solutions are cut.
const SOURCE: &str = include_str!("mod.rs");

pub(super) fn section() -> Section {
    let parts = vec![
        Part::Text(texts::INTRODUCTION),
        Part::Text(texts::RUST),
        Part::Code(texts::A_SHAPE_THAT_DOES_NOT_FIT),
        Part::Text(texts::SHAPES),
        Part::Exercise(handles::outer().task()),
        Part::Text(texts::MASKS),
        Part::Exercise(handles::causal_mask().task()),
        Part::Code(texts::THE_MASK),
        Part::Exercise(handles::masked_fill().task()),
        Part::Text(texts::INDICES),
        Part::Exercise(handles::rows_at().task()),
        Part::Exercise(handles::diagonal().task()),
        Part::Text(texts::PREVIOUS_TOKEN),
        Part::Code(texts::THE_DIAGONAL),
        Part::Text(texts::LAYOUT),
        Part::Exercise(handles::split_heads().task()),
        Part::Text(texts::PRODUCTS),
        Part::Exercise(handles::scores().task()),
        Part::Text(texts::VECTORS),
        Part::Exercise(handles::top_k().task()),
        Part::Text(texts::NUMBERS),
        Part::Code(texts::TWO_VARIANCES),
        Part::Exercise(handles::log_softmax().task()),
        Part::Exercise(handles::mean_real().task()),
        Part::Text(texts::END),
    ];
    Section { file: "c0_tensors", parts }
}

fn outer(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok(a.unsqueeze(1)?.broadcast_mul(&b.unsqueeze(0)?)?)
}

fn causal_mask(n: usize) -> Result<Tensor> {
    let pos = Tensor::arange(0u32, n as u32, &Device::Cpu)?;
    Ok(pos.unsqueeze(1)?.broadcast_ge(&pos.unsqueeze(0)?)?)
}

fn masked_fill(x: &Tensor, mask: &Tensor, value: f32) -> Result<Tensor> {
    let mask = mask.broadcast_as(x.shape())?;
    let filled = Tensor::full(value, x.shape(), x.device())?;
    Ok(mask.where_cond(&filled, x)?)
}

fn rows_at(logits: &Tensor, ids: &Tensor) -> Result<Tensor> {
    Ok(logits.gather(&ids.unsqueeze(2)?, 2)?.squeeze(2)?)
}

fn diagonal(x: &Tensor, offset: usize) -> Result<Tensor> {
    let n = x.dim(1)?;
    let index: Vec<u32> = (offset..n).map(|row| (row * n + row - offset) as u32).collect();
    let index = Tensor::from_vec(index, n - offset, x.device())?;
    Ok(x.flatten_from(1)?.index_select(&index, 1)?)
}

fn split_heads(x: &Tensor, n_heads: usize) -> Result<Tensor> {
    let (batch, pos, width) = x.dims3()?;
    Ok(x.reshape((batch, pos, n_heads, width / n_heads))?.transpose(1, 2)?)
}

fn scores(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    einsum("b q h d, b k h d -> b h q k", &[q, k])
}

fn top_k(x: &Tensor, k: usize) -> Result<(Vec<f32>, Vec<u32>)> {
    let numbers = x.to_vec1::<f32>()?;
    let mut order: Vec<u32> = (0..numbers.len() as u32).collect();
    order.sort_by(|&a, &b| numbers[b as usize].total_cmp(&numbers[a as usize]));
    order.truncate(k);
    Ok((order.iter().map(|&at| numbers[at as usize]).collect(), order))
}

fn log_softmax(x: &Tensor) -> Result<Tensor> {
    let x = x.broadcast_sub(&x.max_keepdim(D::Minus1)?)?;
    let total = x.exp()?.sum_keepdim(D::Minus1)?;
    Ok(x.broadcast_sub(&total.log()?)?)
}

fn mean_real(x: &Tensor, lengths: &[usize]) -> Result<Tensor> {
    let mut means = Vec::new();
    for (row, &length) in lengths.iter().enumerate() {
        means.push(x.get(row)?.narrow(0, 0, length)?.mean(0)?);
    }
    Ok(Tensor::stack(&means, 0)?)
}
