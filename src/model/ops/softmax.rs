//! Softmax over the last axis, in one pass over each row forward and one back.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, DType, Layout, Result, Shape, Tensor};

use super::kernels::{exp, for_rows, inlined, largest, numbers, total, width};
use crate::wide::wide_type;

/// `exp(x_i - max) / sum_j exp(x_j - max)`; a row of `-inf` throughout becomes zeros, with gradient zero.
pub(super) fn softmax(x: &Tensor) -> Result<Tensor> {
    // Half precision has room neither for the sum nor for the two bounds below.
    let wide = wide_type(x.dtype());
    if wide != x.dtype() {
        return softmax(&x.to_dtype(wide)?)?.to_dtype(x.dtype());
    }
    if x.dtype() != DType::F32 || !x.device().is_cpu() {
        return composed(x);
    }
    x.contiguous()?.apply_op1(Softmax)
}

/// The same, composed of candle's operations, for other devices and dtypes.
fn composed(x: &Tensor) -> Result<Tensor> {
    // A finite floor keeps -inf - max from becoming NaN in rows that are masked throughout.
    let max = x.detach().max_keepdim(D::Minus1)?.maximum(f64::from(f32::MIN))?;
    let exp = x.broadcast_sub(&max)?.exp()?;
    let sum = exp.sum_keepdim(D::Minus1)?.maximum(f64::from(f32::MIN_POSITIVE))?;
    exp.broadcast_div(&sum)
}

struct Softmax;

impl CustomOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = numbers(storage, layout, self.name())?;
        let width = width(layout);
        let mut y = vec![0f32; x.len()];
        let work = inlined!(|first: usize, chunk: &mut [f32]| {
            for (y, x) in chunk.chunks_exact_mut(width).zip(x[first..].chunks_exact(width)) {
                let max = largest(x);
                // -inf throughout: nothing to attend to. NaN cannot be compared, and goes on to the sum.
                if max == f32::NEG_INFINITY && !x.iter().any(|x| x.is_nan()) {
                    continue;
                }
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = exp(x - max);
                }
                let scale = 1.0 / total(width, |i| y[i]);
                for y in y.iter_mut() {
                    *y *= scale;
                }
            }
        });
        for_rows(&mut y, width, width, work);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, _x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(y.contiguous()?.apply_op2_no_bwd(&grad.contiguous()?, &SoftmaxGrad)?))
    }
}

/// `y_i (grad_i - sum_j grad_j y_j)` of the softmax `y` and `grad`.
struct SoftmaxGrad;

impl CustomOp2 for SoftmaxGrad {
    fn name(&self) -> &'static str {
        "softmax_grad"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (y, grad) = (numbers(s1, l1, self.name())?, numbers(s2, l2, self.name())?);
        let width = width(l1);
        let mut out = vec![0f32; y.len()];
        let work = inlined!(|first: usize, chunk: &mut [f32]| {
            let rows = y[first..].chunks_exact(width).zip(grad[first..].chunks_exact(width));
            for (out, (y, grad)) in chunk.chunks_exact_mut(width).zip(rows) {
                let mean = total(width, |i| y[i] * grad[i]);
                for (out, (&y, &grad)) in out.iter_mut().zip(y.iter().zip(grad)) {
                    *out = y * (grad - mean);
                }
            }
        });
        for_rows(&mut out, width, width, work);
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }
}
