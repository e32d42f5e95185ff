//! GPT-Neo and the TinyStories models: GPT-2 with every other layer's attention reaching a window, and scores not
//! scaled.
//!
//! Reference: `transformers` `GPTNeoForCausalLM`.

use serde_json::Value;

use super::config_file::ConfigFile;
use super::layout::Layout;
use super::{Family, gpt2, parts};
use crate::error::{Error, Result};
use crate::model::config::{ActFn, AttentionType, HookedTransformerConfig, NormalizationType};
use crate::model::load::tensor_file::TensorFile;
use crate::model::weights::BlockWeights;

pub(super) const FAMILY: Family = Family { model_type: "gpt_neo", config, layout: |_| Ok(LAYOUT), usually_tied: true };

const LAYOUT: Layout = Layout { buffers: &["attention.bias", "attention.masked_bias"], block, ..gpt2::LAYOUT };

fn config(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    let n_layers = file.layers("num_layers")?;
    Ok(HookedTransformerConfig {
        model_name: file.name("gpt_neo"),
        n_layers,
        d_model: file.size("hidden_size")?,
        n_ctx: file.size("max_position_embeddings")?,
        n_heads: file.size("num_heads")?,
        d_mlp: file.optional_size("intermediate_size")?,
        d_vocab: file.size("vocab_size")?,
        act_fn: file.activation("activation_function", ActFn::GeluNew)?,
        normalization_type: NormalizationType::LN,
        eps: file.number("layer_norm_epsilon")?.unwrap_or(1e-5),
        attn_scale: Some(1.0),
        window_size: Some(file.optional_size("window_size")?.unwrap_or(256)),
        attn_types: Some(attention_types(file, n_layers)?),
        ..Default::default()
    })
}

/// What each layer may reach: a list, or, shorter, patterns with how often each is repeated.
fn attention_types(file: &ConfigFile, n_layers: usize) -> Result<Vec<AttentionType>> {
    let layers = file.list("attention_layers")?.map(|layers| layers.iter().collect::<Vec<_>>());
    let patterns = file.list("attention_types")?.map(|patterns| {
        let mut listed = Vec::new();
        for pattern in patterns {
            let (kinds, times) = (pattern[0].as_array(), pattern[1].as_u64().unwrap_or(0) as usize);
            let times = times.min(n_layers);
            listed.extend((0..times).flat_map(|_| kinds.into_iter().flatten()));
        }
        listed
    });
    if let (Some(layers), Some(patterns)) = (&layers, &patterns)
        && layers != patterns
    {
        return Err(Error::config(
            "config.json's attention_layers and attention_types disagree on what layers may attend to: keep the one \
             that the model was trained with.",
        ));
    }
    let listed: Vec<&Value> = layers.or(patterns).unwrap_or_default();
    let kind = |value: &&Value| match value.as_str() {
        Some("global") => Some(AttentionType::Global),
        Some("local") => Some(AttentionType::Local),
        _ => None,
    };
    let kinds: Option<Vec<AttentionType>> = listed.iter().map(kind).collect();
    kinds.filter(|kinds| kinds.len() == n_layers).ok_or_else(|| {
        Error::config(format!(
            "config.json's attention_layers or attention_types must say \"global\" or \"local\" for each of the {n_layers} layers."
        ))
    })
}

fn block(file: &mut TensorFile, layer: usize, cfg: &HookedTransformerConfig) -> Result<BlockWeights> {
    let at = |name: &str| format!("h.{layer}.{name}");
    let names = ["q_proj", "k_proj", "v_proj", "out_proj"];
    Ok(BlockWeights {
        ln1_post: None,
        ln2_post: None,
        ln1: Some(parts::layer_norm(file, &at("ln_1"), cfg.d_model)),
        attn: parts::attention(file, cfg, &at("attn.attention"), names, (false, true))?,
        ln2: Some(parts::layer_norm(file, &at("ln_2"), cfg.d_model)),
        mlp: Some(parts::mlp(file, cfg, &at("mlp.c_fc"), &at("mlp.c_proj"))?),
    })
}
