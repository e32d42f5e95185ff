//! Steps whose gradient follows a rule in place of the derivative; their values are those of the step itself.
//!
//! *Identity rule*: `act(x) -> x * constant(act(x) / x)`, with the ratio as the activation's own factor (`sigmoid(x)` of silu,
//! `(1 + erf(x / sqrt 2)) / 2` of gelu), so that it is defined at `x = 0` without an epsilon. *Half rule*: the gradient of a product
//! is halved, so that `a u -> (a constant(u) + constant(a) u) / 2` (Jafari et al. 2025, "RelP",
//! <https://arxiv.org/abs/2508.21258>; Achtibat et al. 2024, "AttnLRP", <https://arxiv.org/abs/2402.05602>).

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, MetalStorage, Result, Shape, Storage, Tensor};

use super::{QUICK, softmax};
use crate::model::config::ActFn;

/// `value` going forward; going back, `gradient(x, grad)` for `x`.
pub(super) fn by_rule(
    x: &Tensor,
    value: &Tensor,
    gradient: impl Fn(&Tensor, &Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    x.contiguous()?.apply_op1(ByRule { value: value.detach().contiguous()?, gradient })
}

/// `act(x) / x`, by the activation's own factor.
pub(super) fn ratio(x: &Tensor, act: ActFn) -> Result<Tensor> {
    // The logistic function, by an operation that every device has.
    let sigmoid = |x: Tensor| ((x / 2.)?.tanh()? + 1.)? / 2.;
    match act {
        ActFn::Gelu => ((x / std::f64::consts::SQRT_2)?.erf()? + 1.)? / 2.,
        ActFn::GeluNew => {
            let cubic = (x.sqr()? * 0.044_715)?.affine(1., 1.)?;
            let slope = (std::f64::consts::FRAC_2_PI).sqrt();
            sigmoid((x.mul(&cubic)? * (2. * slope))?)
        }
        ActFn::Relu => x.gt(&x.zeros_like()?)?.to_dtype(x.dtype()),
        ActFn::Silu => sigmoid(x.clone()),
        ActFn::QuickGelu => sigmoid((x * QUICK)?),
        ActFn::Solu | ActFn::SoluLn => softmax::softmax(x),
    }
}

/// `cap tanh(x / cap) / x`, which is 1 at 0.
pub(super) fn cap_ratio(x: &Tensor, cap: f64) -> Result<Tensor> {
    let x = (x / cap)?;
    let ones = x.ones_like()?;
    let is_zero = x.eq(&x.zeros_like()?)?;
    is_zero.where_cond(&ones, &(x.tanh()? / is_zero.where_cond(&ones, &x)?)?)
}

struct ByRule<F> {
    value: Tensor,
    gradient: F,
}

macro_rules! forward {
    ($name:ident, $storage:ty, $kind:ident) => {
        fn $name(&self, _x: &$storage, layout: &Layout) -> Result<($storage, Shape)> {
            let (value, of_value) = self.value.storage_and_layout();
            if of_value.start_offset() != 0 || !of_value.is_contiguous() {
                candle_core::bail!("the value is a part of another tensor");
            }
            match &*value {
                Storage::$kind(value) => Ok((value.try_clone(of_value)?, layout.shape().clone())),
                _ => candle_core::bail!("the value is on another device than the activation"),
            }
        }
    };
}

impl<F: Fn(&Tensor, &Tensor) -> Result<Tensor> + Send + Sync> CustomOp1 for ByRule<F> {
    fn name(&self) -> &'static str {
        "by_rule"
    }

    forward!(cpu_fwd, CpuStorage, Cpu);
    forward!(cuda_fwd, CudaStorage, Cuda);
    forward!(metal_fwd, MetalStorage, Metal);

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some((self.gradient)(&x.detach(), grad)?))
    }
}
