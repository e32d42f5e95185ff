//! The numbers that training changes, in flat buffers: what a step does with them is written out, and an optimiser that works in
//! place needs no graph.

use serde::{Deserialize, Serialize};

use crate::random::{Random, normal};

/// The sizes of what is trained. An autoencoder or a transcoder is a cross-layer transcoder of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sizes {
    pub layers: usize,
    pub d_in: usize,
    pub d_out: usize,
    pub d_sae: usize,
}

impl Sizes {
    /// The length of what a feature of `layer` writes: its own layer and those behind it.
    pub(super) fn written(self, layer: usize) -> usize {
        (self.layers - layer) * self.d_out
    }
}

/// The features of one layer.
#[derive(Clone)]
pub(super) struct Layer {
    /// `[d_sae, d_in]`: a row for each feature, so that few active features touch few rows.
    pub w_enc: Vec<f32>,
    /// `[d_sae]`.
    pub b_enc: Vec<f32>,
    /// `[d_sae, n_writes, d_out]`.
    pub w_dec: Vec<f32>,
    /// `[d_sae]`; of JumpReLU only, otherwise empty.
    pub log_threshold: Vec<f32>,
}

/// All weights, or one number for each of them: gradients, and the moments of the optimiser.
#[derive(Clone)]
pub(super) struct Weights {
    pub layers: Vec<Layer>,
    /// `[d_out]` for each layer that is written.
    pub b_dec: Vec<Vec<f32>>,
}

impl Weights {
    /// Before the first step: decoder rows are random directions of norm 1; the encoder of an autoencoder is half of the decoder,
    /// that of a transcoder random directions, for what it reads is not what it writes.
    pub(super) fn new(
        sizes: Sizes,
        tied: bool,
        threshold: Option<f32>,
        b_dec: Vec<Vec<f32>>,
        random: &mut Random,
    ) -> Self {
        let mut rows = |width: usize| {
            let mut all: Vec<f32> = (0..sizes.d_sae * width).map(|_| normal(|| random.uniform()) as f32).collect();
            all.chunks_mut(width).for_each(normalise);
            all
        };
        let layers = (0..sizes.layers).map(|layer| {
            let w_dec = rows(sizes.written(layer));
            let w_enc = if tied { w_dec.iter().map(|w| w / 2.0).collect() } else { rows(sizes.d_in) };
            let log_threshold = threshold.map_or(Vec::new(), |threshold| vec![threshold.ln(); sizes.d_sae]);
            Layer { w_enc, b_enc: vec![0.0; sizes.d_sae], w_dec, log_threshold }
        });
        Self { layers: layers.collect(), b_dec }
    }

    /// 0 for each weight.
    pub(super) fn zeros(&self) -> Self {
        let mut zeros = self.clone();
        zeros.parts_mut().into_iter().for_each(|part| part.fill(0.0));
        zeros
    }

    /// All buffers, in one order for weights, gradients and moments.
    pub(super) fn parts_mut(&mut self) -> Vec<&mut Vec<f32>> {
        let layers = self.layers.iter_mut();
        let of_layers = layers.flat_map(|l| [&mut l.w_enc, &mut l.b_enc, &mut l.w_dec, &mut l.log_threshold]);
        of_layers.chain(&mut self.b_dec).collect()
    }

    /// As [`Weights::parts_mut`], to read.
    pub(super) fn parts(&self) -> Vec<&Vec<f32>> {
        let of_layers = self.layers.iter().flat_map(|l| [&l.w_enc, &l.b_enc, &l.w_dec, &l.log_threshold]);
        of_layers.chain(&self.b_dec).collect()
    }

    /// Decoder rows back to norm 1.
    pub(super) fn renormalise(&mut self, sizes: Sizes) {
        for (layer, weights) in self.layers.iter_mut().enumerate() {
            weights.w_dec.chunks_mut(sizes.written(layer)).for_each(normalise);
        }
    }

    /// What of `gradient` would only change the lengths of decoder rows, which stay 1, taken out.
    pub(super) fn remove_radial(&self, gradient: &mut Self, sizes: Sizes) {
        for (layer, (weights, gradient)) in self.layers.iter().zip(&mut gradient.layers).enumerate() {
            let width = sizes.written(layer);
            for (row, gradient) in weights.w_dec.chunks(width).zip(gradient.w_dec.chunks_mut(width)) {
                axpy(-dot(row, gradient), row, gradient);
            }
        }
    }
}

fn normalise(row: &mut [f32]) {
    let norm = dot(row, row).sqrt().max(f32::MIN_POSITIVE);
    row.iter_mut().for_each(|x| *x /= norm);
}

/// The product of two vectors, in sixteen sums that the processor computes at once.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; 16];
    let (a_parts, b_parts) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest: f32 = a_parts.remainder().iter().zip(b_parts.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_parts.zip(b_parts) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// `y += factor x`.
pub(super) fn axpy(factor: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += factor * x;
    }
}
