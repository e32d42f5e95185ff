//! From active features to what they write.

use candle_core::{DType, Device, Tensor};

use super::acts::FeatureActs;
use super::dictionary::Dictionary;
use super::gather::Written;
use crate::error::{Error, Result};
use crate::model::ops::linear;

impl Dictionary {
    /// What active features write, without the skip connection and without undoing the normalisation of the input, which only the
    /// input tells: [`Dictionary::reconstruct`] does both. On the CPU only the rows of active features are read, and added up in f32
    /// where weights are half precision.
    ///
    /// # Shapes
    /// `[.., d_out]` in f32; of a layer of a cross-layer transcoder what it writes to its own layer.
    ///
    /// # Errors
    /// Activations of a dictionary with another number of features.
    pub fn decode(&self, acts: &FeatureActs) -> Result<Tensor> {
        self.decode_write(acts, 0)
    }

    /// What the active features of a layer of a cross-layer transcoder write to its own layer (`write` 0, with its bias) or to one
    /// behind it; of other dictionaries there is write 0 only.
    ///
    /// # Shapes
    /// `[.., d_out]`.
    pub(crate) fn decode_write(&self, acts: &FeatureActs, write: usize) -> Result<Tensor> {
        if acts.d_sae() != self.d_sae() {
            let what = format!("features of the dictionary \"{}\"", crate::visible::visible(&self.parts.name));
            return Err(Error::shape(what, format!("[.., {}]", self.d_sae()), &[acts.d_sae()]));
        }
        let (parts, d_out) = (&self.parts, self.d_out());
        if !parts.w_dec.device().is_cpu() {
            return self.decode_dense(&acts.dense()?.to_device(parts.w_dec.device())?, write);
        }
        let bias = match write {
            0 => Some(parts.b_dec.to_dtype(DType::F32)?.to_vec1::<f32>()?),
            _ => None,
        };
        let by_norm = parts.scaled_by_decoder_norm;
        let written = Written { row: self.n_writes() * d_out, from: write * d_out, d_out, by_norm };
        let sums = written.sums(acts, &parts.w_dec.contiguous()?, bias.as_deref())?;
        let shape: Vec<usize> = acts.shape().into_iter().chain([d_out]).collect();
        Ok(Tensor::from_vec(sums, shape, &Device::Cpu)?)
    }

    /// As [`Dictionary::decode`] from a dense tensor, differentiable; `write` counts the layers that it writes from its own.
    pub(super) fn decode_dense(&self, acts: &Tensor, write: usize) -> Result<Tensor> {
        let parts = &self.parts;
        let w_dec = match parts.w_dec.rank() {
            3 => parts.w_dec.narrow(1, write, 1)?.squeeze(1)?,
            _ => parts.w_dec.clone(),
        };
        let acts = match parts.scaled_by_decoder_norm {
            true => acts.broadcast_div(&self.divisors()?.to_dtype(acts.dtype())?)?,
            false => acts.clone(),
        };
        let written = linear(&acts, &w_dec, None)?;
        match write {
            0 => Ok(written.broadcast_add(&parts.b_dec.to_dtype(acts.dtype())?)?),
            _ => Ok(written),
        }
    }

    /// What the dictionary makes of activations: encoded, decoded, the skip connection added, the normalisation undone. Gradients flow
    /// through it where `x` or the weights have any.
    ///
    /// # Shapes
    /// `x [.., d_in]` gives `[.., d_out]`; an autoencoder gives back the shape of `x`, heads as two axes among them.
    ///
    /// # Errors
    /// Activations of another width; no memory for the activations of all features, which gradients need.
    pub fn reconstruct(&self, x: &Tensor) -> Result<Tensor> {
        let flat = self.flattened(x)?;
        let has_gradients = flat.track_op() || self.parts.w_enc.track_op() || self.parts.w_dec.track_op();
        if has_gradients {
            self.check_dense(&flat)?;
        }
        let (normed, undo) = self.centred(&flat)?;
        let written = match has_gradients {
            true => self.decode_dense(&self.activate(&self.pre(&flat)?)?, 0)?,
            false => self.decode(&self.encode_centred(&normed, None)?)?,
        };
        let mut y = undo.undo(written.to_device(flat.device())?.to_dtype(flat.dtype())?)?;
        if let Some(w_skip) = &self.parts.w_skip {
            y = (y + linear(&flat, w_skip, None)?)?;
        }
        let y = if self.d_out() == self.d_in() { y.reshape(x.shape())? } else { y };
        Ok(y.to_dtype(x.dtype())?)
    }
}
