//! Steering with the decoder row of a feature.

use candle_core::Tensor;

use super::super::dictionary::Dictionary;
use crate::error::{Error, Result};
use crate::hooks::{Edit, HookPoint};
use crate::model::HookedTransformer;
use crate::visible::visible;
use crate::wide;

impl Dictionary {
    /// An edit that adds `strength` times what a feature writes when its activation is 1, to be put at the point that the dictionary
    /// writes: in a model into which nothing is spliced it does what `Edit::add(strength).feature(feature)` does at
    /// `hook_sae_acts_post` of a splice with its error term. Of a dictionary whose input is normalised, the row is on the scale
    /// of the normalised input.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let dictionary = Dictionary::from_pretrained("tiny/resid1")?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let steered = HookPlan::new().edit(("resid_post", 1), dictionary.steer(&model, 7, 4.0)?.pos(1..));
    /// let change = (model.run_with_hooks(prompt, &steered)?.0 - model.forward(prompt)?)?;
    /// assert!(change.abs()?.max_all()?.to_scalar::<f32>()? > 1e-3);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// What [`Dictionary::for_model`] refuses; a feature that does not exist; a layer of a cross-layer transcoder, whose features
    /// write to several layers.
    pub fn steer(&self, model: &HookedTransformer, feature: usize, strength: f64) -> Result<Edit> {
        let (point, row) = self.written(model, feature)?;
        let row = (row * strength)?;
        let shape = point.shape(&model.dims(), 1, 1);
        match (self.parts.expects.head, shape.len()) {
            (Some(head), 4) => Ok(Edit::add(row).head(head)),
            _ => Ok(Edit::add(row.reshape(shape.get(2..).unwrap_or_default())?)),
        }
    }

    /// What a feature writes when its activation is 1, and where.
    ///
    /// # Shapes
    /// `[d_out]`, f32 of a half-precision dictionary too.
    ///
    /// # Errors
    /// As [`Dictionary::steer`].
    pub(crate) fn written(&self, model: &HookedTransformer, feature: usize) -> Result<(HookPoint, Tensor)> {
        let fitted = self.for_model(model)?;
        let (parts, d_sae) = (&fitted.parts, fitted.d_sae());
        if feature >= d_sae {
            return Err(Error::argument(format!(
                "there is no feature {feature} in \"{}\": it has {d_sae} (0 to {}).",
                visible(&parts.name),
                d_sae - 1
            )));
        }
        if fitted.n_writes() > 1 {
            return Err(Error::argument(format!(
                "a feature of \"{}\" writes to {} layers, which one edit cannot: splice the transcoder in with its error term, \
                 and add to the feature (Edit::add at hook_sae_acts_post).",
                visible(&parts.name),
                fitted.n_writes()
            )));
        }
        let mut row = wide::widened(&parts.w_dec.get(feature)?)?.flatten_all()?;
        if parts.scaled_by_decoder_norm {
            row = row.broadcast_div(&fitted.divisors()?.get(feature)?)?;
        }
        let point = parts.expects.writes().expect("a dictionary that fits a model says where it writes");
        Ok((point, row))
    }
}
