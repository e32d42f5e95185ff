//! The fields by which TransformerLens says how rotary frequencies change, and ours.
//!
//! Reference: TransformerLens `AbstractAttention.calculate_sin_cos_rotary`. It scales the layers of local attention,
//! too, by Llama 3's way and by YaRN unless it is told otherwise, and never linearly; here they have a base of their
//! own and no scaling, or rotate as all others do.

use serde_json::{Map, Value, json};

use super::config_json::unwritable;
use crate::error::{Error, Result};
use crate::model::config::HookedTransformerConfig;
use crate::model::layers::RotaryScaling;

/// TransformerLens' name, ours, and what TransformerLens takes where there is none.
type Field = (&'static str, &'static str, fn() -> Value);

const LLAMA3: [Field; 4] = [
    ("NTK_by_parts_factor", "factor", || json!(8.0)),
    ("NTK_by_parts_low_freq_factor", "low_freq_factor", || json!(1.0)),
    ("NTK_by_parts_high_freq_factor", "high_freq_factor", || json!(4.0)),
    ("NTK_original_ctx_len", "original_n_ctx", || json!(8192)),
];

const YARN: [Field; 6] = [
    ("yarn_factor", "factor", || json!(1.0)),
    ("yarn_attention_factor", "attention_factor", || json!(1.0)),
    ("yarn_beta_fast", "beta_fast", || json!(32.0)),
    ("yarn_beta_slow", "beta_slow", || json!(1.0)),
    ("yarn_truncate", "truncate", || json!(true)),
    ("yarn_original_max_position_embeddings", "original_n_ctx", || json!(4096)),
];

/// Puts our fields in the place of TransformerLens'.
///
/// # Errors
/// [`Error::Argument`] for what scales layers of local attention that have a base of their own.
pub(super) fn read(fields: &mut Map<String, Value>) -> Result<()> {
    let mut is_on = |key: &str| fields.remove(key) == Some(Value::Bool(true));
    let (llama3, yarn, global_only) =
        (is_on("use_NTK_by_parts_rope"), is_on("use_yarn_rope"), is_on("yarn_global_attn_only"));
    let mut taken = |of: &[Field], kind: &str| {
        let kind = [("kind".to_string(), json!(kind))].into_iter();
        let value = |(theirs, ours, usual): &Field| {
            let given = fields.remove(*theirs).filter(|value| !value.is_null());
            (ours.to_string(), given.unwrap_or_else(usual))
        };
        Value::Object(kind.chain(of.iter().map(value).collect::<Vec<_>>()).collect())
    };
    let (by_parts, by_yarn) = (taken(&LLAMA3, "llama3"), taken(&YARN, "yarn"));
    let factor =
        fields.remove("rotary_scaling_factor").filter(|factor| factor.as_f64() != Some(1.0) && !factor.is_null());
    let own_base = fields.get("rotary_base_local").is_some_and(|base| !base.is_null());
    let is_local = |kind: &Value| kind.as_str() == Some("local");
    let has_local = fields.get("attn_types").and_then(Value::as_array).is_some_and(|kinds| kinds.iter().any(is_local));
    let (scaling, plain_locals) = match (llama3, yarn, factor) {
        (true, ..) => (by_parts, false),
        (_, true, _) => (by_yarn, global_only),
        (_, _, Some(factor)) => (json!({"kind": "linear", "factor": factor}), true),
        (_, _, None) => return Ok(()),
    };
    fields.insert("rotary_scaling".into(), scaling);
    if plain_locals && has_local && !own_base {
        let base = fields.get("rotary_base").cloned().unwrap_or_else(|| json!(10000.0));
        fields.insert("rotary_base_local".into(), base);
    }
    if !plain_locals && has_local && own_base {
        return Err(Error::argument(
            "scales the rotary frequencies of layers with local attention, which have a base of their own \
             (rotary_base_local); that is not supported.",
        ));
    }
    Ok(())
}

/// TransformerLens' fields for this model's.
///
/// # Errors
/// [`Error::Config`] for what TransformerLens does not compute.
pub(super) fn write(cfg: &HookedTransformerConfig) -> Result<Map<String, Value>> {
    let refused = |what: &str| Err(unwritable(what));
    if cfg.long_rope.is_some() {
        return refused("the rotary frequencies of Phi-3's long context (long_rope)");
    }
    let mut fields = Map::new();
    let own_base = cfg.rotary_base_local.is_some();
    if let Some(base) = cfg.rotary_base_local {
        fields.insert("rotary_base_local".into(), base.into());
    }
    let Some(scaling) = cfg.rotary_scaling else { return Ok(fields) };
    let has_local = (0..cfg.n_layers).any(|layer| cfg.window(layer).is_some());
    let mut renamed = |of: &[Field], switch: &str| {
        let ours = serde_json::to_value(scaling).expect("plain data is JSON");
        fields.extend(of.iter().map(|(theirs, name, _)| (theirs.to_string(), ours[*name].clone())));
        fields.insert(switch.into(), true.into());
    };
    match scaling {
        RotaryScaling::Dynamic { .. } => return refused("dynamic rotary_scaling"),
        RotaryScaling::Llama3 { .. } if has_local && own_base => {
            return refused("Llama 3's rotary_scaling in global attention only");
        }
        RotaryScaling::Linear { .. } if has_local && !own_base => {
            return refused("linear rotary_scaling in local attention, too");
        }
        RotaryScaling::Llama3 { .. } => renamed(&LLAMA3, "use_NTK_by_parts_rope"),
        RotaryScaling::Yarn { .. } => {
            renamed(&YARN, "use_yarn_rope");
            fields.insert("yarn_global_attn_only".into(), own_base.into());
        }
        RotaryScaling::Linear { factor } => drop(fields.insert("rotary_scaling_factor".into(), factor.into())),
    }
    Ok(fields)
}
