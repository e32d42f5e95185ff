//! The training of a dictionary, step after step.

use std::fmt;

use candle_core::{D, DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::objective::{Choice, Setting};
use super::passes::Batch;
use super::recipe::{Recipe, Sparsity};
use super::weights::{Sizes, Weights};
use crate::error::{Error, Result};
use crate::hooks::check_free;
use crate::random::Random;
use crate::train::{AdamW, AdamWOptions};

/// What one step gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Which step it was, from 0.
    pub step: usize,
    /// The loss.
    pub loss: f64,
    /// The share of the variance of the batch that stays unexplained.
    pub unexplained: f64,
    /// The mean number of active features at a position (of a cross-layer transcoder, of one layer).
    pub l0: f64,
    /// How many features are dead.
    pub dead: usize,
}

impl fmt::Display for StepReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, loss, unexplained, l0, dead } = self;
        write!(f, "step {step}: loss {loss:.4}, unexplained {unexplained:.4}, L0 {l0:.1}, dead {dead}")
    }
}

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Trained {
    Autoencoder,
    Transcoder,
    CrossLayer,
}

impl Trained {
    /// Whether what the decoder adds is taken from the input.
    pub(super) fn has_b_in(self) -> bool {
        self == Self::Autoencoder
    }
}

/// What both trainers are made of: weights, moments, and what steps leave behind.
#[derive(Clone)]
pub(super) struct Core {
    pub recipe: Recipe,
    pub sizes: Sizes,
    pub kind: Trained,
    pub variance: Vec<f32>,
    /// What the inputs and the outputs of each layer are multiplied by, so that their mean norm is the root of their width.
    pub scale_in: Vec<f32>,
    pub scale_out: Vec<f32>,
    pub weights: Weights,
    pub adam: AdamW,
    pub step: usize,
    /// For how many steps each feature of each layer has been silent.
    pub silent: Vec<Vec<u32>>,
    /// The last cut of each layer, and their running mean over the last half.
    pub cuts: Vec<f32>,
    pub thresholds: Vec<f32>,
}

/// How slowly the threshold of batch top-k follows the batches.
const FOLLOWS: f32 = 0.99;

impl Core {
    /// From a first batch, which tells scales and means.
    pub(super) fn new(recipe: Recipe, x: &[Tensor], y: &[Tensor], kind: Trained) -> Result<Self> {
        recipe.check()?;
        let sizes =
            Sizes { layers: x.len(), d_in: x[0].dim(D::Minus1)?, d_out: y[0].dim(D::Minus1)?, d_sae: recipe.d_sae };
        check_memory(sizes, x[0].dim(0)?)?;
        let mut core = Self {
            recipe,
            sizes,
            kind,
            variance: Vec::new(),
            scale_in: vec![1.0; sizes.layers],
            scale_out: vec![1.0; sizes.layers],
            weights: Weights { layers: Vec::new(), b_dec: Vec::new() },
            adam: adam(),
            step: 0,
            silent: vec![vec![0; sizes.d_sae]; sizes.layers],
            cuts: vec![0.0; sizes.layers],
            thresholds: vec![0.0; sizes.layers],
        };
        let raw = core.batch(x, y)?;
        core.scale_in = raw.x.iter().map(|x| scale(x, sizes.d_in)).collect::<Result<_>>()?;
        core.scale_out = raw.y.iter().map(|y| scale(y, sizes.d_out)).collect::<Result<_>>()?;
        let first = core.batch(x, y)?;
        let means: Vec<Vec<f32>> = first.y.iter().map(|y| mean(y, sizes.d_out)).collect();
        for (y, mean) in first.y.iter().zip(&means) {
            let squares =
                y.chunks(sizes.d_out).flat_map(|row| row.iter().zip(mean).map(|(y, m)| f64::from(y - m).powi(2)));
            core.variance.push((squares.sum::<f64>() / first.positions as f64) as f32);
        }
        if core.variance.iter().any(|v| !(v.is_finite() && *v > 0.0)) {
            return Err(Error::argument(
                "the activations of the first batch are all the same or not finite: a dictionary has nothing to learn there.",
            ));
        }
        core.weights =
            Weights::new(sizes, kind.has_b_in(), recipe.first_threshold(), means, &mut Random::new(recipe.seed));
        Ok(core)
    }

