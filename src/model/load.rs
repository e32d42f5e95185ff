//! Models from files: a folder in Hugging Face's layout, with every mistake in it found and named.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value};

use super::config::HookedTransformerConfig;
use super::families::{self, gpt2, transformer_lens};
use super::process::Processing;
use super::transformer::HookedTransformer;
use crate::error::{Error, Result};
use crate::files;
use crate::tokens::Tokenizer;

/// The named tensors of a file, taken one by one; what is wrong is collected and told at the end, all of it.
pub(super) struct TensorFile {
    path: PathBuf,
    tensors: HashMap<String, Tensor>,
    faults: Vec<String>,
    device: Device,
}

impl TensorFile {
    /// Reads a safetensors file.
    ///
    /// # Errors
    /// [`Error::File`] when the bytes are not a whole safetensors file.
    fn parse(path: &Path, bytes: &[u8], device: &Device) -> Result<Self> {
        let tensors = candle_core::safetensors::load_buffer(bytes, device).map_err(|error| {
            Error::file(
                path,
                format!(
                    "these {} bytes are no whole safetensors file ({error}): it may be cut off or something else; fetch it again.",
                    bytes.len()
                ),
            )
        })?;
        Ok(Self { path: path.into(), tensors, faults: Vec::new(), device: device.clone() })
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    pub(super) fn strip_prefix(&mut self, prefix: &str) {
        let renamed = self.tensors.drain().map(|(name, tensor)| match name.strip_prefix(prefix) {
            Some(rest) => (rest.to_string(), tensor),
            None => (name, tensor),
        });
        self.tensors = renamed.collect();
    }

    pub(super) fn ignore(&mut self, unneeded: impl Fn(&str) -> bool) {
        self.tensors.retain(|name, _| !unneeded(name));
    }

    /// The tensor of this name as f32; a fault (and zeros, which [`TensorFile::finish`] never lets out) without it.
    pub(super) fn take(&mut self, name: &str, shape: &[usize]) -> Tensor {
        self.take_optional(name, shape).unwrap_or_else(|| {
            self.faults.push(format!("{name} {shape:?} is missing"));
            self.placeholder(shape)
        })
    }

    pub(super) fn take_optional(&mut self, name: &str, shape: &[usize]) -> Option<Tensor> {
        let tensor = self.tensors.remove(name)?;
        if tensor.dims() != shape {
            self.faults.push(format!("{name} has shape {:?} but the config makes it {shape:?}", tensor.dims()));
            return Some(self.placeholder(shape));
        }
        match tensor.to_dtype(DType::F32) {
            Ok(tensor) => Some(tensor),
            Err(error) => {
                self.faults.push(format!("{name} of type {:?} cannot be read as f32 ({error})", tensor.dtype()));
                Some(self.placeholder(shape))
            }
        }
    }

    /// A stand-in of the right shape that takes no memory, so that all faults are found before one is told.
    fn placeholder(&self, shape: &[usize]) -> Tensor {
        let zero = Tensor::zeros((), DType::F32, &self.device).expect("one number fits");
        zero.broadcast_as(shape).expect("one number broadcasts to any shape")
    }

    /// Tells every fault, and what nobody took.
    ///
    /// # Errors
    /// [`Error::File`] if there is any.
    pub(super) fn finish(&mut self) -> Result<()> {
        let left: BTreeSet<&String> = self.tensors.keys().collect();
        self.faults.extend(left.iter().map(|name| format!("{name} is unexpected")));
        if self.faults.is_empty() {
            return Ok(());
        }
        const SHOWN: usize = 12;
        let more = self.faults.len().saturating_sub(SHOWN);
        let mut list = self.faults.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
        if more > 0 {
            list += &format!("; and {more} more");
        }
        Err(Error::file(
            &self.path,
            format!("the tensors do not fit the config: {list}. Is this file of the same model?"),
        ))
    }
}

/// The three files of a model, read but not yet understood.
pub(super) struct Folder {
    /// Where they came from, for messages.
    pub path: PathBuf,
    /// config.json
    pub config: Vec<u8>,
    /// model.safetensors
    pub weights: Vec<u8>,
    /// tokenizer.json, if there is one
    pub tokenizer: Option<Vec<u8>>,
    /// tokenizer_config.json, which names the special tokens, if there is one
    pub tokenizer_config: Option<Vec<u8>>,
}

impl Folder {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let read = |name: &str| {
            let file = path.join(name);
            fs::read(&file).map_err(|error| {
                Error::file(
                    &file,
                    format!("cannot be read ({error}): a model's folder needs config.json and model.safetensors, and tokenizer.json for text."),
                )
            })
        };
        let if_there = |name: &str| path.join(name).exists().then(|| read(name)).transpose();
        Ok(Self {
            path: path.into(),
            config: read("config.json")?,
            weights: read("model.safetensors")?,
            tokenizer: if_there("tokenizer.json")?,
            tokenizer_config: if_there("tokenizer_config.json")?,
        })
    }

