//! Configs from JSON files: our own, or those of TransformerLens' `cfg.to_dict()`.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::rotary_json;
use crate::error::{Error, Result};
use crate::files::read_json;
use crate::model::config::{
    ActFn, AttentionType, HookedTransformerConfig, NormalizationType, PositionalEmbeddingType, QkNormType,
};

/// What TransformerLens writes for a number that is off or left open.
const OFF: f64 = -1.0;

/// Keys of TransformerLens that do not change what the model computes: bookkeeping, which hooks are used, and details
/// of what is off.
const IGNORED: &[&str] = &[
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
];

/// Whose blocks TransformerLens computes differently, by the name of the architecture.
const NORMS_AFTER_ONLY: [&str; 2] = ["Olmo2ForCausalLM", "Olmo3ForCausalLM"];

impl HookedTransformerConfig {
    /// Reads a config from a JSON file: one with the fields of this type, or what TransformerLens' `cfg.to_dict()`
    /// returns.
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
    /// [`Error::File`]: a file that cannot be read or is not a config, sizes that cannot be a model's, and keys that
    /// may change what the model computes and are not understood.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let wrong = |message: String| Error::file(path, message);
        let bytes = fs::read(path).map_err(|error| wrong(format!("cannot be read ({error}): check the path.")))?;
        let fields: Map<String, Value> = read_json(&bytes)
            .map_err(|error| wrong(format!("is not a JSON object ({error}): give the file of a config.")))?;
        Self::from_fields(fields).map_err(|error| error.in_file(path))
    }

    /// Whether a `config.json` has the fields of TransformerLens, and not those of transformers.
    pub(super) fn is_transformer_lens(fields: &Map<String, Value>) -> bool {
        let has = |key: &str| fields.contains_key(key);
        has("d_model") && has("n_layers") && !has("model_type")
    }

    /// The config of these fields.
    ///
    /// # Errors
    /// As [`HookedTransformerConfig::from_file`], without the path.
    pub(super) fn from_fields(mut fields: Map<String, Value>) -> Result<Self> {
        settle(&mut fields)?;
        let ours = serde_json::to_value(Self::default()).expect("plain data is JSON");
        let mut kept = Map::new();
        for (key, value) in fields {
            match adapted(&key, value) {
                Some((key, value)) if ours.get(&key).is_some() => drop(kept.insert(key, value)),
                Some((key, value)) if !IGNORED.contains(&key.as_str()) => {
                    return Err(Error::argument(format!(
                        "sets {key:?} to {value}, which is not understood and may change what the model computes: \
                         remove the key if it does not."
                    )));
                }
                _ => {}
            }
        }
        let cfg: Self = serde_json::from_value(kept.into())
            .map_err(|error| Error::argument(format!("is not a config of a model ({error}): correct it.")))?;
        cfg.check()?;
        Ok(cfg)
    }

    /// What the model has that TransformerLens has no field for.
    fn foreign_to_transformer_lens(&self) -> Option<&'static str> {
        if self.long_rope.is_some() {
            return Some("the rotary frequencies of Phi-3's long context (long_rope)");
        }
        if self.gated_mlp_biases {
            return Some("biases of an MLP with a gate (gated_mlp_biases)");
        }
        if self.use_normalization_after_only {
            return Some("blocks without norms before attention and MLP (use_normalization_after_only)");
        }
        if self.act_fn == ActFn::QuickGelu {
            return Some("the activation function quick_gelu");
        }
        let alibi = self.positional_embedding_type == PositionalEmbeddingType::Alibi;
        if alibi && !self.n_heads.is_power_of_two() {
            return Some("the slopes of ALiBi positions for a number of heads that is not a power of two (n_heads)");
        }
        match self.qk_norm_type {
            QkNormType::LN | QkNormType::LNPerHead | QkNormType::RMSAcrossHeads if self.use_qk_norm => {
                Some("norms of queries and keys of another kind than Qwen 3's (qk_norm_type)")
            }
            QkNormType::RMS | QkNormType::LN | QkNormType::LNPerHead | QkNormType::RMSAcrossHeads => None,
        }
    }

    /// The fields of TransformerLens' `HookedTransformerConfig` for this model, with every size written out.
    ///
    /// # Errors
    /// [`Error::Config`] for what TransformerLens has no field for.
    pub(super) fn to_transformer_lens(&self) -> Result<Value> {
        if let Some(what) = self.foreign_to_transformer_lens() {
            return Err(unwritable(what));
        }
        let (no_norm, cap) =
            (self.normalization_type == NormalizationType::None, |cap: Option<f64>| cap.unwrap_or(OFF));
        let mut fields = json!({
            "model_name": self.model_name,
            "n_layers": self.n_layers,
            "d_model": self.d_model,
            "n_ctx": self.n_ctx,
            "n_heads": self.n_heads,
            "n_key_value_heads": self.n_key_value_heads,
            "d_head": self.d_head(),
            "d_mlp": if self.attn_only { None } else { Some(self.d_mlp()) },
            "d_vocab": self.d_vocab,
            "d_vocab_out": self.d_vocab_out(),
            "act_fn": self.act_fn,
            "normalization_type": if no_norm { Value::Null } else { json!(self.normalization_type) },
            // Where scale and shift are folded away, TransformerLens asks here which norm is the last.
            "final_rms": matches!(self.normalization_type, NormalizationType::RMS | NormalizationType::RMSPre),
            "eps": self.eps,
            "attn_only": self.attn_only,
            "parallel_attn_mlp": self.parallel_attn_mlp,
            "gated_mlp": self.gated_mlp,
            "attention_dir": self.attention_dir,
            "attn_scale": cap(self.attn_scale),
            "scale_attn_by_inverse_layer_idx": self.scale_attn_by_inverse_layer_idx,
            "use_normalization_before_and_after": self.use_normalization_before_and_after,
            "use_qk_norm": self.use_qk_norm,
            "attn_scores_soft_cap": cap(self.attn_scores_soft_cap),
            "output_logits_soft_cap": cap(self.output_logits_soft_cap),
            "use_local_attn": self.window_size.is_some(),
            "window_size": self.window_size,
            "attn_types": self.window_size.map(|_| {
                let of = |layer| if self.window(layer).is_some() { AttentionType::Local } else { AttentionType::Global };
                (0..self.n_layers).map(of).collect::<Vec<_>>()
            }),
            "positional_embedding_type": self.positional_embedding_type,
            "rotary_dim": (self.rotary_dim() > 0).then(|| self.rotary_dim()),
            "rotary_adjacent_pairs": self.rotary_adjacent_pairs,
            "rotary_base": self.rotary_base,
            "default_prepend_bos": self.default_prepend_bos,
            "initializer_range": cap(self.initializer_range),
        });
        fields.as_object_mut().expect("an object").extend(rotary_json::write(self)?);
        Ok(fields)
    }
}