    /// The activations as they are trained on: flat and scaled.
    fn batch(&self, x: &[Tensor], y: &[Tensor]) -> Result<Batch> {
        let Sizes { layers, d_in, d_out, .. } = self.sizes;
        let flat = |tensors: &[Tensor], width: usize, scales: &[f32]| -> Result<Vec<Vec<f32>>> {
            if tensors.len() != layers {
                return Err(Error::argument(format!(
                    "activations of {} layers were given, of {layers} that are trained.",
                    tensors.len()
                )));
            }
            let one = |(tensor, scale): (&Tensor, &f32)| {
                if tensor.rank() != 2 || tensor.dims()[1] != width {
                    return Err(Error::shape("activations to train on", format!("[pos, {width}]"), tensor.dims()));
                }
                let flat = tensor.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
                Ok(flat.into_iter().map(|value| value * scale).collect())
            };
            tensors.iter().zip(scales).map(one).collect()
        };
        let (x, y) = (flat(x, d_in, &self.scale_in)?, flat(y, d_out, &self.scale_out)?);
        let positions = x[0].len() / d_in;
        let same = x.iter().all(|x| x.len() == positions * d_in) && y.iter().all(|y| y.len() == positions * d_out);
        if positions == 0 || !same {
            return Err(Error::argument(
                "what is read and what is written must be given at the same positions, at least one.",
            ));
        }
        Ok(Batch { positions, x, y })
    }

    pub(super) fn step(&mut self, x: &[Tensor], y: &[Tensor]) -> Result<StepReport> {
        let (step, recipe) = (self.step, self.recipe);
        if step >= recipe.steps {
            return Err(Error::argument(format!(
                "all {} steps of the recipe are done: take the dictionary, or begin with a recipe of more steps.",
                recipe.steps
            )));
        }
        let batch = self.batch(x, y)?;
        let setting = Setting {
            sizes: self.sizes,
            has_b_in: self.kind.has_b_in(),
            variance: self.variance.clone(),
            revived: recipe.revived,
        };
        let choice = match recipe.sparsity {
            Sparsity::TopK { k } => Choice::PerPosition(recipe.k(k, step, 1)),
            Sparsity::BatchTopK { k } => {
                Choice::PerBatch { count: recipe.k(k, step, batch.positions), guesses: self.cuts.clone() }
            }
            Sparsity::JumpRelu { l0_coefficient, bandwidth, .. } => {
                Choice::Thresholds { price: recipe.price(l0_coefficient, step), bandwidth: bandwidth as f32 }
            }
        };
        let all_dead = self.dead();
        let count = all_dead.iter().map(Vec::len).sum();
        let none = vec![Vec::new(); self.sizes.layers];
        let revived = if recipe.revives(step) { &all_dead } else { &none };
        let (outcome, mut gradient) = setting.gradients(&self.weights, &batch, &choice, revived)?;
        if !outcome.loss.is_finite() {
            return Err(Error::argument(format!(
                "the loss of step {step} is {}: the activations are not finite, or the learning rate is too high.",
                outcome.loss
            )));
        }
        self.weights.remove_radial(&mut gradient, self.sizes);
        let rate = recipe.schedule().at(step as u64);
        let parts = self.weights.parts_mut().into_iter().zip(gradient.parts());
        self.adam.step(rate, parts.map(|(weights, gradient)| (&mut weights[..], &gradient[..])))?;
        self.weights.renormalise(self.sizes);
        self.count_silent(&outcome.fired);
        self.follow(&outcome.cuts);
        self.step += 1;
        let positions = batch.positions as f64;
        let spread = |(y, width): (&Vec<f32>, usize)| {
            let mean = mean(y, width);
            y.chunks(width).flat_map(|row| row.iter().zip(&mean).map(|(y, m)| f64::from(y - m).powi(2))).sum::<f64>()
        };
        let total: f64 = batch.y.iter().map(|y| spread((y, self.sizes.d_out))).sum();
        Ok(StepReport {
            step,
            loss: outcome.loss,
            unexplained: outcome.unexplained.iter().sum::<f64>() / total,
            l0: outcome.active as f64 / positions / self.sizes.layers as f64,
            dead: count,
        })
    }

    /// For how many steps each feature has now been silent.
    fn count_silent(&mut self, fired: &[Vec<bool>]) {
        for (silent, fired) in self.silent.iter_mut().zip(fired) {
            silent
                .iter_mut()
                .zip(fired)
                .for_each(|(silent, fired)| *silent = if *fired { 0 } else { silent.saturating_add(1) });
        }
    }

