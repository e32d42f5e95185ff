//! Dictionaries of plain values and tensors that `torch.save` wrote. Nothing in them is run.

use std::collections::BTreeMap;
use std::path::Path;

use super::pickle::{Id, Value};
use super::stored::{Source, Stored};
use super::torch::Checkpoint;
use crate::error::{Error, Result};

/// A value of such a dictionary.
pub(crate) enum TorchValue {
    /// A whole number that is not negative.
    Size(usize),
    Bool(bool),
    Texts(Vec<String>),
    /// A tensor of numbers, or of truth values as 0 and 1: its shape, and all of it row by row.
    Numbers(Vec<usize>, Vec<f32>),
    Dict(BTreeMap<String, TorchValue>),
    /// Something else.
    Other,
}

/// How deep dictionaries may lie in each other.
const DEPTH: usize = 8;

/// The dictionary in a file of `torch.save`.
///
/// # Errors
/// [`Error::File`] when it is none, is cut off, or holds something else.
pub(crate) fn torch_dict(path: &Path) -> Result<BTreeMap<String, TorchValue>> {
    let checkpoint = Checkpoint::open(path, Source::open(path)?)?;
    let Some(entries) = checkpoint.pickle.dict(checkpoint.pickle.root) else {
        return Err(Error::file(path, "holds no dictionary, and nothing in it is run: save one with torch.save."));
    };
    checkpoint.values(entries, DEPTH).map_err(|why| Error::file(path, format!("{why}: write it anew.")))
}

impl Checkpoint<'_> {
    fn values(&self, entries: &[(Id, Id)], depth: usize) -> std::result::Result<BTreeMap<String, TorchValue>, String> {
        let named = entries.iter().filter_map(|(key, value)| Some((self.pickle.text(*key)?, *value)));
        named.map(|(key, value)| Ok((key.to_string(), self.value(key, value, depth)?))).collect()
    }

    fn value(&self, key: &str, value: Id, depth: usize) -> std::result::Result<TorchValue, String> {
        Ok(match self.pickle.get(value) {
            Value::Bool(flag) => TorchValue::Bool(*flag),
            Value::Int(number) => usize::try_from(*number).map_or(TorchValue::Other, TorchValue::Size),
            Value::Sequence(items) => {
                let texts = items.iter().map(|item| self.pickle.text(*item).map(String::from));
                texts.collect::<Option<_>>().map_or(TorchValue::Other, TorchValue::Texts)
            }
            Value::Dict(entries) if depth > 0 => TorchValue::Dict(self.values(entries, depth - 1)?),
            Value::Call(..) => match self.arguments(value, 3) {
                Some(arguments) => {
                    let numbers = self.stored(arguments).and_then(|stored| Ok((numbers(&stored)?, stored.shape)));
                    let (numbers, shape) = numbers.map_err(|why| format!("{key} in it {why}"))?;
                    TorchValue::Numbers(shape, numbers)
                }
                None => TorchValue::Other,
            },
            _ => TorchValue::Other,
        })
    }
}

fn numbers(stored: &Stored) -> std::result::Result<Vec<f32>, String> {
    let mut all = Vec::new();
    match &stored.dtype {
        Err(kind) if kind == "BoolStorage" => {
            if stored.strides.is_some() {
                return Err("does not lie in a row".into());
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
