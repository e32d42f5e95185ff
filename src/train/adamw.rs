//! AdamW, in place.
//!
//! `p <- p (1 - rate decay)`, then `m <- b1 m + (1 - b1) g`, `v <- b2 v + (1 - b2) g^2` and
//! `p <- p - rate m' / (sqrt(v') + eps)`, where `m' = m / (1 - b1^t)` and `v' = v / (1 - b2^t)` at step `t`.
//!
//! Reference: Loshchilov and Hutter 2019 (arXiv 1711.05101), as PyTorch's `torch.optim.AdamW` computes it, without AMSGrad.
//! `candle_nn::AdamW` computes the same, but takes its gradients from candle's backward pass only, writes ten tensors at each step, and
//! keeps its moments to itself, so that an interrupted training could not go on.

use std::fmt;

use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor, Var};
use rayon::prelude::*;

use crate::error::{Error, Result};

/// How many numbers a thread updates at once.
const PIECE: usize = 1 << 14;

/// The constants of [`AdamW`]; the default ones are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWOptions {
    /// How much of the mean gradient each step keeps, 0.9.
    pub beta1: f64,
    /// How much of the mean square each step keeps, 0.999.
    pub beta2: f64,
    /// Added to the root of the mean square, 1e-8.
    pub eps: f64,
    /// The share of itself by which each parameter shrinks at a step with rate 1, 0.01.
    pub weight_decay: f64,
}

impl Default for AdamWOptions {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 }
    }
}

/// The mean gradient and the mean square of one parameter.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Moments {
    pub m: Vec<f32>,
    pub v: Vec<f32>,
}

/// AdamW over any number of parameters, which are slices of f32 in an order that stays the same. Parameters with another weight decay
/// belong to an optimiser of their own.
///
/// ```
/// use candle_lens::prelude::*;
/// let mut weights = vec![1f32, -2., 3.];
/// let mut adam = AdamW::new(AdamWOptions { weight_decay: 0., ..Default::default() });
/// for _ in 0..400 {
///     let gradient: Vec<f32> = weights.iter().map(|w| 2. * w).collect();
///     adam.step(0.05, [(&mut weights[..], &gradient[..])])?;
/// }
/// assert!(weights.iter().all(|w| w.abs() < 1e-2), "the least square is at 0: {weights:?}");
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct AdamW {
    pub(super) options: AdamWOptions,
    pub(super) steps: u64,
    pub(super) moments: Vec<Moments>,
}

impl AdamW {
    /// An optimiser that has taken no step.
    pub fn new(options: AdamWOptions) -> Self {
        Self { options, steps: 0, moments: Vec::new() }
    }

    /// Its constants.
    pub fn options(&self) -> AdamWOptions {
        self.options
    }

