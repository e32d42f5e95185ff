//! Llama 1 to 3, and what Mistral, Qwen and Gemma share with it: root-mean-square norms, rotary positions, gated MLPs,
//! keys and values shared by heads.
//!
//! Reference: `transformers` `LlamaForCausalLM`.

use serde_json::json;

use super::config_file::ConfigFile;
use super::layout::Layout;
use super::{Family, parts, rope};
use crate::error::Result;
use crate::model::config::{ActFn, HookedTransformerConfig, NormalizationType, PositionalEmbeddingType};
use crate::model::load::tensor_file::TensorFile;
use crate::model::weights::{BlockWeights, MlpWeights};

pub(super) const FAMILY: Family = Family { model_type: "llama", config, layout: LAYOUT, usually_tied: false };

pub(super) const LAYOUT: Layout = Layout {
    prefix: "model.",
    buffers: &["rotary_emb.inv_freq"],
    embed: "embed_tokens.weight",
    embed_scale: |_| 1.0,
    pos_embed: "",
    unused_positions: 0,
    ln_final: "norm",
    unembed: "lm_head.weight",
    unembed_in_out: false,
    unembed_bias: None,
    norm: |file, name, cfg| parts::rms_norm(file, name, cfg.d_model),
    block: |file, layer, cfg| block(file, layer, cfg, false),
};

fn config(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    file.only("attention_bias", &[json!(false)])?;
    file.only("mlp_bias", &[json!(false)])?;
    base(file)
}

/// The config that all families of this kind share.
pub(super) fn base(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    let cfg = sizes(file)?;
    let object = rope::object(file)?;
    let rotary_base = rope::number(object, "rope_theta").or(file.number("rope_theta")?).unwrap_or(10000.0);
    rope::scaled(HookedTransformerConfig { rotary_base, ..cfg }, object)
}

/// [`base`] without the keys that say how queries and keys are rotated.
pub(super) fn sizes(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    let n_heads = file.size("num_attention_heads")?;
    // The first conversions of Llama use this name for the context.
    let n_ctx = match file.optional_size("max_sequence_length")? {
        Some(first) => file.optional_size("max_position_embeddings")?.unwrap_or(first),
        None => file.size("max_position_embeddings")?,
    };
    Ok(HookedTransformerConfig {
        model_name: file.name("llama"),
        n_layers: file.layers("num_hidden_layers")?,
        d_model: file.size("hidden_size")?,
        n_ctx,
        n_heads,
        n_key_value_heads: file.optional_size("num_key_value_heads")?.filter(|groups| *groups != n_heads),
        d_head: file.optional_size("head_dim")?,
        d_mlp: Some(file.size("intermediate_size")?),
        d_vocab: file.size("vocab_size")?,
        act_fn: file.activation("hidden_act", ActFn::Silu)?,
        normalization_type: NormalizationType::RMS,
        eps: file.number("rms_norm_eps")?.unwrap_or(1e-6),
        gated_mlp: true,
        positional_embedding_type: PositionalEmbeddingType::Rotary,
        ..Default::default()
    })
}

/// A block; `qkv_bias` where q, k and v have biases.
pub(super) fn block(
    file: &mut TensorFile,
    layer: usize,
    cfg: &HookedTransformerConfig,
    qkv_bias: bool,
) -> Result<BlockWeights> {
    let (d, m) = (cfg.d_model, cfg.d_mlp());
    let at = |name: &str| format!("layers.{layer}.{name}");
    let names = ["q_proj", "k_proj", "v_proj", "o_proj"];
    let mut attn = parts::attention(file, cfg, &at("self_attn"), names, (qkv_bias, false))?;
    if cfg.use_qk_norm {
        let (of_q, of_k) = cfg.qk_norm_widths();
        let mut scale = |name: &str, width: usize| file.take(&at(name), &[width]);
        attn.qk_norm = Some((scale("self_attn.q_norm.weight", of_q), scale("self_attn.k_norm.weight", of_k)));
    }
    let mlp = MlpWeights {
        w_gate: Some(parts::linear(file, &at("mlp.gate_proj"), (d, m))?),
        w_in: parts::linear(file, &at("mlp.up_proj"), (d, m))?,
        b_in: parts::bias(file, "", m, false)?,
        ln: None,
        w_out: parts::linear(file, &at("mlp.down_proj"), (m, d))?,
        b_out: parts::bias(file, "", d, false)?,
    };
    let mut norm = |name: &str| Some(parts::rms_norm(file, &at(name), d));
    // The second of these names is that of the norm before the MLP where attention has none behind it.
    let (ln1, ln1_post, ln2) = match (cfg.use_normalization_after_only, cfg.norms_after()) {
        (true, _) => (None, norm("post_attention_layernorm"), None),
        (_, true) => {
            (norm("input_layernorm"), norm("post_attention_layernorm"), norm("pre_feedforward_layernorm"))
        }
        (_, false) => (norm("input_layernorm"), None, norm("post_attention_layernorm")),
    };
    let ln2_post = if cfg.norms_after() { norm("post_feedforward_layernorm") } else { None };
    Ok(BlockWeights { ln1, attn, ln1_post, ln2, ln2_post, mlp: Some(mlp) })
}
