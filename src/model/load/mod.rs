//! Models from their files, with every mistake in them found and named.

mod allowed;
mod config_json;
mod families;
mod fetched;
mod files;
mod gguf;
mod init;
mod names;
mod options;
mod pretrained;
mod process;
mod provenance;
mod refactor;
mod rotary_json;
mod save;
mod tensor_file;
mod tensor_names;

pub use options::{CheckpointOptions, LoadOptions};
pub use process::Processing;
pub use provenance::ModelProvenance;
pub(super) use provenance::Origin;

use std::path::{Path, PathBuf};

use candle_core::DType;
use serde_json::{Map, Value};

use super::config::HookedTransformerConfig;
use super::frozen::FrozenParts;
use super::transformer::HookedTransformer;
use crate::error::{Error, Result};
use crate::files::read_json;
use crate::progress;
use crate::storage::{Named, Place};
use crate::tokens::Tokenizer;
use families::Understood;
use process::Process;
use tensor_file::TensorFile;

/// What a model is before it has weights: a config and a tokenizer.
struct Plan {
    /// Where the config came from, for messages; none for one that the user built.
    config: Option<PathBuf>,
    understood: Understood,
    tokenizer: Option<Tokenizer>,
    /// What was skipped in the config.
    notes: Vec<String>,
    /// The ids that the files name as ends of a text.
    end_ids: Vec<u32>,
    /// The weights, where the file of the config has them as well.
    found: Option<Found>,
}

/// The weights of a model.
struct Found {
    /// What messages call their file, and what is in it.
    tensors: (PathBuf, Vec<Named>),
    /// How they are stored, where the file says that.
    kinds: Option<String>,
}

impl Plan {
    /// `ignored` are keys of the config that the user takes as harmless.
    ///
    /// # Errors
    /// An invalid config, or one of an architecture that is not supported, a tokenizer of another model.
    fn read(files: &mut Place, name: &str, ignored: &[String]) -> Result<Self> {
        if let Some(path) = files::gguf(files)? {
            return Self::of_gguf(files, &path, name, ignored);
        }
        let path = files.path();
        let config_path = path.join("config.json");
        let json: Map<String, Value> = read_json(&files::config(files)?)
            .map_err(|error| Error::file(&config_path, format!("is not a JSON object ({error}): fetch it again.")))?;
        let mut understood = understand(json, ignored).map_err(|error| error.in_file(&config_path))?;
        understood.cfg.model_name = name.into();
        let tokenizer = Tokenizer::from_files(&path, &mut |name| files.find(name))?;
        if let Some(tokenizer) = &tokenizer {
            tell_of_missing_rows(&path, tokenizer, understood.cfg.d_vocab);
            if let Some(prepend) = tokenizer.saved_prepend_bos() {
                understood.cfg.default_prepend_bos = prepend;
            }
        }
        let end_ids = Tokenizer::end_ids_of(&path, &mut |name| files.find(name))?;
        let notes = ignored.iter().map(|key| format!("config key {key:?} taken as harmless")).collect();
        Ok(Self { config: Some(config_path), understood, tokenizer, notes, end_ids, found: None })
    }

    /// As [`Plan::read`], of a GGUF file; a tokenizer beside it counts more than the one in it.
    fn of_gguf(files: &mut Place, path: &Path, name: &str, ignored: &[String]) -> Result<Self> {
        let gguf::GgufModel { mut understood, tensors, metadata, kinds, end_ids } = gguf::read(path, ignored)?;
        understood.cfg.model_name = name.into();
        let tokenizer = match files.find("tokenizer.json")? {
            Some(_) => Tokenizer::from_files(&files.path(), &mut |name| files.find(name))?,
            None => Tokenizer::from_gguf(&metadata)?,
        };
        if let Some(tokenizer) = &tokenizer {
            tell_of_missing_rows(path, tokenizer, understood.cfg.d_vocab);
            if let Some(prepend) = tokenizer.saved_prepend_bos() {
                understood.cfg.default_prepend_bos = prepend;
            }
        }
        let notes = ignored.iter().map(|key| format!("metadata key {key:?} taken as harmless")).collect();
        let found = Some(Found { tensors: (path.into(), tensors), kinds: Some(kinds) });
        Ok(Self { config: Some(path.into()), understood, tokenizer, notes, end_ids, found })
    }

    /// The weights of the model.
    ///
    /// # Errors
    /// [`Error::File`] if there are none, or one is damaged.
    fn weights(&mut self, files: &mut Place) -> Result<Found> {
        match self.found.take() {
            Some(found) => Ok(found),
            None => Ok(Found { tensors: files::weights(files)?, kinds: None }),
        }
    }

    /// A model of this config whose tensors have TransformerLens' names.
    fn transformer_lens(cfg: HookedTransformerConfig) -> Self {
        let understood = Understood::transformer_lens(cfg);
        Self { config: None, understood, tokenizer: None, notes: Vec::new(), end_ids: Vec::new(), found: None }
    }

