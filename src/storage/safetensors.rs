//! The only reader and the only writer of the safetensors format.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::rc::Rc;

use candle_core::{DType, Device, Tensor};
use safetensors::View;
use safetensors::tensor::Metadata;
use serde_json::{Value, json};

use super::stored::{Named, Source, Stored};
use crate::error::{Error, Result};
use crate::files::{Part, read_json};
use crate::progress::Progress;

/// The number of bytes that are written at once.
const PIECE: usize = 1 << 20;

/// The named tensors of a safetensors file, and the metadata of its header. The header is checked against the length of
/// the file before anything is read.
///
/// # Errors
/// [`Error::File`] if the bytes are not a complete safetensors file.
pub(super) fn read(path: &Path, source: Source) -> Result<(Vec<Named>, HashMap<String, String>)> {
    let len = source.len();
    let (data, header) = header(&source).map_err(|why| {
        let message = format!(
            "these {len} bytes are not a complete safetensors file ({why}): it may be cut off or in another format. \
             Get it again."
        );
        Error::file(path, message)
    })?;
    let source = Rc::new(source);
    let tensors = header.tensors().into_iter().map(|(name, info)| {
        let stored = Stored {
            source: source.clone(),
            start: data + info.data_offsets.0 as u64,
            dtype: DType::try_from(info.dtype).map_err(|_| format!("{:?}", info.dtype)),
            shape: info.shape.clone(),
            strides: None,
            blocks: None,
            shift: 0.0,
        };
        (name, stored)
    });
    Ok((tensors.collect(), header.metadata().clone().unwrap_or_default()))
}

/// The longest header that is read, in bytes, as in safetensors itself.
const LONGEST_HEADER: u64 = 100_000_000;

/// The format of a file that is not safetensors, by its first bytes.
fn other_kind(start: [u8; 8]) -> Option<&'static str> {
    match &start[..4] {
        b"GGUF" => Some("it is a GGUF file"),
        b"PK\x03\x04" => Some("it is a zip archive, as PyTorch writes: name it .pt and load it with from_checkpoint"),
        _ => None,
    }
}

/// The offset of the numbers, and the header, which must cover them to the last byte without gaps or overlaps.
fn header(source: &Source) -> std::result::Result<(u64, Metadata), String> {
    let mut length = [0; 8];
    source.read(0, &mut length).map_err(|_| "it ends before its header")?;
    if let Some(kind) = other_kind(length) {
        return Err(kind.into());
    }
    let length = u64::from_le_bytes(length);
    let data = length.checked_add(8).filter(|data| *data <= source.len());
    let data = data.ok_or_else(|| format!("it says that its header has {length} bytes, more than there are"))?;
    if length > LONGEST_HEADER {
        return Err(format!("it says that its header has {length} bytes, but at most {LONGEST_HEADER} are valid"));
    }
    let mut header = vec![0; usize::try_from(length).map_err(|_| "its header is too large")?];
    source.read(8, &mut header).map_err(|error| error.to_string())?;
    let header: Metadata = read_json(&header).map_err(|error| format!("its header is invalid: {error}"))?;
    let end = data.checked_add(header.data_len() as u64);
    if end != Some(source.len()) {
        return Err(format!("its header says that {} bytes follow, but {} do", header.data_len(), source.len() - data));
    }
    Ok((data, header))
}

/// Writes tensors to what will become a safetensors file.
///
/// # Errors
/// As [`write_whole`]; a tensor whose dtype the format does not have.
pub(crate) fn part(path: &Path, metadata: &BTreeMap<&str, String>, tensors: &BTreeMap<String, Tensor>) -> Result<Part> {
    let mut named = in_memory(path, tensors)?;
    // The widest dtypes come first, so that each tensor is aligned to the size of its numbers.
    named.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype().size_in_bytes()));
    let mut header = serde_json::Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".into(), json!(metadata));
    }
    let mut end = 0;
    for (name, tensor) in &named {
        let start = end;
        end += tensor.data_len();
        let info = json!({ "dtype": View::dtype(tensor), "shape": tensor.dims(), "data_offsets": [start, end] });
        header.insert((*name).clone(), info);
    }
    let mut header = Value::Object(header).to_string();
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    Part::write(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        let mut progress = Progress::of(format!("writing {}", path.display()), end as u64, Progress::BYTES);
        named.iter().try_for_each(|(_, tensor)| {
            let data = tensor.data();
            data.chunks(PIECE).try_for_each(|piece| {
                out.write_all(piece)?;
                progress.step(piece.len() as u64).map_err(io::Error::other)
            })
        })
    })
}

/// The tensors in host memory, each of a dtype that can be written.
pub(super) fn in_memory<'a>(path: &Path, tensors: &'a BTreeMap<String, Tensor>) -> Result<Vec<(&'a String, Tensor)>> {
    let each = |(name, tensor): (&'a String, &Tensor)| match tensor.dtype() {
        DType::F6E2M3 | DType::F6E3M2 | DType::F4 | DType::F8E8M0 => Err(Error::file(
            path,
            format!("cannot hold {name}, whose dtype is {:?}: convert it first.", tensor.dtype()),
        )),
        _ => Ok((name, tensor.to_device(&Device::Cpu)?)),
    };
    tensors.iter().map(each).collect()
}
