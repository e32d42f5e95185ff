//! A `config.json` while it is read: what nobody asked for and is not known to be harmless is refused at the end.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use serde_json::{Map, Value};

use super::harmless::{is_harmless, is_off};
use crate::dims::MOST_LAYERS;
use crate::error::{Error, Result};
use crate::model::config::{ActFn, AttentionType};

/// The keys of an object of rotary positions.
const ROTARY_KEYS: &[&str] = &[
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

/// Those of YaRN besides; `finetuned` says how the weights came to be.
const YARN_KEYS: &[&str] = &["beta_fast", "beta_slow", "finetuned", "mscale", "mscale_all_dim", "truncate"];

/// A `config.json` and which of its keys have been asked for.
pub(super) struct ConfigFile<'a> {
    family: &'static str,
    json: &'a Map<String, Value>,
    /// What precedes its keys where it is an inner object: `outer.`.
    within: String,
    /// The sizes that the model has where they are not written.
    usual: &'static [(&'static str, usize)],
    asked: Rc<RefCell<BTreeSet<String>>>,
    /// Keys that the user takes as harmless; one of an inner object is `outer.inner`.
    ignored: &'a [String],
    /// Which of these were met.
    met: Rc<RefCell<BTreeSet<String>>>,
}

impl<'a> ConfigFile<'a> {
    pub(super) fn new(family: &'static str, json: &'a Map<String, Value>, ignored: &'a [String]) -> Self {
        let (within, usual) = (String::new(), &[]);
        Self { family, json, within, usual, asked: Rc::default(), ignored, met: Rc::default() }
    }

