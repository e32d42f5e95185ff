//! GPT-J: attention and MLP side by side after one norm, rotary positions that rotate neighbouring dimensions of a part
//! of each head, no biases in attention but one of the logits.
//!
//! As in TransformerLens the single norm precedes both, as `ln1` and as `ln2`.
//!
//! Reference: `transformers` `GPTJForCausalLM`.

use serde_json::json;

use super::config_file::ConfigFile;
use super::layout::Layout;
use super::{Family, gpt2, parts};
use crate::error::Result;
use crate::model::config::{ActFn, HookedTransformerConfig, NormalizationType, PositionalEmbeddingType};
use crate::model::load::tensor_file::TensorFile;
use crate::model::weights::BlockWeights;

pub(super) const FAMILY: Family = Family { model_type: "gptj", config, layout: |_| Ok(LAYOUT), usually_tied: false };

const LAYOUT: Layout =
    Layout { buffers: &["attn.bias", "attn.masked_bias"], unembed_bias: Some("lm_head.bias"), block, ..gpt2::LAYOUT };

fn config(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    file.only("rotary", &[json!(true)])?;
    file.harmless(&["scale_attn_weights"]);
    Ok(HookedTransformerConfig {
        model_name: file.name("gptj"),
        n_layers: file.layers("n_layer")?,
        d_model: file.size("n_embd")?,
        n_ctx: file.size("n_positions")?,
        n_heads: file.size("n_head")?,
        d_mlp: file.optional_size("n_inner")?,
        d_vocab: file.size("vocab_size")?,
        act_fn: file.activation("activation_function", ActFn::GeluNew)?,
        normalization_type: NormalizationType::LN,
        eps: file.number("layer_norm_epsilon")?.unwrap_or(1e-5),
        parallel_attn_mlp: true,
        positional_embedding_type: PositionalEmbeddingType::Rotary,
        rotary_dim: Some(file.optional_size("rotary_dim")?.unwrap_or(64)),
        rotary_adjacent_pairs: true,
        ..Default::default()
    })
}

fn block(file: &mut TensorFile, layer: usize, cfg: &HookedTransformerConfig) -> Result<BlockWeights> {
    let at = |name: &str| format!("h.{layer}.{name}");
    let names = ["q_proj", "k_proj", "v_proj", "out_proj"];
    let norm = parts::layer_norm(file, &at("ln_1"), cfg.d_model);
    Ok(BlockWeights {
        ln1_post: None,
        ln2_post: None,
        ln1: Some(norm.clone()),
        attn: parts::attention(file, cfg, &at("attn"), names, (false, false))?,
        ln2: Some(norm),
        mlp: Some(parts::mlp(file, cfg, &at("mlp.fc_in"), &at("mlp.fc_out"))?),
    })
}
