//! `max(0, x)`, whose slope at exactly 0 is 0, as PyTorch's; candle's is 1. A run is at exactly 0 where an edit or a
//! baseline is zero, so this kink does occur in practice. NaN stays NaN, where candle returns 0.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor};

use super::kernels::{for_rows, inlined, map_rows, numbers, width};

/// `relu(x)`, element by element.
pub(super) fn relu(x: &Tensor) -> Result<Tensor> {
    if x.dtype() != DType::F32 || !x.device().is_cpu() {
        let zeros = x.zeros_like()?;
        return x.detach().le(&zeros)?.where_cond(&zeros, x);
    }
    x.contiguous()?.apply_op1(Relu)
}

struct Relu;

impl CustomOp1 for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = numbers(storage, layout, self.name())?;
        let y = map_rows(x, width(layout), inlined!(|_, _| ()), inlined!(|(), x| if x <= 0.0 { 0.0 } else { x }));
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(x.contiguous()?.apply_op2_no_bwd(&grad.contiguous()?, &ReluGrad)?))
    }
}

/// `grad` where `x` is positive, 0 elsewhere, of `x` and `grad`.
struct ReluGrad;

impl CustomOp2 for ReluGrad {
    fn name(&self) -> &'static str {
        "relu_grad"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, grad) = (numbers(s1, l1, self.name())?, numbers(s2, l2, self.name())?);
        let mut out = vec![0f32; x.len()];
        let work = inlined!(|first: usize, chunk: &mut [f32]| {
            for ((out, &x), &grad) in chunk.iter_mut().zip(&x[first..]).zip(&grad[first..]) {
                *out = if x <= 0.0 { 0.0 } else { grad };
            }
        });
        for_rows(&mut out, 1, 1, work);
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }
}
