//! Configs from JSON files: our own, or those of TransformerLens' `cfg.to_dict()`.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::files::read_json;
use crate::model::config::HookedTransformerConfig;

/// Keys of TransformerLens that do not change what the model computes: bookkeeping, which hooks are used, and details
/// of what is off.
const IGNORED: &[&str] = &[
    "NTK_by_parts_factor",
    "NTK_by_parts_high_freq_factor",
    "NTK_by_parts_low_freq_factor",
    "NTK_original_ctx_len",
    "checkpoint_index",
    "checkpoint_label_type",
    "checkpoint_value",
    "default_padding_side",
    "device",
    "dtype",
    "from_checkpoint",
    "init_mode",
    "init_weights",
    "n_devices",
    "n_params",
    "original_architecture",
    "rotary_base_local",
    "rotary_scaling_factor",
    "seed",
    "tie_word_embeddings",
    "tokenizer_name",
    "tokenizer_prepends_bos",
    "trust_remote_code",
    "ungroup_grouped_query_attention",
    "use_attn_in",
    "use_attn_result",
    "use_hook_mlp_in",
    "use_hook_tokens",
    "use_split_qkv_input",
    "yarn_attention_factor",
    "yarn_beta_fast",
    "yarn_beta_slow",
    "yarn_factor",
    "yarn_original_max_position_embeddings",
    "yarn_truncate",
];

impl HookedTransformerConfig {
    /// Reads a config from a JSON file: one with the fields of this type, or what TransformerLens' `cfg.to_dict()`
    /// gives.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let path = std::env::temp_dir().join("candle-lens-example-config.json");
    /// std::fs::write(&path, r#"{"n_layers": 1, "d_model": 8, "n_heads": 2, "d_vocab": 10, "n_ctx": 6, "seed": 3}"#).unwrap();
    /// assert_eq!(HookedTransformerConfig::from_file(&path)?.d_head(), 4);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::File`]: a file that cannot be read or is no config, sizes that cannot be a model's, and keys that may
    /// change what the model computes and are not understood.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let wrong = |message: String| Error::file(path, message);
        let bytes = fs::read(path).map_err(|error| wrong(format!("cannot be read ({error}): check the path.")))?;
        let mut fields: Map<String, Value> = read_json(&bytes)
            .map_err(|error| wrong(format!("is no JSON object ({error}): give the file of a config.")))?;
        settle(&mut fields);
        let ours = serde_json::to_value(Self::default()).expect("plain data is JSON");
        let mut kept = Map::new();
        for (key, value) in fields {
            match adapted(&key, value) {
                Some((key, value)) if ours.get(&key).is_some() => drop(kept.insert(key, value)),
                Some((key, value)) if !IGNORED.contains(&key.as_str()) => {
                    return Err(wrong(format!(
                        "sets {key:?} to {value}, which is not understood and may change what the model computes: \
                         remove the key if it does not."
                    )));
                }
                _ => {}
            }
        }
        let cfg: Self = serde_json::from_value(kept.into())
            .map_err(|error| wrong(format!("is no config of a model ({error}): correct it.")))?;
        cfg.check().map_err(|error| error.in_file(path))?;
        Ok(cfg)
    }
}

/// Takes out what other fields of TransformerLens make meaningless.
fn settle(fields: &mut Map<String, Value>) {
    if fields.remove("use_local_attn") == Some(Value::Bool(false)) {
        fields.remove("window_size");
        fields.remove("attn_types");
    }
    let norm = fields.get("normalization_type").and_then(Value::as_str).unwrap_or_default();
    if norm.starts_with("RMS") {
        fields.remove("final_rms");
    }
}

/// A field of TransformerLens as one of ours; `None` where it is off or left open.
fn adapted(key: &str, value: Value) -> Option<(String, Value)> {
    let open = value.as_f64() == Some(-1.0);
    match (key, &value) {
        ("normalization_type", Value::Null) => Some((key.into(), "None".into())),
        ("use_attn_scale", Value::Bool(scaled)) => (!scaled).then(|| ("attn_scale".into(), 1.0.into())),
        ("attn_scale" | "d_vocab_out" | "initializer_range" | "d_vocab" | "d_mlp", _) if open => None,
        ("attn_scores_soft_cap" | "output_logits_soft_cap", _) if open => None,
        ("attn_only" | "scale_attn_by_inverse_layer_idx" | "default_prepend_bos", _) => Some((key.into(), value)),
        (_, Value::Null | Value::Bool(false)) => None,
        _ => Some((key.into(), value)),
    }
}
