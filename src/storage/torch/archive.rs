//! PyTorch checkpoints: a zip archive of a pickle and storages, or the older format from before version 1.6.
//!
//! Only tensors, numbers and names are read from the pickle; nothing in it is run.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use candle_core::DType;

use super::pickle::{Id, Pickle, Value};
use crate::error::{Error, Result};
use crate::storage::stored::{Named, Source, Stored, span};

/// The longest pickle that is read, in bytes, each of which can become a value; a model with a thousand tensors needs a
/// few hundred kilobytes.
const LONGEST: u64 = 1 << 24;

/// The longest name of a storage, in bytes; PyTorch uses numbers as names.
const LONGEST_NAME: usize = 1000;

/// The maximum number of axes of a weight.
const MOST_AXES: usize = 8;

/// Where a storage lies in the file, in bytes.
#[derive(Clone, Copy)]
struct Place {
    start: u64,
    len: u64,
}

/// An open checkpoint: its pickle and the location of its storages.
pub(super) struct Checkpoint<'a> {
    path: &'a Path,
    source: Rc<Source>,
    pub pickle: Pickle,
    places: HashMap<String, Place>,
}

/// The tensors of a checkpoint: those of its top-level dictionary, or of the dictionary under `key` in it.
///
/// # Errors
/// [`Error::File`] if the file is not a checkpoint, is cut off, or holds something else.
pub(in crate::storage) fn tensors(path: &Path, source: Source, key: Option<&str>) -> Result<Vec<Named>> {
    let checkpoint = Checkpoint::open(path, source)?;
    let state = checkpoint.state(key)?;
    // A pickle can refer to one long text many times; unique names cannot be longer in total than the pickle.
    let mut names = HashSet::new();
    let named = state.iter().filter_map(|(name, _)| checkpoint.pickle.text(*name));
    if let Some(twice) = named.into_iter().find(|name| !names.insert(*name)) {
        let twice: String = twice.chars().take(100).collect();
        return Err(wrong(path, format!("it has the name {twice} twice")));
    }
    state.iter().map(|(name, value)| checkpoint.tensor(*name, *value).map_err(|why| wrong(path, why))).collect()
}

fn wrong(path: &Path, why: String) -> Error {
    Error::file(path, format!("is not a complete PyTorch checkpoint ({why}): it may be cut off or in another format."))
}

impl<'a> Checkpoint<'a> {
    /// # Errors
    /// [`Error::File`] if the bytes are not a checkpoint, or are cut off.
    pub(super) fn open(path: &'a Path, source: Source) -> Result<Self> {
        let mut magic = [0; 4];
        let _ = source.read(0, &mut magic);
        let checkpoint = match &magic {
            b"PK\x03\x04" => Self::zipped(path, source),
            [0x80, ..] => Self::legacy(path, source),
            _ => Err("its first bytes are not those of one".into()),
        };
        checkpoint.map_err(|why| wrong(path, why))
    }

    fn zipped(path: &'a Path, source: Source) -> std::result::Result<Self, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let mut zip = zip::ZipArchive::new(BufReader::new(file)).map_err(|error| error.to_string())?;
        let mut places = HashMap::new();
        let (mut pickle, mut read) = (None, HashSet::new());
        for index in 0..zip.len() {
            let mut entry = zip.by_index(index).map_err(|error| error.to_string())?;
            let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
            // Everything is in one folder, which is named after the file.
            let name = name.split_once('/').map_or(name.as_str(), |(_, name)| name);
            if ["data.pkl", "byteorder"].contains(&name) && !read.insert(name.to_string()) {
                return Err(format!("it contains {name} twice"));
            }
            let (len, start) = (entry.size(), entry.data_start().ok_or("an entry has no position")?);
            if entry.compression() != zip::CompressionMethod::Stored || entry.encrypted() {
                return Err(format!("its entry {name} is compressed or encrypted, which PyTorch never does"));
            }
            if start.checked_add(len).is_none_or(|end| end > source.len()) {
                return Err(format!("its entry {name} extends past the end of the file"));
            }
            if name == "data.pkl" || name == "byteorder" {
                if len > LONGEST {
                    return Err(format!("its entry {name} has {len} bytes, but at most {LONGEST} are read"));
                }
                let mut bytes = Vec::with_capacity(len as usize);
                entry.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
                match name {
                    "byteorder" if bytes != b"little" => return Err("its numbers are big-endian".into()),
                    "byteorder" => {}
                    _ => pickle = Some(Pickle::read(&bytes)?),
                }
            } else if let Some(key) = name.strip_prefix("data/") {
                places.insert(key.to_string(), Place { start, len });
            }
        }
        let pickle = pickle.ok_or("it contains no data.pkl")?;
        Ok(Self { path, source: Rc::new(source), pickle, places })
    }

