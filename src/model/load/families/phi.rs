//! Phi 1, 1.5 and 2: attention and MLP side by side after one norm, rotary positions in a part of each head, and biases
//! everywhere, of the logits too; in some sizes queries and keys have layer norms.
//!
//! As in TransformerLens the single norm precedes both, as `ln1` and as `ln2`.
//!
//! Reference: `transformers` `PhiForCausalLM`.

use super::config_file::ConfigFile;
use super::layout::Layout;
use super::{Family, llama, parts};
use crate::error::Result;
use crate::model::config::{ActFn, HookedTransformerConfig, NormalizationType, PositionalEmbeddingType, QkNormType};
use crate::model::load::tensor_file::TensorFile;
use crate::model::weights::BlockWeights;

pub(super) const FAMILY: Family = Family { model_type: "phi", config, layout: |_| Ok(LAYOUT), usually_tied: false };

const LAYOUT: Layout = Layout {
    ln_final: "final_layernorm",
    unembed_bias: Some("lm_head.bias"),
    norm: |file, name, cfg| parts::layer_norm(file, name, cfg.d_model),
    block,
    ..llama::LAYOUT
};

fn config(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    file.plain_rotary()?;
    let share = file.rotary_number("partial_rotary_factor", "partial_rotary_factor", 0.5)?;
    let base = file.rotary_number("rope_theta", "rope_theta", 10000.0)?;
    let n_heads = file.size("num_attention_heads")?;
    let use_qk_norm = file.flag("qk_layernorm")? == Some(true);
    let mut cfg = HookedTransformerConfig {
        model_name: file.name("phi"),
        n_layers: file.layers("num_hidden_layers")?,
        d_model: file.size("hidden_size")?,
        n_ctx: file.size("max_position_embeddings")?,
        n_heads,
        n_key_value_heads: file.optional_size("num_key_value_heads")?.filter(|groups| *groups != n_heads),
        d_mlp: Some(file.size("intermediate_size")?),
        d_vocab: file.size("vocab_size")?,
        act_fn: file.activation("hidden_act", ActFn::GeluNew)?,
        normalization_type: NormalizationType::LN,
        eps: file.number("layer_norm_eps")?.unwrap_or(1e-5),
        parallel_attn_mlp: true,
        use_qk_norm,
        qk_norm_type: if use_qk_norm { QkNormType::LN } else { QkNormType::default() },
        positional_embedding_type: PositionalEmbeddingType::Rotary,
        rotary_base: base,
        ..Default::default()
    };
    cfg.rotary_dim = Some((cfg.d_head() as f64 * share) as usize);
    Ok(cfg)
}

fn block(file: &mut TensorFile, layer: usize, cfg: &HookedTransformerConfig) -> Result<BlockWeights> {
    let at = |name: &str| format!("layers.{layer}.{name}");
    let names = ["q_proj", "k_proj", "v_proj", "dense"];
    let norm = parts::layer_norm(file, &at("input_layernorm"), cfg.d_model);
    let mut attn = parts::attention(file, cfg, &at("self_attn"), names, (true, true))?;
    if cfg.use_qk_norm {
        let mut norm = |name: &str| parts::layer_norm(file, &at(name), cfg.d_head());
        attn.qk_norm = Some((norm("self_attn.q_layernorm"), norm("self_attn.k_layernorm")));
    }
    Ok(BlockWeights {
        ln1_post: None,
        ln2_post: None,
        ln1: Some(norm.clone()),
        attn,
        ln2: Some(norm),
        mlp: Some(parts::mlp(file, cfg, &at("mlp.fc1"), &at("mlp.fc2"))?),
    })
}
