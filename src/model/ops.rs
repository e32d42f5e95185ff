//! Operations whose gradients are right. candle-nn's fused `softmax_last_dim`, `layer_norm` and `rms_norm` have no
//! backward and silently cut the graph, so none of them is used in this crate.
//!
//! Each is checked against finite differences in `tests/model/gradients.rs`.

use candle_core::{D, DType, Tensor};

use super::config::Activation;
use crate::error::Result;

/// Softmax over the last axis, `exp(x_i - max) / sum_j exp(x_j - max)`. A row that is `-inf` throughout (a query
/// with nothing to attend to) becomes zeros, as in TransformerLens, and has gradient zero.
///
/// # Shapes
/// Any; the result's is the same.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    // A finite floor keeps -inf - max from becoming NaN in rows that are masked throughout.
    let max = x.detach().max_keepdim(D::Minus1)?.maximum(f32::MIN as f64)?;
    let exp = x.broadcast_sub(&max)?.exp()?;
    // The largest entry adds 1 to the sum, so the floor acts on fully masked rows alone; its square must not
    // underflow, because the gradient of a quotient divides by it.
    let sum = exp.sum_keepdim(D::Minus1)?.maximum(0.5)?;
    Ok(exp.broadcast_div(&sum)?)
}

/// Log-softmax over the last axis, stable for large logits.
///
/// # Shapes
/// Any; the result's is the same.
pub fn log_softmax(x: &Tensor) -> Result<Tensor> {
    let max = x.detach().max_keepdim(D::Minus1)?;
    let shifted = x.broadcast_sub(&max)?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    Ok(shifted.broadcast_sub(&log_sum)?)
}

/// The activation function, element by element.
pub(crate) fn activate(x: &Tensor, act: Activation) -> Result<Tensor> {
    Ok(match act {
        Activation::Gelu => x.gelu_erf()?,
        Activation::GeluNew => x.gelu()?,
        Activation::Relu => x.relu()?,
        Activation::Silu => x.silu()?,
    })
}

/// `x` minus its mean over the last axis, and `sqrt(variance + eps)` of it.
///
/// # Shapes
/// `x [.., d]` gives `[.., d]` and `[.., 1]`.
pub(crate) fn centre_and_scale(x: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let scale = (centred.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    Ok((centred, scale))
}

/// `x W + b` over the last axis.
///
/// # Shapes
/// `x [.., n]`, `w [n, m]`, `b [m]` give `[.., m]`.
pub(crate) fn linear(x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    let mut shape = x.dims().to_vec();
    let n = shape.pop().unwrap_or(1);
    let rows = x.elem_count() / n.max(1);
    // One wide product instead of candle's loop over the batch.
    let mut y = x.reshape((rows, n))?.matmul(w)?;
    if let Some(b) = b {
        y = y.broadcast_add(b)?;
    }
    shape.push(w.dim(1)?);
    Ok(y.reshape(shape)?)
}

/// A causal mask: 1 where the key is later than the query.
///
/// # Shapes
/// `[pos, pos]` (query, key), u8.
pub(crate) fn later_keys(pos: usize, device: &candle_core::Device) -> Result<Tensor> {
    let rows = Tensor::arange(0u32, pos as u32, device)?.reshape((pos, 1))?;
    let columns = Tensor::arange(0u32, pos as u32, device)?.reshape((1, pos))?;
    Ok(columns.broadcast_gt(&rows)?.to_dtype(DType::U8)?)
}
