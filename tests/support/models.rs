//! Every model that the fixtures have: the families, the architectures besides theirs, the tiny ones.

use std::collections::HashMap;

use candle_lens::Result;
use candle_lens::candle::{Device, Tensor, safetensors};
use candle_lens::model::{HookedTransformer, HookedTransformerConfig, LoadOptions, Processing};
use serde_json::Value;

use super::fixture::{Reference, json, path, tiny_gpt2};
use super::scratch;

/// A model with random weights and the words of another one.
pub fn untrained(cfg: HookedTransformerConfig, words: &HookedTransformer) -> Result<HookedTransformer> {
    let (model, _) = HookedTransformer::trainable(cfg, 3, &Device::Cpu)?;
    Ok(model.without_weight_gradients().with_tokenizer(words.tokenizer()?.clone()))
}

/// Folders of tiny random models, at least one of each family.
pub const FOLDERS: [&str; 31] = [
    "bloom",
    "bloom_6_heads",
    "gpt_neo",
    "gpt_neox",
    "gpt_neox_serial",
    "gpt_neox_unbiased",
    "gptj",
    "gemma",
    "gemma2",
    "gemma3",
    "llama",
    "llama3",
    "llama_biases",
    "llama_dynamic",
    "llama_partial",
    "mistral",
    "olmo2",
    "olmo2_grouped",
    "opt",
    "phi",
    "phi_qk_norm",
    "phi3",
    "phi3_long",
    "phi3_partial",
    "phi3_short",
    "qwen2",
    "qwen2_window",
    "qwen3",
    "qwen3_biases",
    "stablelm",
    "stablelm_parallel",
];

/// Architectures besides those of the families, in TransformerLens' format.
pub const ARCHITECTURES: [&str; 10] = [
    "attn_only",
    "bidirectional_gelu",
    "classifier",
    "ln_pre_silu",
    "no_norm_relu",
    "shortformer",
    "shortformer_mlp",
    "solu",
    "solu_ln",
    "solu_ln_pre",
];

/// Our config of TransformerLens' fields: the same names, except that no norm is `"None"` rather than null.
pub fn config(mut fields: Value) -> HookedTransformerConfig {
    if fields["normalization_type"].is_null() {
        fields["normalization_type"] = "None".into();
    }
    serde_json::from_value(fields).expect("each field of the reference is one of ours")
}

/// The model of a reference, through the file format of TransformerLens.
pub fn architecture(name: &str, processing: Option<Processing>) -> Result<HookedTransformer> {
    let cfg = config(json(&format!("architectures/{name}.json")));
    let reference = Reference::load(&format!("architectures/{name}.safetensors"));
    let weights: HashMap<String, Tensor> = reference
        .names("weights.")
        .into_iter()
        .map(|weight| (weight.clone(), reference.get(&format!("weights.{weight}")).clone()))
        .collect();
    let file = scratch(&format!("architecture_{name}_{processing:?}")).join("weights.safetensors");
    safetensors::save(&weights, &file)?;
    HookedTransformer::from_transformer_lens_with(cfg, file, LoadOptions { processing, ..Default::default() })
}

/// A model of the hub or of a folder, processed so or by default.
pub fn pretrained(name: &str, processing: Option<Processing>) -> Result<HookedTransformer> {
    match processing {
        Some(processing) => HookedTransformer::from_pretrained_with(name, processing),
        None => HookedTransformer::from_pretrained(name),
    }
}

/// Every model, unprocessed, with norms folded and nothing else, and processed by default, as far as it allows that.
pub fn every_model() -> Vec<(String, HookedTransformer)> {
    let fold_ln = Processing { fold_ln: true, ..Processing::NONE };
    let mut models = Vec::new();
    for (way, processing) in [("raw", Some(Processing::NONE)), ("folded", Some(fold_ln)), ("processed", None)] {
        let text = |path: std::path::PathBuf| path.to_str().expect("the path is UTF-8").to_string();
        let families = FOLDERS.map(|name| (name, pretrained(&text(path(&format!("families/{name}"))), processing)));
        let others = ARCHITECTURES.map(|name| (name, architecture(name, processing)));
        let tiny = [("tiny", pretrained("tiny", processing)), ("gpt2", pretrained(&text(tiny_gpt2()), processing))];
        for (name, model) in families.into_iter().chain(others).chain(tiny) {
            match model {
                Ok(model) => models.push((format!("{name}, {way}"), model)),
                Err(error) => assert!(way == "folded", "{name}, {way}: {error}"),
            }
        }
    }
    // Norms cannot be folded where there are none or they are folded already, and not in a shortformer that has them.
    let names = FOLDERS.len() + ARCHITECTURES.len() + 2;
    assert_eq!(models.len(), 3 * names - 5);
    models
}
