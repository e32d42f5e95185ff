//! Dictionaries in files, whatever their format, each read into the one form [`DictionaryParts`](super::DictionaryParts).
//!
//! A place (a folder, a file, a part of a repository of the hub, this binary) gives the dictionaries in it as [`Unread`]: their
//! names and points, without anything large being fetched or read. Opening one reads headers; its numbers are read last, in the
//! dtype of the file. A configuration key that may change numbers and is not understood is refused by name.

mod attention_saes;
pub(super) mod circuit_tracer;
mod dictionary_learning;
mod dunefsky;
mod files;
mod format;
mod gemma_scope;
mod keys;
mod layout;
mod names;
mod openai;
mod options;
mod pretrained;
mod releases;
mod saelens;
mod saelens_config;
mod sparsify;
mod unread;
mod weights;
mod yaml;

pub use format::DictionaryFormat;
pub use options::DictionaryOptions;
pub(super) use unread::{Opened, Unread};

use std::collections::BTreeSet;

use files::Files;

use super::dictionary::Dictionary;
use crate::error::{Error, Result};
use crate::storage::some_of;

/// The dictionaries among these files.
///
/// # Errors
/// [`Error::File`] if there are none, or several formats could be meant.
fn entries(files: &Files, options: &DictionaryOptions) -> Result<Vec<Unread>> {
    let formats = match options.format {
        Some(format) => vec![format],
        None => DictionaryFormat::ALL.to_vec(),
    };
    let mut found: Vec<(DictionaryFormat, Vec<Unread>)> = Vec::new();
    for format in formats {
        let entries = format.entries(files, options)?;
        if !entries.is_empty() {
            found.push((format, entries));
        }
    }
    if found.len() > 1 {
        let names: Vec<&str> = found.iter().map(|(format, _)| format.as_str()).collect();
        let message = format!("has dictionaries of several formats ({}): name one as format.", names.join(", "));
        return Err(Error::file(files.path(), message));
    }
    let Some((_, entries)) = found.pop() else { return Err(nothing(files, options)) };
    let mut names = BTreeSet::new();
    match entries.iter().find(|entry| !names.insert(&entry.name)) {
        Some(twice) => Err(Error::file(files.path(), format!("has two dictionaries called {:?}.", twice.name))),
        None => Ok(entries),
    }
}

/// The error for files among which there is no dictionary: what they are instead, if that is known.
fn nothing(files: &Files, options: &DictionaryOptions) -> Error {
    let names = files.names();
    let has = |name: &str| names.iter().any(|there| there == name);
    let message = if has("config.json") && (has("model.safetensors") || has("tokenizer.json")) {
        "holds a model and not a dictionary: give it to HookedTransformer::from_pretrained.".into()
    } else {
        let formats = options.format.map_or(DictionaryFormat::ALL.to_vec(), |format| vec![format]);
        let formats: Vec<_> = formats.iter().map(|format| format!("{format} ({})", format.files())).collect();
        format!("holds no dictionary of a format that is read: {}. It has {}.", formats.join(", "), some_of(names))
    };
    Error::file(files.path(), message)
}

/// The dictionaries under a name, in the order of the layers that they read, and whether all their files are on this disk.
///
/// # Errors
/// A name that means nothing, files without dictionaries.
pub(super) fn open(name: &str, options: &DictionaryOptions) -> Result<(Vec<Unread>, bool)> {
    let mut found = found(name, options)?;
    found.0.sort_by_key(|entry| entry.expects.hook_in.and_then(|point| point.layer()));
    Ok(found)
}

/// As [`open`], in the order of their names.
fn found(name: &str, options: &DictionaryOptions) -> Result<(Vec<Unread>, bool)> {
    if std::path::Path::new(name).exists() {
        let files = names::files(name, options)?;
        return Ok((entries(&files, options)?, files.is_local()));
    }
    let Some(rows) = releases::find(name)? else {
        let files = names::files(name, options)?;
        return Ok((entries(&files, options)?, files.is_local()));
    };
    let (repo, mut unread) = (names::repository(rows.first().map_or("", |row| row.repo), options)?, Vec::new());
    for row in rows {
        let files = repo.below(&row.path)?;
        unread.extend(row.facts.entries(&files, row.id, options)?);
    }
    Ok((unread, false))
}

impl Opened {
    /// Reads the dictionary.
    ///
    /// # Errors
    /// Whatever is wrong with its numbers, or options that do not fit.
    pub(super) fn dictionary(&self, options: &DictionaryOptions) -> Result<Dictionary> {
        let mut parts = (self.read)()?;
        options.apply(&mut parts)?;
        Dictionary::new(parts)
    }
}
