//! What is kept of all positions: sums.

use candle_core::{DType, Device, Tensor};

use crate::dictionaries::FeatureActs;
use crate::error::{Error, Result};

/// Below this an activation's norm is taken as it is, as SAELens does, where a ratio would say nothing.
const NO_NORM: f64 = 1e-4;

/// Sums over positions of how a dictionary's output compares with the activation.
#[derive(Clone, Default)]
pub(super) struct Sums {
    pub positions: u64,
    /// `|y - yhat|^2`.
    pub residual: f64,
    /// `y`, `[d_out]`.
    pub total: Vec<f64>,
    /// `|y|^2`.
    pub squares: f64,
    pub cosine: f64,
    pub ratio: f64,
    /// `|yhat|^2` and `y yhat`.
    pub written: f64,
    pub product: f64,
    pub l0: u64,
    pub l1: f64,
    /// At how many positions each feature is active.
    pub firing: Vec<u64>,
    /// Of the positions with this many tokens before them: how many there are, and `|y - yhat|^2`.
    pub by_depth: Vec<(u64, f64)>,
}

impl Sums {
    /// Adds some positions.
    ///
    /// # Shapes
    /// `y` and `yhat` `[position, d_out]`, `depth` one for each position.
    pub fn add(&mut self, y: &Tensor, yhat: &Tensor, acts: &FeatureActs, depth: &[usize]) -> Result<()> {
        let width = y.dims()[1];
        let numbers = |x: &Tensor| -> Result<Vec<f32>> { Ok(x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?) };
        let (y, yhat) = (numbers(y)?, numbers(yhat)?);
        self.total.resize(width, 0.);
        for ((y, yhat), &depth) in y.chunks(width).zip(yhat.chunks(width)).zip(depth) {
            let residual = self.add_position(y, yhat);
            if self.by_depth.len() <= depth {
                self.by_depth.resize(depth + 1, (0, 0.));
            }
            self.by_depth[depth].0 += 1;
            self.by_depth[depth].1 += residual;
        }
        self.firing.resize(acts.d_sae(), 0);
        for position in 0..acts.positions() {
            let (features, values) = acts.row(position);
            for (&feature, &value) in features.iter().zip(values).filter(|(_, value)| **value != 0.) {
                self.firing[feature as usize] += 1;
                self.l0 += 1;
                self.l1 += f64::from(value.abs());
            }
        }
        Ok(())
    }

    /// Adds one position, and returns `|y - yhat|^2`.
    fn add_position(&mut self, y: &[f32], yhat: &[f32]) -> f64 {
        let (mut residual, mut squares, mut written, mut product) = (0., 0., 0., 0.);
        for ((&y, &yhat), total) in y.iter().zip(yhat).zip(&mut self.total) {
            let (y, yhat) = (f64::from(y), f64::from(yhat));
            residual += (y - yhat) * (y - yhat);
            squares += y * y;
            written += yhat * yhat;
            product += y * yhat;
            *total += y;
        }
        let norm: f64 = f64::sqrt(squares);
        // A vector of zeros has no direction, and nothing in common with any.
        let both = norm * written.sqrt();
        self.cosine += if both > 0. { product / both } else { 0. };
        self.ratio += written.sqrt() / if norm < NO_NORM { 1. } else { norm };
        self.positions += 1;
        self.residual += residual;
        self.squares += squares;
        self.written += written;
        self.product += product;
        residual
    }

    /// `sum |y - mean y|^2`.
    pub fn variance(&self) -> f64 {
        let mean = self.total.iter().map(|total| total * total).sum::<f64>() / self.positions as f64;
        (self.squares - mean).max(0.)
    }

    /// The mean activation, `[1, d_out]`.
    pub fn mean(&self) -> Result<Tensor> {
        let mean: Vec<f32> = self.total.iter().map(|total| (total / self.positions as f64) as f32).collect();
        let width = mean.len();
        Ok(Tensor::from_vec(mean, (1, width), &Device::Cpu)?)
    }

    /// That all numbers were finite.
    pub fn check(&self, name: &str) -> Result<()> {
        if self.residual.is_finite() && self.squares.is_finite() {
            return Ok(());
        }
        let what = if self.squares.is_finite() { "what it writes" } else { "the activations" };
        Err(Error::argument(format!(
            "the dictionary \"{}\" cannot be evaluated on these texts: {what} are not finite numbers at some position.",
            crate::visible::visible(name)
        )))
    }
}
