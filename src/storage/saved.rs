//! Values stored in files with all that belongs to them.
//!
//! A stored value is a safetensors file, which Python reads too. Its metadata says what it is (`kind`), who wrote it
//! when (`version`, `written`), what the numbers mean (`about`, JSON), and a checksum of all of it (`crc32`).

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
use crate::progress::Progress;

/// How many bytes are summed at once.
const PIECE: usize = 1 << 20;

/// Stores a value of this `kind`: its tensors, and `about`, everything else that belongs to it.
///
/// # Errors
/// As [`part`].
pub(crate) fn store(path: &Path, kind: &str, about: &impl Serialize, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let _saving = Progress::opaque(format!("saving {}", path.display()));
    let about = serde_json::to_string(about).expect("plain data is JSON");
    let mut metadata =
        BTreeMap::from([("kind", kind.into()), ("version", VERSION.into()), ("written", now()), ("about", about)]);
    let sum = checksum(metadata.values(), &in_memory(path, tensors)?);
    metadata.insert("crc32", sum);
    part(path, &metadata, tensors)?.give_name()
}

/// Reads back what [`store`] wrote, on the CPU, and checks that it is that.
///
/// # Errors
/// [`Error::File`]: a file that cannot be read, is cut off, foreign, damaged, or of another kind.
pub(crate) fn restore<A: DeserializeOwned>(path: &Path, kind: &str) -> Result<(A, BTreeMap<String, Tensor>)> {
    let wrong = |message: String| Error::file(path, message);
    let _loading = Progress::opaque(format!("loading {}", path.display()));
    let (stored, texts) = read(path, Source::open(path)?)?;
    let [kind_found, version, written, about, sum] = entries(&texts).ok_or_else(|| {
        wrong("is a safetensors file, but not one that candle-lens saved: it says nothing of its kind.".into())
    })?;
    if kind_found != kind {
        return Err(wrong(format!(
            "holds a value of the kind {kind_found:?}, but {kind:?} was asked for: load it as what it is."
        )));
    }
    let tensors: BTreeMap<String, Tensor> = stored
        .into_iter()
        .map(|(name, stored)| match stored.tensor() {
            Ok(tensor) => Ok((name, tensor)),
            Err(why) => Err(wrong(format!("{name} in it {why}: copy or save it anew."))),
        })
        .collect::<Result<_>>()?;
    if *sum != checksum([about, kind_found, version, written].into_iter(), &in_memory(path, &tensors)?) {
        return Err(wrong(
            "is not as it was written: its checksum differs, so numbers or labels are damaged, missing or changed. \
             Copy or save it anew."
                .into(),
        ));
    }
    let about = serde_json::from_str(about).map_err(|error| {
        wrong(format!(
            "was written by candle-lens {version}, whose form this version {VERSION} does not read ({error})."
        ))
    })?;
    Ok((about, tensors))
}

/// The tensor of this name, taken out.
///
/// # Errors
/// [`Error::File`] naming what is missing.
pub(crate) fn take(path: &Path, tensors: &mut BTreeMap<String, Tensor>, name: &str) -> Result<Tensor> {
    tensors.remove(name).ok_or_else(|| Error::file(path, format!("the tensor {name:?} is missing: save it anew.")))
}

fn entries(texts: &HashMap<String, String>) -> Option<[&String; 5]> {
    let [kind, version, written, about, sum] =
        ["kind", "version", "written", "about", "crc32"].map(|key| texts.get(key));
    Some([kind?, version?, written?, about?, sum?])
}

/// The CRC-32 of texts (in the order of their keys) and of tensors in the order of their names.
fn checksum<'a>(texts: impl Iterator<Item = &'a String>, tensors: &[(&String, Tensor)]) -> String {
    let mut crc = flate2::Crc::new();
    texts.for_each(|text| crc.update(text.as_bytes()));
    let bytes = tensors.iter().map(|(_, tensor)| tensor.data_len() as u64).sum();
    let mut progress = Progress::of("checking the sum", bytes, Progress::BYTES);
    for (name, tensor) in tensors {
        crc.update(format!("{name} {:?} {:?}", tensor.dtype(), tensor.dims()).as_bytes());
        for piece in tensor.data().chunks(PIECE) {
            crc.update(piece);
            progress.step(piece.len() as u64);
        }
    }
    format!("{:08x}", crc.sum())
}