    /// The model with these weights, truncated, processed and in the requested dtype.
    ///
    /// # Errors
    /// Options that do not fit, and every tensor that is missing, unexpected or of another shape.
    fn model(
        self,
        (path, tensors): (PathBuf, Vec<Named>),
        strip_prefix: Option<&str>,
        origin: Origin,
        options: &LoadOptions,
    ) -> Result<HookedTransformer> {
        let Self { mut understood, tokenizer, config, mut notes, end_ids, found: _ } = self;
        let whole = &mut understood.cfg;
        let cfg = cut(whole, options).map_err(|error| match config {
            Some(config) => error.in_file(config),
            None => error,
        })?;
        (whole.n_layers, whole.attn_types) = (cfg.n_layers, cfg.attn_types.clone());
        let processing = options.processing.unwrap_or_else(|| Processing::default_for(whole));
        let process = Process::new(processing, whole.clone(), options.dtype)?;
        let dtype = type_while_loading(processing, options.dtype, &tensors, understood.computes)?;
        let mut file = TensorFile::new(&path, tensors, dtype, &options.device);
        if let Some(prefix) = strip_prefix {
            if !file.names().any(|name| name.starts_with(prefix)) {
                let some = file.names().next().unwrap_or("none");
                return Err(Error::file(
                    path,
                    format!(
                        "has no name of a tensor that begins with the strip_prefix {prefix:?}, the first is {some:?}: \
                         leave strip_prefix out or correct it."
                    ),
                ));
            }
            file.strip_prefix(prefix);
        }
        if options.first_n_layers.is_some() {
            file.ignore(|name| families::layer_of(name).is_some_and(|layer| layer >= cfg.n_layers));
        }
        let mut weights = understood.layout.weights(&mut file, &process, understood.tied)?;
        if let Some(w_pos) = weights.w_pos.as_mut().filter(|_| options.n_ctx.is_some()) {
            *w_pos = w_pos.narrow(0, 0, cfg.n_ctx)?.copy()?;
        }
        notes.extend_from_slice(file.notes());
        let origin = Origin { crc32: Some(file.crc32()), notes, ..origin };
        let model = HookedTransformer {
            cfg: cfg.into(),
            weights,
            tokenizer: None,
            end_ids,
            processing: Processing::NONE,
            origin,
            frozen: FrozenParts::default(),
            spliced: Default::default(),
        };
        let model = model.processed_by(&process);
        Ok(match tokenizer {
            Some(tokenizer) => model.with_tokenizer(tokenizer),
            None => model,
        })
    }
}

/// The config that a `config.json` gives, of transformers or of TransformerLens.
///
/// # Errors
/// What is missing, or not understood; ignored keys that are not there or are understood.
fn understand(mut json: Map<String, Value>, ignored: &[String]) -> Result<Understood> {
    if !HookedTransformerConfig::is_transformer_lens(&json) {
        return families::understand(&json, ignored);
    }
    for key in ignored {
        if json.remove(key).is_none() {
            return Err(Error::config(format!(
                "ignore_config_keys names {key:?}, but config.json has no such key: leave it out."
            )));
        }
    }
    Ok(Understood::transformer_lens(HookedTransformerConfig::from_fields(json)?))
}

/// The config with the layers and positions that were asked for.
///
/// # Errors
/// [`Error::Config`] for more than there are, or none.
fn cut(cfg: &HookedTransformerConfig, options: &LoadOptions) -> Result<HookedTransformerConfig> {
    let mut cfg = cfg.clone();
    if let Some(n) = options.first_n_layers {
        if n > cfg.n_layers {
            return Err(Error::config(format!(
                "has {} layers, but the first_n_layers of the options are {n}: 0 to {} are valid.",
                cfg.n_layers, cfg.n_layers
            )));
        }
        cfg.n_layers = n;
        if let Some(types) = &mut cfg.attn_types {
            types.truncate(n);
        }
    }
    if let Some(n) = options.n_ctx {
        if n == 0 || n > cfg.n_ctx {
            return Err(Error::config(format!(
                "has learned {} positions, but n_ctx of the options is {n}: 1 to {} are valid, for a position that was \
                 never trained has no meaning.",
                cfg.n_ctx, cfg.n_ctx
            )));
        }
        cfg.n_ctx = n;
    }
    Ok(cfg)
}

/// The dtype in which weights are read: their own where that is requested, so that only what is being processed is
/// wide; else f32, so that nothing is rounded before it is processed. `family_computes` where already reading computes
/// with them.
///
/// # Errors
/// [`Error::Argument`] for a dtype that weights cannot have.
fn type_while_loading(
    processing: Processing,
    wanted: DType,
    tensors: &[Named],
    family_computes: bool,
) -> Result<DType> {
    if !matches!(wanted, DType::F32 | DType::BF16 | DType::F16) {
        return Err(Error::argument(format!("weights cannot have the dtype {wanted:?}: F32, BF16 and F16 are valid.")));
    }
    let number = |dtype: &DType| matches!(dtype, DType::F64 | DType::F32 | DType::F16 | DType::BF16);
    let mut types = tensors.iter().filter_map(|(_, stored)| stored.dtype.as_ref().ok().filter(|dtype| number(dtype)));
    let as_they_are = types.all(|dtype| *dtype == wanted);
    Ok(if !family_computes && (processing == Processing::NONE || as_they_are) { wanted } else { DType::F32 })
}

/// Says that a tokenizer has tokens which the embedding has no row for, such as a `[PAD]` that was added for training:
/// texts without them are read as ever, and a text with one of them is refused where it is run.
fn tell_of_missing_rows(path: &Path, tokenizer: &Tokenizer, d_vocab: usize) {
    let size = tokenizer.vocab_size();
    if size > d_vocab {
        progress::say(&format!(
            "{}: the tokenizer has ids up to {}, but the model has rows for 0 to {} only; a text with a token beyond \
             them cannot be run. If there are many, it may be another model's tokenizer.",
            path.display(),
            size - 1,
            d_vocab.saturating_sub(1),
        ));
    }
}
