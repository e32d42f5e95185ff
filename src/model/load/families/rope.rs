//! What a `config.json` says of the rotation of queries and keys, which families share: a change of the frequencies for
//! longer contexts.
//!
//! Reference: `transformers` `modeling_rope_utils`.

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::model::config::HookedTransformerConfig;
use crate::model::layers::RotaryScaling;

/// A number of this object.
pub(super) fn number(object: Option<&Map<String, Value>>, key: &str) -> Option<f64> {
    object?.get(key)?.as_f64()
}

/// The kind of change of frequencies that this object asks for.
pub(super) fn kind(object: Option<&Map<String, Value>>) -> &str {
    let kind = object.and_then(|object| object.get("rope_type").or(object.get("type"))).and_then(Value::as_str);
    kind.unwrap_or("default")
}

/// The config with the change of frequencies that this object asks for.
///
/// # Errors
/// [`Error::Config`] for a kind that is not supported, or one whose numbers are not there.
pub(super) fn scaled(
    cfg: HookedTransformerConfig,
    object: Option<&Map<String, Value>>,
) -> Result<HookedTransformerConfig> {
    let kind = kind(object);
    let need = |key: &str| {
        number(object, key).ok_or_else(|| {
            Error::config(format!(
                "config.json has no {key:?} for its rotary positions of the type {kind:?}: is it complete?"
            ))
        })
    };
    let scaling = match kind {
        "default" => return Ok(cfg),
        "linear" => RotaryScaling::Linear { factor: need("factor")? },
        "dynamic" => {
            let (factor, original_n_ctx) = (need("factor")?, cfg.n_ctx);
            // What the config has is the context of the training; the scaling is for what lies beyond it.
            let n_ctx = (original_n_ctx as f64 * factor) as usize;
            let rotary_scaling = Some(RotaryScaling::Dynamic { factor, original_n_ctx });
            return Ok(HookedTransformerConfig { n_ctx, rotary_scaling, ..cfg });
        }
        "yarn" => yarn(object, cfg.n_ctx, need)?,
        "llama3" => RotaryScaling::Llama3 {
            factor: need("factor")?,
            low_freq_factor: need("low_freq_factor")?,
            high_freq_factor: need("high_freq_factor")?,
            original_n_ctx: need("original_max_position_embeddings")? as usize,
        },
        other => {
            return Err(Error::config(format!(
                "config.json asks for rotary positions of the type {other:?}; default, linear, dynamic, yarn and \
                 llama3 are supported."
            )));
        }
    };
    Ok(HookedTransformerConfig { rotary_scaling: Some(scaling), ..cfg })
}

/// YaRN with the attention factor of the paper where the config has none, or the ratio of two if it says how much each
/// grows.
fn yarn(
    object: Option<&Map<String, Value>>,
    n_ctx: usize,
    need: impl Fn(&str) -> Result<f64>,
) -> Result<RotaryScaling> {
    let given = |key: &str| number(object, key).filter(|number| *number != 0.0);
    let original_n_ctx = number(object, "original_max_position_embeddings").map_or(n_ctx, |n| n as usize);
    let is_null = object.and_then(|object| object.get("factor")).is_some_and(Value::is_null);
    let factor = if is_null { n_ctx as f64 / original_n_ctx as f64 } else { need("factor")? };
    let grown = |by: f64| if factor <= 1.0 { 1.0 } else { 0.1 * by * factor.ln() + 1.0 };
    let usual = match (given("mscale"), given("mscale_all_dim")) {
        (Some(scale), Some(all)) => grown(scale) / grown(all),
        _ => grown(1.0),
    };
    Ok(RotaryScaling::Yarn {
        factor,
        attention_factor: number(object, "attention_factor").unwrap_or(usual),
        beta_fast: given("beta_fast").unwrap_or(32.0),
        beta_slow: given("beta_slow").unwrap_or(1.0),
        truncate: object.and_then(|object| object.get("truncate")).and_then(Value::as_bool).unwrap_or(true),
        original_n_ctx,
    })
}