    /// How many steps it has taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// One step at this learning rate: each parameter with its gradient, always in the same order.
    ///
    /// # Errors
    /// [`Error::Argument`] for constants that are not valid, a gradient of another length than its parameter, other parameters than at
    /// the step before, and gradients that are not finite. No parameter has changed then.
    pub fn step<'a>(
        &mut self,
        rate: f64,
        parameters: impl IntoIterator<Item = (&'a mut [f32], &'a [f32])>,
    ) -> Result<()> {
        let mut parameters: Vec<_> = parameters.into_iter().collect();
        self.check(rate, &parameters)?;
        if self.moments.is_empty() {
            let zero = |(p, _): &(&mut [f32], &[f32])| Moments { m: vec![0.; p.len()], v: vec![0.; p.len()] };
            self.moments = parameters.iter().map(zero).collect();
        }
        self.steps += 1;
        let update = Update::new(self.options, rate, self.steps);
        for ((p, g), moments) in parameters.iter_mut().zip(&mut self.moments) {
            let means = moments.m.par_chunks_mut(PIECE).zip(moments.v.par_chunks_mut(PIECE));
            let pieces = p.par_chunks_mut(PIECE).zip(g.par_chunks(PIECE)).zip(means);
            pieces.for_each(|((p, g), (m, v))| update.apply(p, g, m, v));
        }
        Ok(())
    }

    /// One step of candle's variables by the gradients of its backward pass; always the same variables in the same order, in f32 on
    /// the CPU.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let w = Var::new(&[3f32, -1.], &Device::Cpu)?;
    /// let mut adam = AdamW::new(AdamWOptions::default());
    /// let loss = w.as_tensor().sqr()?.sum_all()?;
    /// adam.step_vars(0.1, [&w], &loss.backward()?)?;
    /// assert_eq!(adam.steps(), 1);
    /// assert!(w.to_vec1::<f32>()?[0] < 3.);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`AdamW::step`], and [`Error::Argument`] for a variable without a gradient or of another dtype.
    pub fn step_vars<'a>(
        &mut self,
        rate: f64,
        vars: impl IntoIterator<Item = &'a Var>,
        gradients: &GradStore,
    ) -> Result<()> {
        let vars: Vec<&Var> = vars.into_iter().collect();
        let (mut values, mut slopes) = (Vec::new(), Vec::new());
        for (number, var) in vars.iter().enumerate() {
            let gradient = gradients.get(var).ok_or_else(|| {
                Error::argument(format!(
                    "variable {number} of shape {:?} has no gradient: the loss does not depend on it. Leave it out, or compute \
                     the loss from it.",
                    var.dims()
                ))
            })?;
            if var.dtype() != DType::F32 {
                return Err(Error::argument(format!(
                    "variable {number} holds {:?} numbers: AdamW updates f32 ones.",
                    var.dtype()
                )));
            }
            values.push(var.flatten_all()?.to_vec1::<f32>()?);
            slopes.push(gradient.flatten_all()?.to_vec1::<f32>()?);
        }
        let pairs = values.iter_mut().map(|value| &mut value[..]).zip(slopes.iter().map(|slope| &slope[..]));
        self.step(rate, pairs)?;
        for (var, value) in vars.iter().zip(values) {
            var.set(&Tensor::from_vec(value, var.shape(), var.device())?)?;
        }
        Ok(())
    }

    fn check(&self, rate: f64, parameters: &[(&mut [f32], &[f32])]) -> Result<()> {
        self.options.check()?;
        if !(rate.is_finite() && rate >= 0.) {
            return Err(Error::argument(format!("the learning rate is {rate}: give one of at least 0.")));
        }
        let sizes: Vec<usize> = parameters.iter().map(|(p, _)| p.len()).collect();
        let before: Vec<usize> = self.moments.iter().map(|moments| moments.m.len()).collect();
        if self.steps > 0 && sizes != before {
            return Err(Error::argument(format!(
                "the parameters have {sizes:?} numbers, but had {before:?} at the step before: give the same ones in the same order."
            )));
        }
        for (number, (p, g)) in parameters.iter().enumerate() {
            if p.len() != g.len() {
                return Err(Error::argument(format!(
                    "parameter {number} has {} numbers and its gradient {}: they need one each.",
                    p.len(),
                    g.len()
                )));
            }
            if let Some(at) = g.iter().position(|g| !g.is_finite()) {
                return Err(Error::argument(format!(
                    "the gradient of parameter {number} is {} at {at}: training has diverged. Lower the learning rate, warm up \
                     longer, or clip the gradients.",
                    g[at]
                )));
            }
        }
        Ok(())
    }
}

impl AdamWOptions {
    pub(super) fn check(&self) -> Result<()> {
        let Self { beta1, beta2, eps, weight_decay } = *self;
        for (name, value) in [("beta1", beta1), ("beta2", beta2)] {
            if !(0. ..1.).contains(&value) {
                return Err(Error::argument(format!("{name} is {value}: it is at least 0 and below 1.")));
            }
        }
        for (name, value) in [("eps", eps), ("weight_decay", weight_decay)] {
            if !(value.is_finite() && value >= 0.) {
                return Err(Error::argument(format!("{name} is {value}: it is at least 0.")));
            }
        }
        Ok(())
    }
}

impl fmt::Display for AdamW {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AdamWOptions { beta1, beta2, eps, weight_decay } = self.options;
        let numbers: usize = self.moments.iter().map(|moments| moments.m.len()).sum();
        write!(f, "AdamW (beta {beta1}, {beta2}, eps {eps:e}, weight decay {weight_decay}) ")?;
        write!(f, "of {numbers} numbers after {} steps", self.steps)
    }
}

/// The factors of one step, which PyTorch rounds to f32 as well.
struct Update {
    keep: f32,
    new_m: f32,
    keep_v: f32,
    new_v: f32,
    /// `sqrt(1 - b2^t)`.
    root: f32,
    eps: f32,
    size: f32,
}

impl Update {
    fn new(options: AdamWOptions, rate: f64, step: u64) -> Self {
        let AdamWOptions { beta1, beta2, eps, weight_decay } = options;
        let step = step as f64;
        Self {
            keep: (1. - rate * weight_decay) as f32,
            new_m: (1. - beta1) as f32,
            keep_v: beta2 as f32,
            new_v: (1. - beta2) as f32,
            root: (1. - beta2.powf(step)).sqrt() as f32,
            eps: eps as f32,
            size: (rate / (1. - beta1.powf(step))) as f32,
        }
    }

    fn apply(&self, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            *m += self.new_m * (g - *m);
            *v = *v * self.keep_v + self.new_v * g * g;
            *p = *p * self.keep - self.size * *m / (v.sqrt() / self.root + self.eps);
        }
    }
}
