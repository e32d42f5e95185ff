//! Single features: what each reads and what each writes.

use candle_core::{DType, Tensor};

use super::dictionary::Dictionary;
use super::input::InputNorm;
use super::parts::Activation;
use crate::error::{Error, Result};
use crate::visible::visible;
use crate::wide;

impl Dictionary {
    /// The directions along which the pre-activations of these features grow, where these are affine in the input, and what they are
    /// at 0: `pre = x w + c`.
    ///
    /// # Shapes
    /// `w [feature, d_in]`; `c` has one number for each feature.
    ///
    /// # Errors
    /// [`Error::Argument`] for a dictionary that normalises its input, or of matching pursuit: their features are not affine.
    pub(crate) fn readers(&self, features: &[u32]) -> Result<(Tensor, Vec<f32>)> {
        let parts = &self.parts;
        if parts.input_norm != InputNorm::None || matches!(parts.activation, Activation::MatchingPursuit { .. }) {
            return Err(Error::argument(format!(
                "the features of the dictionary \"{}\" are not affine in what it reads, because it normalises its input or chooses \
                 features one after the other: it cannot be part of a graph of linear effects.",
                visible(&parts.name)
            )));
        }
        let chosen = Tensor::new(features, parts.w_enc.device())?;
        let of = |vector: &Tensor| -> Result<Tensor> { Ok(wide::widened(&vector.index_select(&chosen, 0)?)?) };
        // Some formats store it transposed, and then its columns lie together.
        let columns = parts.w_enc.t()?;
        let columns = match columns.is_contiguous() {
            true => columns.index_select(&chosen, 0)?,
            false => parts.w_enc.contiguous()?.index_select(&chosen, 1)?.t()?.contiguous()?,
        };
        let mut w = wide::widened(&columns)?;
        let before = match &parts.b_in {
            Some(b) => w.matmul(&wide::widened(b)?.unsqueeze(1)?)?.squeeze(1)?.neg()?,
            None => Tensor::zeros(features.len(), DType::F32, w.device())?.to_dtype(w.dtype())?,
        };
        let mut c = match &parts.activation {
            Activation::Gated { b_mag, r_mag, .. } => {
                let factor = of(r_mag)?.exp()?;
                w = w.broadcast_mul(&factor.unsqueeze(1)?)?;
                ((before * factor)? + of(b_mag)?)?
            }
            _ => (before + of(&parts.b_enc)?)?,
        };
        if parts.scaled_by_decoder_norm {
            let norms = self.decoder_norms()?.index_select(&chosen, 0)?;
            w = w.broadcast_mul(&norms.unsqueeze(1)?)?;
            c = (c * norms)?;
        }
        Ok((w, c.to_dtype(DType::F32)?.to_vec1()?))
    }

    /// What one unit of each of these features writes; `write` counts the layers from the dictionary's own, of a cross-layer
    /// transcoder.
    ///
    /// # Shapes
    /// `[feature, d_out]`.
    pub(crate) fn writers(&self, features: &[u32], write: usize) -> Result<Tensor> {
        let chosen = Tensor::new(features, self.parts.w_dec.device())?;
        let rows = self.parts.w_dec.index_select(&chosen, 0)?;
        let rows = match rows.rank() {
            3 => rows.narrow(1, write, 1)?.squeeze(1)?,
            _ => rows,
        };
        let rows = wide::widened(&rows)?;
        Ok(match self.parts.scaled_by_decoder_norm {
            true => rows.broadcast_div(&self.divisors()?.index_select(&chosen, 0)?.unsqueeze(1)?)?,
            false => rows,
        })
    }

    /// The pre-activations of all features.
    ///
    /// # Shapes
    /// `x [pos, d_in]` gives `[pos, d_sae]`.
    pub(crate) fn pre_activations(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.pre(&self.flattened(x)?)?.pre.to_dtype(DType::F32)?)
    }

    /// What it writes where no feature is active.
    ///
    /// # Shapes
    /// `[d_out]`.
    pub(crate) fn decoder_bias(&self) -> Result<Tensor> {
        Ok(wide::widened(&self.parts.b_dec)?)
    }

    /// The matrix of its skip connection, `[d_in, d_out]`.
    pub(crate) fn skip(&self) -> Result<Option<Tensor>> {
        Ok(self.parts.w_skip.as_ref().map(wide::widened).transpose()?)
    }
}