/// The refusal of what TransformerLens does not compute.
pub(super) fn unwritable(what: &str) -> Error {
    Error::config(format!(
        "TransformerLens has no field for {what}, so the model cannot be written in its format: save the original \
         files of the model instead."
    ))
}

/// Takes out what other fields of TransformerLens make meaningless.
///
/// # Errors
/// What is not supported.
fn settle(fields: &mut Map<String, Value>) -> Result<()> {
    let named = fields.remove("original_architecture");
    if let Some(named) = named.as_ref().and_then(Value::as_str).filter(|named| NORMS_AFTER_ONLY.contains(named)) {
        return Err(Error::argument(format!(
            "is of TransformerLens' {named}, which has norms behind attention and MLP only, though none of its fields \
             says so: load the original files of the model."
        )));
    }
    if fields.remove("use_local_attn") == Some(Value::Bool(false)) {
        fields.remove("window_size");
        fields.remove("attn_types");
    }
    rotary_json::read(fields)?;
    let norm = fields.get("normalization_type").and_then(Value::as_str).unwrap_or_default();
    if norm.starts_with("RMS") {
        fields.remove("final_rms");
    }
    Ok(())
}

/// A field of TransformerLens as one of ours; `None` where it is off or left open.
fn adapted(key: &str, value: Value) -> Option<(String, Value)> {
    let open = value.as_f64() == Some(OFF);
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
