//! Operations whose gradients are right. candle-nn's fused `softmax_last_dim`, `layer_norm` and `rms_norm` have no
//! backward and silently cut the graph, so none of them is used in this crate.
//!
//! On the CPU, softmax, norms, gelu, relu and cross-entropy are operations of our own: one threaded, vectorised pass
//! forward and one back, where candle makes a dozen passes. Other devices and f64 use candle's. Half precision goes
//! through f32 and comes back as half, except for losses and for what a norm divides by, which stay f32.
//!
//! Each is checked against finite differences in `tests/model/gradients.rs`.

mod cross_entropy;
mod gelu;
mod kernels;
mod norm;
mod relu;
mod rules;
mod softmax;
mod weights;

use candle_core::Tensor;

use super::config::ActFn;
use crate::error::{Error, Result};
use crate::wide::{wide_type, widened};

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

/// `-log softmax(logits)[target]` of each row. Losses of half-precision logits are f32.
///
/// # Shapes
/// `logits [row, class]` and one target for each row give `[row]`.
///
/// # Errors
/// A count of targets that is not the rows', a target that is not a class.
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

/// The factor in `x sigmoid(1.702 x)`, which is near gelu.
const QUICK: f64 = 1.702;

/// The activation function, element by element. The slope of relu at exactly 0 is 0, as in PyTorch.
///
/// # Shapes
/// Any; the result's is the same.
///
/// # Errors
/// candle's.
pub fn activate(x: &Tensor, act: ActFn) -> Result<Tensor> {
    let dtype = x.dtype();
    if wide_type(dtype) != dtype {
        // candle would round each step of a curve, and of its slope, to half precision.
        return Ok(activate(&widened(x)?, act)?.to_dtype(dtype)?);
    }
    Ok(match act {
        ActFn::Gelu => x.gelu_erf()?,
        ActFn::GeluNew => gelu::gelu_new(x)?,
        ActFn::Relu => relu::relu(x)?,
        ActFn::Silu => x.silu()?,
        ActFn::QuickGelu => ((x * QUICK)?.silu()? / QUICK)?,
        ActFn::Solu | ActFn::SoluLn => (x * softmax(x)?)?,
    })
}

/// As [`activate`], with gradients by the identity rule: those of `x` times the constant `act(x) / x`.
///
/// # Shapes
/// Any; the result's is the same.
///
/// # Errors
/// candle's.
pub fn activate_by_ratio(x: &Tensor, act: ActFn) -> Result<Tensor> {
    let wide = widened(x)?;
    let value = activate(&wide.detach(), act)?;
    Ok(rules::by_rule(&wide, &value, move |x, grad| grad * rules::ratio(x, act)?)?.to_dtype(x.dtype())?)
}

/// `x`, whose gradient is halved: of a product, each factor takes half of it.
///
/// # Shapes
/// Any; the result's is the same.
///
/// # Errors
/// candle's.
pub(crate) fn halved_gradient(x: &Tensor) -> Result<Tensor> {
    Ok(rules::by_rule(x, x, |_, grad| grad / 2.)?)
}

/// `x` minus its mean over the last axis, exactly 0 where all numbers are equal. Half precision comes back as f32.
///
/// # Shapes
/// Any; the result's is the same.
pub(crate) fn centred(x: &Tensor) -> Result<Tensor> {
    Ok(norm::centred(&widened(x)?)?)
}

/// `sqrt(mean(x^2) + eps)` over the last axis. Half precision comes back as f32: the square of 256 has no room in f16,
/// nor has an eps of 1e-12.
///
/// # Shapes
/// `x [.., d]` gives `[.., 1]`.
pub(crate) fn root_mean_square(x: &Tensor, eps: f64) -> Result<Tensor> {
    Ok(norm::root_mean_square(&widened(x)?, eps)?)
}

/// Each row of `x` over its number of `scale`. Half precision comes back as f32.
///
/// # Shapes
/// `x [.., d]`, `scale [.., 1]` give `[.., d]`.
pub(crate) fn rows_over(x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    Ok(norm::rows_over(&widened(x)?, &widened(scale)?)?)
}

/// `cap * tanh(x / cap)`, which keeps `x` between `-cap` and `cap`; `x` itself without a cap. With gradients by the identity
/// rule where `by_ratio`.
///
/// # Shapes
/// Any; the result's is the same.
pub(crate) fn soft_cap(x: Tensor, cap: Option<f64>, by_ratio: bool) -> Result<Tensor> {
    let Some(cap) = cap else { return Ok(x) };
    let wide = widened(&x)?;
    let capped = ((&wide / cap)?.tanh()? * cap)?;
    let capped = match by_ratio {
        true => rules::by_rule(&wide, &capped, move |x, grad| grad * rules::cap_ratio(x, cap)?)?,
        false => capped,
    };
    Ok(capped.to_dtype(x.dtype())?)
}

/// `x w`, of two matrices or of two stacks of equally many, without work for the gradient of weights that are not
/// trained.
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

/// 1 where the key is later than the query, and, with a window, where it is `window` positions or more before it.
/// Queries are the positions from `from` on, keys all `pos`.
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
