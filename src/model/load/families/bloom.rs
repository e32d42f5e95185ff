//! BLOOM: GPT-2 without vectors for positions, whose attention scores fall with the distance instead (ALiBi), and with a
//! layer norm behind the embedding.
//!
//! That norm sees nothing but the token, so its result is our `W_E`: what TransformerLens shows as `hook_embed`. The
//! unembedding is the matrix of the file, without the norm.
//!
//! Reference: `transformers` `BloomForCausalLM`.

use serde_json::{Value, json};

use super::config_file::ConfigFile;
use super::layout::Layout;
use super::{Family, parts};
use crate::error::Result;
use crate::model::config::{ActFn, HookedTransformerConfig, NormalizationType, PositionalEmbeddingType};
use crate::model::load::tensor_file::TensorFile;
use crate::model::weights::BlockWeights;

pub(super) const FAMILY: Family = Family { model_type: "bloom", config, layout: |_| Ok(LAYOUT), usually_tied: true };

const LAYOUT: Layout = Layout {
    prefix: "transformer.",
    buffers: &[],
    embed: "word_embeddings.weight",
    embed_scale: |_| 1.0,
    embed_norm: Some("word_embeddings_layernorm"),
    pos_embed: "",
    unused_positions: 0,
    ln_final: "ln_f",
    unembed: "lm_head.weight",
    unembed_in_out: false,
    unembed_bias: None,
    norm: |file, name, cfg| parts::layer_norm(file, name, cfg.d_model),
    block,
};

fn config(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    // How it was trained on many devices, and what was fused there.
    file.harmless(&[
        "attention_softmax_in_fp32",
        "bias_dropout_fusion",
        "masked_softmax_fusion",
        "offset_alibi",
        "skip_bias_add",
        "skip_bias_add_qkv",
    ]);
    // With a `pretraining_tp` above 1, `transformers` then leaves out the biases of what is added to the stream.
    file.only("slow_but_exact", &[json!(false)])?;
    file.only("apply_residual_connection_post_layernorm", &[json!(false)])?;
    // Of two names the first is the one that `transformers` takes.
    let size = |first: &str, second: &str| match file.optional_size(first)? {
        Some(size) => file.optional_size(second).map(|_| size),
        None => file.size(second),
    };
    let d_model = size("n_embed", "hidden_size")?;
    let d_mlp = 4 * d_model.min(1 << 20);
    file.only("n_inner", &[Value::Null, json!(d_mlp)])?;
    let n_layers = match file.optional_size("num_hidden_layers")? {
        Some(_) => file.layers("num_hidden_layers")?,
        None => file.layers("n_layer")?,
    };
    Ok(HookedTransformerConfig {
        model_name: file.name("bloom"),
        n_layers,
        d_model,
        n_ctx: file.optional_size("seq_length")?.unwrap_or(2048),
        n_heads: size("num_attention_heads", "n_head")?,
        d_mlp: Some(d_mlp),
        d_vocab: file.size("vocab_size")?,
        act_fn: ActFn::GeluNew,
        normalization_type: NormalizationType::LN,
        eps: file.number("layer_norm_epsilon")?.unwrap_or(1e-5),
        positional_embedding_type: PositionalEmbeddingType::Alibi,
        ..Default::default()
    })
}

fn block(file: &mut TensorFile, layer: usize, cfg: &HookedTransformerConfig) -> Result<BlockWeights> {
    let at = |name: &str| format!("h.{layer}.{name}");
    let names = ["self_attention.query_key_value", "self_attention.dense"].map(at);
    Ok(BlockWeights {
        ln1_post: None,
        ln2_post: None,
        ln1: Some(parts::layer_norm(file, &at("input_layernorm"), cfg.d_model)),
        attn: parts::fused_by_head(file, cfg, names, true)?,
        ln2: Some(parts::layer_norm(file, &at("post_attention_layernorm"), cfg.d_model)),
        mlp: Some(parts::mlp(file, cfg, &at("mlp.dense_h_to_4h"), &at("mlp.dense_4h_to_h"))?),
    })
}
