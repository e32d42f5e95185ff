//! A cache is read with the model that made it.

use super::store::ActivationCache;
use crate::error::{Error, Result};
use crate::model::HookedTransformer;

impl ActivationCache {
    /// The same cache, which may be read with any model of the same sizes, whatever its weights and their processing.
    /// Analyses that take a cache and a model reject a model whose provenance names other weights, because the result would be
    /// right for neither. Use this where you want to mix two models (the unembedding of a later checkpoint, say).
    /// It applies to this value and its clones, and is not saved.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let (processed, raw) =
    ///     (HookedTransformer::from_pretrained("tiny")?, HookedTransformer::from_pretrained_no_processing("tiny")?);
    /// let (_, cache) = raw.run_with_cache("The keys on the cabinet")?;
    /// assert!(cache.stack_head_results(&processed, Stack::heads()).is_err());
    /// let mixed = cache.without_model_check().stack_head_results(&processed, Stack::heads())?;
    /// assert_eq!(mixed.len(), 32);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn without_model_check(&self) -> Self {
        Self { any_model: true, ..self.clone() }
    }

    /// Checks that the model made this cache, as far as provenance can tell.
    ///
    /// # Errors
    /// [`Error::Argument`] for other sizes, other weights, or weights that were processed differently.
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
