//! Files that are whole or not there, and values stored in them with all that belongs to them.
//!
//! A stored value is a safetensors file, which Python reads too. Its metadata says what it is (`kind`), who wrote it
//! when (`version`, `written`), what the numbers mean (`about`, JSON), and a checksum of all of it (`crc32`).

mod json;
mod whole;

pub(crate) use json::read_json;
pub(crate) use whole::{Part, write_whole};

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use candle_core::{DType, Device, Tensor};
use safetensors::View;
use safetensors::tensor::{Metadata, SafeTensors};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::progress::Progress;

/// The version that writes.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How many bytes are written or summed at once.
const PIECE: usize = 1 << 20;

/// Writes tensors as what will be a safetensors file.
///
/// # Errors
/// As [`write_whole`]; a tensor whose type the format does not have.
pub(crate) fn tensors_part(
    path: &Path,
    metadata: &BTreeMap<&str, String>,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<Part> {
    let mut named = in_memory(path, tensors)?;
    // The widest numbers first, so that each tensor starts at a multiple of its number's size.
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
                progress.step(piece.len() as u64);
                Ok(())
            })
        })
    })
}

/// The tensors in host memory, each of a type that can be written.
fn in_memory<'a>(path: &Path, tensors: &'a BTreeMap<String, Tensor>) -> Result<Vec<(&'a String, Tensor)>> {
    let each = |(name, tensor): (&'a String, &Tensor)| match tensor.dtype() {
        DType::F6E2M3 | DType::F6E3M2 | DType::F4 | DType::F8E8M0 => {
            Err(Error::file(path, format!("cannot hold {name} of type {:?}: convert it first.", tensor.dtype())))
        }
        _ => Ok((name, tensor.to_device(&Device::Cpu)?)),
    };
    tensors.iter().map(each).collect()
}

/// Stores a value of this `kind`: its tensors, and `about`, everything else that belongs to it.
///
/// # Errors
/// As [`tensors_part`].
pub(crate) fn store(path: &Path, kind: &str, about: &impl Serialize, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let _saving = Progress::opaque(format!("saving {}", path.display()));
    let about = serde_json::to_string(about).expect("plain data is JSON");
    let mut metadata =
        BTreeMap::from([("kind", kind.into()), ("version", VERSION.into()), ("written", now()), ("about", about)]);
    let sum = checksum(metadata.values(), &in_memory(path, tensors)?);
    metadata.insert("crc32", sum);
    tensors_part(path, &metadata, tensors)?.give_name()
}

/// Reads back what [`store`] wrote, on the CPU, and checks that it is that.
///
/// # Errors
/// [`Error::File`]: a file that cannot be read, is cut off, foreign, damaged, or of another kind.
pub(crate) fn restore<A: DeserializeOwned>(path: &Path, kind: &str) -> Result<(A, BTreeMap<String, Tensor>)> {
    let wrong = |message: String| Error::file(path, message);
    let _loading = Progress::opaque(format!("loading {}", path.display()));
    let bytes = fs::read(path).map_err(|error| wrong(format!("cannot be read ({error}): check the path.")))?;
    let cut = |error: &dyn std::fmt::Display| {
        wrong(format!(
            "these {} bytes are no whole safetensors file ({error}): it may be cut off or something else.",
            bytes.len()
        ))
    };
    let (length, header) = SafeTensors::read_metadata(&bytes).map_err(|error| cut(&error))?;
    json::check_keys(&bytes[8..8 + length]).map_err(|error| cut(&error))?;
    let [kind_found, version, written, about, sum] = entries(&header).ok_or_else(|| {
        wrong("is a safetensors file, but not one that candle-lens saved: it says nothing of its kind.".into())
    })?;
    if kind_found != kind {
        return Err(wrong(format!(
            "holds a value of the kind {kind_found:?}, but {kind:?} was asked for: load it as what it is."
        )));
    }
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|error| cut(&error))?;
    let tensors: BTreeMap<String, Tensor> = tensors.into_iter().collect();
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

fn entries(header: &Metadata) -> Option<[&String; 5]> {
    let metadata = header.metadata().as_ref()?;
    let [kind, version, written, about, sum] =
        ["kind", "version", "written", "about", "crc32"].map(|key| metadata.get(key));
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

/// This moment, as in `2025-01-31 12:00:05 UTC`.
pub(crate) fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    utc(since.as_secs())
}

/// The date and time of a second since 1970 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(seconds), date);
        }
    }
}
