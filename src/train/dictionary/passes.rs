//! Forward and backward through a dictionary, written out: of the products only the encoder's is dense, everything else touches
//! the rows of active features alone.

use candle_core::{Device, Tensor};

use super::select::Active;
use super::weights::{Layer, Sizes, Weights, axpy, dot};
use crate::error::Result;

/// What one layer reads at the positions of a batch, and what is to be written there; row after row.
pub(super) struct Batch {
    pub positions: usize,
    /// `[pos, d_in]` for each layer.
    pub x: Vec<Vec<f32>>,
    /// `[pos, d_out]` for each layer.
    pub y: Vec<Vec<f32>>,
}

/// `x W_enc + b_enc` of one layer; `x` has `b_in` subtracted.
///
/// # Shapes
/// `x [pos, d_in]` gives `[pos, d_sae]`.
pub(super) fn pre_activations(layer: &Layer, x: &[f32], sizes: Sizes) -> Result<Vec<f32>> {
    let x = Tensor::from_slice(x, (x.len() / sizes.d_in, sizes.d_in), &Device::Cpu)?;
    let w_enc = Tensor::from_slice(&layer.w_enc, (sizes.d_sae, sizes.d_in), &Device::Cpu)?;
    let mut pre = x.matmul(&w_enc.t()?)?.flatten_all()?.to_vec1::<f32>()?;
    pre.chunks_mut(sizes.d_sae).for_each(|row| axpy(1.0, &layer.b_enc, row));
    Ok(pre)
}

/// Adds what the active features of one layer write to the reconstructions `[pos, d_out]` of its own layer and those behind it.
pub(super) fn write(layer: usize, weights: &Weights, active: &Active, out: &mut [Vec<f32>], sizes: Sizes) {
    let (d_out, width) = (sizes.d_out, sizes.written(layer));
    for position in 0..active.starts.len() - 1 {
        for i in active.at(position) {
            let row = &weights.layers[layer].w_dec[active.features[i] as usize * width..][..width];
            for (part, out) in row.chunks(d_out).zip(&mut out[layer..]) {
                axpy(active.values[i], part, &mut out[position * d_out..][..d_out]);
            }
        }
    }
}

/// Adds the gradient of `W_dec`, and gives the gradient of each active feature's activation; `error [pos, d_out]` is the gradient
/// of each layer's reconstruction.
pub(super) fn back_through_decoder(
    layer: usize,
    weights: &Weights,
    active: &Active,
    error: &[Vec<f32>],
    gradient: &mut Weights,
    sizes: Sizes,
) -> Vec<f32> {
    let (d_out, width) = (sizes.d_out, sizes.written(layer));
    let mut of_values = vec![0f32; active.values.len()];
    for position in 0..active.starts.len() - 1 {
        for i in active.at(position) {
            let place = active.features[i] as usize * width;
            for (write, error) in error[layer..].iter().enumerate() {
                let error = &error[position * d_out..][..d_out];
                let part = place + write * d_out..place + (write + 1) * d_out;
                of_values[i] += dot(error, &weights.layers[layer].w_dec[part.clone()]);
                axpy(active.values[i], error, &mut gradient.layers[layer].w_dec[part]);
            }
        }
    }
    of_values
}

/// Adds the gradients of `W_enc` and `b_enc` from those of the active features' pre-activations, and that of `b_in` where there is
/// one (the decoder's bias, which is subtracted from the input).
pub(super) fn back_through_encoder(
    layer: usize,
    weights: &Weights,
    (x, active, of_pre): (&[f32], &Active, &[f32]),
    gradient: &mut Weights,
    has_b_in: bool,
    sizes: Sizes,
) {
    let d_in = sizes.d_in;
    let Weights { layers, b_dec } = gradient;
    let to = &mut layers[layer];
    // The sum over positions for each feature: b_in's gradient is minus its product with W_enc.
    let mut of_b_enc = vec![0f32; sizes.d_sae];
    for position in 0..active.starts.len() - 1 {
        let x = &x[position * d_in..][..d_in];
        for i in active.at(position).filter(|i| of_pre[*i] != 0.0) {
            let feature = active.features[i] as usize;
            axpy(of_pre[i], x, &mut to.w_enc[feature * d_in..][..d_in]);
            of_b_enc[feature] += of_pre[i];
        }
    }
    axpy(1.0, &of_b_enc, &mut to.b_enc);
    if has_b_in {
        for (sum, row) in of_b_enc.iter().zip(weights.layers[layer].w_enc.chunks(d_in)).filter(|(sum, _)| **sum != 0.0)
        {
            axpy(-sum, row, &mut b_dec[layer]);
        }
    }
}
