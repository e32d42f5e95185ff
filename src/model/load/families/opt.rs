//! OPT: GPT-2 with relu. The file's position embeddings begin with two rows that are never used, and are dropped here.
//!
//! Reference: `transformers` `OPTForCausalLM`; the sizes whose norms come after (350m) are refused.

use serde_json::json;

use super::config_file::ConfigFile;
use super::layout::Layout;
use super::{Family, parts};
use crate::error::{Error, Result};
use crate::model::config::{ActFn, HookedTransformerConfig, NormalizationType};
use crate::model::load::tensor_file::TensorFile;
use crate::model::weights::BlockWeights;

pub(super) const FAMILY: Family = Family { model_type: "opt", config, layout: |_| Ok(LAYOUT), usually_tied: true };

const LAYOUT: Layout = Layout {
    prefix: "model.",
    buffers: &[],
    embed: "decoder.embed_tokens.weight",
    embed_scale: |_| 1.0,
    embed_norm: None,
    pos_embed: "decoder.embed_positions.weight",
    unused_positions: 2,
    ln_final: "decoder.final_layer_norm",
    unembed: "lm_head.weight",
    unembed_in_out: false,
    unembed_bias: None,
    norm: |file, name, cfg| parts::layer_norm(file, name, cfg.d_model),
    block,
};

fn config(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    file.harmless(&["output_projection"]);
    let d_model = file.size("hidden_size")?;
    if file.flag("do_layer_norm_before")? == Some(false) {
        return Err(Error::config(
            "config.json sets \"do_layer_norm_before\" to false, as OPT-350m does: its norms come after what attention \
             and MLP add, so that the residual stream itself goes through a norm twice in each block and is not the sum \
             of what was written to it. Such models are not supported: take another size of OPT.",
        ));
    }
    file.only("word_embed_proj_dim", &[json!(d_model)])?;
    file.only("_remove_final_layer_norm", &[json!(false)])?;
    file.only("enable_bias", &[json!(true)])?;
    file.only("layer_norm_elementwise_affine", &[json!(true)])?;
    Ok(HookedTransformerConfig {
        model_name: file.name("opt"),
        n_layers: file.layers("num_hidden_layers")?,
        d_model,
        n_ctx: file.size("max_position_embeddings")?,
        n_heads: file.size("num_attention_heads")?,
        d_mlp: Some(file.size("ffn_dim")?),
        d_vocab: file.size("vocab_size")?,
        act_fn: file.activation("activation_function", ActFn::Relu)?,
        normalization_type: NormalizationType::LN,
        ..Default::default()
    })
}

fn block(file: &mut TensorFile, layer: usize, cfg: &HookedTransformerConfig) -> Result<BlockWeights> {
    let at = |name: &str| format!("decoder.layers.{layer}.{name}");
    let names = ["q_proj", "k_proj", "v_proj", "out_proj"];
    Ok(BlockWeights {
        ln1_post: None,
        ln2_post: None,
        ln1: Some(parts::layer_norm(file, &at("self_attn_layer_norm"), cfg.d_model)),
        attn: parts::attention(file, cfg, &at("self_attn"), names, (true, true))?,
        ln2: Some(parts::layer_norm(file, &at("final_layer_norm"), cfg.d_model)),
        mlp: Some(parts::mlp(file, cfg, &at("fc1"), &at("fc2"))?),
    })
}
