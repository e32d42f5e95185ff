//! Whether a dictionary belongs to a model, and how it is made to where that is exact.

use super::dictionary::Dictionary;
use crate::error::{Error, Result};
use crate::model::HookedTransformer;
use crate::visible::visible;

impl Dictionary {
    /// The same dictionary for this model: what it expects is compared with the model's provenance, and where the model was
    /// processed otherwise and the difference can be converted exactly, it is.
    ///
    /// # Errors
    /// [`Error::Argument`] for a dictionary of another model, width or processing.
    pub fn for_model(&self, model: &HookedTransformer) -> Result<Self> {
        let Some(hook_in) = self.parts.expects.hook_in else {
            return Err(Error::argument(format!(
                "the dictionary \"{}\" does not say which point it reads: set `hook_in` of its `expects`.",
                visible(&self.parts.name)
            )));
        };
        hook_in.check(&model.dims())?;
        Ok(self.clone())
    }
}
