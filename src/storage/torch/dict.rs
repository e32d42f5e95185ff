//! Dictionaries of plain values and tensors that `torch.save` wrote. Nothing in them is run.
//!
//! Values are converted only when they are requested: by nesting dictionaries, a pickle of a few hundred bytes can
//! refer to one value so often that the expanded result would not fit into memory.

use std::path::Path;

use super::archive::Checkpoint;
use super::pickle::{Id, Value};
use crate::error::{Error, Result};
use crate::storage::stored::{Source, Stored};

/// A file of `torch.save` that holds a dictionary.
pub(crate) struct TorchFile<'a>(Checkpoint<'a>);

/// A dictionary of such a file.
#[derive(Clone, Copy)]
pub(crate) struct TorchDict<'a> {
    file: &'a Checkpoint<'a>,
    entries: &'a [(Id, Id)],
}

impl<'a> TorchFile<'a> {
    /// # Errors
    /// [`Error::File`] if it is not a checkpoint, is cut off, or holds something else.
    pub(crate) fn open(path: &'a Path) -> Result<Self> {
        Checkpoint::open(path, Source::open(path)?).map(Self)
    }

    /// # Errors
    /// [`Error::Argument`] if the file holds something else.
    pub(crate) fn dict(&self) -> Result<TorchDict<'_>> {
        match self.0.pickle.dict(self.0.pickle.root) {
            Some(entries) => Ok(TorchDict { file: &self.0, entries }),
            None => Err(Error::argument(
                "does not hold a dictionary, and no code in it is run: save a dictionary with torch.save.",
            )),
        }
    }
}

impl<'a> TorchDict<'a> {
    /// The names of its values, at most `most` of them.
    pub(crate) fn keys(self, most: usize) -> impl Iterator<Item = &'a str> {
        self.entries.iter().filter_map(move |(key, _)| self.file.pickle.text(*key)).take(most)
    }

    /// The value under this key; the last one if there are several, as in Python.
    fn find(self, key: &str) -> Option<Id> {
        let found = self.entries.iter().rev().find(|(name, _)| self.file.pickle.text(*name) == Some(key));
        found.map(|(_, value)| *value)
    }

    pub(crate) fn has(self, key: &str) -> bool {
        self.find(key).is_some()
    }

    pub(crate) fn dict(self, key: &str) -> Option<Self> {
        Some(Self { entries: self.file.pickle.dict(self.find(key)?)?, ..self })
    }

    /// The attributes of an object, whose class is neither looked for nor run.
    pub(crate) fn object(self, key: &str) -> Option<Self> {
        Some(Self { entries: self.file.pickle.attributes(self.find(key)?)?, ..self })
    }

    pub(crate) fn text(self, key: &str) -> Option<&'a str> {
        self.file.pickle.text(self.find(key)?)
    }

    /// A non-negative integer.
    pub(crate) fn size(self, key: &str) -> Option<usize> {
        self.file.pickle.size(self.find(key)?)
    }

    pub(crate) fn flag(self, key: &str) -> Option<bool> {
        match self.file.pickle.get(self.find(key)?) {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// A list of strings.
    pub(crate) fn texts(self, key: &str) -> Option<Vec<&'a str>> {
        let items = self.file.pickle.sequence(self.find(key)?)?;
        items.iter().map(|item| self.file.pickle.text(*item)).collect()
    }

    /// A tensor of numbers, or of booleans as 0 and 1: its shape and its numbers in row-major order.
    ///
    /// # Errors
    /// [`Error::Argument`] if it is damaged or has another dtype.
    pub(crate) fn numbers(self, key: &str) -> Result<Option<(Vec<usize>, Vec<f32>)>> {
        let Some(arguments) = self.find(key).and_then(|value| self.file.arguments(value, 3)) else { return Ok(None) };
        let numbers = self.file.stored(arguments).and_then(|stored| Ok((numbers(&stored)?, stored.shape)));
        let (numbers, shape) =
            numbers.map_err(|why| Error::argument(format!("its {key} {why}: save the file again.")))?;
        Ok(Some((shape, numbers)))
    }
}

fn numbers(stored: &Stored) -> std::result::Result<Vec<f32>, String> {
    let mut all = Vec::new();
    match &stored.dtype {
        Err(kind) if kind == "BoolStorage" => {
            if stored.strides.is_some() {
                return Err("is not contiguous".into());
            }
            let mut bytes = vec![0; stored.shape.iter().product()];
            stored.source.read(stored.start, &mut bytes).map_err(|error| format!("could not be read ({error})"))?;
            all.extend(bytes.into_iter().map(|byte| f32::from(u8::from(byte != 0))));
        }
        _ => stored.pieces(|piece| {
            all.extend(piece);
            Ok(())
        })?,
    }
    Ok(all)
}
