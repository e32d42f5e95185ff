//! The loss of a batch and its gradient.
//!
//! For each position and layer that is written `|y - yhat|^2 / variance`; JumpReLU adds its price times the number of active
//! features; dead features predict what the others leave, `|(y - yhat) - yhat_dead|^2 / variance`, weighted. The mean over positions.
//! The gradient of a JumpReLU threshold is that of Rajamanoharan et al. 2024 (arXiv 2407.14435, equations 11 and 12) with a
//! rectangle as kernel.

use super::passes::{Batch, back_through_decoder, back_through_encoder, pre_activations, write};
use super::recipe::REVIVAL_WEIGHT;
use super::select::{Active, above, at_least, cut, largest, largest_among};
use super::weights::{Sizes, Weights};
use crate::error::Result;

/// How active features are chosen in one step.
pub(super) enum Choice {
    /// So many at each position.
    PerPosition(usize),
    /// So many of each layer in the whole batch; `guesses` are the cuts of the step before.
    PerBatch { count: usize, guesses: Vec<f32> },
    /// Those above their thresholds.
    Thresholds { price: f32, bandwidth: f32 },
}

/// What stays the same over all steps.
pub(super) struct Setting {
    pub sizes: Sizes,
    /// Whether the decoder's bias is subtracted from the input.
    pub has_b_in: bool,
    /// Of each layer that is written: the mean of `|y - mean y|^2`.
    pub variance: Vec<f32>,
    pub revived: usize,
}

/// What a batch gave.
pub(super) struct Outcome {
    /// The loss whose gradient it is.
    pub loss: f64,
    /// For each layer that is written, the sum of `|y - yhat|^2` over positions.
    pub unexplained: Vec<f64>,
    /// How many features were active, over all positions and layers.
    pub active: usize,
    /// Which features of each layer were active at all.
    pub fired: Vec<Vec<bool>>,
    /// The smallest pre-activation that was chosen in each layer, where a batch chooses.
    pub cuts: Vec<f32>,
}

impl Setting {
    /// The loss of `batch`, and its gradient for each weight; `dead` are the dead features of each layer that are to be revived.
    pub(super) fn gradients(
        &self,
        weights: &Weights,
        batch: &Batch,
        choice: &Choice,
        dead: &[Vec<usize>],
    ) -> Result<(Outcome, Weights)> {
        let sizes = self.sizes;
        let mut gradient = weights.zeros();
        let x: Vec<Vec<f32>> = (0..sizes.layers).map(|layer| self.centred(weights, batch, layer)).collect();
        let mut out: Vec<Vec<f32>> = weights.b_dec.iter().map(|b| b.repeat(batch.positions)).collect();
        let (mut chosen, mut revived, mut pres) = (Vec::new(), Vec::new(), Vec::new());
        let mut cuts = Vec::new();
        for (layer, x) in x.iter().enumerate() {
            let pre = pre_activations(&weights.layers[layer], x, sizes)?;
            let (active, cut) = self.choose(weights, layer, &pre, choice);
            write(layer, weights, &active, &mut out, sizes);
            revived
                .push((!dead[layer].is_empty()).then(|| largest_among(&pre, sizes.d_sae, &dead[layer], self.revived)));
            chosen.push(active);
            cuts.push(cut);
            // Thresholds alone need the pre-activations once more.
            pres.push(if matches!(choice, Choice::Thresholds { .. }) { pre } else { Vec::new() });
        }
        let mut outcome = self.outcome(&mut out, batch, &chosen, cuts);
        if let Choice::Thresholds { price, .. } = choice {
            outcome.loss += f64::from(*price) * outcome.active as f64 / batch.positions as f64;
        }
        if revived.iter().any(Option::is_some) {
            outcome.loss += self.revive(weights, &x, &revived, &out, &mut gradient);
        }
        self.scaled_to_gradient(&mut out, batch.positions);
        for (part, error) in gradient.b_dec.iter_mut().zip(&out) {
            for row in error.chunks(sizes.d_out) {
                part.iter_mut().zip(row).for_each(|(sum, e)| *sum += e);
            }
        }
        for (layer, active) in chosen.iter().enumerate() {
            let mut of_pre = back_through_decoder(layer, weights, active, &out, &mut gradient, sizes);
            if let Choice::Thresholds { price, bandwidth } = choice {
                let near = Near { pre: &pres[layer], price: *price, bandwidth: *bandwidth, positions: batch.positions };
                near.back(weights, &mut gradient, (layer, active, &mut of_pre), sizes);
            }
            let through = (x[layer].as_slice(), active, of_pre.as_slice());
            back_through_encoder(layer, weights, through, &mut gradient, self.has_b_in, sizes);
        }
        Ok((outcome, gradient))
    }

    /// What the encoder of a layer multiplies.
    fn centred(&self, weights: &Weights, batch: &Batch, layer: usize) -> Vec<f32> {
        let mut x = batch.x[layer].clone();
        if self.has_b_in {
            let b_in = &weights.b_dec[layer];
            x.chunks_mut(b_in.len()).for_each(|row| row.iter_mut().zip(b_in).for_each(|(x, b)| *x -= b));
        }
        x
    }

