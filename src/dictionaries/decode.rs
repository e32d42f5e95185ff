//! From active features to what they write.

use candle_core::Tensor;

use super::acts::FeatureActs;
use super::dictionary::Dictionary;
use crate::error::{Error, Result};
use crate::wide;

impl Dictionary {
    /// What active features write, without the skip connection and without undoing the normalisation of the input, which only the
    /// input tells: [`Dictionary::reconstruct`] does both.
    ///
    /// # Shapes
    /// `[.., d_out]`; of a layer of a cross-layer transcoder what it writes to its own layer.
    ///
    /// # Errors
    /// Activations of a dictionary with another number of features.
    pub fn decode(&self, acts: &FeatureActs) -> Result<Tensor> {
        if acts.d_sae() != self.d_sae() {
            let what = format!("features of the dictionary \"{}\"", crate::visible::visible(&self.parts.name));
            return Err(Error::shape(what, format!("[.., {}]", self.d_sae()), &[acts.d_sae()]));
        }
        self.decode_dense(&acts.dense()?, 0)
    }

    /// What the active features of a layer of a cross-layer transcoder write to its own layer (`write` 0, with its bias) or to one
    /// behind it; of other dictionaries there is write 0 only.
    ///
    /// # Shapes
    /// `[.., d_out]`.
    pub(crate) fn decode_write(&self, acts: &FeatureActs, write: usize) -> Result<Tensor> {
        self.decode_dense(&acts.dense()?, write)
    }

    /// As [`Dictionary::decode`] from a dense tensor, differentiable; `write` counts the layers that it writes from its own.
    pub(super) fn decode_dense(&self, acts: &Tensor, write: usize) -> Result<Tensor> {
        let parts = &self.parts;
        let w_dec = match parts.w_dec.rank() {
            3 => parts.w_dec.narrow(1, write, 1)?.squeeze(1)?,
            _ => parts.w_dec.clone(),
        };
        let acts = match parts.scaled_by_decoder_norm {
            true => acts.broadcast_div(&self.decoder_norms()?.to_dtype(acts.dtype())?)?,
            false => acts.clone(),
        };
        let written = acts.broadcast_matmul(&w_dec.to_dtype(acts.dtype())?)?;
        match write {
            0 => Ok(written.broadcast_add(&parts.b_dec.to_dtype(acts.dtype())?)?),
            _ => Ok(written),
        }
    }

    /// What the dictionary makes of activations: encoded, decoded, the skip connection added, the normalisation undone.
    ///
    /// # Shapes
    /// `x [.., d_in]` gives `[.., d_out]`; an autoencoder gives back the shape of `x`, heads as two axes among them.
    ///
    /// # Errors
    /// Activations of another width.
    pub fn reconstruct(&self, x: &Tensor) -> Result<Tensor> {
        let flat = self.flattened(x)?;
        let encoded = self.pre(&flat)?;
        let acts = self.activate(&encoded)?;
        let mut y = encoded.undo.undo(self.decode_dense(&acts, 0)?)?;
        if let Some(w_skip) = &self.parts.w_skip {
            y = (y + flat.broadcast_matmul(&wide::widened(w_skip)?)?)?;
        }
        let y = if self.d_out() == self.d_in() { y.reshape(x.shape())? } else { y };
        Ok(y.to_dtype(x.dtype())?)
    }
}
