//! Which weights a model has and what was done to them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::id_of;
use crate::model::transformer::HookedTransformer;
use crate::visible::visible;

/// Where a model's weights come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub source: String,
    pub revision: Option<String>,
    pub crc32: Option<String>,
    /// What reading them involved beyond what the files say.
    pub notes: Vec<String>,
}

impl Origin {
    /// Weights from this source, with nothing else known about them.
    pub(in crate::model) fn of(source: String) -> Self {
        Self { source, revision: None, crc32: None, notes: Vec::new() }
    }

    /// Weights that were drawn here.
    pub(in crate::model) fn new_weights(seed: u64) -> Self {
        Self::of(format!("new weights of seed {seed}"))
    }
}

/// Which weights a model has and what was done to them; results of two models can be compared when these are equal.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let provenance = model.provenance();
/// assert_eq!(provenance.source, "embedded in candle-lens");
/// assert!(provenance.processing.contains(&"fold_ln".to_string()));
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelProvenance {
    /// The name by which the model was loaded.
    pub model: String,
    /// What the weights were read from: this crate, a folder or file, an id of the hub; of a GGUF file also its type, and
    /// how many of its tensors have which.
    pub source: String,
    /// The revision of a hub model, with its commit.
    pub revision: Option<String>,
    /// CRC-32 of the weights as they were stored: of the shape and the numbers (as f32) of each tensor that was read,
    /// in the order of the model's parts. Files of the same weights have the same, whatever their format. `None` for
    /// weights that were drawn here and may be trained.
    pub crc32: Option<String>,
    /// What was done to the weights, in the order in which it was.
    pub processing: Vec<String>,
    /// The dtype of the weights.
    pub dtype: String,
    /// Texts are tokenised with a BOS token in front by default.
    pub prepend_bos: bool,
    /// What loading skipped or corrected: config keys that [`LoadOptions::ignore_config_keys`] names, heads for
    /// another task than the next token, something unusual before the names of the tensors.
    ///
    /// [`LoadOptions::ignore_config_keys`]: crate::model::LoadOptions::ignore_config_keys
    #[serde(default)]
    pub notes: Vec<String>,
}

impl ModelProvenance {
    /// The facts with their names.
    pub fn facts(&self) -> [(&'static str, String); 8] {
        let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".into());
        let list = |items: &[String], between| if items.is_empty() { "none".into() } else { items.join(between) };
        [
            ("model", self.model.clone()),
            ("source", self.source.clone()),
            ("revision", known(&self.revision)),
            ("crc32", known(&self.crc32)),
            ("processing", list(&self.processing, ", ")),
            ("dtype", self.dtype.clone()),
            ("BOS", if self.prepend_bos { "prepended by default" } else { "omitted by default" }.into()),
            ("notes", list(&self.notes, "; ")),
        ]
    }
}

impl ModelProvenance {
    /// In what the weights of `model` differ from these, as far as is known, one clause for each difference; none where
    /// they are the same. Weights of one checksum are the same wherever they were read from, and how texts are
    /// tokenised does not belong to them.
    pub(crate) fn other_weights(&self, model: &Self) -> Vec<String> {
        let same_numbers = self.crc32.is_some() && self.crc32 == model.crc32;
        let facts = self.facts().into_iter().zip(model.facts());
        let other = facts.filter(|((fact, own), (_, theirs))| {
            let counts = match *fact {
                "processing" | "dtype" => true,
                "model" | "source" | "revision" | "crc32" => !same_numbers,
                _ => false,
            };
            counts && own != theirs
        });
        other.map(|((fact, own), (_, theirs))| format!("its {fact} is {own}, the model's {theirs}")).collect()
    }
}

impl fmt::Display for ModelProvenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = self.facts().map(|(name, fact)| format!("{name}: {}", visible(&fact)));
        f.write_str(&facts.join("\n"))
    }
}

impl HookedTransformer {
    /// Whether this name means the model: TransformerLens' names and the hub's ids of one model are the same, and an owner counts
    /// only where both are given.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        let id = |name: &str| {
            let name = name.split(['@', ':']).next().unwrap_or_default();
            id_of(name).unwrap_or(name).to_lowercase()
        };
        let (own, given) = (id(&self.cfg.model_name), id(name));
        let last = |id: &str| id.rsplit('/').next().unwrap_or_default().to_string();
        if own.contains('/') && given.contains('/') { own == given } else { last(&own) == last(&given) }
    }

    /// Which weights the model has and what was done to them.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained_no_processing("tiny")?;
    /// println!("{}", model.provenance());
    /// assert!(model.provenance().processing.is_empty());
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn provenance(&self) -> ModelProvenance {
        let done = self.processing.flags().into_iter().filter(|(_, done)| *done);
        ModelProvenance {
            model: self.cfg.model_name.clone(),
            source: self.origin.source.clone(),
            revision: self.origin.revision.clone(),
            crc32: self.origin.crc32.clone(),
            processing: done.map(|(step, _)| step.to_string()).collect(),
            dtype: format!("{:?}", self.dtype()),
            notes: self.origin.notes.clone(),
            prepend_bos: self.tokenizer.as_ref().map_or(self.cfg.default_prepend_bos, |t| t.default_prepend_bos()),
        }
    }
}
