//! Qwen 2, 2.5 and 3: Llama with biases of queries, keys and values (2), or with norms of queries and keys (3).
//!
//! Reference: `transformers` `Qwen2ForCausalLM`, `Qwen3ForCausalLM`.

use super::Family;
use serde_json::json;

use super::config_file::ConfigFile;
use super::layout::Layout;
use super::llama::{self, Biases};
use crate::error::{Error, Result};
use crate::model::config::{AttentionType, HookedTransformerConfig};

pub(super) const QWEN2: Family = Family {
    model_type: "qwen2",
    config,
    layout: |_| {
        let block = |file: &mut _, layer, cfg: &_| llama::block(file, layer, cfg, Biases::QKV);
        Ok(Layout { block, ..llama::LAYOUT })
    },
    usually_tied: false,
};

pub(super) const QWEN3: Family = Family {
    model_type: "qwen3",
    config: |file| {
        file.only("mlp_bias", &[json!(false)])?;
        let d_head = Some(file.optional_size("head_dim")?.unwrap_or(128));
        Ok(HookedTransformerConfig { use_qk_norm: true, d_head, ..config(file)? })
    },
    layout: llama::layout,
    usually_tied: false,
};

fn config(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    let sliding = file.flag("use_sliding_window")? == Some(true);
    let window_size = file.size_or("sliding_window", 4096)?.filter(|_| sliding);
    let from = file.optional_size("max_window_layers")?.unwrap_or(28);
    let base = llama::base(file)?;
    let kinds = file.layer_types(base.n_layers)?;
    if window_size.is_none() && kinds.as_ref().is_some_and(|kinds| kinds.contains(&AttentionType::Local)) {
        return Err(Error::config(
            "config.json's layer_types have \"sliding_attention\", but use_sliding_window and sliding_window name no \
             window: correct it.",
        ));
    }
    let kind = |layer: usize| if layer >= from { AttentionType::Local } else { AttentionType::Global };
    let attn_types = window_size.map(|_| kinds.unwrap_or_else(|| (0..base.n_layers).map(kind).collect()));
    Ok(HookedTransformerConfig { window_size, attn_types, ..base })
}
