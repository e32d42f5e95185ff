//! Gemma 1 and 2: Llama with embeddings multiplied by `sqrt(d_model)`, norms that scale by `1 + w`, and gelu in the
//! gate. Gemma 2 also has norms after attention and MLP, soft caps, a scale of the scores of its own, and windows in
//! every other layer.
//!
//! As in TransformerLens the factor is in `W_E` (not in `W_U`, which is the same matrix in the file) and the 1 in the
//! norms.
//!
//! Reference: `transformers` `GemmaForCausalLM`, `Gemma2ForCausalLM`.

use serde_json::json;

use super::config_file::ConfigFile;
use super::layout::Layout;
use super::llama::{self, Biases};
use super::{Family, parts};
use crate::error::{Error, Result};
use crate::model::config::{ActFn, AttentionType, HookedTransformerConfig};
use crate::model::load::tensor_file::TensorFile;
use crate::model::weights::{BlockWeights, NormWeights};

pub(super) const FAMILY: Family =
    Family { model_type: "gemma", config: first_config, layout: |_| Ok(LAYOUT), usually_tied: true };

pub(super) const GEMMA2: Family =
    Family { model_type: "gemma2", config: second_config, layout: |_| Ok(LAYOUT), usually_tied: true };

const LAYOUT: Layout = Layout {
    embed_scale: |cfg| (cfg.d_model as f64).sqrt(),
    norm: |file, name, cfg| one_more(parts::rms_norm(file, name, cfg.d_model)),
    block,
    ..llama::LAYOUT
};

fn first_config(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    // The first files name the exact gelu where the weights were trained with the approximation.
    let act_fn = match file.activation("hidden_act", ActFn::GeluNew)? {
        ActFn::Gelu => ActFn::GeluNew,
        other => other,
    };
    if file.activation("hidden_activation", act_fn)? != act_fn {
        return Err(Error::config(
            "config.json names different activation functions as hidden_act, which transformers 5 heeds, and as \
             hidden_activation, which earlier versions do: keep the one that the model was trained with.",
        ));
    }
    Ok(HookedTransformerConfig { act_fn, ..config(file)? })
}

fn second_config(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    let base = config(file)?;
    // Without a list every second layer, from the first on, has a window.
    let kind = |layer: usize| if layer.is_multiple_of(2) { AttentionType::Local } else { AttentionType::Global };
    let kinds = file.layer_types(base.n_layers)?.unwrap_or_else(|| (0..base.n_layers).map(kind).collect());
    let window_size = file.size_or("sliding_window", 4096)?;
    file.only("sliding_window_size", &[json!(window_size)])?;
    if window_size.is_none() && kinds.contains(&AttentionType::Local) {
        return Err(Error::config(
            "config.json has no sliding_window for its layers of \"sliding_attention\": correct it.",
        ));
    }
    Ok(HookedTransformerConfig {
        use_normalization_before_and_after: true,
        attn_scale: Some(file.number("query_pre_attn_scalar")?.unwrap_or(256.0).sqrt()),
        attn_scores_soft_cap: file.number_or("attn_logit_softcapping", 50.0)?,
        output_logits_soft_cap: file.number_or("final_logit_softcapping", 30.0)?,
        window_size,
        attn_types: Some(kinds),
        act_fn: file.activation("hidden_activation", ActFn::GeluNew)?,
        ..base
    })
}

fn config(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    file.only("attention_bias", &[json!(false)])?;
    file.only("use_bidirectional_attention", &[json!(false)])?;
    let d_head = Some(file.optional_size("head_dim")?.unwrap_or(256));
    Ok(HookedTransformerConfig { d_head, ..llama::base(file)? })
}

fn block(file: &mut TensorFile, layer: usize, cfg: &HookedTransformerConfig) -> Result<BlockWeights> {
    let mut block = llama::block(file, layer, cfg, Biases::NONE)?;
    for norm in [&mut block.ln1, &mut block.ln1_post, &mut block.ln2, &mut block.ln2_post] {
        *norm = norm.take().map(one_more);
    }
    Ok(block)
}

fn one_more(norm: NormWeights) -> NormWeights {
    NormWeights { w: (norm.w + 1.0).expect("numbers of a floating type"), b: norm.b }
}
