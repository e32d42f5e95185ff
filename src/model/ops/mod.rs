//! Operations whose gradients are right. candle-nn's fused `softmax_last_dim`, `layer_norm` and `rms_norm` have no
//! backward and silently cut the graph, so none of them is used in this crate.
//!
//! On the CPU, attention, rotations, softmax, norms, gelu, silu, relu and cross-entropy are operations of our own: one threaded, vectorised pass
//! forward and one back, where candle makes a dozen passes. Other devices and f64 use candle's. Half precision goes
//! through f32 and comes back as half, except for losses and for what a norm divides by, which stay f32.
//!
//! Each is checked against finite differences in `tests/model/gradients.rs`.

mod affine;
mod attention;
mod cross_entropy;
mod curves;
mod kernels;
mod norm;
mod norm_back;
mod panels;
mod products;
mod relu;
mod rules;
mod softmax;
mod streamed;
mod tile;
mod turned;
mod weights;

use candle_core::Tensor;

pub(in crate::model) use self::attention::{Attended, Comparison, Kept, attend};
use super::config::ActFn;
pub(crate) use norm_back::NormSlope;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::wide::{wide_type, widened};

pub(super) use panels::Panels;

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
        ActFn::GeluNew => curves::gelu_new(x)?,
        ActFn::Relu => relu::relu(x)?,
        ActFn::Silu => curves::silu(x, 1.0)?,
        ActFn::QuickGelu => curves::silu(x, QUICK)?,
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

/// The gradient at a norm's input, from that behind it, both f32 of a half-precision model.
///
/// # Shapes
/// `gradient [.., row, d]`, `y [row, d]`, `scale [row, 1]`, `weights [d]` give the gradient's shape.
pub(crate) fn norm_back(
    gradient: &Tensor,
    (y, scale): (&Tensor, &Tensor),
    weights: Option<&Tensor>,
    slope: NormSlope,
) -> Result<Tensor> {
    Ok(norm_back::norm_back(gradient, (y, scale), weights, slope)?)
}

/// Each row of `x` over its number of `scale`. Half precision comes back as f32.
///
/// # Shapes
/// `x [.., d]`, `scale [.., 1]` give `[.., d]`.
pub(crate) fn rows_over(x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    Ok(norm::rows_over(&widened(x)?, &widened(scale)?)?)
}

/// `a + b`.
///
/// # Shapes
/// One shape, which the result has as well.
pub(crate) fn added(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok(affine::sum(a, b)?)
}

/// `a b + c`, `c` along the last axis: neurons with a gate.
///
/// # Shapes
/// `a` and `b` of one shape `[.., d]`, which the result has as well, `c [d]`.
pub(crate) fn gated(a: &Tensor, b: &Tensor, c: &Tensor) -> Result<Tensor> {
    Ok(affine::products(a, b, c)?)
}

/// `x` with pairs of its dimensions turned by the angles of its positions.
///
/// # Shapes
/// `x [batch, pos, head, d_head]`, `cos` and `sin` `[batch, pos, 1, pair]`, or of one batch; result that of `x`.
pub(crate) fn turned(x: &Tensor, angles: (&Tensor, &Tensor), adjacent: bool) -> Result<Tensor> {
    Ok(turned::turned(x, angles, adjacent)?)
}

/// `x w + b` along the last axis. Half precision comes back as f32.
///
/// # Shapes
/// `x [.., d]`, `w [d]`, `b [d]` give `[.., d]`.
pub(crate) fn scaled(x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    let b = b.map(widened).transpose()?;
    Ok(affine::scaled(&widened(x)?, &widened(w)?, b.as_ref())?)
}

/// `x` with the digits of `value`, if one is given, and its own gradient: the same, computed in another order.
///
/// # Shapes
/// One shape, which the result has as well.
pub(crate) fn with_value(x: Tensor, value: Option<Tensor>) -> Result<Tensor> {
    match value {
        Some(value) if x.track_op() => Ok(rules::by_rule(&x, &value, |_, grad| Ok(grad.clone()))?),
        Some(value) => Ok(value),
        None => Ok(x),
    }
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

/// `x W + b` over the last axis, in the dtype of `x`; weights and bias may have another.
///
/// # Shapes
/// `x [.., n]`, `w [n, m]`, `b [m]` give `[.., m]`.
pub(crate) fn linear(x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    let is_streamed = streamed::can_stream(x, w);
    // A bias that is trained is added where its gradient is taken.
    let (inside, after) = if is_streamed && !b.is_some_and(Tensor::track_op) { (b, None) } else { (None, b) };
    let y = match is_streamed {
        true => by_rows(x, w, |x| Ok(streamed::product_by_columns(x, w, inside)?))?,
        false => by_rows(x, w, |x| product(x, &w.to_dtype(x.dtype())?))?,
    };
    Ok(match after {
        Some(b) => y.broadcast_add(&b.to_dtype(y.dtype())?)?,
        None => y,
    })
}

/// Whether [`linear`] converts these weights as a whole.
pub(crate) fn is_converted(x: &Tensor, w: &Tensor) -> bool {
    x.dtype() != w.dtype() && !streamed::can_stream(x, w)
}

/// As [`linear`], of f32 on the CPU, with weights and a bias that are not trained; the panels are those of `w`.
pub(super) fn linear_by_panels(x: &Tensor, weights: (&Tensor, &Arc<Panels>), b: Option<&Tensor>) -> Result<Tensor> {
    by_rows(x, weights.0, |x| Ok(panels::product_by_panels(x, weights, b)?))
}

/// One wide product instead of candle's loop over the batch.
fn by_rows(x: &Tensor, w: &Tensor, product: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let mut shape = x.dims().to_vec();
    let n = shape.pop().unwrap_or(1);
    let rows = x.elem_count() / n.max(1);
    let y = product(&x.reshape((rows, n))?)?;
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