    /// Five pickles (magic number, version, machine, object, names of the storages), followed by the storages.
    fn legacy(path: &'a Path, source: Source) -> std::result::Result<Self, String> {
        let mut bytes = vec![0; source.len().min(LONGEST) as usize];
        source.read(0, &mut bytes).map_err(|error| error.to_string())?;
        let mut at = 0;
        let mut next = || -> std::result::Result<Pickle, String> {
            let pickle = Pickle::read(&bytes[at..])?;
            at += pickle.len;
            Ok(pickle)
        };
        let [_magic, version, machine] = [next()?, next()?, next()?];
        if version.size(version.root) != Some(1001) {
            return Err("it is a pickle, but not one that torch.save wrote".into());
        }
        let little = machine.dict(machine.root).is_some_and(|entries| {
            entries.iter().any(|(key, value)| {
                machine.text(*key) == Some("little_endian") && matches!(machine.get(*value), Value::Bool(true))
            })
        });
        if !little {
            return Err("its numbers are big-endian".into());
        }
        let (pickle, names) = (next()?, next()?);
        let mut start = at as u64;
        let mut places = HashMap::new();
        let widths = widths(&pickle);
        for name in names.sequence(names.root).ok_or("the names of its storages are missing")? {
            let name = names.text(*name).ok_or("a storage has no name")?;
            let mut count = [0; 8];
            source.read(start, &mut count).map_err(|_| "it ends before its last storage")?;
            let width = *widths.get(name).ok_or("it has a storage that no tensor uses")?;
            let len = u64::from_le_bytes(count).checked_mul(width).ok_or("a storage is too large")?;
            start += 8;
            places.insert(name.to_string(), Place { start, len });
            start =
                start.checked_add(len).filter(|end| *end <= source.len()).ok_or("it ends before its last storage")?;
        }
        Ok(Self { path, source: Rc::new(source), pickle, places })
    }

    /// The dictionary of tensors.
    fn state(&self, key: Option<&str>) -> Result<&[(Id, Id)]> {
        let pickle = &self.pickle;
        let wrong = |message: String| Error::file(self.path, message);
        let Some(root) = pickle.dict(pickle.root) else {
            let what = match pickle.get(pickle.root) {
                Value::Call(callable, _) => match pickle.get(*callable) {
                    Value::Global(module, name) => format!("an object of the class {module}.{name}"),
                    _ => "an object".into(),
                },
                _ => "a single value".into(),
            };
            return Err(wrong(format!(
                "holds {what}, not a dictionary of tensors, and nothing in it is run: in Python, save \
                 model.state_dict()."
            )));
        };
        let names = |entries: &[(Id, Id)]| {
            let names: Vec<_> =
                entries.iter().take(12).filter_map(|(key, _)| Some(format!("{:?}", pickle.text(*key)?))).collect();
            if names.is_empty() { "none".into() } else { names.join(", ") }
        };
        let (entries, place) = match key {
            None => (root, "at the top level".to_string()),
            Some(key) => (
                self.child(root, key).ok_or_else(|| {
                    let keys = names(root);
                    wrong(format!("has no dictionary {key:?}: its keys are {keys}. Give one of them as key."))
                })?,
                format!("in {key:?}"),
            ),
        };
        if entries.iter().any(|(_, value)| self.arguments(*value, 3).is_some()) {
            return Ok(entries);
        }
        let keys = names(entries);
        Err(wrong(format!("has no tensor {place}: the keys there are {keys}. Give the key of the weights as key.")))
    }

    /// The dictionary under a key, or under keys joined by dots.
    fn child(&self, entries: &[(Id, Id)], key: &str) -> Option<&[(Id, Id)]> {
        let dict = |key: &str| {
            let found = entries.iter().rev().find(|(name, _)| self.pickle.text(*name) == Some(key));
            found.and_then(|(_, value)| self.pickle.dict(*value))
        };
        dict(key).or_else(|| {
            let (first, rest) = key.split_once('.')?;
            self.child(dict(first)?, rest)
        })
    }

    fn tensor(&self, name: Id, value: Id) -> std::result::Result<(String, Stored), String> {
        let name = match self.pickle.size(name) {
            Some(number) => number.to_string(),
            None => self.pickle.text(name).ok_or("a tensor has no name")?.to_string(),
        };
        let Some(arguments) = self.arguments(value, 3) else {
            let stored = Stored {
                source: self.source.clone(),
                start: 0,
                dtype: Err("something that is not a tensor".into()),
                shape: vec![],
                strides: None,
                blocks: None,
                shift: 0.0,
            };
            return Ok((name, stored));
        };
        self.stored(arguments).map(|stored| (name.clone(), stored)).map_err(|why| format!("{name} {why}"))
    }