    /// The config in the object under `key`, in which sizes that are not written have these values. It needs
    /// a [`ConfigFile::finish`] of its own.
    ///
    /// # Errors
    /// [`Error::Config`] where there is no such object.
    pub(super) fn inner(&self, key: &str, usual: &'static [(&'static str, usize)]) -> Result<Self> {
        let json = self.object(key)?.ok_or_else(|| {
            Error::config(format!("config.json has no {key:?}, the config of the text model: is it complete?"))
        })?;
        let (within, met) = (format!("{}{key}.", self.within), Rc::clone(&self.met));
        Ok(Self { json, within, usual, asked: Rc::default(), met, ..*self })
    }

    /// The same config, in which sizes that are not written have these values.
    pub(super) fn with_usual(&self, usual: &'static [(&'static str, usize)]) -> Self {
        let (within, asked, met) = (self.within.clone(), Rc::clone(&self.asked), Rc::clone(&self.met));
        Self { within, usual, asked, met, ..*self }
    }

    /// Whether the user takes this key as harmless.
    fn is_ignored(&self, key: &str) -> bool {
        let path = format!("{}{key}", self.within);
        let ignored = self.ignored.contains(&path);
        if ignored {
            self.met.borrow_mut().insert(path);
        }
        ignored
    }

    /// The refusal of a key that nobody understands.
    fn unknown(&self, key: &str, value: &Value) -> Error {
        if ["quantization_config", "quantization"].contains(&key) {
            return Error::config(format!(
                "config.json has {key:?}: the weights are quantized, which is not supported. Load the model from which \
                 they were made, with a dtype of BF16 or F16 for less memory."
            ));
        }
        let shown: String = value.to_string().chars().take(200).collect();
        let key = format!("{}{key}", self.within);
        Error::config(format!(
            "config.json sets {key:?} to {shown}, which is not understood for the model type {:?} and may change what \
             the model computes. If you know that it does not, name it in LoadOptions: ignore_config_keys: \
             vec![{key:?}.into()].",
            self.family
        ))
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
                "config.json sets {key:?}, the n_layers of the model, to {layers}, but at most {MOST_LAYERS} are \
                 valid: correct it."
            ))),
            false => Ok(layers),
        }
    }

    pub(super) fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        let written = self.optional(key, "a whole number", Value::as_u64)?.map(|n| n as usize);
        Ok(written.or_else(|| self.usual.iter().find(|(known, _)| *known == key).map(|(_, size)| *size)))
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>> {
        self.optional(key, "a number", Value::as_f64)
    }

    /// A number that is `default` where the key is absent, and none where it is null.
    pub(super) fn number_or(&self, key: &str, default: f64) -> Result<Option<f64>> {
        let number = self.number(key)?;
        Ok(if self.json.contains_key(key) { number } else { Some(default) })
    }

    /// A size that is `default` where the key is absent, and none where it is null.
    pub(super) fn size_or(&self, key: &str, default: usize) -> Result<Option<usize>> {
        let size = self.optional_size(key)?;
        Ok(if self.json.contains_key(key) { size } else { Some(default) })
    }

    /// What the attention of each layer reaches, if `layer_types` says it.
    ///
    /// # Errors
    /// [`Error::Config`] for another number of layers, or a type of layer that is not supported.
    pub(super) fn layer_types(&self, n_layers: usize) -> Result<Option<Vec<AttentionType>>> {
        let Some(list) = self.list("layer_types")? else { return Ok(None) };
        let kind = |value: &Value| match value.as_str() {
            Some("full_attention") => Some(AttentionType::Global),
            Some("sliding_attention") => Some(AttentionType::Local),
            _ => None,
        };
        let kinds: Option<Vec<_>> = list.iter().map(kind).collect();
        kinds.filter(|kinds| kinds.len() == n_layers).map(Some).ok_or_else(|| {
            Error::config(format!(
                "config.json's layer_types must say \"full_attention\" or \"sliding_attention\" for each of the \
                 {n_layers} layers."
            ))
        })
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

    /// How positions rotate queries and keys, in newer files an object of its own; a key in it that is not understood
    /// is refused.
    pub(super) fn rotary(&self) -> Result<Option<&'a Map<String, Value>>> {
        // In this order, as `transformers` takes them.
        let names = ["rope_scaling", "rope_parameters"];
        let objects = [self.object(names[0])?.filter(|object| !object.is_empty()), self.object(names[1])?];
        let found = names.into_iter().zip(objects).find_map(|(name, object)| Some((name, object?)));
        let Some((name, object)) = found else { return Ok(None) };
        self.check_rotary(name, object)?;
        Ok(Some(object))
    }

    /// What `rope_parameters` says of layers of this type; none where it is absent.
    ///
    /// # Errors
    /// [`Error::Config`] for an object of all layers together, or a key that is not understood.
    pub(super) fn rotary_of(&self, layers: &str) -> Result<Option<&'a Map<String, Value>>> {
        let Some(all) = self.object("rope_parameters")? else { return Ok(None) };
        let odd = |key: &&String| !["full_attention", "sliding_attention"].contains(&key.as_str());
        if let Some(key) = all.keys().find(odd) {
            return Err(Error::config(format!(
                "config.json's rope_parameters has {key:?}, but in this family it says for \"full_attention\" and for \
                 \"sliding_attention\" how these layers rotate: correct it."
            )));
        }
        let object = all.get(layers).and_then(Value::as_object);
        object
            .map(|object| self.check_rotary(&format!("rope_parameters.{layers}"), object).map(|()| object))
            .transpose()
    }

    /// Refuses a key of this object of rotary positions that is not understood.
    pub(super) fn check_rotary(&self, name: &str, object: &Map<String, Value>) -> Result<()> {
        let kind = object.get("rope_type").or(object.get("type")).and_then(Value::as_str);
        let of_kind = if kind == Some("yarn") { YARN_KEYS } else { &[] };
        for (key, value) in object {
            let path = format!("{name}.{key}");
            // Where layers differ, versions of transformers do not agree on where this key is.
            let disputed = key == "truncate" && name.contains('.');
            let known = ROTARY_KEYS.iter().chain(of_kind).any(|known| known == key) && !disputed;
            if !known && !is_off(key, value) && !self.is_ignored(&path) {
                return Err(self.unknown(&path, value));
            }
        }
        Ok(())
    }

    /// As [`ConfigFile::rotary`], for a family whose rotary positions have no scaling.
    pub(super) fn plain_rotary(&self) -> Result<Option<&'a Map<String, Value>>> {
        let object = self.rotary()?;
        let kind = object.and_then(|object| object.get("rope_type").or(object.get("type"))).and_then(Value::as_str);
        match kind {
            None | Some("default") => Ok(object),
            Some(kind) => Err(Error::config(format!(
                "config.json asks for rotary positions of the type {kind:?}, which is not supported for the model type \
                 {:?}.",
                self.family
            ))),
        }
    }

    /// What the model is called, or else `default`.
    pub(super) fn name(&self, default: &str) -> String {
        let own = self.json.get("_name_or_path").and_then(Value::as_str).filter(|name| !name.is_empty());
        own.unwrap_or(default).into()
    }

    /// A number inside the object of rotary positions, or else at the top; an object says what a newer version wrote.
    pub(super) fn rotary_number(&self, key: &str, top: &str, default: f64) -> Result<f64> {
        let inner = self.rotary()?.and_then(|object| object.get(key)).and_then(Value::as_f64);
        Ok(inner.or(self.number(top)?).unwrap_or(default))
    }

    /// The activation function under `key`, or else `default`.
    pub(super) fn activation(&self, key: &str, default: ActFn) -> Result<ActFn> {
        match self.text(key)? {
            None => Ok(default),
            Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_fast" | "gelu_accurate") => {
                Ok(ActFn::GeluNew)
            }
            Some("gelu" | "gelu_python") => Ok(ActFn::Gelu),
            Some("relu") => Ok(ActFn::Relu),
            Some("silu" | "swish") => Ok(ActFn::Silu),
            Some("quick_gelu") => Ok(ActFn::QuickGelu),
            Some(other) => Err(Error::config(format!(
                "config.json asks for the activation function {other:?}; gelu_new, gelu, quick_gelu, relu and silu are \
                 supported."
            ))),
        }
    }

    /// Keys of this family that do not change what the model computes when it is evaluated.
    pub(super) fn harmless(&self, keys: &[&str]) {
        self.asked.borrow_mut().extend(keys.iter().map(|key| key.to_string()));
    }

    /// Refuses a key that is present but has none of these values.
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
        let asked = self.asked.borrow();
        let known = |key: &str| is_harmless(key) || asked.contains(key);
        for (key, value) in self.json {
            if !known(key) && !is_off(key, value) && !self.is_ignored(key) {
                return Err(self.unknown(key, value));
            }
        }
        // These are checked once, by the whole file, which knows what its inner objects met.
        for key in self.ignored.iter().filter(|_| self.within.is_empty()) {
            let why = match self.json.get(key) {
                _ if self.met.borrow().contains(key) => continue,
                None => "config.json has no such key",
                Some(_) if known(key) => "it is understood",
                Some(_) => continue,
            };
            return Err(Error::config(format!("ignore_config_keys names {key:?}, but {why}: leave it out.")));
        }
        Ok(())
    }
}
