//! Which model may read a cache: the one that made it.

use super::store::ActivationCache;
use crate::error::{Error, Result};
use crate::model::HookedTransformer;

impl ActivationCache {
    /// The same cache, which any model of the same sizes may read, whatever its weights and whatever was done to them.
    /// Analyses that take a cache and a model refuse a model whose provenance names other weights, for what they give would be
    /// right for neither. Where mixing two models is what you want (the unembedding of a later checkpoint, say), this says so.
    /// It holds for this value and its clones and is not saved with it.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let (processed, raw) =
    ///     (HookedTransformer::from_pretrained("tiny")?, HookedTransformer::from_pretrained_no_processing("tiny")?);
    /// let (_, cache) = raw.run_with_cache("The keys on the cabinet")?;
    /// assert!(cache.stack_head_results(&processed, &HeadOptions::default()).is_err());
    /// let mixed = cache.without_model_check().stack_head_results(&processed, &HeadOptions::default())?;
    /// assert_eq!(mixed.len(), 32);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn without_model_check(&self) -> Self {
        Self { any_model: true, ..self.clone() }
    }

    /// That the model made this cache, as far as their provenance tells.
    ///
    /// # Errors
    /// [`Error::Argument`] for other sizes, other weights or weights that were processed otherwise.
    pub(crate) fn check_model(&self, model: &HookedTransformer) -> Result<()> {
        if model.dims() != self.dims {
            return Err(Error::argument(format!(
                "this cache was made by a model of other sizes than {:?}: give the model that was run.",
                model.cfg().model_name
            )));
        }
        let other = self.provenance.model.other_weights(&model.provenance());
        if self.any_model || other.is_empty() {
            return Ok(());
        }
        Err(Error::argument(format!(
            "this cache was not made by this model: {}. Give the model that was run, or run the prompts with this one; \
             cache.without_model_check() lets any model of the same sizes read it.",
            other.join("; ")
        )))
    }
}
