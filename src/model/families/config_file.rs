//! A `config.json` while it is read: what nobody asked for and is not known to be harmless is refused at the end.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::super::config::Activation;
use crate::dims::MOST_LAYERS;
use crate::error::{Error, Result};

/// Keys of any family that do not change what the model computes when it is evaluated.
const HARMLESS: &[&str] = &[
    "_name_or_path",
    "_num_labels",
    "architectures",
    "attention_dropout",
    "attn_implementation",
    "bos_token_id",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "dropout",
    "dtype",
    "embd_pdrop",
    "embed_dropout",
    "eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout",
    "id2label",
    "initializer_range",
    "is_encoder_decoder",
    "label2id",
    "model_type",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "pad_token_id",
    "problem_type",
    "resid_dropout",
    "resid_pdrop",
    "return_dict",
    "sep_token_id",
    "task_specific_params",
    "torch_dtype",
    "transformers_version",
    "unk_token_id",
    "use_cache",
];

/// A `config.json` and which of its keys have been asked for.
pub(super) struct ConfigFile<'a> {
    family: &'static str,
    json: &'a Map<String, Value>,
    asked: RefCell<BTreeSet<String>>,
}

impl<'a> ConfigFile<'a> {
    pub(super) fn new(family: &'static str, json: &'a Map<String, Value>) -> Self {
        Self { family, json, asked: RefCell::default() }
    }

    /// What `key` is set to; `None` where it is absent or null.
    ///
    /// # Errors
    /// [`Error::Config`] for a value of another kind.
    fn optional<T>(&self, key: &str, kind: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>> {
        self.asked.borrow_mut().insert(key.to_string());
        let Some(value) = self.json.get(key).filter(|value| !value.is_null()) else { return Ok(None) };
        match read(value) {
            Some(read) => Ok(Some(read)),
            None => {
                Err(Error::config(format!("config.json sets {key:?} to {value}, but {kind} is needed: correct it.")))
            }
        }
    }

    /// A size the model cannot do without.
    pub(super) fn size(&self, key: &str) -> Result<usize> {
        self.optional_size(key)?.ok_or_else(|| {
            Error::config(format!(
                "config.json has no {key:?}, which a model of type {:?} needs: is it complete?",
                self.family
            ))
        })
    }

    /// How many layers the model has, checked before anything is listed layer by layer.
    pub(super) fn layers(&self, key: &str) -> Result<usize> {
        let layers = self.size(key)?;
        match layers > MOST_LAYERS {
            true => Err(Error::config(format!(
                "config.json sets {key:?}, the n_layers of the model, to {layers}, but at most {MOST_LAYERS} are valid: correct it."
            ))),
            false => Ok(layers),
        }
    }

    pub(super) fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        Ok(self.optional(key, "a whole number", Value::as_u64)?.map(|n| n as usize))
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>> {
        self.optional(key, "a number", Value::as_f64)
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.optional(key, "true or false", Value::as_bool)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>> {
        self.optional(key, "a text", Value::as_str)
    }

    pub(super) fn list(&self, key: &str) -> Result<Option<&'a Vec<Value>>> {
        self.optional(key, "a list", Value::as_array)
    }

    pub(super) fn object(&self, key: &str) -> Result<Option<&'a Map<String, Value>>> {
        self.optional(key, "an object", Value::as_object)
    }

    /// How positions turn, in newer files an object of its own; a key in it that is not understood is refused.
    pub(super) fn rotary(&self) -> Result<Option<&'a Map<String, Value>>> {
        const KNOWN: [&str; 11] = [
            "rope_theta",
            "rope_type",
            "type",
            "partial_rotary_factor",
            "factor",
            "low_freq_factor",
            "high_freq_factor",
            "original_max_position_embeddings",
            "short_factor",
            "long_factor",
            "attention_factor",
        ];
        let object = self.object("rope_parameters")?.or(self.object("rope_scaling")?);
        let unknown =
            object.into_iter().flatten().find(|(key, value)| !value.is_null() && !KNOWN.contains(&key.as_str()));
        match unknown {
            None => Ok(object),
            Some((key, value)) => Err(Error::config(format!(
                "config.json sets {key:?} of its rotary positions to {value}, which is not understood: remove the key if \
                 it changes nothing."
            ))),
        }
    }

    /// As [`ConfigFile::rotary`], for a family whose positions turn in the plain way only.
    pub(super) fn plain_rotary(&self) -> Result<Option<&'a Map<String, Value>>> {
        let object = self.rotary()?;
        let kind = object.and_then(|object| object.get("rope_type").or(object.get("type"))).and_then(Value::as_str);
        match kind {
            None | Some("default") => Ok(object),
            Some(kind) => Err(Error::config(format!(
                "config.json asks for rotary positions of the type {kind:?}, which is not supported for the model type {:?}.",
                self.family
            ))),
        }
    }

    /// What the model is called, or else `default`.
    pub(super) fn name(&self, default: &str) -> String {
        let own = self.json.get("_name_or_path").and_then(Value::as_str).filter(|name| !name.is_empty());
        own.unwrap_or(default).into()
    }

    /// The activation function under `key`, or else `default`.
    pub(super) fn activation(&self, key: &str, default: Activation) -> Result<Activation> {
        match self.text(key)? {
            None => Ok(default),
            Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast") => Ok(Activation::GeluNew),
            Some("gelu") => Ok(Activation::Gelu),
            Some("relu") => Ok(Activation::Relu),
            Some("silu" | "swish") => Ok(Activation::Silu),
            Some(other) => Err(Error::config(format!(
                "config.json asks for the activation function {other:?}; gelu_new, gelu, relu and silu are supported."
            ))),
        }
    }

    /// Keys of this family that do not change what the model computes when it is evaluated.
    pub(super) fn harmless(&self, keys: &[&str]) {
        self.asked.borrow_mut().extend(keys.iter().map(|key| key.to_string()));
    }

    /// Refuses a key that must have one of these values, if it is there, but has not.
    pub(super) fn only(&self, key: &str, valid: &[Value]) -> Result<()> {
        match self.optional(key, "another value", Some)? {
            Some(value) if !valid.contains(value) => Err(Error::config(format!(
                "config.json sets {key:?} to {value}, which is not supported for the model type {:?}.",
                self.family
            ))),
            _ => Ok(()),
        }
    }

    /// Refuses a key that may change what the model computes and was not asked for; one that is off changes nothing.
    pub(super) fn finish(&self) -> Result<()> {
        for (key, value) in self.json {
            let off = matches!(value, Value::Null | Value::Bool(false));
            if !off && !HARMLESS.contains(&key.as_str()) && !self.asked.borrow().contains(key) {
                return Err(Error::config(format!(
                    "config.json sets {key:?} to {value}, which is not understood for the model type {:?} and may \
                     change what the model computes: remove the key if it does not.",
                    self.family
                )));
            }
        }
        Ok(())
    }
}
