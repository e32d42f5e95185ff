//! GPT-2's gelu, `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))` (Hendrycks and Gimpel 2016), in one pass forward
//! and one back. With `u` the argument of tanh, `(1 + tanh u) / 2 = 1 / (1 + exp(-2 u))`, which needs one exponential.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor};

use super::kernels::{exp, for_rows, numbers};

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;

/// `gelu_new(x)`, element by element.
pub(super) fn gelu_new(x: &Tensor) -> Result<Tensor> {
    if x.dtype() != DType::F32 || !x.device().is_cpu() {
        return x.gelu();
    }
    x.contiguous()?.apply_op1(GeluNew)
}

#[inline(always)]
fn gate(x: f32) -> f32 {
    1.0 / (1.0 + exp(-2.0 * SQRT_2_OVER_PI * (x + CUBIC * x * x * x)))
}

struct GeluNew;

impl CustomOp1 for GeluNew {
    fn name(&self) -> &'static str {
        "gelu_new"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = numbers(storage, layout, self.name())?;
        let mut y = vec![0f32; x.len()];
        for_rows(&mut y, 1, 1, |first, chunk| {
            for (y, &x) in chunk.iter_mut().zip(&x[first..]) {
                *y = x * gate(x);
            }
        });
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(x.contiguous()?.apply_op2_no_bwd(&grad.contiguous()?, &GeluNewGrad)?))
    }
}

/// `grad * d gelu_new(x) / dx` of `x` and `grad`.
struct GeluNewGrad;

impl CustomOp2 for GeluNewGrad {
    fn name(&self) -> &'static str {
        "gelu_new_grad"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, grad) = (numbers(s1, l1, self.name())?, numbers(s2, l2, self.name())?);
        let mut out = vec![0f32; x.len()];
        for_rows(&mut out, 1, 1, |first, chunk| {
            for ((out, &x), &grad) in chunk.iter_mut().zip(&x[first..]).zip(&grad[first..]) {
                let gate = gate(x);
                let slope = 2.0 * SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * x * x);
                *out = grad * (gate + x * gate * (1.0 - gate) * slope);
            }
        });
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }
}
