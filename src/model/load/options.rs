//! How a model is loaded.

use candle_core::{DType, Device};

use super::process::Processing;
use crate::storage::Hub;

/// How a model is loaded: what is left out is as [`HookedTransformer::from_pretrained`] does it. `Processing` turns
/// `into()` options that only set that.
///
/// [`HookedTransformer::from_pretrained`]: crate::model::HookedTransformer::from_pretrained
///
/// ```
/// use candle_lens::prelude::*;
/// let options = LoadOptions { first_n_layers: Some(1), n_ctx: Some(16), ..Default::default() };
/// let model = HookedTransformer::from_pretrained_with("tiny", options)?;
/// assert_eq!((model.cfg().n_layers, model.cfg().n_ctx), (1, 16));
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// What is folded and centred; `None` is what TransformerLens does by default, as far as the model allows it.
    pub processing: Option<Processing>,
    /// The branch, tag or commit of a hub model; `None` is `main`, or what follows an `@` in its name.
    pub revision: Option<String>,
    /// The training step of a hub model that has a revision for each, as Pythia (`step1000`) and the GPT-2s of
    /// Stanford (`checkpoint-1000`) have.
    pub step: Option<u64>,
    /// Where the weights go.
    pub device: Device,
    /// The dtype of the weights: `F32`, `BF16` or `F16`. They are processed in f32, part by part as they are read, and
    /// rounded once: at the peak loading takes 1.05 to 1.2 times the memory of the weights (`examples/load_memory.rs`).
    ///
    /// Runs in half precision add up in f32, as those of `transformers` do, and round what comes out. Logits are off by
    /// as much as there, whatever the width: 0.5 to 0.8 % in bf16 and 0.1 % in f16 for random models of two layers, 1.7
    /// % and 0.2 % for the 30 layers of SmolLM2-135M (`transformers`: 2.4 % and 0.2 %). Losses and what norms divide by
    /// (`hook_scale`) stay f32.
    pub dtype: DType,
    /// Only the first blocks are loaded; the final norm and the unembedding read their output.
    pub first_n_layers: Option<usize>,
    /// A shorter context than the model's: positions behind it are cut off.
    pub n_ctx: Option<usize>,
    /// Whether texts get a BOS; `None` is the choice of the model's files, and without one TransformerLens' for its family.
    pub default_prepend_bos: Option<bool>,
    /// Keys of `config.json`, or of a GGUF file's metadata, that this library does not know and that you know to change
    /// nothing, so that a model with them loads; one of an inner object is written `"rope_scaling.mscale"`. They are kept
    /// in the provenance. A key that the file does not have, or that is understood, is refused.
    pub ignore_config_keys: Vec<String>,
    /// Where hub models come from and are kept; `None` is what the environment says.
    pub hub: Option<Hub>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            processing: None,
            revision: None,
            step: None,
            device: Device::Cpu,
            dtype: DType::F32,
            first_n_layers: None,
            n_ctx: None,
            default_prepend_bos: None,
            ignore_config_keys: Vec::new(),
            hub: None,
        }
    }
}

impl From<Processing> for LoadOptions {
    fn from(processing: Processing) -> Self {
        Self { processing: Some(processing), ..Self::default() }
    }
}

/// How the weights of a checkpoint are found in its file, and how the model is loaded with them.
///
/// ```
/// use candle_lens::prelude::*;
/// let options = CheckpointOptions {
///     key: Some("model_state_dict".into()),
///     strip_prefix: Some("_orig_mod.".into()),
///     ..Default::default()
/// };
/// assert!(options.load.processing.is_none());
/// ```
#[derive(Clone, Debug, Default)]
pub struct CheckpointOptions {
    /// The key of the weights in a file that holds more, such as `"model_state_dict"`.
    pub key: Option<String>,
    /// What each name begins with and is not part of it, such as the `"_orig_mod."` of `torch.compile`; where the file
    /// holds one model it is found without being said.
    pub strip_prefix: Option<String>,
    /// How the model is loaded: processing, device, dtype and so on.
    pub load: LoadOptions,
}

impl From<LoadOptions> for CheckpointOptions {
    fn from(load: LoadOptions) -> Self {
        Self { load, ..Self::default() }
    }
}

impl From<Processing> for CheckpointOptions {
    fn from(processing: Processing) -> Self {
        LoadOptions::from(processing).into()
    }
}
