//! Models by name: the embedded one, a folder, or an id of the Hugging Face hub.

use std::fs;
use std::path::Path;

use candle_core::Device;

use super::load::Folder;
use super::process::Processing;
use super::tiny;
use super::transformer::HookedTransformer;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// TransformerLens' names for models of the hub.
const ALIASES: &[(&str, &str)] = &[
    ("gpt2", "openai-community/gpt2"),
    ("gpt2-small", "openai-community/gpt2"),
    ("gpt2-medium", "openai-community/gpt2-medium"),
    ("gpt2-large", "openai-community/gpt2-large"),
    ("gpt2-xl", "openai-community/gpt2-xl"),
    ("distilgpt2", "distilbert/distilgpt2"),
    ("distillgpt2", "distilbert/distilgpt2"),
];

impl HookedTransformer {
    /// Loads a model on the CPU and processes its weights as TransformerLens does by default: norms folded, writing
    /// weights and unembedding centred, value biases folded.
    ///
    /// `name` is `"tiny"` (embedded in this crate, trained on the tasks of `datasets/`), a folder with `config.json`,
    /// `model.safetensors` and `tokenizer.json`, a TransformerLens name such as `"gpt2-small"`, or an id of the hub.
    ///
    /// # Errors
    /// A name that is none of these, files that are missing, cut off or of another architecture.
    pub fn from_pretrained(name: impl AsRef<str>) -> Result<Self> {
        load(name.as_ref(), None)
    }

    /// Loads a model as [`HookedTransformer::from_pretrained`] does, with its weights as they are: logits equal the
    /// original's, not only up to a constant.
    ///
    /// # Errors
    /// As [`HookedTransformer::from_pretrained`].
    pub fn from_pretrained_no_processing(name: impl AsRef<str>) -> Result<Self> {
        load(name.as_ref(), Some(Processing::NONE))
    }

    /// Loads a model with the processing given.
    ///
    /// # Errors
    /// As [`HookedTransformer::from_pretrained`], and for processing that the architecture does not allow.
    pub fn from_pretrained_with(name: impl AsRef<str>, processing: Processing) -> Result<Self> {
        load(name.as_ref(), Some(processing))
    }
}

fn load(name: &str, processing: Option<Processing>) -> Result<HookedTransformer> {
    let device = Device::Cpu;
    if name == tiny::NAME {
        return tiny::folder().model(name, processing, &device);
    }
    let path = Path::new(name);
    if path.is_dir() {
        return Folder::read(path)?.model(name, processing, &device);
    }
    if path.exists() || name.starts_with(['.', '/', '~']) || name.contains('\\') {
        return Err(Error::file(path, "is no folder: give a folder with config.json and model.safetensors."));
    }
    let id = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, id)| id);
    if !id.contains('/') || id.split('/').count() != 2 || id.contains(char::is_whitespace) {
        let nearest = ALIASES.iter().map(|(alias, _)| *alias).chain([tiny::NAME]);
        let nearest = nearest.min_by_key(|alias| strsim::damerau_levenshtein(alias, name)).expect("there are names");
        return Err(Error::argument(format!(
            "no model is called {name:?}, and there is no such folder; the nearest name is {nearest:?}. \
             Give \"tiny\", a folder, or a hub id such as \"openai-community/gpt2\"."
        )));
    }
    download(id)?.model(name, processing, &device)
}

/// How far the download of a file is, as hf-hub tells it.
struct Download(Option<Progress>);

impl hf_hub::api::Progress for Download {
    fn init(&mut self, size: usize, file: &str) {
        self.0 = Some(Progress::new(format!("fetching {file}"), size as u64, Progress::BYTES));
    }

    fn update(&mut self, size: usize) {
        if let Some(progress) = &mut self.0 {
            progress.step(size as u64);
        }
    }

    fn finish(&mut self) {
        self.0 = None;
    }
}

/// The files of a hub model, from hf-hub's cache or fetched into it.
fn download(id: &str) -> Result<Folder> {
    let fetch = |file: &str| -> std::result::Result<Vec<u8>, String> {
        let path = match hf_hub::Cache::from_env().model(id.to_string()).get(file) {
            Some(path) => path,
            None => {
                let api = hf_hub::api::sync::ApiBuilder::from_env().build().map_err(|e| e.to_string())?;
                api.model(id.to_string()).download_with_progress(file, Download(None)).map_err(|e| e.to_string())?
            }
        };
        fs::read(path).map_err(|e| e.to_string())
    };
    let needed = |file: &str| {
        fetch(file).map_err(|error| {
            Error::file(
                format!("{id}/{file}"),
                format!(
                    "could not be fetched from the hub ({error}): check the name and the network, or give a folder."
                ),
            )
        })
    };
    let config = needed("config.json")?;
    Ok(Folder {
        path: id.into(),
        config,
        weights: needed("model.safetensors")?,
        tokenizer: Some(needed("tokenizer.json")?),
        tokenizer_config: fetch("tokenizer_config.json").ok(),
    })
}
