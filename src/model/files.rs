//! The files of a model, wherever they are: in this binary, in a folder, or on the hub.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::hub::{Hub, MAIN, Repo, id_of, is_safe};
use super::options::LoadOptions;
use super::provenance::Origin;
use super::stored::{Source, Stored, check_pointer, safetensors};
use super::{tiny, torch};
use crate::error::{Error, Result};
use crate::files::read_json;

/// Weights in one file; if there are several files, the index beside them; in each format, the better one first.
const WEIGHTS: [&str; 4] =
    ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];

/// Where a model's files are.
pub(super) enum Files {
    Embedded,
    Folder(PathBuf),
    Hub(Box<Repo>),
}

impl Files {
    /// Those of the model that is called `name`, as [`super::HookedTransformer::from_pretrained`] understands names.
    ///
    /// # Errors
    /// A name that is none, a revision of something that has no revisions.
    pub(super) fn of(name: &str, options: &LoadOptions) -> Result<Self> {
        let path = Path::new(name);
        let local = if name == tiny::NAME {
            Some(Self::Embedded)
        } else if path.is_dir() {
            Some(Self::Folder(path.into()))
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
        if path.exists() || name.starts_with(['.', '/', '~']) || name.contains('\\') {
            let message = "is no folder: give a folder with config.json and model.safetensors, or the file of a \
                           checkpoint to HookedTransformer::from_checkpoint.";
            return Err(Error::file(path, message));
        }
        let (name, behind) = match name.split_once('@') {
            Some((name, revision)) => (name, Some(revision)),
            None => (name, None),
        };
        let id = id_of(name)?;
        let step = options.step.map(|step| match id.starts_with("stanford-crfm/") {
            true => format!("checkpoint-{step}"),
            false => format!("step{step}"),
        });
        let said: BTreeSet<&str> =
            [behind, options.revision.as_deref(), step.as_deref()].into_iter().flatten().collect();
        if said.len() > 1 {
            let said: Vec<_> = said.into_iter().map(|revision| format!("{revision:?}")).collect();
            let said = said.join(" and ");
            return Err(Error::argument(format!("{id} was asked for in the revisions {said}: name one of them.")));
        }
        let hub = options.hub.clone().map_or_else(Hub::from_env, Ok)?;
        Ok(Self::Hub(Box::new(Repo::new(hub, id, said.first().unwrap_or(&MAIN))?)))
    }

    /// What messages call the place of the files.
    pub(super) fn path(&self) -> PathBuf {
        match self {
            Self::Embedded => "the embedded model".into(),
            Self::Folder(path) => path.clone(),
            Self::Hub(repo) => repo.id().into(),
        }
    }

    /// The contents of a small file, if there is one.
    ///
    /// # Errors
    /// [`Error::File`] when there is one that cannot be read.
    pub(super) fn find(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = match self {
            Self::Embedded => return Ok(tiny::file(name).map(<[u8]>::to_vec)),
            Self::Folder(folder) => Some(folder.join(name)).filter(|path| path.exists()),
            Self::Hub(repo) => repo.find(name)?,
        };
        path.map(|path| read(&path)).transpose()
    }

    /// The contents of a small file that there must be.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read.
    pub(super) fn need(&mut self, name: &str) -> Result<Vec<u8>> {
        match self {
            Self::Embedded => Ok(tiny::file(name).unwrap_or_default().to_vec()),
            Self::Folder(folder) => read(&folder.join(name)),
            Self::Hub(repo) => read(&repo.need(name)?),
        }
    }

    /// The tensors of all files of weights, and what messages call them.
    ///
    /// # Errors
    /// [`Error::File`] when there are none, or one is damaged.
    pub(super) fn weights(&mut self) -> Result<(PathBuf, Vec<(String, Stored)>)> {
        let named = self.path();
        for name in WEIGHTS {
            let path = match self {
                Self::Embedded => {
                    let bytes = tiny::file(name).unwrap_or_default();
                    let path = named.join(name);
                    return Ok((path.clone(), safetensors(&path, Source::Memory(bytes))?));
                }
                Self::Folder(folder) => Some(folder.join(name)).filter(|path| path.exists()),
                Self::Hub(repo) => repo.find(name)?,
            };
            let Some(path) = path else { continue };
            let mut tensors = Vec::new();
            if name.ends_with(".json") {
                let parts = parts(&named.join(name), &read(&path)?)?;
                if let Self::Folder(folder) = self {
                    check_complete(&folder.join(name), folder, &parts)?;
                }
                for part in parts {
                    let path = match self {
                        Self::Hub(repo) => repo.need(&part)?,
                        _ => named.join(part),
                    };
                    tensors.extend(open(&path, None)?);
                }
            } else {
                tensors = open(&path, None)?;
            }
            return Ok((named.join(name), tensors));
        }
        self.check_adapter()?;
        match self {
            // The sentence about the file that there should be.
            Self::Hub(repo) => Err(repo.need(WEIGHTS[0]).err().unwrap_or_else(|| Error::argument("the hub changed."))),
            _ => Err(Source::open(&named.join(WEIGHTS[0])).err().unwrap_or_else(|| Error::argument("it came now."))),
        }
    }

    /// Refuses a folder of which no model can be made because it holds an adapter only.
    ///
    /// # Errors
    /// [`Error::File`] that names the base model and says how the two are merged.
    pub(super) fn check_adapter(&mut self) -> Result<()> {
        let Some(bytes) = self.find("adapter_config.json")? else { return Ok(()) };
        let config: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let text = |key: &str| config.get(key).and_then(Value::as_str);
        let base = text("base_model_name_or_path").map_or("its base model".into(), |base| format!("{base:?}"));
        let kind = text("peft_type").unwrap_or("peft");
        Err(Error::file(
            self.path(),
            format!(
                "holds no model but an adapter ({kind}, see adapter_config.json) for {base}: in Python, load it with \
                 peft's AutoPeftModelForCausalLM.from_pretrained, call merge_and_unload() and save_pretrained on what \
                 that gives, and load the folder that this writes."
            ),
        ))
    }

    /// All that was wanted has been read.
    ///
    /// # Errors
    /// [`Error::File`] when the hub's folder does not take the name of the revision.
    pub(super) fn complete(&self) -> Result<()> {
        match self {
            Self::Hub(repo) => repo.complete(),
            _ => Ok(()),
        }
    }

    pub(super) fn origin(&self) -> Origin {
        let (source, revision) = match self {
            Self::Embedded => ("embedded in candle-lens".into(), None),
            Self::Folder(path) => (format!("the folder {}", path.display()), None),
            Self::Hub(repo) => (format!("{} of the hub", repo.id()), Some(repo.revision())),
        };
        Origin { revision, ..Origin::of(source) }
    }
}

/// The tensors of a file in safetensors' or PyTorch's format, whichever it begins as.
///
/// # Errors
/// [`Error::File`] when it is neither, or damaged.
pub(super) fn open(path: &Path, key: Option<&str>) -> Result<Vec<(String, Stored)>> {
    let source = Source::open(path)?;
    let mut start = [0; 4];
    let _ = source.read(0, &mut start);
    // The header of a safetensors file is never as long as it would be if these were its length.
    let torch = matches!(&start, b"PK\x03\x04" | b"\x80\x02\x8a\x0a");
    if torch || path.extension().is_some_and(|kind| kind == "pt" || kind == "pth" || kind == "bin") {
        return torch::tensors(path, source, key);
    }
    if let Some(key) = key {
        let message = format!("is a safetensors file, which has no keys such as {key:?}: leave key out.");
        return Err(Error::file(path, message));
    }
    safetensors(path, source)
}

/// The files that an index names, each once.
fn parts(path: &Path, index: &[u8]) -> Result<BTreeSet<String>> {
    let wrong = |why: String| Error::file(path, format!("is no index of weights ({why}): fetch it again."));
    let index: Value = read_json(index).map_err(|error| wrong(error.to_string()))?;
    let map = index.get("weight_map").and_then(Value::as_object).filter(|map| !map.is_empty());
    let map = map.ok_or_else(|| wrong("it has no weight_map".into()))?;
    map.values()
        .map(|file| match file.as_str().filter(|file| is_safe(file)) {
            Some(file) => Ok(file.to_string()),
            None => Err(wrong(format!("{file} is no file beside it"))),
        })
        .collect()
}

/// Refuses a folder in which files are missing that the index names.
fn check_complete(index: &Path, folder: &Path, parts: &BTreeSet<String>) -> Result<()> {
    let missing: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !folder.join(part).exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::file(
        index,
        format!(
            "names files of weights, of which {} {} not beside it: download what is missing into this folder.",
            missing.join(", "),
            if missing.len() == 1 { "is" } else { "are" }
        ),
    ))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).map_err(|error| {
        Error::file(
            path,
            format!("cannot be read ({error}): a model's folder needs config.json and model.safetensors, and tokenizer.json for text."),
        )
    })?;
    check_pointer(path, &bytes)?;
    Ok(bytes)
}
