//! The header of one file: what it is, its metadata, and where its tensors are.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::rc::Rc;

use candle_core::DType;

use super::kinds::{self, Kind};
use super::metadata::{GgufMetadata, GgufValue};
use super::reader::Reader;
use super::{Gguf, MAGIC};
use crate::storage::stored::{Outcome, Source, Stored};

/// The most axes of a tensor, as in ggml.
const MOST_AXES: u32 = 4;

/// The least bytes of an entry of metadata: a length, a type and a value of one byte.
const LEAST_ENTRY: u64 = 8 + 4 + 1;

/// The least bytes that describe a tensor: the length of its name, the number of axes, its type and its offset.
const LEAST_TENSOR: u64 = 8 + 4 + 4 + 8;

/// What starts the number of every tensor's first byte.
const USUAL_ALIGNMENT: u64 = 32;

/// A tensor as the header describes it.
struct Described {
    name: String,
    shape: Vec<usize>,
    kind: Kind,
    offset: u64,
}

/// What a file says, checked against its length.
///
/// # Errors
/// What is wrong with it, without an end.
pub(super) fn parse(path: &Path, source: Source) -> Outcome<Gguf> {
    let mut reader = Reader::new(&source);
    check_start(&mut reader)?;
    let (tensors, entries) = (reader.u64()?, reader.u64()?);
    reader.check("metadata entries", entries, LEAST_ENTRY)?;
    reader.check("tensors", tensors, LEAST_TENSOR)?;
    let mut values = BTreeMap::new();
    for _ in 0..entries {
        let key = reader.text()?;
        let value = GgufValue::read(&mut reader).map_err(|why| format!("its metadata {key:?}: {why}"))?;
        if values.contains_key(&key) {
            return Err(format!("its metadata have {key:?} twice"));
        }
        values.insert(key, value);
    }
    let metadata = GgufMetadata::new(path, values);
    let mut described = Vec::new();
    for _ in 0..tensors {
        described.push(describe(&mut reader)?);
    }
    let alignment = match metadata.get("general.alignment") {
        None => USUAL_ALIGNMENT,
        Some(value) => value
            .unsigned()
            .filter(|step| step.is_power_of_two())
            .ok_or_else(|| format!("its general.alignment is {}, but a power of two is needed", value.shown()))?,
    };
    let data = reader.at().checked_next_multiple_of(alignment).ok_or("its general.alignment is too large")?;
    drop(reader);
    Ok(Gguf { metadata, tensors: placed(Rc::new(source), data, described)? })
}

/// Checks the first bytes and the version.
fn check_start(reader: &mut Reader) -> Outcome<()> {
    let start: [u8; 4] = reader.array()?;
    if start != MAGIC {
        return Err(match &start {
            // The formats before GGUF, whose names are stored as numbers and so read backwards.
            b"lmgg" | b"fmgg" | b"tjgg" | b"algg" => {
                "it is of a format of llama.cpp before GGUF: convert the original model again, or download a GGUF file"
                    .into()
            }
            _ => format!("its first bytes are {:?} and not \"GGUF\"", String::from_utf8_lossy(&start)),
        });
    }
    match reader.u32()? {
        2 | 3 => Ok(()),
        1 => Err(
            "it is of GGUF version 1, which was written for a few weeks in 2023: versions 2 and 3 are supported, so \
                  convert the original model again, or download a newer file"
                .into(),
        ),
        version if matches!(version.swap_bytes(), 1..=3) => Err(
            "its numbers are stored with the highest byte first: only files for little-endian machines are supported"
                .into(),
        ),
        version => Err(format!("it is of GGUF version {version}, but versions 2 and 3 are supported")),
    }
}

fn describe(reader: &mut Reader) -> Outcome<Described> {
    let name = reader.text()?;
    let axes = reader.u32()?;
    if axes > MOST_AXES {
        return Err(format!("its tensor {name:?} has {axes} axes, but at most {MOST_AXES} are valid"));
    }
    let mut shape = Vec::new();
    for _ in 0..axes {
        let size = reader.u64()?;
        shape.push(usize::try_from(size).map_err(|_| format!("its tensor {name:?} has an axis of size {size}"))?);
    }
    // The first axis there is the one whose numbers are side by side, which is the last one here.
    shape.reverse();
    let number = reader.u32()?;
    let kind = kinds::of(number)
        .ok_or_else(|| format!("its tensor {name:?} has the type number {number}, which ggml does not have"))?;
    Ok(Described { name, shape, kind, offset: reader.u64()? })
}

/// The tensors at their places in the file, in the order of the header.
fn placed(source: Rc<Source>, data: u64, described: Vec<Described>) -> Outcome<Vec<(String, Stored)>> {
    let (mut tensors, mut spans) = (Vec::new(), Vec::new());
    let mut names = HashSet::new();
    for Described { name, shape, kind, offset } in described {
        if !names.insert(name.clone()) {
            return Err(format!("it has the tensor {name:?} twice"));
        }
        let start = data.checked_add(offset).ok_or_else(|| format!("its tensor {name:?} begins at byte {offset}"))?;
        if let Some(bytes) = bytes(&kind, &shape).map_err(|why| format!("its tensor {name:?} {why}"))? {
            let end = start
                .checked_add(bytes)
                .filter(|end| *end <= source.len())
                .ok_or_else(|| format!("its tensor {name:?} of shape {shape:?} extends past the end of the file"))?;
            spans.push((start, end, tensors.len()));
        }
        let (dtype, blocks) = match kind {
            Kind::Plain(dtype) => (Ok(dtype), None),
            Kind::Blocks(blocks) => (Ok(DType::F32), Some(blocks)),
            Kind::Unread(name) => (Err(name.into()), None),
        };
        tensors.push((name, Stored { source: source.clone(), start, dtype, shape, strides: None, blocks, shift: 0.0 }));
    }
    spans.sort_unstable();
    match spans.windows(2).find(|pair| pair[1].0 < pair[0].1) {
        Some(pair) => Err(format!("its tensors {:?} and {:?} share bytes", tensors[pair[0].2].0, tensors[pair[1].2].0)),
        None => Ok(tensors),
    }
}

/// How many bytes a tensor takes; `None` where that is not known because its type is not read.
fn bytes(kind: &Kind, shape: &[usize]) -> Outcome<Option<u64>> {
    let (block, size) = match kind {
        Kind::Plain(dtype) => (1, dtype.size_in_bytes()),
        Kind::Blocks(blocks) => (blocks.block_size(), blocks.type_size()),
        Kind::Unread(_) => return Ok(None),
    };
    let row = shape.last().copied().unwrap_or(1);
    if !row.is_multiple_of(block) {
        return Err(format!("has rows of {row} numbers, but its type stores {block} together"));
    }
    let count = shape.iter().try_fold(1u64, |product, size| product.checked_mul(*size as u64));
    let bytes = count.and_then(|count| (count / block as u64).checked_mul(size as u64));
    bytes.map(Some).ok_or_else(|| format!("has the shape {shape:?}, which is too large for any file"))
}