    fn choose(&self, weights: &Weights, layer: usize, pre: &[f32], choice: &Choice) -> (Active, f32) {
        let width = self.sizes.d_sae;
        match choice {
            Choice::PerPosition(k) => (largest(pre, width, *k), 0.0),
            Choice::PerBatch { count, guesses } => {
                let cut = cut(pre, *count, guesses[layer] / 2.0);
                (at_least(pre, width, cut), cut)
            }
            Choice::Thresholds { bandwidth, .. } => {
                let thresholds: Vec<f32> = weights.layers[layer].log_threshold.iter().map(|log| log.exp()).collect();
                (above(pre, &thresholds, *bandwidth), 0.0)
            }
        }
    }

    /// Turns reconstructions into errors `yhat - y`.
    fn outcome(&self, out: &mut [Vec<f32>], batch: &Batch, chosen: &[Active], cuts: Vec<f32>) -> Outcome {
        let mut unexplained = Vec::new();
        for (out, y) in out.iter_mut().zip(&batch.y) {
            out.iter_mut().zip(y).for_each(|(out, y)| *out -= y);
            unexplained.push(out.iter().map(|e| f64::from(*e) * f64::from(*e)).sum());
        }
        let mut fired = vec![vec![false; self.sizes.d_sae]; self.sizes.layers];
        let mut active = 0;
        for (fired, chosen) in fired.iter_mut().zip(chosen) {
            for (feature, value) in chosen.features.iter().zip(&chosen.values) {
                if *value > 0.0 {
                    fired[*feature as usize] = true;
                    active += 1;
                }
            }
        }
        let share = |(sum, variance): (&f64, &f32)| sum / f64::from(*variance) / batch.positions as f64;
        let loss = unexplained.iter().zip(&self.variance).map(share).sum();
        Outcome { loss, unexplained, active, fired, cuts }
    }

    /// From errors to the gradient of the loss for reconstructions.
    fn scaled_to_gradient(&self, out: &mut [Vec<f32>], positions: usize) {
        for (out, variance) in out.iter_mut().zip(&self.variance) {
            let scale = 2.0 / variance / positions as f32;
            out.iter_mut().for_each(|e| *e *= scale);
        }
    }

    /// Adds the gradient of what dead features cost, and gives that cost: their sum is to be what the others leave, `-error`.
    fn revive(
        &self,
        weights: &Weights,
        x: &[Vec<f32>],
        revived: &[Option<Active>],
        error: &[Vec<f32>],
        gradient: &mut Weights,
    ) -> f64 {
        let sizes = self.sizes;
        let positions = error[0].len() / sizes.d_out;
        let mut left = error.to_vec();
        for (layer, active) in revived.iter().enumerate() {
            if let Some(active) = active {
                write(layer, weights, active, &mut left, sizes);
            }
        }
        let mut loss = 0.0;
        for (left, variance) in left.iter_mut().zip(&self.variance) {
            let sum: f64 = left.iter().map(|e| f64::from(*e) * f64::from(*e)).sum();
            loss += f64::from(REVIVAL_WEIGHT) * sum / f64::from(*variance) / positions as f64;
            let scale = REVIVAL_WEIGHT * 2.0 / variance / positions as f32;
            left.iter_mut().for_each(|e| *e *= scale);
        }
        for (layer, active) in revived.iter().enumerate() {
            if let Some(active) = active {
                let of_pre = back_through_decoder(layer, weights, active, &left, gradient, sizes);
                let through = (x[layer].as_slice(), active, of_pre.as_slice());
                back_through_encoder(layer, weights, through, gradient, self.has_b_in, sizes);
            }
        }
        loss
    }
}

/// Thresholds and what is near them.
struct Near<'a> {
    pre: &'a [f32],
    price: f32,
    bandwidth: f32,
    positions: usize,
}

impl Near<'_> {
    /// Adds the gradient of the thresholds' logarithms; `of_values` become gradients of pre-activations, 0 for features that are not
    /// active.
    fn back(
        &self,
        weights: &Weights,
        gradient: &mut Weights,
        (layer, active, of_values): (usize, &Active, &mut [f32]),
        sizes: Sizes,
    ) {
        let price = self.price / self.positions as f32;
        for position in 0..self.positions {
            for i in active.at(position) {
                let feature = active.features[i] as usize;
                let threshold = weights.layers[layer].log_threshold[feature].exp();
                let pre = self.pre[position * sizes.d_sae + feature];
                if (pre - threshold).abs() < self.bandwidth / 2.0 {
                    let of_threshold = -(threshold * of_values[i] + price) / self.bandwidth;
                    gradient.layers[layer].log_threshold[feature] += threshold * of_threshold;
                }
                if active.values[i] == 0.0 {
                    of_values[i] = 0.0;
                }
            }
        }
    }
}
