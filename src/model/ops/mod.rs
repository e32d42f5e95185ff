//! Operations whose gradients are right. candle-nn's fused `softmax_last_dim`, `layer_norm` and `rms_norm` have no
//! backward and silently cut the graph, so none of them is used in this crate.
//!
//! On the CPU, softmax, gelu and cross-entropy are operations of our own: one threaded, vectorised pass forward and one
//! back, where candle makes a dozen. Other devices and number types use candle's.
//!
//! Each is checked against finite differences in `tests/model/gradients.rs`.

mod cross_entropy;
mod gelu;
mod kernels;
mod softmax;
mod weights;

use candle_core::{D, Tensor};

use super::config::Activation;
use crate::error::{Error, Result};

/// Softmax over the last axis, `exp(x_i - max) / sum_j exp(x_j - max)`. A row that is `-inf` throughout (a query
/// with nothing to attend to) becomes zeros, as in TransformerLens, and has gradient zero.
///
/// # Shapes
/// Any; the result's is the same.
///
/// # Errors
/// candle's.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    Ok(softmax::softmax(x)?)
}

/// `-log softmax(logits)[target]` of each row.
///
/// # Shapes
/// `logits [row, class]` and one target for each row give `[row]`.
///
/// # Errors
/// A count of targets that is not the rows', a target that is no class.
pub fn cross_entropy(logits: &Tensor, targets: &[u32]) -> Result<Tensor> {
    let (rows, classes) = logits.dims2()?;
    if targets.len() != rows {
        return Err(Error::shape(
            "the targets of a cross-entropy",
            format!("[{rows}], one for each row"),
            &[targets.len()],
        ));
    }
    if let Some(target) = targets.iter().find(|&&target| target as usize >= classes) {
        return Err(Error::argument(format!(
            "target {target} has no logit: the logits are of classes 0 to {}.",
            classes - 1
        )));
    }
    Ok(cross_entropy::cross_entropy(logits, targets)?)
}

/// The activation function, element by element.
///
/// # Shapes
/// Any; the result's is the same.
///
/// # Errors
/// candle's.
pub fn activate(x: &Tensor, act: Activation) -> Result<Tensor> {
    Ok(match act {
        Activation::Gelu => x.gelu_erf()?,
        Activation::GeluNew => gelu::gelu_new(x)?,
        Activation::Relu => x.relu()?,
        Activation::Silu => x.silu()?,
        Activation::Solu | Activation::SoluLn => (x * softmax(x)?)?,
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

/// `sqrt(mean(x^2) + eps)` over the last axis.
///
/// # Shapes
/// `x [.., d]` gives `[.., 1]`.
pub(crate) fn rms(x: &Tensor, eps: f64) -> Result<Tensor> {
    Ok((x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?)
}

/// `cap * tanh(x / cap)`, which keeps `x` between `-cap` and `cap`; `x` itself without a cap.
///
/// # Shapes
/// Any; the result's is the same.
pub(crate) fn soft_cap(x: Tensor, cap: Option<f64>) -> Result<Tensor> {
    match cap {
        Some(cap) => Ok(((x / cap)?.tanh()? * cap)?),
        None => Ok(x),
    }
}

/// `x w`, two matrices or as many of them, without work for a gradient of weights that are not trained.
///
/// # Shapes
/// `x [.., row, n]`, `w [.., n, m]` give `[.., row, m]`.
pub(crate) fn product(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    Ok(weights::product(x, w)?)
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
    let mut y = product(&x.reshape((rows, n))?, w)?;
    if let Some(b) = b {
        y = y.broadcast_add(b)?;
    }
    shape.push(w.dim(1)?);
    Ok(y.reshape(shape)?)
}

/// 1 where the key is later than the query, and, with a window, where it is `window` positions or more before it. Queries
/// are the positions from `from` on, keys all `pos`.
///
/// # Shapes
/// `[pos - from, pos]` (query, key), u8.
pub(crate) fn later_keys(
    from: usize,
    pos: usize,
    window: Option<usize>,
    device: &candle_core::Device,
) -> Result<Tensor> {
    let hidden = |query: usize, key: usize| key > query || window.is_some_and(|window| query - key >= window);
    let hidden: Vec<u8> = (from * pos..pos * pos).map(|i| u8::from(hidden(i / pos, i % pos))).collect();
    Ok(Tensor::from_vec(hidden, (pos - from, pos), device)?)
}
