//! Phi-3 and Phi-4 of that kind: Llama with queries, keys and values in one matrix, gate and input of the MLP in
//! another, a window, in some sizes positions in a part of each head, and in those for long contexts frequencies of
//! their own.
//!
//! Reference: `transformers` `Phi3ForCausalLM`.

use serde_json::{Map, Value, json};

use super::config_file::ConfigFile;
use super::layout::Layout;
use super::{Family, llama, parts};
use crate::error::{Error, Result};
use crate::model::config::HookedTransformerConfig;
use crate::model::layers::LongRope;
use crate::model::load::tensor_file::TensorFile;
use crate::model::weights::{AttentionWeights, BlockWeights, MlpWeights};

pub(super) const FAMILY: Family =
    Family { model_type: "phi3", config, layout: |_| Ok(Layout { block, ..llama::LAYOUT }), usually_tied: false };

fn config(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    file.only("attention_bias", &[json!(false)])?;
    // `transformers` takes this one, or its default, whatever accompanies the factors.
    let original = file.optional_size("original_max_position_embeddings")?;
    let object = file.rotary()?;
    let share = file.rotary_number("partial_rotary_factor", "partial_rotary_factor", 1.0)?;
    let base = file.rotary_number("rope_theta", "rope_theta", 10000.0)?;
    let mut cfg = HookedTransformerConfig {
        eps: file.number("rms_norm_eps")?.unwrap_or(1e-5),
        window_size: file.optional_size("sliding_window")?,
        rotary_base: base,
        ..llama::sizes(file)?
    };
    cfg.rotary_dim = Some((cfg.d_head() as f64 * share) as usize);
    cfg.long_rope = match object {
        Some(object) => long_rope(object, original.unwrap_or(4096), cfg.n_ctx)?,
        None => None,
    };
    Ok(cfg)
}

/// The way of stretching positions, `longrope`, in older files `su`; the context was `original_n_ctx` in the first
/// training.
fn long_rope(object: &Map<String, Value>, original_n_ctx: usize, n_ctx: usize) -> Result<Option<LongRope>> {
    let kind = object.get("rope_type").or(object.get("type")).and_then(Value::as_str).unwrap_or("default");
    if kind == "default" {
        return Ok(None);
    }
    if !["longrope", "su"].contains(&kind) {
        return Err(Error::config(format!(
            "config.json asks for rotary positions of the type {kind:?}; default and longrope are supported for the model \
             type \"phi3\"."
        )));
    }
    let list = |key: &str| -> Result<Vec<f64>> {
        let numbers = object.get(key).and_then(Value::as_array);
        numbers.and_then(|numbers| numbers.iter().map(Value::as_f64).collect()).ok_or_else(|| {
            Error::config(format!(
                "config.json has no list of numbers {key:?} for its longrope positions: is it complete?"
            ))
        })
    };
    let number = |key: &str| object.get(key).and_then(Value::as_f64);
    let factor = number("factor").unwrap_or(n_ctx as f64 / original_n_ctx as f64);
    let usual = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (original_n_ctx as f64).ln()).sqrt() };
    Ok(Some(LongRope {
        short_factor: list("short_factor")?,
        long_factor: list("long_factor")?,
        attention_factor: number("attention_factor").unwrap_or(usual),
        original_n_ctx,
    }))
}

fn block(file: &mut TensorFile, layer: usize, cfg: &HookedTransformerConfig) -> Result<BlockWeights> {
    let (d, m, h) = (cfg.d_model, cfg.d_mlp(), cfg.d_head());
    let (heads, groups) = (cfg.n_heads * h, cfg.n_key_value_heads() * h);
    let at = |name: &str| format!("layers.{layer}.{name}");
    let qkv = file.take(&at("self_attn.qkv_proj.weight"), &[heads + 2 * groups, d]);
    let part = |start: usize, size: usize| file.in_a_row(qkv.narrow(0, start, size)?.t()?);
    let (w_q, w_k, w_v) = (part(0, heads)?, part(heads, groups)?, part(heads + groups, groups)?);
    drop(qkv);
    let both = file.take(&at("mlp.gate_up_proj.weight"), &[2 * m, d]);
    let half = |start: usize| file.in_a_row(both.narrow(0, start, m)?.t()?);
    let (w_gate, w_in) = (half(0)?, half(m)?);
    drop(both);
    Ok(BlockWeights {
        ln1: Some(parts::rms_norm(file, &at("input_layernorm"), d)),
        attn: AttentionWeights {
            w_q: w_q.into(),
            w_k: w_k.into(),
            w_v: w_v.into(),
            b_q: file.zeros(heads)?,
            b_k: file.zeros(groups)?,
            b_v: file.zeros(groups)?,
            w_o: parts::linear(file, &at("self_attn.o_proj"), (heads, d))?.into(),
            b_o: file.zeros(d)?,
            qk_norm: None,
        },
        ln1_post: None,
        ln2: Some(parts::rms_norm(file, &at("post_attention_layernorm"), d)),
        ln2_post: None,
        mlp: Some(MlpWeights {
            w_in: w_in.into(),
            w_gate: Some(w_gate.into()),
            gate_biases: None,
            b_in: file.zeros(m)?,
            ln: None,
            w_out: parts::linear(file, &at("mlp.down_proj"), (m, d))?.into(),
            b_out: file.zeros(d)?,
        }),
    })
}
