//! The metadata of a model while they become the keys of a `config.json`: what nobody asked for and is not known to be
//! harmless is refused at the end.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::architectures::{Architecture, As};
use crate::error::{Error, Result};
use crate::storage::{GgufMetadata, Named};

/// How the keys begin that do not change what a model computes from its ids: what it is, how it was quantised, and how
/// its file is laid out. The tokenizer is read elsewhere.
const HARMLESS: [&str; 5] = ["general.", "tokenizer.", "quantize.", "split.", "imatrix."];

/// What the metadata say of a model.
pub(super) struct Config {
    /// The keys of a `config.json`.
    pub json: Map<String, Value>,
    /// What the frequencies of the rotary positions are divided by, where no key of a `config.json` says that.
    pub frequencies: Option<Vec<f64>>,
}

/// Metadata and which of their keys have been asked for.
pub(super) struct Keys<'a> {
    architecture: &'static Architecture,
    metadata: &'a GgufMetadata,
    tensors: &'a mut Vec<Named>,
    asked: RefCell<BTreeSet<String>>,
    json: Map<String, Value>,
    /// As in [`Config`].
    pub frequencies: Option<Vec<f64>>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(
        architecture: &'static Architecture,
        metadata: &'a GgufMetadata,
        tensors: &'a mut Vec<Named>,
    ) -> Self {
        Self { architecture, metadata, tensors, asked: RefCell::default(), json: Map::new(), frequencies: None }
    }

    /// Sets all keys that the architecture has.
    ///
    /// # Errors
    /// [`Error::File`] for what is missing or of another type.
    pub(super) fn translate(&mut self) -> Result<()> {
        self.put("model_type", self.architecture.model_type);
        for (key, ours) in self.architecture.keys {
            let value: Option<Value> = match ours {
                As::Size(_) => Some(self.needed(key, self.size(key)?)?.into()),
                As::Number(_) => Some(self.needed(key, self.number(key)?)?.into()),
                As::OptionalSize(_) => self.size(key)?.map(Value::from),
                As::OptionalNumber(_) => self.number(key)?.map(Value::from),
                As::Flag(_) => self.flag(key)?.map(Value::from),
            };
            let (As::Size(name)
            | As::OptionalSize(name)
            | As::Number(name)
            | As::OptionalNumber(name)
            | As::Flag(name)) = ours;
            if let Some(value) = value {
                self.put(name, value);
            }
        }
        // A file that does not say has as many as there are embeddings.
        let rows = self.tensors.iter().find(|(name, _)| name == "token_embd.weight");
        let rows = rows.and_then(|(_, stored)| stored.shape.first().copied());
        if let Some(size) = self.size("vocab_size")?.or(rows) {
            self.put("vocab_size", size);
        }
        let tied = !self.has("output.weight");
        self.put("tie_word_embeddings", tied);
        for experts in ["expert_count", "expert_used_count"] {
            if let Some(count) = self.size(experts)?.filter(|count| *count > 0) {
                return Err(self.wrong(format!(
                    "is a mixture of experts ({} is {count}), which is not supported: load a model without.",
                    self.full(experts)
                )));
            }
        }
        if self.flag("attention.causal")? == Some(false) {
            let key = self.full("attention.causal");
            return Err(self.wrong(format!("attends to both sides ({key} is false), which is not supported.")));
        }
        (self.architecture.more)(self)
    }

    /// A key of the architecture, as the file has it.
    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture.name)
    }

    /// [`Error::File`] about this file.
    pub(super) fn wrong(&self, message: String) -> Error {
        Error::file(self.metadata.path(), message)
    }

    fn needed<T>(&self, key: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| {
            self.wrong(format!(
                "its metadata have no {:?}, which a model of the architecture {:?} needs: is it complete?",
                self.full(key),
                self.architecture.name
            ))
        })
    }

    fn ask(&self, key: &str) -> String {
        let full = self.full(key);
        self.asked.borrow_mut().insert(full.clone());
        full
    }

    pub(super) fn size(&self, key: &str) -> Result<Option<usize>> {
        self.metadata.size(&self.ask(key))
    }

    /// # Errors
    /// [`Error::File`] for a value that is not a finite number.
    pub(super) fn number(&self, key: &str) -> Result<Option<f64>> {
        let full = self.ask(key);
        match self.metadata.f64(&full)? {
            Some(number) if !number.is_finite() => Err(self.wrong(format!(
                "its metadata key {full:?} is {number}, but a finite number is needed: download it again."
            ))),
            other => Ok(other),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.metadata.bool(&self.ask(key))
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>> {
        self.metadata.string(&self.ask(key))
    }

    /// Refuses a key that is present but is not this text.
    pub(super) fn only_text(&self, key: &str, valid: &str) -> Result<()> {
        match self.text(key)? {
            Some(text) if text != valid => Err(self.wrong(format!(
                "its metadata key {:?} is {text:?}, but only {valid:?} is supported: convert the model with a current llama.cpp.",
                self.full(key)
            ))),
            _ => Ok(()),
        }
    }

    /// Sets a key of the `config.json`.
    pub(super) fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.json.insert(key.into(), value.into());
    }

    /// Whether the file has a tensor of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors.iter().any(|(known, _)| known == name)
    }

    /// Takes out a tensor that is part of the config and not of the weights: its numbers.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read.
    pub(super) fn take(&mut self, name: &str) -> Result<Option<Vec<f64>>> {
        let Some(at) = self.tensors.iter().position(|(known, _)| known == name) else { return Ok(None) };
        let (_, stored) = self.tensors.remove(at);
        let mut numbers = Vec::new();
        let read = stored.pieces(|piece| {
            numbers.extend(piece.into_iter().map(f64::from));
            Ok(())
        });
        read.map_err(|why| self.wrong(format!("its tensor {name} {why}: download it again.")))?;
        Ok(Some(numbers))
    }

    /// The size of a head's queries and keys.
    fn d_head(&self) -> Result<Option<usize>> {
        let heads = self.size("attention.head_count")?.filter(|heads| *heads > 0);
        let shared = self.size("embedding_length")?.zip(heads).map(|(width, heads)| width / heads);
        Ok(self.size("attention.key_length")?.or(shared))
    }

    /// Refuses heads whose values have another size than their keys.
    pub(super) fn heads_of_one_size(&self) -> Result<()> {
        match (self.size("attention.value_length")?, self.d_head()?) {
            (Some(values), Some(keys)) if values != keys => Err(self.wrong(format!(
                "has heads with keys of size {keys} and values of size {values} ({}), but only heads of one size are \
                 supported.",
                self.full("attention.value_length")
            ))),
            _ => Ok(()),
        }
    }

    /// Which part of a head's dimensions rotates; `None` where the file does not say.
    pub(super) fn rotary_share(&self) -> Result<Option<f64>> {
        let (rotating, d_head) = (self.size("rope.dimension_count")?, self.d_head()?.filter(|d_head| *d_head > 0));
        // The half is cut off where the product becomes a whole number again, whatever is rounded before.
        Ok(rotating.zip(d_head).map(|(rotating, d_head)| match rotating == d_head {
            true => 1.0,
            false => (rotating as f64 + 0.5) / d_head as f64,
        }))
    }

    /// Sets the part of a head's dimensions that rotates where it is not the whole.
    pub(super) fn whole_rotary(&mut self) -> Result<()> {
        if let Some(share) = self.rotary_share()?.filter(|share| *share != 1.0) {
            self.put("partial_rotary_factor", share);
        }
        Ok(())
    }

    /// Refuses a head of which only a part rotates: the order in which llama.cpp has the rows of queries and keys is
    /// that of whole heads.
    pub(super) fn only_whole_rotary(&self) -> Result<()> {
        match self.rotary_share()?.filter(|share| *share != 1.0) {
            Some(_) => Err(self.wrong(format!(
                "rotates only a part of each head ({} is not the size of a head), which neither llama.cpp nor this \
                 library supports for the architecture {:?}: take another file of this model.",
                self.full("rope.dimension_count"),
                self.architecture.name
            ))),
            None => Ok(()),
        }
    }

    /// What was set; refuses a key that may change what the model computes and was not asked for.
    ///
    /// # Errors
    /// [`Error::File`] that names the key; for keys that the user takes as harmless and that are absent or understood.
    pub(super) fn finish(self, ignored: &[String]) -> Result<Config> {
        let asked = self.asked.borrow();
        let known = |key: &str| asked.contains(key) || HARMLESS.iter().any(|start| key.starts_with(start));
        for key in ignored {
            let why = match self.metadata.get(key) {
                None => "the metadata of the file have no such key",
                Some(_) if known(key) => "it is understood",
                Some(_) => continue,
            };
            return Err(self.wrong(format!("ignore_config_keys names {key:?}, but {why}: leave it out.")));
        }
        for key in self.metadata.keys().filter(|key| !known(key) && !ignored.iter().any(|ignored| ignored == key)) {
            if self.metadata.get(key).is_some_and(|value| value.is_false()) {
                continue;
            }
            let shown = self.metadata.get(key).map_or(String::new(), |value| value.shown());
            return Err(self.wrong(format!(
                "its metadata set {key:?} to {shown}, which is not understood for the architecture {:?} and may change what \
                 the model computes. If you know that it does not, name it in LoadOptions: ignore_config_keys: \
                 vec![{key:?}.into()].",
                self.architecture.name
            )));
        }
        drop(asked);
        Ok(Config { json: self.json, frequencies: self.frequencies })
    }
}
