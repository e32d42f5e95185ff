//! StableLM 2 and StableLM 3B: Llama with layer norms and rotary positions in a part of each head, in some sizes with
//! biases of queries, keys and values, a layer norm of each head's queries and keys, or attention and MLP side by side
//! after one norm, which then precedes both, as `ln1` and as `ln2`.
//!
//! The gated MLP gets biases of zero, into which the shift of its norm can be folded.
//!
//! Reference: `transformers` `StableLmForCausalLM`.

use candle_core::Tensor;

use super::config_file::ConfigFile;
use super::layout::Layout;
use super::{Family, llama, parts};
use crate::error::Result;
use crate::model::config::{HookedTransformerConfig, NormalizationType, QkNormType};
use crate::model::load::tensor_file::TensorFile;
use crate::model::weights::{BlockWeights, MlpWeights, NormWeights};

pub(super) const FAMILY: Family = Family { model_type: "stablelm", config, layout, usually_tied: false };

const LAYOUT: Layout = Layout {
    norm: |file, name, cfg| parts::layer_norm(file, name, cfg.d_model),
    block: |file, layer, cfg| block(file, layer, cfg, false),
    ..llama::LAYOUT
};

fn layout(file: &ConfigFile) -> Result<Layout> {
    Ok(match file.flag("use_qkv_bias")? {
        Some(true) => Layout { block: |file, layer, cfg| block(file, layer, cfg, true), ..LAYOUT },
        Some(false) | None => LAYOUT,
    })
}

fn config(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    let use_qk_norm = file.flag("qk_layernorm")? == Some(true);
    let mut cfg = HookedTransformerConfig {
        normalization_type: NormalizationType::LN,
        eps: file.number("layer_norm_eps")?.unwrap_or(1e-5),
        parallel_attn_mlp: file.flag("use_parallel_residual")? == Some(true),
        gated_mlp_biases: true,
        use_qk_norm,
        qk_norm_type: if use_qk_norm { QkNormType::LNPerHead } else { QkNormType::default() },
        ..llama::whole(file)?
    };
    cfg.rotary_dim = Some((cfg.d_head() as f64 * llama::rotary_share(file, 0.25)?) as usize);
    Ok(cfg)
}

fn block(file: &mut TensorFile, layer: usize, cfg: &HookedTransformerConfig, qkv_bias: bool) -> Result<BlockWeights> {
    let (d, m) = (cfg.d_model, cfg.d_mlp());
    let at = |name: &str| format!("layers.{layer}.{name}");
    let names = ["q_proj", "k_proj", "v_proj", "o_proj"];
    let mut attn = parts::attention(file, cfg, &at("self_attn"), names, (qkv_bias, false))?;
    if cfg.use_qk_norm {
        let mut norm = |name: &str, heads| norm_of_each_head(file, &at(name), heads, cfg.d_head());
        let q = norm("self_attn.q_layernorm", cfg.n_heads)?;
        attn.qk_norm = Some((q, norm("self_attn.k_layernorm", cfg.n_key_value_heads())?));
    }
    let ln1 = parts::layer_norm(file, &at("input_layernorm"), d);
    let ln2 = match cfg.parallel_attn_mlp {
        true => ln1.clone(),
        false => parts::layer_norm(file, &at("post_attention_layernorm"), d),
    };
    let mlp = MlpWeights {
        w_gate: Some(parts::linear(file, &at("mlp.gate_proj"), (d, m))?.into()),
        gate_biases: Some((file.zeros(m)?, file.zeros(m)?)),
        w_in: parts::linear(file, &at("mlp.up_proj"), (d, m))?.into(),
        b_in: file.zeros(m)?,
        ln: None,
        w_out: parts::linear(file, &at("mlp.down_proj"), (m, d))?.into(),
        b_out: file.zeros(d)?,
    };
    Ok(BlockWeights { ln1: Some(ln1), attn, ln1_post: None, ln2: Some(ln2), ln2_post: None, mlp: Some(mlp) })
}

/// The scales of as many layer norms without shift as there are heads.
fn norm_of_each_head(file: &mut TensorFile, name: &str, heads: usize, d_head: usize) -> Result<NormWeights> {
    let rows: Vec<Tensor> =
        (0..heads).map(|head| file.take(&format!("{name}.norms.{head}.weight"), &[d_head])).collect();
    // A stand-in for what is missing is never laid out: it may claim any size.
    let w = if file.is_faulty() { rows[0].clone() } else { Tensor::stack(&rows, 0)? };
    Ok(NormWeights { w, b: None })
}
