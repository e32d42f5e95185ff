//! Saves values to files, with everything that belongs to them.
//!
//! A saved value is a safetensors file, which Python can read as well. Its metadata holds what it is (`kind`), which
//! version wrote it and when (`version`, `written`), what the numbers mean (`about`, JSON), and a checksum over
//! everything (`crc32`).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::Tensor;
use safetensors::View;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::safetensors::{in_memory, part, read};
use super::stored::Source;
use crate::error::{Error, Result};
use crate::files::{VERSION, now};
use crate::interrupt::check_interrupt;
use crate::progress::Progress;

/// The number of bytes that are added to the checksum at once.
const PIECE: usize = 1 << 20;

/// Saves a value of this `kind`: its tensors and, in `about`, everything else that belongs to it.
///
/// # Errors
/// As [`part`].
pub(crate) fn store(path: &Path, kind: &str, about: &impl Serialize, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let _saving = Progress::opaque(format!("saving {}", path.display()));
    let about = serde_json::to_string(about).expect("plain data is JSON");
    let mut metadata =
        BTreeMap::from([("kind", kind.into()), ("version", VERSION.into()), ("written", now()), ("about", about)]);
    let sum = checksum(metadata.values(), &in_memory(path, tensors)?)?;
    metadata.insert("crc32", sum);
    part(path, &metadata, tensors)?.give_name()
}

/// Reads back what [`store`] wrote, on the CPU, and verifies it.
///
/// # Errors
/// [`Error::File`]: a file that cannot be read, is cut off or damaged, was not saved by this crate, or is of another
/// kind.
pub(crate) fn restore<A: DeserializeOwned>(path: &Path, kind: &str) -> Result<(A, BTreeMap<String, Tensor>)> {
    let wrong = |message: String| Error::file(path, message);
    let _loading = Progress::opaque(format!("loading {}", path.display()));
    let (stored, texts) = read(path, Source::open(path)?)?;
    let [kind_found, version, written, about, sum] = entries(&texts).ok_or_else(|| {
        wrong("is a safetensors file, but not one that candle-lens saved: its metadata has no kind.".into())
    })?;
    if kind_found != kind {
        return Err(wrong(format!(
            "holds a value of the kind {kind_found:?}, but {kind:?} was requested: load it as what it is."
        )));
    }
    let tensors: BTreeMap<String, Tensor> = stored
        .into_iter()
        .map(|(name, stored)| match stored.tensor() {
            Ok(tensor) => check_interrupt().map(|()| (name, tensor)),
            Err(why) => Err(wrong(format!("its tensor {name} {why}: copy or save it again."))),
        })
        .collect::<Result<_>>()?;
    if *sum != checksum([about, kind_found, version, written].into_iter(), &in_memory(path, &tensors)?)? {
        return Err(wrong(
            "is not as it was written: its checksum differs, so numbers or labels are damaged, missing or changed. \
             Copy or save it again."
                .into(),
        ));
    }
    let about = serde_json::from_str(about).map_err(|error| {
        wrong(format!("was written by candle-lens {version}, whose format version {VERSION} cannot read ({error})."))
    })?;
    Ok((about, tensors))
}

/// Removes the tensor of this name and returns it.
///
/// # Errors
/// [`Error::File`] naming what is missing.
pub(crate) fn take(path: &Path, tensors: &mut BTreeMap<String, Tensor>, name: &str) -> Result<Tensor> {
    tensors.remove(name).ok_or_else(|| Error::file(path, format!("the tensor {name:?} is missing: save it again.")))
}

fn entries(texts: &HashMap<String, String>) -> Option<[&String; 5]> {
    let [kind, version, written, about, sum] =
        ["kind", "version", "written", "about", "crc32"].map(|key| texts.get(key));
    Some([kind?, version?, written?, about?, sum?])
}

/// The CRC-32 of texts in the order of their keys and of tensors in the order of their names.
///
/// # Errors
/// [`Error::Interrupted`].
fn checksum<'a>(texts: impl Iterator<Item = &'a String>, tensors: &[(&String, Tensor)]) -> Result<String> {
    let mut crc = flate2::Crc::new();
    texts.for_each(|text| crc.update(text.as_bytes()));
    let bytes = tensors.iter().map(|(_, tensor)| tensor.data_len() as u64).sum();
    let mut progress = Progress::of("computing the checksum", bytes, Progress::BYTES);
    for (name, tensor) in tensors {
        crc.update(format!("{name} {:?} {:?}", tensor.dtype(), tensor.dims()).as_bytes());
        for piece in tensor.data().chunks(PIECE) {
            crc.update(piece);
            progress.step(piece.len() as u64)?;
        }
    }
    Ok(format!("{:08x}", crc.sum()))
}
