//! Models that are split into several files: `name-00001-of-00003.gguf` and so on.
//!
//! Reference: llama.cpp's `tools/gguf-split`. The first file has all metadata; each says how many there are.

use std::path::{Path, PathBuf};

use super::{Gguf, Source, one};
use crate::error::{Error, Result};
use crate::storage::hub::Parts;

/// How many missing files a message names.
const SHOWN: usize = 8;

/// `read` itself where it is the whole model, or else with the tensors of all files of its split.
///
/// # Errors
/// [`Error::File`] for files that are missing, damaged or of another split.
pub(super) fn complete(path: &Path, read: Gguf) -> Result<Gguf> {
    let count = read.metadata.size("split.count")?.unwrap_or(1);
    if count <= 1 {
        return Ok(read);
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let names = Some(Parts::names(name).collect::<Vec<_>>()).filter(|names| names.len() == count).ok_or_else(|| {
        Error::file(
            path,
            format!(
                "is one of {count} files of a split model, so its name must end in -NNNNN-of-{count:05}.gguf, such as \
                 -00001-of-{count:05}.gguf: give the files back the names under which they were published."
            ),
        )
    })?;
    let paths: Vec<PathBuf> = names.iter().map(|name| path.with_file_name(name)).collect();
    let missing: Vec<&str> =
        names.iter().zip(&paths).filter(|(_, path)| !path.exists()).map(|(name, _)| name.as_str()).collect();
    if !missing.is_empty() {
        let more = match missing.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let list = missing[..missing.len().min(SHOWN)].join(", ");
        return Err(Error::file(
            path,
            format!(
                "is one of {count} files of a split model, of which these are missing: {list}{more}. Download them into the same folder."
            ),
        ));
    }
    together(&paths, path, read)
}

/// The metadata of the first file and the tensors of all.
fn together(paths: &[PathBuf], known: &Path, read: Gguf) -> Result<Gguf> {
    let mut read = Some(read);
    let mut whole: Option<Gguf> = None;
    for (number, path) in paths.iter().enumerate() {
        let part = match read.take_if(|_| path == known) {
            Some(part) => part,
            None => one(path, Source::open(path)?)?,
        };
        let (no, count) = (part.metadata.size("split.no")?, part.metadata.size("split.count")?);
        if (no, count) != (Some(number), Some(paths.len())) {
            let said = |value: Option<usize>| value.map_or("nothing".into(), |value| value.to_string());
            return Err(Error::file(
                path,
                format!(
                    "should be number {number} (from 0) of {} files by its name, but its split.no is {} and its split.count \
                     {}: download it again.",
                    paths.len(),
                    said(no),
                    said(count)
                ),
            ));
        }
        match &mut whole {
            None => whole = Some(part),
            Some(whole) => whole.tensors.extend(part.tensors),
        }
    }
    let whole = whole.expect("a split has at least two files");
    let stated = whole.metadata.size("split.tensors.count")?;
    if stated.is_some_and(|stated| stated != whole.tensors.len()) {
        return Err(Error::file(
            known,
            format!(
                "is one of {} files of a split model that has {} tensors, but together they have {}: the files are of \
                 different models, so download them again.",
                paths.len(),
                stated.unwrap_or_default(),
                whole.tensors.len()
            ),
        ));
    }
    Ok(whole)
}
