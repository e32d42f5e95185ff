//! From what was trained to a dictionary in the normal form.

use candle_core::{Device, Tensor};

use super::recipe::Sparsity;
use super::trainer::Core;
use super::weights::Layer;
use crate::dictionaries::{Activation, Dictionary, DictionaryParts, Expects, InputNorm};
use crate::error::Result;

impl Core {
    /// One layer as a dictionary: the scales of input and output are folded into the weights. The decoder rows of a dictionary of one
    /// layer keep the norm 1, so that an activation is the length of what its feature writes; those of a cross-layer transcoder have
    /// it over all layers that they write, before the scales of these layers.
    pub(super) fn dictionary(&self, layer: usize, name: &str, expects: Expects) -> Result<Dictionary> {
        let sizes = self.sizes;
        let Layer { w_enc, b_enc, w_dec, log_threshold } = &self.weights.layers[layer];
        let (scale_in, scale_out) = (self.scale_in[layer], self.scale_out[layer]);
        let times = |values: &[f32], factor: f32| values.iter().map(|x| x * factor).collect::<Vec<f32>>();
        let tensor = |values: Vec<f32>, shape: &[usize]| Tensor::from_vec(values, shape, &Device::Cpu);
        let w_enc = tensor(times(w_enc, scale_in / scale_out), &[sizes.d_sae, sizes.d_in])?.t()?.contiguous()?;
        let writes = sizes.layers - layer;
        // Of the layers behind its own each has its own scale.
        let scales: Vec<f32> = self.scale_out[layer..].iter().map(|scale| scale_out / scale).collect();
        let of_write = |(i, row): (usize, &[f32])| times(row, scales[i % writes]);
        let w_dec: Vec<f32> = w_dec.chunks(sizes.d_out).enumerate().flat_map(of_write).collect();
        let w_dec = match sizes.layers {
            1 => tensor(w_dec, &[sizes.d_sae, sizes.d_out])?,
            _ => tensor(w_dec, &[sizes.d_sae, writes, sizes.d_out])?,
        };
        let b_dec = tensor(times(&self.weights.b_dec[layer], 1.0 / scale_out), &[sizes.d_out])?;
        let activation = match self.recipe.sparsity {
            Sparsity::TopK { k } => Activation::TopK { k },
            Sparsity::BatchTopK { .. } => Activation::JumpRelu {
                threshold: tensor(vec![self.thresholds[layer] / scale_out; sizes.d_sae], &[sizes.d_sae])?,
            },
            Sparsity::JumpRelu { .. } => {
                let thresholds = log_threshold.iter().map(|log| log.exp() / scale_out).collect();
                Activation::JumpRelu { threshold: tensor(thresholds, &[sizes.d_sae])? }
            }
        };
        Dictionary::new(DictionaryParts {
            name: name.into(),
            w_enc,
            b_enc: tensor(times(b_enc, 1.0 / scale_out), &[sizes.d_sae])?,
            w_dec,
            b_in: self.kind.has_b_in().then(|| b_dec.clone()),
            b_dec,
            w_skip: None,
            activation,
            input_norm: InputNorm::None,
            scaled_by_decoder_norm: false,
            expects,
        })
    }
}
