//! The direction that a feature of a dictionary writes.

use super::vector::SteeringVector;
use crate::dictionaries::Dictionary;
use crate::error::Result;
use crate::model::HookedTransformer;

impl Dictionary {
    /// What a feature writes when its activation is 1, its row of the decoder, as a direction at the point that the dictionary
    /// writes. [`Dictionary::steer`] makes an edit of it, for points of heads as well.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let dictionary = Dictionary::from_pretrained("tiny/resid1")?;
    /// let vector = dictionary.direction(&model, 7)?;
    /// assert_eq!(vector.point(), "resid_post1".parse()?);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Dictionary::steer`]; a dictionary of `hook_z`, which has one vector for each head.
    pub fn direction(&self, model: &HookedTransformer, feature: usize) -> Result<SteeringVector> {
        let (point, row) = self.written(model, feature)?;
        Ok(SteeringVector::new(model, point, &row)?.named(format!("feature {feature} of {}", self.name())))
    }
}
