//! Llama 1 to 3, and what Mistral, Qwen and Gemma share with it: root-mean-square norms, rotary positions, gated MLPs,
//! keys and values shared by heads.
//!
//! Reference: `transformers` `LlamaForCausalLM`.

use super::config_file::ConfigFile;
use super::layout::Layout;
use super::{Family, parts, rope};
use crate::error::{Error, Result};
use crate::model::config::{ActFn, HookedTransformerConfig, NormalizationType, PositionalEmbeddingType};
use crate::model::load::tensor_file::TensorFile;
use crate::model::weights::{BlockWeights, MlpWeights};

pub(super) const FAMILY: Family = Family { model_type: "llama", config, layout, usually_tied: false };

pub(super) const LAYOUT: Layout = Layout {
    prefix: "model.",
    buffers: &["rotary_emb.inv_freq"],
    embed: "embed_tokens.weight",
    embed_scale: |_| 1.0,
    embed_norm: None,
    pos_embed: "",
    unused_positions: 0,
    ln_final: "norm",
    unembed: "lm_head.weight",
    unembed_in_out: false,
    unembed_bias: None,
    norm: |file, name, cfg| parts::rms_norm(file, name, cfg.d_model),
    block: |file, layer, cfg| block(file, layer, cfg, Biases::NONE),
};

/// Which linear layers of a block have biases in the file.
#[derive(Clone, Copy)]
pub(super) struct Biases {
    /// Those of queries, keys and values.
    pub qkv: bool,
    /// That of attention's output.
    pub o: bool,
    /// The three of the MLP.
    pub mlp: bool,
}

impl Biases {
    pub(super) const NONE: Self = Self { qkv: false, o: false, mlp: false };
    pub(super) const QKV: Self = Self { qkv: true, ..Self::NONE };
    const ATTENTION: Self = Self { o: true, ..Self::QKV };
    const MLP: Self = Self { mlp: true, ..Self::NONE };
    const ALL: Self = Self { mlp: true, ..Self::ATTENTION };
}

/// A layout of this kind, with the biases that `attention_bias` and `mlp_bias` name.
pub(super) fn layout(file: &ConfigFile) -> Result<Layout> {
    let (attention, mlp) = (file.flag("attention_bias")? == Some(true), file.flag("mlp_bias")? == Some(true));
    Ok(match (attention, mlp) {
        (false, false) => LAYOUT,
        (true, false) => Layout { block: |file, layer, cfg| block(file, layer, cfg, Biases::ATTENTION), ..LAYOUT },
        (false, true) => Layout { block: |file, layer, cfg| block(file, layer, cfg, Biases::MLP), ..LAYOUT },
        (true, true) => Layout { block: |file, layer, cfg| block(file, layer, cfg, Biases::ALL), ..LAYOUT },
    })
}

/// Only a part of each head may be rotated. `LlamaForCausalLM` of `transformers` 5 does not read
/// `partial_rotary_factor`; here it means what it means in Phi-3 and the other families that have it.
fn config(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    let gated_mlp_biases = file.flag("mlp_bias")? == Some(true);
    let mut cfg = HookedTransformerConfig { gated_mlp_biases, ..whole(file)? };
    let share = rotary_share(file, 1.0)?;
    cfg.rotary_dim = (share != 1.0).then(|| (cfg.d_head() as f64 * share) as usize);
    Ok(cfg)
}

/// The config that all families of this kind share.
pub(super) fn base(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    if rotary_share(file, 1.0)? != 1.0 {
        return Err(Error::config(
            "config.json sets partial_rotary_factor, but this family rotates all dimensions of a head: correct it.",
        ));
    }
    whole(file)
}

/// [`base`], whatever share of a head is rotated.
pub(super) fn whole(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    let (object, sizes) = (file.rotary()?, sizes(file)?);
    let rotary_base = rope::number(object, "rope_theta").or(file.number("rope_theta")?).unwrap_or(10000.0);
    rope::scaled(HookedTransformerConfig { rotary_base, ..sizes }, object)
}

/// Which share of a head's dimensions is rotated, of what is written beside the base or at the top the first.
pub(super) fn rotary_share(file: &ConfigFile, default: f64) -> Result<f64> {
    file.rotary_number("partial_rotary_factor", "partial_rotary_factor", default)
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

/// A block whose attention has these biases.
pub(super) fn block(
    file: &mut TensorFile,
    layer: usize,
    cfg: &HookedTransformerConfig,
    biases: Biases,
) -> Result<BlockWeights> {
    let (d, m) = (cfg.d_model, cfg.d_mlp());
    let at = |name: &str| format!("layers.{layer}.{name}");
    let names = ["q_proj", "k_proj", "v_proj", "o_proj"];
    let mut attn = parts::attention(file, cfg, &at("self_attn"), names, (biases.qkv, biases.o))?;
    if cfg.use_qk_norm {
        let mut norm = |name: &str, heads: usize| parts::qk_norm(file, &at(name), cfg, heads);
        let of_q = norm("self_attn.q_norm", cfg.n_heads)?;
        attn.qk_norm = Some((of_q, norm("self_attn.k_norm", cfg.n_key_value_heads())?));
    }
    let mlp = MlpWeights {
        w_gate: Some(parts::linear(file, &at("mlp.gate_proj"), (d, m))?.into()),
        w_in: parts::linear(file, &at("mlp.up_proj"), (d, m))?.into(),
        gate_biases: match cfg.gated_mlp_biases {
            true => Some((
                parts::bias(file, &at("mlp.gate_proj"), m, biases.mlp)?,
                parts::bias(file, &at("mlp.up_proj"), m, biases.mlp)?,
            )),
            false => None,
        },
        b_in: parts::bias(file, "", m, false)?,
        ln: None,
        w_out: parts::linear(file, &at("mlp.down_proj"), (m, d))?.into(),
        b_out: parts::bias(file, &at("mlp.down_proj"), d, biases.mlp)?,
    };
    let mut norm = |name: &str| Some(parts::rms_norm(file, &at(name), d));
    // Where no norm follows attention, the one of this name precedes the MLP.
    let (ln1, ln1_post, ln2) = match (cfg.use_normalization_after_only, cfg.norms_after()) {
        (true, _) => (None, norm("post_attention_layernorm"), None),
        (_, true) => (norm("input_layernorm"), norm("post_attention_layernorm"), norm("pre_feedforward_layernorm")),
        (_, false) => (norm("input_layernorm"), None, norm("post_attention_layernorm")),
    };
    let ln2_post = if cfg.norms_after() { norm("post_feedforward_layernorm") } else { None };
    Ok(BlockWeights { ln1, attn, ln1_post, ln2, ln2_post, mlp: Some(mlp) })
}
