//! Gemma 1 and 2: Llama with embeddings multiplied by `sqrt(d_model)`, norms that scale by `1 + w`, and gelu in the gate.
//! Gemma 2 also has norms after attention and MLP, soft caps, a scale of the scores of its own, and windows in every
//! other layer.
//!
//! As in TransformerLens the factor is in `W_E` (not in `W_U`, which is the same matrix in the file) and the 1 in the norms.
//!
//! Reference: `transformers` `GemmaForCausalLM`, `Gemma2ForCausalLM`.

use serde_json::{Value, json};

use super::super::config::{Activation, AttentionType, HookedTransformerConfig};
use super::super::tensor_file::TensorFile;
use super::super::weights::{BlockWeights, NormWeights};
use super::config_file::ConfigFile;
use super::layout::Layout;
use super::{Family, llama, parts};
use crate::error::Result;

pub(super) const FAMILY: Family = Family { model_type: "gemma", config, layout: LAYOUT, usually_tied: true };

pub(super) const GEMMA2: Family =
    Family { model_type: "gemma2", config: second_config, layout: LAYOUT, usually_tied: true };

const LAYOUT: Layout = Layout {
    embed_scale: |cfg| (cfg.d_model as f64).sqrt(),
    norm: |file, name, cfg| one_more(parts::rms_norm(file, name, cfg.d_model)),
    block,
    ..llama::LAYOUT
};

fn second_config(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    let base = config(file)?;
    let kinds = file.list("layer_types")?;
    // Without a list every second layer, from the first on, has a window.
    let kind = |layer: usize| match kinds.and_then(|kinds| kinds.get(layer)).and_then(Value::as_str) {
        Some("full_attention") => AttentionType::Global,
        None if layer % 2 == 1 => AttentionType::Global,
        _ => AttentionType::Local,
    };
    Ok(HookedTransformerConfig {
        use_normalization_before_and_after: true,
        attn_scale: Some(file.number("query_pre_attn_scalar")?.unwrap_or(256.0).sqrt()),
        attn_scores_soft_cap: file.number("attn_logit_softcapping")?,
        output_logits_soft_cap: file.number("final_logit_softcapping")?,
        window_size: Some(file.optional_size("sliding_window")?.unwrap_or(4096)),
        attn_types: Some((0..base.n_layers).map(kind).collect()),
        ..base
    })
}

fn config(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    file.only("attention_bias", &[json!(false)])?;
    file.only("use_bidirectional_attention", &[json!(false)])?;
    let base = llama::base(file)?;
    // The older key named the exact gelu where the weights were trained with the approximation; transformers ignores it.
    let act_fn = file.activation("hidden_activation", Activation::GeluNew)?;
    Ok(HookedTransformerConfig { act_fn, d_head: Some(file.optional_size("head_dim")?.unwrap_or(256)), ..base })
}

fn block(file: &mut TensorFile, layer: usize, cfg: &HookedTransformerConfig) -> Result<BlockWeights> {
    let mut block = llama::block(file, layer, cfg, false)?;
    for norm in [&mut block.ln1, &mut block.ln1_post, &mut block.ln2, &mut block.ln2_post] {
        *norm = norm.take().map(one_more);
    }
    Ok(block)
}

fn one_more(norm: NormWeights) -> NormWeights {
    NormWeights { w: (norm.w + 1.0).expect("numbers of a floating type"), b: norm.b }
}
