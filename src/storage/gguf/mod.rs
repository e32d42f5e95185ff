//! GGUF, the format of llama.cpp, Ollama and LM Studio: typed metadata and tensors, which may be quantised in blocks.
//! Nothing here knows what a key or a tensor means to a model.
//!
//! candle's own reader is not used for the header: it keeps each number of an array in 32 bytes, and divides by an
//! alignment of 0. Its blocks are used where quantised numbers are read (`storage/stored.rs`).
//!
//! The format is documented in ggml's `docs/gguf.md`.

mod kinds;
mod layout;
mod metadata;
mod reader;
mod split;

use std::path::Path;

pub(crate) use metadata::GgufMetadata;

use super::stored::{Named, Source};
use crate::error::{Error, Result};

/// The first bytes of a file.
pub(super) const MAGIC: &[u8] = b"GGUF";

/// What one GGUF file says, or several that one model was split into.
pub(crate) struct Gguf {
    pub metadata: GgufMetadata,
    pub tensors: Vec<Named>,
}

/// Reads the header of a file, and of all others of the same split; `path` is any one of them.
///
/// # Errors
/// [`Error::File`]: a file that cannot be read, is cut off, damaged, in version 1 or in another format; one of a split
/// that is missing or of another model.
pub(crate) fn read(path: &Path) -> Result<Gguf> {
    let first = one(path, Source::open(path)?)?;
    split::complete(path, first)
}

/// The header of one file.
fn one(path: &Path, source: Source) -> Result<Gguf> {
    let len = source.len();
    layout::parse(path, source).map_err(|why| {
        Error::file(
            path,
            format!(
                "these {len} bytes are not a complete GGUF file ({why}): it may be cut off or in another format. Get it \
                 again."
            ),
        )
    })
}
