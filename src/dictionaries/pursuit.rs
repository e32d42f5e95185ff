//! Matching pursuit: the features of an input found one after another.
//!
//! From `r = x` on, the feature whose decoder row `d` has the largest product with `r` is added with `v = max(r · d, 0)`, and
//! `r` becomes `r - v d`; it ends when a feature adds nothing to those that are active, when `|r|` is below a threshold, or after
//! so many times.
//!
//! Reference: Mallat and Zhang 1993; for dictionaries of language models Costa et al. 2025 (arXiv 2506.03093). The rules for the end are
//! those of SAELens' `matching_pursuit_sae.py`. The gradient is that of the products, which features are chosen being held.

use std::collections::HashSet;

use candle_core::{D, DType, Tensor};

use crate::error::Result;
use crate::wide;

/// When it ends.
#[derive(Clone, Copy)]
pub(super) struct Pursuit {
    pub max_iterations: usize,
    pub residual_threshold: f64,
    pub stop_on_duplicate_support: bool,
}

impl Pursuit {
    /// The activations of features for inputs from which the bias was subtracted.
    ///
    /// # Shapes
    /// `x [.., d_in]` and `w_dec [d_sae, d_in]` give `[.., d_sae]`.
    pub(super) fn encode(self, x: &Tensor, w_dec: &Tensor) -> Result<Tensor> {
        let (d_sae, d_in) = w_dec.dims2()?;
        let w_dec = wide::widened(w_dec)?.to_dtype(x.dtype())?;
        let mut residual = x.reshape(((), d_in))?;
        let rows = residual.dim(0)?;
        let mut active: Vec<HashSet<u32>> = vec![HashSet::new(); rows];
        let mut done = vec![false; rows];
        let mut acts = Tensor::zeros((rows, d_sae), x.dtype(), x.device())?;
        let none = acts.clone();
        let ones = Tensor::ones((rows, 1), x.dtype(), x.device())?;
        for _ in 0..self.max_iterations {
            let products = residual.detach().matmul(&w_dec.detach().t()?)?;
            let best = products.relu()?.argmax(D::Minus1)?;
            let row = w_dec.index_select(&best, 0)?;
            let going: Vec<f32> = done.iter().map(|done| f32::from(u8::from(!done))).collect();
            let going = Tensor::new(going, x.device())?.to_dtype(x.dtype())?.unsqueeze(1)?;
            let value = ((&residual * &row)?.sum_keepdim(D::Minus1)?.relu()? * going)?;
            residual = (&residual - value.broadcast_mul(&row)?)?;
            self.ended(&best, &value, &residual, &mut active, &mut done)?;
            // candle's scatter_add has no gradient for what is added.
            let place = none.scatter_add(&best.unsqueeze(1)?, &ones, 1)?;
            acts = (acts + place.broadcast_mul(&value)?)?;
            if done.iter().all(|done| *done) {
                break;
            }
        }
        let shape: Vec<usize> = x.dims()[..x.rank() - 1].iter().copied().chain([d_sae]).collect();
        Ok(acts.reshape(shape)?)
    }

    /// Marks the rows for which it ends.
    fn ended(
        self,
        best: &Tensor,
        value: &Tensor,
        residual: &Tensor,
        active: &mut [HashSet<u32>],
        done: &mut [bool],
    ) -> Result<()> {
        let best = best.to_vec1::<u32>()?;
        let numbers =
            |tensor: &Tensor| -> Result<Vec<f32>> { Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?) };
        let values = numbers(&value.detach())?;
        let left = numbers(&residual.detach().sqr()?.sum(D::Minus1)?.sqrt()?)?;
        for (row, done) in done.iter_mut().enumerate() {
            // A value of 0 changes nothing from here on, nor does any later one.
            *done |= values[row] == 0.0;
            // Activations only grow, so the active features change only by a new one.
            let new = values[row] != 0.0 && active[row].insert(best[row]);
            *done |= self.stop_on_duplicate_support && !new;
            *done |= self.residual_threshold > 0.0 && f64::from(left[row]) < self.residual_threshold;
        }
        Ok(())
    }
}