    /// The features of each layer that have been silent for too long.
    pub(super) fn dead(&self) -> Vec<Vec<usize>> {
        let dead_after = u32::try_from(self.recipe.dead_after).unwrap_or(u32::MAX);
        let of = |silent: &Vec<u32>| (0..silent.len()).filter(|i| silent[*i] >= dead_after).collect();
        self.silent.iter().map(of).collect()
    }

    /// The running mean begins with the last half of the steps, when there are as many active features as there will be.
    fn follow(&mut self, cuts: &[f32]) {
        for ((threshold, last), cut) in self.thresholds.iter_mut().zip(&mut self.cuts).zip(cuts) {
            *last = *cut;
            let begins = self.step <= self.recipe.steps / 2;
            *threshold = if begins { *cut } else { FOLLOWS * *threshold + (1.0 - FOLLOWS) * cut };
        }
    }
}

impl fmt::Display for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dead: usize = self.dead().iter().map(Vec::len).sum();
        write!(f, "{}; {} steps done, {dead} features dead", self.recipe, self.step)
    }
}

/// Refuses sizes for which there is no memory: weights, their gradient and two moments, and what a step keeps of each position.
pub(super) fn check_memory(sizes: Sizes, positions: usize) -> Result<()> {
    let [layers, d_in, d_out, d_sae] = [sizes.layers, sizes.d_in, sizes.d_out, sizes.d_sae].map(|size| size as u64);
    let written = layers.saturating_mul(layers.saturating_add(1)).div_ceil(2).saturating_mul(d_out);
    let of_a_feature = layers.saturating_mul(d_in.saturating_add(2)).saturating_add(written);
    let weights = of_a_feature.saturating_mul(d_sae).saturating_add(layers.saturating_mul(d_out));
    let activations = (positions as u64).saturating_mul(d_sae).saturating_mul(layers);
    let numbers = weights.saturating_mul(4).saturating_add(activations.saturating_mul(2));
    let bytes = numbers.saturating_mul(size_of::<f32>() as u64);
    check_free(bytes, "training this dictionary", "take fewer features or smaller batches")
}

/// Adam: decoder rows have a norm, so nothing needs to decay.
pub(super) fn adam() -> AdamW {
    AdamW::new(AdamWOptions { weight_decay: 0., ..AdamWOptions::default() })
}

/// The mean of rows.
fn mean(rows: &[f32], width: usize) -> Vec<f32> {
    let mut sums = vec![0f64; width];
    for row in rows.chunks(width) {
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    let count = (rows.len() / width).max(1) as f64;
    sums.into_iter().map(|sum| (sum / count) as f32).collect()
}

/// What makes the mean norm of rows the root of their width.
fn scale(rows: &[f32], width: usize) -> Result<f32> {
    let norms = rows.chunks(width).map(|row| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt());
    let mean = norms.sum::<f64>() / (rows.len() / width).max(1) as f64;
    let scale = ((width as f64).sqrt() / mean) as f32;
    match scale.is_finite() && scale > 0.0 {
        true => Ok(scale),
        false => Err(Error::argument("the activations to train on are all 0 or not finite.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of the last eight features are dead after a training that they began with encoders so short that others are always ahead of them.
    fn left_dead(revived: usize) -> Result<usize> {
        let x = Random::new(1).normal((128, 16))?;
        let recipe = Recipe {
            d_sae: 32,
            sparsity: Sparsity::TopK { k: 1 },
            steps: 300,
            learning_rate: 3e-3,
            dead_after: 20,
            revived,
            ..Recipe::default()
        };
        let mut core = Core::new(recipe, std::slice::from_ref(&x), std::slice::from_ref(&x), Trained::Autoencoder)?;
        core.weights.layers[0].w_enc[24 * 16..].iter_mut().for_each(|w| *w *= 1e-3);
        for _ in 0..recipe.steps {
            core.step(std::slice::from_ref(&x), std::slice::from_ref(&x))?;
        }
        Ok(core.dead()[0].iter().filter(|feature| **feature >= 24).count())
    }

    #[test]
    fn dead_features_are_revived() -> Result<()> {
        let (with, without) = (left_dead(8)?, left_dead(0)?);
        assert_eq!(without, 8, "nothing else revives them");
        assert!(with < 4, "{with} of 8 are still dead");
        Ok(())
    }
}
