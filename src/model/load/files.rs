//! The files of a model: which they are, and what to report when one is missing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::fetched::Fetched;
use super::names::id_of;
use super::options::LoadOptions;
use super::provenance::Origin;
use crate::error::{Error, Result};
use crate::storage::{Embedded, Hub, MAIN, Named, Place, Repo, Wanted, is_gguf, some_of};

/// Weights in one file; if there are several files, the index beside them; in each format, the better one first.
const WEIGHTS: [&str; 4] =
    ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];

/// What belongs in a model's folder.
const ADVICE: &str =
    "a model's folder needs config.json and model.safetensors, and tokenizer.json for text, or one GGUF file.";

/// Where the files of the model named `name` are, as [`HookedTransformer::from_pretrained`] understands names.
///
/// [`HookedTransformer::from_pretrained`]: crate::model::HookedTransformer::from_pretrained
///
/// # Errors
/// An unknown name, a revision of something that has no revisions.
pub(in crate::model) fn place(name: &str, options: &LoadOptions) -> Result<Place> {
    let path = Path::new(name);
    let local = if let Some(embedded) = Embedded::called(name) {
        Some(Place::Embedded(embedded))
    } else if path.is_dir() {
        Some(Place::Folder(path.into()))
    } else if path.is_file() && is_gguf(path) {
        Some(Place::Gguf(path.into()))
    } else {
        None
    };
    if let Some(local) = local {
        if options.revision.is_some() || options.step.is_some() {
            return Err(Error::argument(format!(
                "{name:?} has no revisions, only models of the hub have: leave revision and step out."
            )));
        }
        return Ok(local);
    }
    // A revision is the hub's, not that of the launcher's file.
    if options.revision.is_none() && options.step.is_none() && !path.exists() {
        let file = Fetched::called(name).and_then(Fetched::file);
        if let Some(file) = file.as_deref().and_then(Path::to_str) {
            return place(file, options);
        }
    }
    if path.exists() || name.starts_with(['.', '/', '~']) || name.contains('\\') {
        let message = "is neither a folder nor a GGUF file: give a folder with config.json and model.safetensors, a \
                       .gguf file, or the file of a checkpoint to HookedTransformer::from_checkpoint.";
        return Err(Error::file(path, message));
    }
    if path.extension().is_some_and(|kind| kind.eq_ignore_ascii_case("gguf")) && !name.contains(':') {
        return Err(Error::file(path, "does not exist: check the path of the GGUF file."));
    }
    let (name, behind) = match name.split_once('@') {
        Some((name, revision)) => (name, Some(revision)),
        None => (name, None),
    };
    let (id, wanted) = id_and_file(name)?;
    let step = options.step.map(|step| match id.starts_with("stanford-crfm/") {
        true => format!("checkpoint-{step}"),
        false => format!("step{step}"),
    });
    let said: BTreeSet<&str> = [behind, options.revision.as_deref(), step.as_deref()].into_iter().flatten().collect();
    if said.len() > 1 {
        let said: Vec<_> = said.into_iter().map(|revision| format!("{revision:?}")).collect();
        let said = said.join(" and ");
        return Err(Error::argument(format!("{id} was asked for in the revisions {said}: name one of them.")));
    }
    let hub = options.hub.clone().map_or_else(Hub::from_env, Ok)?;
    Ok(Place::Hub(Box::new(Repo::new(hub, id, said.first().unwrap_or(&MAIN), wanted)?)))
}

/// The hub's id of a model and, if a colon follows its name, the GGUF file there.
fn id_and_file(name: &str) -> Result<(&str, Option<Wanted>)> {
    let Some((id, file)) = name.split_once(':').and_then(|(model, file)| Some((id_of(model).ok()?, file))) else {
        return Ok((id_of(name)?, None));
    };
    Ok((id, Some(Wanted::new(id, file)?)))
}

/// The GGUF file that is the model, if it is one; in a folder, only where there are no other weights.
///
/// # Errors
/// [`Error::File`] if there is no such file, or several, or it could not be fetched.
pub(in crate::model) fn gguf(place: &mut Place) -> Result<Option<PathBuf>> {
    match place {
        Place::Folder(folder) if WEIGHTS.iter().any(|name| folder.join(name).exists()) => Ok(None),
        _ => place.gguf(),
    }
}

/// The contents of `config.json`.
///
/// # Errors
/// [`Error::File`] when there is none, or it cannot be read.
pub(in crate::model) fn config(place: &mut Place) -> Result<Vec<u8>> {
    if let Some(bytes) = place.find("config.json")? {
        return Ok(bytes);
    }
    check_adapter(place)?;
    check_gguf(place)?;
    Err(place.missing("config.json", ADVICE))
}

/// The tensors of all files of weights, and what messages call them.
///
/// # Errors
/// [`Error::File`] when there are none, or one is damaged.
pub(in crate::model) fn weights(place: &mut Place) -> Result<(PathBuf, Vec<Named>)> {
    if let Some(found) = place.tensors(&WEIGHTS)? {
        return Ok(found);
    }
    check_adapter(place)?;
    Err(place.missing(WEIGHTS[0], ADVICE))
}

/// Refuses a folder that holds only an adapter, from which no model can be made.
///
/// # Errors
/// [`Error::File`] that names the base model and says how the two are merged.
fn check_adapter(place: &mut Place) -> Result<()> {
    let Some(bytes) = place.find("adapter_config.json")? else { return Ok(()) };
    let config: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let text = |key: &str| config.get(key).and_then(Value::as_str);
    let base = text("base_model_name_or_path").map_or("its base model".into(), |base| format!("{base:?}"));
    let kind = text("peft_type").unwrap_or("peft");
    Err(Error::file(
        place.path(),
        format!(
            "holds an adapter and not a model ({kind}, see adapter_config.json) for {base}: in Python, load it with \
             peft's AutoPeftModelForCausalLM.from_pretrained, call merge_and_unload() and save_pretrained on what \
             that gives, and load the folder that this writes."
        ),
    ))
}

/// Refuses a hub model that consists of GGUF files, of which one has to be named.
///
/// # Errors
/// [`Error::File`] that names them.
fn check_gguf(place: &mut Place) -> Result<()> {
    let Place::Hub(repo) = place else { return Ok(()) };
    let there = repo.gguf_models();
    let Some(first) = there.first() else { return Ok(()) };
    let id = repo.id();
    Err(Error::file(
        id,
        format!(
            "holds no config.json, but GGUF files: give the name of one of them, or the quantisation that it ends \
             with, after a colon, as in \"{id}:{first}\". It has {}.",
            some_of(&there)
        ),
    ))
}

/// What a provenance says of where the files are; `kinds` is how the weights of a GGUF file are stored.
pub(in crate::model) fn origin(place: &Place, kinds: Option<&str>) -> Origin {
    let (source, revision) = match place {
        Place::Embedded(_) => ("embedded in candle-lens".into(), None),
        Place::Folder(path) => (format!("the folder {}", path.display()), None),
        Place::Gguf(path) => (format!("the file {}", path.display()), None),
        Place::Hub(repo) => (format!("{} of the hub", repo.name()), Some(repo.revision())),
    };
    let source = match kinds {
        Some(kinds) => format!("{source} (GGUF, {kinds})"),
        None => source,
    };
    Origin { revision, ..Origin::of(source) }
}
