//! GPT-NeoX and Pythia: rotary positions in a part of each head, attention and MLP side by side.
//!
//! Reference: `transformers` `GPTNeoXForCausalLM`.

use super::config_file::ConfigFile;
use super::layout::Layout;
use super::{Family, parts};
use crate::error::{Error, Result};
use crate::model::config::{ActFn, HookedTransformerConfig, NormalizationType, PositionalEmbeddingType};
use crate::model::load::tensor_file::TensorFile;
use crate::model::weights::BlockWeights;

pub(super) const FAMILY: Family = Family { model_type: "gpt_neox", config, layout, usually_tied: false };

const LAYOUT: Layout = Layout {
    prefix: "gpt_neox.",
    buffers: &["attention.bias", "attention.masked_bias", "rotary_emb.inv_freq"],
    embed: "embed_in.weight",
    embed_scale: |_| 1.0,
    embed_norm: None,
    pos_embed: "",
    unused_positions: 0,
    ln_final: "final_layer_norm",
    unembed: "embed_out.weight",
    unembed_in_out: false,
    unembed_bias: None,
    norm: |file, name, cfg| parts::layer_norm(file, name, cfg.d_model),
    block: |file, layer, cfg| block(file, layer, cfg, true),
};

fn layout(file: &ConfigFile) -> Result<Layout> {
    Ok(match file.flag("attention_bias")? {
        Some(false) => Layout { block: |file, layer, cfg| block(file, layer, cfg, false), ..LAYOUT },
        Some(true) | None => LAYOUT,
    })
}

fn config(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    file.plain_rotary()?;
    let share = agreed(file, "partial_rotary_factor", "rotary_pct", 0.25)?;
    let base = agreed(file, "rope_theta", "rotary_emb_base", 10000.0)?;
    let mut cfg = HookedTransformerConfig {
        model_name: file.name("gpt_neox"),
        n_layers: file.layers("num_hidden_layers")?,
        d_model: file.size("hidden_size")?,
        n_ctx: file.size("max_position_embeddings")?,
        n_heads: file.size("num_attention_heads")?,
        d_mlp: Some(file.size("intermediate_size")?),
        d_vocab: file.size("vocab_size")?,
        act_fn: file.activation("hidden_act", ActFn::Gelu)?,
        normalization_type: NormalizationType::LN,
        eps: file.number("layer_norm_eps")?.unwrap_or(1e-5),
        parallel_attn_mlp: file.flag("use_parallel_residual")? != Some(false),
        positional_embedding_type: PositionalEmbeddingType::Rotary,
        rotary_base: base,
        ..Default::default()
    };
    cfg.rotary_dim = Some((cfg.d_head() as f64 * share) as usize);
    Ok(cfg)
}

/// A number of the rotary positions. Versions 4.45 to 4.57 of `transformers` wrote it at the top under the name of the
/// other families too, and do not agree with the others on which of the two counts.
fn agreed(file: &ConfigFile, key: &str, own: &str, default: f64) -> Result<f64> {
    let number = file.rotary_number(key, own, default)?;
    match file.number(key)? {
        Some(other) if other != number => Err(Error::config(format!(
            "config.json sets {key:?} to {other}, but by {own:?} or by the rotary positions it is {number}: versions of \
             transformers take one or the other. Keep the one that the model was trained with."
        ))),
        _ => Ok(number),
    }
}

/// A block; `attention_bias` where the linear layers of attention have biases.
fn block(
    file: &mut TensorFile,
    layer: usize,
    cfg: &HookedTransformerConfig,
    attention_bias: bool,
) -> Result<BlockWeights> {
    let d = cfg.d_model;
    let at = |name: &str| format!("layers.{layer}.{name}");
    let names = ["attention.query_key_value", "attention.dense"].map(at);
    let attn = parts::fused_by_head(file, cfg, names, attention_bias)?;
    Ok(BlockWeights {
        ln1_post: None,
        ln2_post: None,
        ln1: Some(parts::layer_norm(file, &at("input_layernorm"), d)),
        attn,
        ln2: Some(parts::layer_norm(file, &at("post_attention_layernorm"), d)),
        mlp: Some(parts::mlp(file, cfg, &at("mlp.dense_h_to_4h"), &at("mlp.dense_4h_to_h"))?),
    })
}
