//! The least logistic loss by Newton's method, in f64.
//!
//! `w` and `b` minimise `sum_i log(1 + exp(-s_i (x_i w + b))) + strength |w|^2 / 2` with `s_i` 1 or -1; the bias has no penalty. It is
//! scikit-learn's `LogisticRegression` with `C = 1 / strength`.

use nalgebra::{DMatrix, DVector};

use crate::error::{Error, Result};

/// The most steps; it takes about ten.
const STEPS: usize = 100;

/// The gradient at which it stops, as a part of the number of examples.
const SMALL: f64 = 1e-10;

/// How far above its least value the loss may be, as a part of it, where rounding lets no step lower it.
const ROUNDED: f64 = 1e-9;

/// Added to the diagonal of the Hessian, scaled to ones: where all examples are far from the boundary the bias hardly matters, and its
/// row is almost 0.
const RIDGE: f64 = 1e-12;

/// The weights, the last of which is the bias; `x` has a last column of ones, and `targets` are 0 or 1.
///
/// # Errors
/// No convergence: inputs that are too large or too much alike.
pub(super) fn newton(x: &DMatrix<f64>, targets: &DVector<f64>, strength: f64) -> Result<DVector<f64>> {
    let last = x.ncols() - 1;
    let loss = |w: &DVector<f64>| {
        let logits = (x * w).into_iter().zip(targets).map(|(z, y)| softplus(*z) - y * z).sum::<f64>();
        logits + strength / 2. * w.rows(0, last).norm_squared()
    };
    let mut w = DVector::zeros(x.ncols());
    let mut now = loss(&w);
    for _ in 0..STEPS {
        let p = (x * &w).map(sigmoid);
        let mut slope = x.tr_mul(&(&p - targets));
        slope.rows_mut(0, last).axpy(strength, &w.rows(0, last), 1.);
        if slope.amax() <= SMALL * x.nrows() as f64 {
            return Ok(w);
        }
        let weighted = DMatrix::from_fn(x.nrows(), x.ncols(), |i, j| x[(i, j)] * (p[i] * (1. - p[i])));
        let Some(step) = solved(penalised(x.tr_mul(&weighted), strength), &slope) else { break };
        // Half of this is how far the loss is above its least value, were it a parabola.
        let decrement = slope.dot(&step);
        let shorter = (0..40).map(|halvings| &w - &step * 0.5_f64.powi(halvings)).map(|next| (loss(&next), next));
        match shorter.into_iter().find(|(next, _)| next.is_finite() && *next < now) {
            Some((next, better)) => (now, w) = (next, better),
            None if decrement.abs() <= ROUNDED * (1. + now) => return Ok(w),
            None => break,
        }
    }
    Err(Error::argument(
        "the logistic probe did not converge: its inputs are too large or too much alike. Scale them, or give a larger strength.",
    ))
}

/// The solution of `square step = slope`, by Cholesky's factors of the matrix with a diagonal of ones.
fn solved(square: DMatrix<f64>, slope: &DVector<f64>) -> Option<DVector<f64>> {
    let scale = square.diagonal().map(|size| if size > 0. { 1. / size.sqrt() } else { 1. });
    let mut scaled = DMatrix::from_fn(square.nrows(), square.ncols(), |i, j| square[(i, j)] * scale[i] * scale[j]);
    (0..scaled.nrows()).for_each(|i| scaled[(i, i)] += RIDGE);
    let solution = scaled.cholesky()?.solve(&slope.component_mul(&scale));
    Some(solution.component_mul(&scale)).filter(|step| step.iter().all(|step| step.is_finite()))
}

/// A penalty on all weights but the bias.
pub(super) fn penalised(mut square: DMatrix<f64>, strength: f64) -> DMatrix<f64> {
    (0..square.nrows() - 1).for_each(|i| square[(i, i)] += strength);
    square
}

pub(super) fn sigmoid(x: f64) -> f64 {
    1. / (1. + (-x).exp())
}

/// `log(1 + exp(x))`.
pub(super) fn softplus(x: f64) -> f64 {
    x.max(0.) + (-x.abs()).exp().ln_1p()
}
