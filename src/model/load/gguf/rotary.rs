//! How a file says that rotary positions are stretched for longer contexts: by keys, or by a tensor with what each
//! frequency is divided by.

use std::f64::consts::TAU;

use serde_json::{Value, json};

use super::keys::Keys;
use crate::error::Result;
use crate::model::config::HookedTransformerConfig;
use crate::model::layers::LongRope;

/// The numbers with which all releases of Llama 3.1 to 3.3 are stretched, but the factor.
const LLAMA3: [f64; 3] = [1.0, 4.0, 8192.0];

/// How close factors in f32 must be to those of the formula to be its.
const CLOSE: f64 = 1e-5;

/// Sets the scaling that keys or `rope_freqs.weight` say.
///
/// # Errors
/// [`crate::Error::File`] for both, which llama.cpp applies one after the other and no family here does.
pub(super) fn scaling(keys: &mut Keys) -> Result<()> {
    let factors = keys.take("rope_freqs.weight")?.filter(|factors| factors.iter().any(|factor| *factor != 1.0));
    let by_keys = by_keys(keys)?;
    match (factors, by_keys) {
        (None, None) => Ok(()),
        (None, Some(scaling)) => {
            keys.put("rope_scaling", scaling);
            Ok(())
        }
        (Some(factors), None) => {
            let base = keys.number("rope.freq_base")?.unwrap_or(10000.0);
            match llama3(&factors, base) {
                Some(scaling) => keys.put("rope_scaling", scaling),
                None => keys.frequencies = Some(factors),
            }
            Ok(())
        }
        (Some(_), Some(scaling)) => Err(keys.wrong(format!(
            "stretches its rotary positions twice, by the factors in rope_freqs.weight and by its keys ({scaling}), \
             which is not supported: convert the model with a current llama.cpp."
        ))),
    }
}

/// The `rope_scaling` that keys say.
fn by_keys(keys: &Keys) -> Result<Option<Value>> {
    keys.flag("rope.scaling.finetuned")?;
    // The name before there were types.
    let linear = keys.number("rope.scale_linear")?.filter(|factor| *factor != 1.0);
    let kind = keys.text("rope.scaling.type")?.unwrap_or(if linear.is_some() { "linear" } else { "none" });
    let factor = keys.number("rope.scaling.factor")?.or(linear);
    if kind == "none" || (kind == "linear" && factor == Some(1.0)) {
        return Ok(None);
    }
    let mut scaling = json!({ "rope_type": kind });
    let mut set = |ours: &str, number: Option<Value>| {
        if let Some(number) = number {
            scaling[ours] = number;
        }
    };
    set("factor", factor.map(Value::from));
    set("original_max_position_embeddings", keys.size("rope.scaling.original_context_length")?.map(Value::from));
    if kind == "yarn" {
        set("beta_fast", keys.number("rope.scaling.yarn_beta_fast")?.map(Value::from));
        set("beta_slow", keys.number("rope.scaling.yarn_beta_slow")?.map(Value::from));
    }
    Ok(Some(scaling))
}

/// The `rope_scaling` of Llama 3 that gives these factors.
fn llama3(factors: &[f64], base: f64) -> Option<Value> {
    let factor = factors.iter().fold(1.0, |largest: f64, factor| largest.max(*factor));
    let [low, high, context] = LLAMA3;
    let expected = |i: usize| {
        let waves = context * base.powf(-(i as f64) / factors.len() as f64) / TAU;
        let share = ((waves - low) / (high - low)).clamp(0.0, 1.0);
        1.0 / (share + (1.0 - share) / factor)
    };
    let same = factors.iter().enumerate().all(|(i, factor)| (factor / expected(i) - 1.0).abs() < CLOSE);
    same.then(|| {
        json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
            "original_max_position_embeddings": context as u64,
        })
    })
}

/// Divides the frequencies by factors that no formula gives.
///
/// # Errors
/// [`crate::Error::Config`] for another number of them, or one that is not positive.
pub(super) fn divide(cfg: &mut HookedTransformerConfig, factors: Vec<f64>) -> Result<()> {
    cfg.long_rope = Some(LongRope {
        short_factor: factors.clone(),
        long_factor: factors,
        attention_factor: 1.0,
        original_n_ctx: cfg.n_ctx,
    });
    cfg.check()
}

/// Sets the factors of Phi-3, which are tensors.
///
/// # Errors
/// [`crate::Error::File`] for one of the two tensors, or none although keys speak of a scaling.
pub(super) fn long(keys: &mut Keys) -> Result<()> {
    let original = keys.size("rope.scaling.original_context_length")?;
    let attention = keys.number("rope.scaling.attn_factor")?;
    let stated = keys.text("rope.scaling.type")?;
    let lists = (keys.take("rope_factors_short.weight")?, keys.take("rope_factors_long.weight")?);
    let (short, long) = match lists {
        (Some(short), Some(long)) => (short, long),
        (None, None) => {
            let scaled = stated.filter(|kind| *kind != "none").map(|kind| format!("rope.scaling.type is {kind:?}"));
            let scaled =
                scaled.or(attention.filter(|by| *by != 1.0).map(|by| format!("rope.scaling.attn_factor is {by}")));
            return scaled.map_or(Ok(()), |scaled| {
                Err(keys.wrong(format!(
                    "has keys for longer contexts ({scaled}), but neither rope_factors_short.weight nor \
                     rope_factors_long.weight, without which they have no meaning: is it complete?"
                )))
            });
        }
        (short, _) => {
            let missing = if short.is_some() { "rope_factors_long.weight" } else { "rope_factors_short.weight" };
            return Err(keys.wrong(format!("has no {missing} beside the other factors: is it complete?")));
        }
    };
    let mut scaling = json!({ "rope_type": stated.unwrap_or("longrope"), "short_factor": short, "long_factor": long });
    if let Some(attention) = attention {
        scaling["attention_factor"] = attention.into();
    }
    if let Some(original) = original {
        keys.put("original_max_position_embeddings", original);
    }
    keys.put("rope_scaling", scaling);
    Ok(())
}
