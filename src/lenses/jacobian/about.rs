//! Whose lens it is and how it was fitted, as far as its file says.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::lenses::of_other_weights;
use crate::model::{HookedTransformer, ModelProvenance};

/// What is known of a lens besides its numbers.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct About {
    /// The model that it was fitted on here.
    pub model: Option<ModelProvenance>,
    /// The model's name in a published file.
    pub model_name: Option<String>,
    /// The texts, in the words of who fitted it.
    pub corpus: Option<String>,
    /// The first position that counts.
    pub first: Option<usize>,
    /// How many tokens of a prompt were run at most.
    pub longest: Option<usize>,
    /// What gradients did not pass through.
    pub frozen: Vec<String>,
}

impl About {
    pub fn name(&self) -> Option<&str> {
        self.model.as_ref().map(|model| model.model.as_str()).or(self.model_name.as_deref())
    }

    /// The facts with their names.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let number = |number: Option<usize>| number.map(|number| number.to_string());
        let frozen = (!self.frozen.is_empty()).then(|| self.frozen.join(", "));
        let all = [
            ("texts", self.corpus.clone()),
            ("positions from", number(self.first)),
            ("tokens of a prompt, at most", number(self.longest)),
            ("frozen", frozen),
        ];
        all.into_iter().filter_map(|(fact, value)| Some((fact, value?))).collect()
    }

    /// # Errors
    /// [`Error::Argument`] for a model that is known to be another one.
    pub fn check(&self, model: &HookedTransformer) -> Result<()> {
        let own = model.provenance();
        let other = match (&self.model, &self.model_name) {
            (Some(fitted), _) => of_other_weights(fitted, model).join("; "),
            (None, Some(name)) if !model.is_called(name) => format!("it is of {name:?}, and this is {:?}", own.model),
            (None, _) => String::new(),
        };
        match other.is_empty() {
            true => Ok(()),
            false => Err(Error::argument(format!(
                "the lens was not fitted on this model: {other}. Give the model that it was fitted on, or fit one."
            ))),
        }
    }
}

/// # Errors
/// [`Error::Argument`] for a model whose weights are not those that are stored.
pub(super) fn check_raw(model: &HookedTransformer) -> Result<()> {
    let done = model.provenance().processing;
    if done.is_empty() {
        return Ok(());
    }
    Err(Error::argument(format!(
        "the weights of {:?} were processed ({}), which moves the residual stream, and a Jacobian lens is of weights as they are \
         stored: load the model with from_pretrained_no_processing.",
        model.cfg().model_name,
        done.join(", ")
    )))
}
