//! Curves of neurons, each in one threaded pass forward and one back, where candle goes number by number on one thread.
//!
//! GPT-2's gelu is `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))` (Hendrycks and Gimpel 2016). With `u` the argument of tanh,
//! `(1 + tanh u) / 2 = 1 / (1 + exp(-2 u))`, which needs one exponential. Silu is `x / (1 + exp(-x))` (Elfwing et al. 2018).

use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor};

use super::kernels::{exp, inlined, map_pairs, map_rows, numbers, width};

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;

/// `gelu_new(x)`, element by element.
pub(super) fn gelu_new(x: &Tensor) -> Result<Tensor> {
    if !is_ours(x) {
        return x.gelu();
    }
    x.contiguous()?.apply_op1(GeluNew)
}

/// `x sigmoid(factor x)`, element by element.
pub(super) fn silu(x: &Tensor, factor: f64) -> Result<Tensor> {
    if !is_ours(x) {
        return (x * factor)?.silu()? / factor;
    }
    x.contiguous()?.apply_op1(Silu { factor: factor as f32 })
}

fn is_ours(x: &Tensor) -> bool {
    x.dtype() == DType::F32 && x.device().is_cpu()
}

/// A function of one number.
trait Curve: Copy + Send + Sync + 'static {
    const NAME: &'static str;

    fn value(self, x: f32) -> f32;

    fn slope(self, x: f32) -> f32;
}

#[derive(Clone, Copy)]
struct GeluNew;

#[derive(Clone, Copy)]
struct Silu {
    factor: f32,
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

impl Curve for GeluNew {
    const NAME: &'static str = "gelu_new";

    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        x * sigmoid(2.0 * SQRT_2_OVER_PI * (x + CUBIC * x * x * x))
    }

    #[inline(always)]
    fn slope(self, x: f32) -> f32 {
        let gate = sigmoid(2.0 * SQRT_2_OVER_PI * (x + CUBIC * x * x * x));
        gate + x * gate * (1.0 - gate) * 2.0 * SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * x * x)
    }
}

impl Curve for Silu {
    const NAME: &'static str = "silu";

    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        x * sigmoid(self.factor * x)
    }

    #[inline(always)]
    fn slope(self, x: f32) -> f32 {
        let gate = sigmoid(self.factor * x);
        gate + self.factor * x * gate * (1.0 - gate)
    }
}

macro_rules! differentiable {
    ($($curve:ty),*) => {$(
        impl CustomOp1 for $curve {
            fn name(&self) -> &'static str {
                Self::NAME
            }

            fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
                let x = numbers(storage, layout, self.name())?;
                let y = map_rows(x, width(layout), inlined!(|_, _| ()), inlined!(|(), x| self.value(x)));
                Ok((CpuStorage::F32(y), layout.shape().clone()))
            }

            fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
                Ok(Some(x.contiguous()?.apply_op2_no_bwd(&grad.contiguous()?, &Back(*self))?))
            }
        }
    )*};
}

differentiable!(GeluNew, Silu);

/// The gradient before a curve, from its input and the gradient behind it.
struct Back<C>(C);

impl<C: Curve> CustomOp2 for Back<C> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, grad) = (numbers(s1, l1, self.name())?, numbers(s2, l2, self.name())?);
        Ok((CpuStorage::F32(map_pairs(x, grad, inlined!(|x, grad| grad * self.0.slope(x)))), l1.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    /// Two exponentials that are each within 3e-7 of the true one.
    const TWO_EXPONENTIALS: f32 = 2e-6;

    /// Values and slopes are those of candle's composed operations, in one chunk and in several.
    #[test]
    fn silu_is_that_of_candle() -> Result<()> {
        for (count, factor) in [(9, 1.0), (50_000, 1.0), (50_000, 1.702)] {
            let numbers: Vec<f32> = (0..count).map(|i| 12.0 * ((i * 7919 + 13) as f32 * 0.618_034).sin()).collect();
            let x = Var::from_vec(numbers, count, &Device::Cpu)?;
            let ours = silu(x.as_tensor(), factor)?;
            let composed = ((x.as_tensor() * factor)?.silu()? / factor)?;
            let gradient = |y: &Tensor| -> Result<Vec<f32>> {
                y.sqr()?.sum_all()?.backward()?.get(&x).expect("a gradient").to_vec1()
            };
            let pairs = [(ours.to_vec1()?, composed.to_vec1()?), (gradient(&ours)?, gradient(&composed)?)];
            for (ours, theirs) in pairs.iter().flat_map(|(a, b): &(Vec<f32>, Vec<f32>)| a.iter().zip(b)) {
                assert!((ours - theirs).abs() <= TWO_EXPONENTIALS * theirs.abs().max(1.0), "{ours} {theirs}");
            }
        }
        Ok(())
    }

    #[test]
    fn silu_of_extreme_numbers_is_finite_or_says_what_it_is() -> Result<()> {
        let x = Tensor::new(&[-1e30f32, -200., 0., 200., 1e30, f32::INFINITY, f32::NAN], &Device::Cpu)?;
        let y = silu(&x, 1.0)?.to_vec1::<f32>()?;
        assert!(y[..2].iter().all(|y| y.abs() < 1e-7), "{y:?}");
        assert_eq!(y[2..6], [0., 200., 1e30, f32::INFINITY]);
        assert!(y[6].is_nan());
        Ok(())
    }
}