    /// The model in these files, with `processing` applied.
    pub(super) fn model(
        self,
        name: &str,
        processing: Option<Processing>,
        device: &Device,
    ) -> Result<HookedTransformer> {
        let config_path = self.path.join("config.json");
        let json: Map<String, Value> = serde_json::from_slice(&self.config)
            .map_err(|error| Error::file(&config_path, format!("is no JSON object ({error}): fetch it again.")))?;
        let mut understood = families::understand(&json).map_err(|error| error.in_file(&config_path))?;
        understood.cfg.model_name = name.into();
        let mut file = TensorFile::parse(&self.path.join("model.safetensors"), &self.weights, device)?;
        let weights = understood.weights(&mut file)?;
        let cfg = understood.cfg;
        let mut model = HookedTransformer { cfg, weights, tokenizer: None, processing: Processing::NONE };
        if let Some(bytes) = &self.tokenizer {
            let path = self.path.join("tokenizer.json");
            let tokenizer = Tokenizer::from_parts(&path, bytes, self.tokenizer_config.as_deref())?;
            check_vocabulary(&self.path, &tokenizer, &model.cfg)?;
            model = model.with_tokenizer(tokenizer);
        }
        let processing = processing.unwrap_or_else(|| Processing::default_for(&model.cfg));
        model.process(&processing)
    }
}

/// A tokenizer with more tokens than the embedding is another model's.
fn check_vocabulary(path: &Path, tokenizer: &Tokenizer, cfg: &HookedTransformerConfig) -> Result<()> {
    if tokenizer.vocab_size() > cfg.d_vocab {
        return Err(Error::file(
            path.join("tokenizer.json"),
            format!(
                "knows {} tokens, but the model's vocab_size is {}: it is another model's tokenizer.",
                tokenizer.vocab_size(),
                cfg.d_vocab
            ),
        ));
    }
    Ok(())
}

impl HookedTransformer {
    /// A model of this config from tensors in TransformerLens' own format (`blocks.0.attn.W_Q`, ..), as small
    /// research models are often stored. `path` is a safetensors file. The weights are not processed.
    ///
    /// # Errors
    /// A config that cannot be a model's, a file that is cut off, tensors that are missing, unexpected or of another shape.
    pub fn from_transformer_lens(cfg: HookedTransformerConfig, path: impl AsRef<Path>) -> Result<Self> {
        cfg.check()?;
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|error| Error::file(path, format!("cannot be read ({error}).")))?;
        let mut file = TensorFile::parse(path, &bytes, &Device::Cpu)?;
        let weights = transformer_lens::weights(&mut file, &cfg)?;
        Ok(Self { cfg, weights, tokenizer: None, processing: Processing::NONE })
    }

    /// Writes `config.json` and `model.safetensors` (Hugging Face's GPT-2 layout) into `folder`, so that
    /// [`HookedTransformer::from_pretrained_no_processing`] and Python's `transformers` read the same model back.
    /// Each file is written whole or not at all.
    ///
    /// # Errors
    /// A processed model, or one that GPT-2's layout cannot hold; a folder that cannot be written.
    pub fn save_pretrained(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        let tensors: BTreeMap<String, Tensor> = gpt2::tensors(&self.weights, &self.cfg)?.into_iter().collect();
        let end_of_text = self.tokenizer.as_ref().and_then(Tokenizer::eos_id);
        let config =
            serde_json::to_vec_pretty(&gpt2::config_json(&self.cfg, gpt2::is_tied(&self.weights)?, end_of_text))
                .expect("a JSON value");
        fs::create_dir_all(folder)
            .map_err(|error| Error::file(folder, format!("the folder could not be made ({error}).")))?;
        files::write_tensors(&folder.join("model.safetensors"), &BTreeMap::new(), &tensors)?;
        files::write_whole(&folder.join("config.json"), |out| out.write_all(&config))
    }
}
