//! One file per family: config keys to our config, tensor names to our weights. A key that changes the computation
//! and is not understood is refused.

mod bloom;
mod config_file;
mod gemma;
pub(super) mod gpt2;
mod gpt_neo;
mod gpt_neox;
mod gptj;
mod harmless;
mod layout;
mod llama;
mod mistral;
mod olmo2;
mod opt;
mod out_of_scope;
mod parts;
mod phi;
mod phi3;
mod qwen;
mod rope;
mod stablelm;
mod transformer_lens;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::model::config::HookedTransformerConfig;
use config_file::ConfigFile;
use layout::Layout;

/// What a family's file defines.
struct Family {
    /// The `model_type` of its `config.json`.
    model_type: &'static str,
    config: fn(&ConfigFile) -> Result<HookedTransformerConfig>,
    layout: fn(&ConfigFile) -> Result<Layout>,
    /// Whether the embedding serves as unembedding where `config.json` does not say.
    usually_tied: bool,
}

static FAMILIES: [Family; 18] = [
    gpt2::FAMILY,
    gpt_neo::FAMILY,
    gpt_neox::FAMILY,
    gptj::FAMILY,
    opt::FAMILY,
    llama::FAMILY,
    mistral::FAMILY,
    olmo2::FAMILY,
    qwen::QWEN2,
    qwen::QWEN3,
    gemma::FAMILY,
    gemma::GEMMA2,
    gemma::GEMMA3,
    gemma::GEMMA3_IMAGES,
    phi::FAMILY,
    phi3::FAMILY,
    stablelm::FAMILY,
    bloom::FAMILY,
];

/// The model types whose texts get no BOS by default, as in TransformerLens: they were trained without.
const WITHOUT_BOS: [&str; 5] = ["bloom", "gpt_neox", "phi", "qwen2", "qwen3"];

/// A `config.json` that has been understood.
pub(super) struct Understood {
    /// The config.
    pub cfg: HookedTransformerConfig,
    /// How its files are laid out.
    pub layout: Layout,
    /// Whether the embedding may serve as unembedding too, where a file has none of its own.
    pub tied: bool,
    /// Whether reading the weights computes with them, as Gemma's factors and norms and BLOOM's norm of the embedding do, which wants full precision.
    pub computes: bool,
}

/// Understands a `config.json`; `ignored` are keys that the user takes as harmless.
///
/// # Errors
/// [`Error::Config`] for a family that is not supported, a missing size, a key that is not understood, or an ignored
/// one that is not there or is understood.
pub(super) fn understand(json: &Map<String, Value>, ignored: &[String]) -> Result<Understood> {
    let named = json.get("model_type").and_then(Value::as_str).unwrap_or("gpt2");
    let family = FAMILIES.iter().find(|family| family.model_type == named).ok_or_else(|| {
        let known: Vec<&str> = FAMILIES.iter().map(|family| family.model_type).collect();
        let what = out_of_scope::out_of_scope(named).map_or(String::new(), |what| format!(", {what}"));
        Error::config(format!(
            "config.json is of a {named:?} model{what}. Supported are the model types {}.",
            known.join(", ")
        ))
    })?;
    let file = ConfigFile::new(family.model_type, json, ignored);
    // Any model of transformers attends to both sides where this is false.
    file.only("is_causal", &[Value::Bool(true)])?;
    let mut cfg = (family.config)(&file)?;
    cfg.default_prepend_bos = !WITHOUT_BOS.contains(&family.model_type);
    let layout = (family.layout)(&file)?;
    let tied = file.flag("tie_word_embeddings")?.unwrap_or(family.usually_tied);
    file.finish()?;
    cfg.check()?;
    let computes = family.model_type.starts_with("gemma") || family.model_type == "bloom";
    Ok(Understood { cfg, layout, tied, computes })
}

/// The layer that a tensor belongs to, by its name in any family's files.
pub(super) fn layer_of(name: &str) -> Option<usize> {
    let mut parts = name.split('.').skip_while(|part| !matches!(*part, "h" | "layers" | "blocks"));
    parts.nth(1)?.parse().ok()
}

impl Understood {
    /// A config whose weights are stored as TransformerLens stores them.
    pub(super) fn transformer_lens(cfg: HookedTransformerConfig) -> Self {
        Self { cfg, layout: transformer_lens::LAYOUT, tied: false, computes: false }
    }
}