    /// The arguments of the function that builds this tensor; a parameter wraps a tensor.
    pub(super) fn arguments(&self, value: Id, depth: usize) -> Option<&[Id]> {
        let Value::Call(callable, arguments) = self.pickle.get(value) else { return None };
        let Value::Global(_, name) = self.pickle.get(*callable) else { return None };
        let arguments = self.pickle.sequence(*arguments)?;
        match &**name {
            "_rebuild_tensor_v2" | "_rebuild_tensor" => Some(arguments),
            "_rebuild_parameter" | "_rebuild_parameter_with_state" if depth > 0 => {
                self.arguments(*arguments.first()?, depth - 1)
            }
            "_rebuild_from_type_v2" => {
                let Value::Global(_, inner) = self.pickle.get(*arguments.first()?) else { return None };
                (&**inner == "_rebuild_tensor_v2").then(|| self.pickle.sequence(*arguments.get(2)?)).flatten()
            }
            _ => None,
        }
    }

    /// The tensor that `(storage, offset, sizes, strides, ..)` describe, checked to be inside its storage.
    pub(super) fn stored(&self, arguments: &[Id]) -> std::result::Result<Stored, String> {
        let pickle = &self.pickle;
        let [storage, offset, sizes, strides, ..] = arguments else { return Err("is not fully described".into()) };
        let Value::Persistent(storage) = pickle.get(*storage) else { return Err("has no storage".into()) };
        let (kind, key) = storage_of(pickle, *storage).ok_or("has no storage")?;
        let place = self.places.get(key).ok_or("has a storage that is missing")?;
        // Many tensors may share a list, which is copied for each of them, so it must be short.
        if let Some(axes) = pickle.sequence(*sizes).map(<[Id]>::len).filter(|axes| *axes > MOST_AXES) {
            return Err(format!("has {axes} axes, but a weight has at most {MOST_AXES}"));
        }
        let list = |id: Id| -> Option<Vec<usize>> {
            pickle.sequence(id)?.iter().take(MOST_AXES + 1).map(|size| pickle.size(*size)).collect()
        };
        let (shape, strides) = (list(*sizes).ok_or("has no shape")?, list(*strides).ok_or("has no strides")?);
        let offset = pickle.size(*offset).ok_or("has no offset")?;
        let (dtype, width) = dtype(kind);
        let room = place.len / width;
        let count = shape.iter().try_fold(1u64, |product, size| product.checked_mul(*size as u64));
        let axes: Vec<(usize, usize)> = shape.iter().copied().zip(strides.iter().copied()).collect();
        let end = span(&axes).and_then(|span| span.checked_add(offset)).map(|end| end as u64);
        if shape.len() != strides.len() || count.is_none_or(|n| n > room) || end.is_none_or(|end| end > room) {
            return Err(format!("has the shape {shape:?}, but its storage holds {room} numbers"));
        }
        let in_a_row = axes.iter().rev().try_fold(1usize, |step, (size, stride)| {
            if *size == 1 || *stride == step { step.checked_mul(*size) } else { None }
        });
        Ok(Stored {
            source: self.source.clone(),
            start: place.start + offset as u64 * width,
            dtype,
            strides: if in_a_row.is_some() || shape.contains(&0) { None } else { Some(axes) },
            shape,
            blocks: None,
            shift: 0.0,
        })
    }
}

/// The kind and the name of a storage: `("storage", torch.FloatStorage, "0", "cpu", 12)`.
fn storage_of(pickle: &Pickle, id: Id) -> Option<(&str, &str)> {
    let [word, kind, key, ..] = pickle.sequence(id)? else { return None };
    let Value::Global(_, kind) = pickle.get(*kind) else { return None };
    (pickle.text(*word)? == "storage").then_some(())?;
    Some((kind, pickle.text(*key).filter(|key| key.len() <= LONGEST_NAME)?))
}

/// The number of bytes per number, for each storage.
fn widths(pickle: &Pickle) -> HashMap<String, u64> {
    let storages = pickle.values().filter_map(|value| match value {
        Value::Persistent(id) => storage_of(pickle, *id),
        _ => None,
    });
    storages.map(|(kind, key)| (key.to_string(), dtype(kind).1)).collect()
}

/// The dtype of a storage, and the number of bytes per number.
fn dtype(kind: &str) -> (std::result::Result<DType, String>, u64) {
    let known = match kind {
        "FloatStorage" => DType::F32,
        "HalfStorage" => DType::F16,
        "BFloat16Storage" => DType::BF16,
        "DoubleStorage" => DType::F64,
        "LongStorage" => DType::I64,
        "IntStorage" => DType::I32,
        "ShortStorage" => DType::I16,
        "ByteStorage" => DType::U8,
        other => {
            let width = match other {
                "ComplexDoubleStorage" => 16,
                "ComplexFloatStorage" => 8,
                _ => 1,
            };
            return (Err(other.into()), width);
        }
    };
    (Ok(known), known.size_in_bytes() as u64)
}
