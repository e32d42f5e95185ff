//! The keys of a configuration, taken one by one; what nobody took is refused by name.

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::files::read_json;
use crate::storage::some_of;

/// A configuration file.
pub(super) struct Keys {
    path: PathBuf,
    keys: Map<String, Value>,
}

impl Keys {
    /// # Errors
    /// [`Error::File`] if it is not a JSON object.
    pub(super) fn read(path: PathBuf, bytes: &[u8]) -> Result<Self> {
        let keys = read_json(bytes)
            .map_err(|error| Error::file(&path, format!("is not a JSON object ({error}): fetch it again.")))?;
        Ok(Self::of(path, keys))
    }

    pub(super) fn of(path: PathBuf, keys: Map<String, Value>) -> Self {
        Self { path, keys }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.get(key).is_some_and(|value| !value.is_null())
    }

    /// Gives a key its newer name, unless that is there as well.
    pub(super) fn rename(&mut self, old: &str, new: &str) {
        if let Some(value) = self.keys.remove(old) {
            self.keys.entry(new).or_insert(value);
        }
    }

    pub(super) fn set(&mut self, key: &str, value: Value) {
        self.keys.insert(key.into(), value);
    }

    /// Whether the value is `true` or `false`.
    pub(super) fn is_flag(&self, key: &str) -> bool {
        self.keys.get(key).is_some_and(Value::is_boolean)
    }

    /// Whether the value is `true` or a list that is not empty.
    pub(super) fn is_true(&self, key: &str) -> bool {
        match self.keys.get(key) {
            Some(Value::Array(items)) => !items.is_empty(),
            value => value == Some(&Value::Bool(true)),
        }
    }

    /// The object under a key, itself taken key by key; empty if there is none.
    ///
    /// # Errors
    /// [`Error::File`] if it is something else.
    pub(super) fn object(&mut self, key: &str) -> Result<Self> {
        let keys = match self.keys.remove(key) {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(keys)) => keys,
            Some(other) => return Err(self.wrong(key, &other, "an object")),
        };
        Ok(Self { path: self.path.clone(), keys })
    }

    /// Takes a key that is this word; otherwise it stays.
    pub(super) fn takes(&mut self, key: &str, word: &str) -> bool {
        let is_word = self.keys.get(key).and_then(Value::as_str) == Some(word);
        if is_word {
            self.keys.remove(key);
        }
        is_word
    }

    /// # Errors
    /// [`Error::File`] if it is not a list of texts.
    pub(super) fn texts(&mut self, key: &str) -> Result<Option<Vec<String>>> {
        let texts = |value: &Value| value.as_array()?.iter().map(|item| item.as_str().map(String::from)).collect();
        self.take(key, "a list of texts", texts)
    }

    /// # Errors
    /// [`Error::File`] if it is not text.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>> {
        self.take(key, "text", |value| value.as_str().map(String::from))
    }

    /// # Errors
    /// [`Error::File`] if it is not `true` or `false`.
    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>> {
        self.take(key, "true or false", Value::as_bool)
    }

    /// A whole number from 0.
    ///
    /// # Errors
    /// [`Error::File`] if it is something else.
    pub(super) fn size(&mut self, key: &str) -> Result<Option<usize>> {
        self.take(key, "a whole number from 0", |value| value.as_u64().and_then(|size| usize::try_from(size).ok()))
    }

    /// # Errors
    /// [`Error::File`] if it is not a finite number.
    pub(super) fn number(&mut self, key: &str) -> Result<Option<f64>> {
        self.take(key, "a number", |value| value.as_f64().filter(|number| number.is_finite()))
    }

    /// A size that has to be there.
    ///
    /// # Errors
    /// [`Error::File`] if it is not.
    pub(super) fn need_size(&mut self, key: &str) -> Result<usize> {
        self.size(key)?.ok_or_else(|| self.bad(format!("has no {key:?}, without which the dictionary cannot be read")))
    }

    /// Leaves out keys that change no numbers.
    pub(super) fn leave(&mut self, harmless: impl Fn(&str) -> bool) {
        self.keys.retain(|key, _| !harmless(key));
    }

    /// That no key is left that could change numbers: those that are `null` or `false` and those of `ignored` cannot.
    ///
    /// # Errors
    /// [`Error::File`] that names the others.
    pub(super) fn finish(&self, ignored: &[String]) -> Result<()> {
        let matters = |(key, value): &(&String, &Value)| {
            !value.is_null() && **value != Value::Bool(false) && !ignored.contains(key)
        };
        let left = self.keys.iter().filter(matters);
        let left: Vec<String> = left.map(|(key, value)| format!("{key} = {}", short(value))).collect();
        match left.is_empty() {
            true => Ok(()),
            false => Err(self.bad(format!(
                "has keys that are not understood and may change what the dictionary computes ({}): name those that you know to \
                 be harmless in ignore_config_keys",
                some_of(&left)
            ))),
        }
    }

    /// The error for this file; `why` is what it does, as a verb phrase.
    pub(super) fn bad(&self, why: impl Into<String>) -> Error {
        Error::file(&self.path, format!("{}.", why.into()))
    }

    fn take<T>(&mut self, key: &str, kind: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>> {
        match self.keys.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match read(&value) {
                Some(read) => Ok(Some(read)),
                None => Err(self.wrong(key, &value, kind)),
            },
        }
    }

    fn wrong(&self, key: &str, value: &Value, kind: &str) -> Error {
        self.bad(format!("has {key} = {}, which is not {kind}", short(value)))
    }
}

/// The beginning of a value.
fn short(value: &Value) -> String {
    let text = value.to_string();
    let start: String = text.chars().take(60).collect();
    if start.len() < text.len() { format!("{start}..") } else { start }
}
