//! Qwen 2, 2.5 and 3: Llama with biases of queries, keys and values (2), or with norms of queries and keys (3).
//!
//! Reference: `transformers` `Qwen2ForCausalLM`, `Qwen3ForCausalLM`.

use serde_json::{Value, json};

use super::super::config::{AttentionType, HookedTransformerConfig};
use super::config_file::ConfigFile;
use super::layout::Layout;
use super::{Family, llama};
use crate::error::Result;

pub(super) const QWEN2: Family = Family {
    model_type: "qwen2",
    config,
    layout: Layout { block: |file, layer, cfg| llama::block(file, layer, cfg, true), ..llama::LAYOUT },
    usually_tied: false,
};

pub(super) const QWEN3: Family = Family {
    model_type: "qwen3",
    config: |file| {
        file.only("attention_bias", &[json!(false)])?;
        let d_head = Some(file.optional_size("head_dim")?.unwrap_or(128));
        Ok(HookedTransformerConfig { use_qk_norm: true, d_head, ..config(file)? })
    },
    layout: llama::LAYOUT,
    usually_tied: false,
};

fn config(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    let sliding = file.flag("use_sliding_window")? == Some(true);
    let window_size = file.optional_size("sliding_window")?.filter(|_| sliding);
    let from = file.optional_size("max_window_layers")?.unwrap_or(0);
    let kinds = file.list("layer_types")?;
    let base = llama::base(file)?;
    let kind = |layer: usize| match kinds.and_then(|kinds| kinds.get(layer)).and_then(Value::as_str) {
        Some("sliding_attention") => AttentionType::Local,
        Some(_) => AttentionType::Global,
        None if layer >= from => AttentionType::Local,
        None => AttentionType::Global,
    };
    let attn_types = window_size.map(|_| (0..base.n_layers).map(kind).collect());
    Ok(HookedTransformerConfig { window_size, attn_types, ..base })
}
