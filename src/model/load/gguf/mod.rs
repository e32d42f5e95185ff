//! Models in GGUF files: metadata and tensors in the words of `transformers`, which the families read. One table for
//! each architecture says which key of a `config.json` a key of the metadata is, and which tensor of `transformers` a
//! tensor is.
//!
//! Reference: llama.cpp's `convert_hf_to_gguf.py`, which is undone here, and `llama-model.cpp` for what it leaves out
//! because llama.cpp knows it.

mod architectures;
mod keys;
mod kinds;
mod rotary;
mod tensors;

use std::path::Path;

use super::families::{self, Understood};
use crate::error::{Error, Result};
use crate::storage::{GgufMetadata, Named, gguf};

/// A model of a GGUF file, without its tokenizer.
pub(super) struct GgufModel {
    pub understood: Understood,
    /// With the names, shapes and numbers that `transformers` gives them.
    pub tensors: Vec<Named>,
    pub metadata: GgufMetadata,
    /// How its numbers are stored.
    pub kinds: String,
    /// The ids that end a text.
    pub end_ids: Vec<u32>,
}

/// Reads a model; `ignored` are keys of its metadata that the user takes as harmless.
///
/// # Errors
/// [`Error::File`]: a damaged file, an architecture or a type of tensors that is not supported, a key that is not
/// understood.
pub(super) fn read(path: &Path, ignored: &[String]) -> Result<GgufModel> {
    let gguf::Gguf { metadata, mut tensors } = gguf::read(path)?;
    kinds::check(path, &tensors)?;
    let architecture = architectures::of(&metadata)?;
    let mut keys = keys::Keys::new(architecture, &metadata, &mut tensors);
    keys.translate()?;
    let keys::Config { json, frequencies } = keys.finish(ignored)?;
    let mut understood = families::understand(&json, &[]).map_err(|error| {
        // The families speak of the file that they usually read, which a user of this one cannot correct.
        let said = error.sentence().replace("config.json", "its header");
        let ours = ": take another file of this model, or convert it again.";
        let said = said.replace(": correct it.", ours).replace(": correct the config.", ours);
        Error::file(path, format!("its metadata, read as a config.json: {said}"))
    })?;
    if let Some(frequencies) = frequencies {
        rotary::divide(&mut understood.cfg, frequencies).map_err(|error| error.in_file(path))?;
    }
    if let Some(adds) = metadata.bool("tokenizer.ggml.add_bos_token")? {
        understood.cfg.default_prepend_bos = adds;
    }
    let kinds = kinds::described(&metadata, &tensors)?;
    let tensors = tensors::translated(architecture, &understood.cfg, tensors);
    let end_ids = end_ids(&metadata)?;
    Ok(GgufModel { understood, tensors, metadata, kinds, end_ids })
}

/// The ids after which a text ends: of the whole, of a turn, of a message to a tool.
fn end_ids(metadata: &GgufMetadata) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    for end in ["eos", "eot", "eom"] {
        if let Some(id) = metadata.u32(&format!("tokenizer.ggml.{end}_token_id"))?
            && !ids.contains(&id)
        {
            ids.push(id);
        }
    }
    Ok(ids)
}
