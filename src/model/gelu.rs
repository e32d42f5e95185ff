//! GPT-2's gelu in one pass, forward and backward, on the CPU.
//!
//! `gelu_new(x) = x/2 (1 + tanh(u)) = x sigmoid(2u)` with `u = sqrt(2/pi) (x + 0.044715 x^3)`
//! (Hendrycks and Gimpel 2016, <https://arxiv.org/abs/1606.08415>). candle computes it with a scalar tanh and
//! differentiates it with several powers, which together took a third of a training step.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;

/// The operation for `Tensor::apply_op1` on contiguous f32 on the CPU.
pub(super) struct GeluNew;

impl CustomOp1 for GeluNew {
    fn name(&self) -> &'static str {
        "gelu_new"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("gelu_new needs a contiguous tensor");
        };
        let values = storage.as_slice::<f32>()?[start..end].iter().map(|&x| x * gate(x)).collect();
        Ok((CpuStorage::F32(values), layout.shape().clone()))
    }

    fn bwd(&self, arg: &Tensor, _result: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let x = arg.flatten_all()?.to_vec1::<f32>()?;
        let mut grad = grad.flatten_all()?.to_vec1::<f32>()?;
        for (grad, x) in grad.iter_mut().zip(x) {
            let slope = 2.0 * SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * x * x);
            let gate = gate(x);
            *grad *= gate + x * gate * (1.0 - gate) * slope;
        }
        Ok(Some(Tensor::from_vec(grad, arg.shape(), arg.device())?))
    }
}

/// `sigmoid(2u)`.
#[inline(always)]
fn gate(x: f32) -> f32 {
    1.0 / (1.0 + exp(-2.0 * SQRT_2_OVER_PI * (x + CUBIC * x * x * x)))
}

/// `e^x` to a few units in the last place, in a form that compilers turn into vector instructions (Cody and Waite's
/// reduction to `2^n e^r`, |r| <= ln 2 / 2, and a polynomial); x is limited to the range of finite results.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// Adding and subtracting 1.5 * 2^23 rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let n = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    // Taylor's series: the first term left out is below 1e-8.
    let terms = 1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0));
    let series = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * terms))));
    series * f32::from_bits(((n as i32 + 127) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn exp_is_that_of_f64() {
        for i in -8700..8800 {
            let x = i as f32 / 100.0;
            let error = f64::from(exp(x)) / f64::from(x).exp() - 1.0;
            assert!(error.abs() < 4e-7, "e^{x}: relative error {error}");
        }
    }

    #[test]
    fn it_is_the_formula_with_tanh_in_f64_and_so_is_its_slope() {
        let formula =
            |x: f64| 0.5 * x * (1.0 + (f64::sqrt(2.0 / std::f64::consts::PI) * (x + 0.044715 * x * x * x)).tanh());
        let xs: Vec<f32> = (-1200..=1200).map(|i| i as f32 / 100.0).collect();
        let x = Var::new(xs.as_slice(), &Device::Cpu).unwrap();
        let y = x.apply_op1(GeluNew).unwrap();
        let slope = y.backward().unwrap().get(&x).unwrap().to_vec1::<f32>().unwrap();
        for ((x, y), slope) in xs.iter().zip(y.to_vec1::<f32>().unwrap()).zip(slope) {
            let x = f64::from(*x);
            assert!((f64::from(y) - formula(x)).abs() < 2e-6, "gelu({x}) = {y}");
            let expected = (formula(x + 1e-5) - formula(x - 1e-5)) / 2e-5;
            assert!((f64::from(slope) - expected).abs() < 2e-6, "slope at {x}: {slope}, not {expected}");
        }
    }
}
