//! GPT-2 (Radford et al. 2019) as Hugging Face `transformers` stores it.
//!
//! `c_attn` holds q, k and v side by side, and all matrices are `[in, out]`, which is our own layout.

use candle_core::{DType, Device, IndexOp, Tensor};
use serde_json::{Value, json};

use super::config_file::ConfigFile;
use super::layout::Layout;
use super::{Family, parts};
use crate::error::{Error, Result};
use crate::model::config::{ActFn, AttentionDir, HookedTransformerConfig, NormalizationType, PositionalEmbeddingType};
use crate::model::load::tensor_file::TensorFile;
use crate::model::weights::{AttentionWeights, BlockWeights, MlpWeights, NormWeights, Weights};

pub(super) const FAMILY: Family = Family { model_type: "gpt2", config, layout: |_| Ok(LAYOUT), usually_tied: true };

pub(super) const LAYOUT: Layout = Layout {
    prefix: "transformer.",
    buffers: &[".attn.bias", ".attn.masked_bias"],
    embed: "wte.weight",
    embed_scale: |_| 1.0,
    embed_norm: None,
    pos_embed: "wpe.weight",
    unused_positions: 0,
    ln_final: "ln_f",
    unembed: "lm_head.weight",
    unembed_in_out: false,
    unembed_bias: None,
    norm: |file, name, cfg| parts::layer_norm(file, name, cfg.d_model),
    block,
};

fn config(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    // The last changes rounding only.
    file.harmless(&["n_ctx", "predict_special_tokens", "reorder_and_upcast_attn"]);
    file.only("n_special", &[json!(0)])?;
    let unscaled = file.flag("scale_attn_weights")? == Some(false);
    Ok(HookedTransformerConfig {
        model_name: file.name("gpt2"),
        n_layers: file.layers("n_layer")?,
        d_model: file.size("n_embd")?,
        n_ctx: file.size("n_positions")?,
        n_heads: file.size("n_head")?,
        d_mlp: file.optional_size("n_inner")?,
        d_vocab: file.size("vocab_size")?,
        act_fn: file.activation("activation_function", ActFn::GeluNew)?,
        normalization_type: NormalizationType::LN,
        eps: file.number("layer_norm_epsilon")?.unwrap_or(1e-5),
        attn_scale: unscaled.then_some(1.0),
        scale_attn_by_inverse_layer_idx: file.flag("scale_attn_by_inverse_layer_idx")? == Some(true),
        ..Default::default()
    })
}

fn block(file: &mut TensorFile, layer: usize, cfg: &HookedTransformerConfig) -> Result<BlockWeights> {
    let (d, m) = (cfg.d_model, cfg.d_mlp());
    let mut take = |name: &str, shape: &[usize]| file.take(&format!("h.{layer}.{name}"), shape);
    let qkv = take("attn.c_attn.weight", &[d, 3 * d]);
    let qkv_bias = take("attn.c_attn.bias", &[3 * d]);
    let part = |i: usize| file.in_a_row(qkv.i((.., i * d..(i + 1) * d))?);
    let bias = |i: usize| file.in_a_row(qkv_bias.i(i * d..(i + 1) * d)?);
    let (w_q, w_k, w_v) = (part(0)?, part(1)?, part(2)?);
    let (b_q, b_k, b_v) = (bias(0)?, bias(1)?, bias(2)?);
    drop(qkv);
    let mut take = |name: &str, shape: &[usize]| file.take(&format!("h.{layer}.{name}"), shape);
    Ok(BlockWeights {
        ln1_post: None,
        ln2_post: None,
        attn: AttentionWeights {
            w_q: w_q.into(),
            w_k: w_k.into(),
            w_v: w_v.into(),
            b_q,
            b_k,
            b_v,
            w_o: take("attn.c_proj.weight", &[d, d]).into(),
            b_o: take("attn.c_proj.bias", &[d]),
            qk_norm: None,
        },
        mlp: Some(MlpWeights {
            w_in: take("mlp.c_fc.weight", &[d, m]).into(),
            w_gate: None,
            gate_biases: None,
            b_in: take("mlp.c_fc.bias", &[m]),
            ln: None,
            w_out: take("mlp.c_proj.weight", &[m, d]).into(),
            b_out: take("mlp.c_proj.bias", &[d]),
        }),
        ln1: Some(parts::layer_norm(file, &format!("h.{layer}.ln_1"), d)),
        ln2: Some(parts::layer_norm(file, &format!("h.{layer}.ln_2"), d)),
    })
}

/// The `config.json` of a model that GPT-2's format can hold.
pub(in crate::model) fn config_json(
    cfg: &HookedTransformerConfig,
    dtype: DType,
    tied: bool,
    (bos, ends): (Option<u32>, Vec<u32>),
) -> Value {
    let eos = match ends[..] {
        [] => Value::Null,
        [one] => one.into(),
        _ => ends.into(),
    };
    let dtype = match dtype {
        DType::BF16 => "bfloat16",
        DType::F16 => "float16",
        _ => "float32",
    };
    json!({
        "_name_or_path": cfg.model_name, "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2",
        "n_layer": cfg.n_layers, "n_embd": cfg.d_model, "n_head": cfg.n_heads, "n_positions": cfg.n_ctx,
        "n_inner": cfg.d_mlp(), "vocab_size": cfg.d_vocab, "activation_function": cfg.act_fn,
        "layer_norm_epsilon": cfg.eps, "scale_attn_weights": is_scaled(cfg),
        "scale_attn_by_inverse_layer_idx": cfg.scale_attn_by_inverse_layer_idx,
        "bos_token_id": bos, "eos_token_id": eos, "tie_word_embeddings": tied,
        "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "dtype": dtype,
    })
}

/// Whether scores are divided by `sqrt(d_head)`.
fn is_scaled(cfg: &HookedTransformerConfig) -> bool {
    cfg.attn_scale.is_none_or(|scale| scale == (cfg.d_head() as f64).sqrt())
}

/// Whether the unembedding is the embedding transposed, number for number, so that one matrix serves for both.
pub(in crate::model) fn is_tied(weights: &Weights) -> Result<bool> {
    let w_u = weights.w_u.t()?;
    if w_u.dims() != weights.w_e.dims() {
        return Ok(false);
    }
    Ok((w_u - &weights.w_e)?.abs()?.flatten_all()?.max(0)?.to_dtype(DType::F32)?.to_scalar::<f32>()? == 0.0)
}

fn unfit(what: &str) -> Error {
    Error::argument(format!("GPT-2's format cannot hold a model with {what}: save an unprocessed GPT-2."))
}

/// Refuses what a `config.json` of GPT-2 cannot say.
fn check_fits(cfg: &HookedTransformerConfig) -> Result<()> {
    if cfg.n_heads * cfg.d_head() != cfg.d_model || cfg.d_vocab_out() != cfg.d_vocab {
        return Err(unfit("heads that do not fill d_model, or another output vocabulary"));
    }
    if cfg.attention_dir != AttentionDir::Causal || !(is_scaled(cfg) || cfg.attn_scale == Some(1.0)) {
        return Err(unfit("attention that looks ahead, or a scale of its scores of its own"));
    }
    if matches!(cfg.act_fn, ActFn::Solu | ActFn::SoluLn) {
        return Err(unfit("solu as activation function"));
    }
    let plain = HookedTransformerConfig {
        positional_embedding_type: PositionalEmbeddingType::Standard,
        n_key_value_heads: None,
        parallel_attn_mlp: false,
        gated_mlp: false,
        use_normalization_before_and_after: false,
        use_normalization_after_only: false,
        use_qk_norm: false,
        attn_scores_soft_cap: None,
        output_logits_soft_cap: None,
        window_size: None,
        ..cfg.clone()
    };
    if plain != *cfg {
        return Err(unfit(
            "rotary, shortformer or ALiBi positions, shared keys, norms elsewhere, gates, parallel blocks, soft caps \
             or windows",
        ));
    }
    Ok(())
}

/// The tensors of a model under GPT-2's names; tied embeddings are stored once.
///
/// # Errors
/// [`Error::Argument`] where GPT-2's format has no place for the model: folded norms, no MLP, a bias of the logits.
pub(in crate::model) fn tensors(weights: &Weights, cfg: &HookedTransformerConfig) -> Result<Vec<(String, Tensor)>> {
    let b_u = weights.b_u.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.abs()?.max(0)?.to_scalar::<f32>()?;
    if b_u != 0.0 {
        return Err(unfit("a bias of the logits"));
    }
    check_fits(cfg)?;
    let w_pos = weights.w_pos.clone().ok_or_else(|| unfit("no vectors for positions"))?;
    let mut named = vec![
        ("transformer.wte.weight".to_string(), weights.w_e.clone()),
        ("transformer.wpe.weight".to_string(), w_pos),
    ];
    if !is_tied(weights)? {
        named.push(("lm_head.weight".to_string(), weights.w_u.t()?.contiguous()?));
    }
    let norm = |name: String, norm: &Option<NormWeights>| match norm {
        Some(NormWeights { w, b: Some(b) }) => {
            Ok([(format!("{name}.weight"), w.clone()), (format!("{name}.bias"), b.clone())])
        }
        _ => Err(unfit("folded or missing norms")),
    };
    let mut all = Vec::new();
    for (layer, block) in weights.blocks.iter().enumerate() {
        let at = |name: &str| format!("transformer.h.{layer}.{name}");
        let (attn, mlp) = (&block.attn, block.mlp.as_ref().ok_or_else(|| unfit("attention only"))?);
        all.extend(norm(at("ln_1"), &block.ln1)?);
        all.extend(norm(at("ln_2"), &block.ln2)?);
        all.extend([
            (at("attn.c_attn.weight"), Tensor::cat(&[&attn.w_q, &attn.w_k, &attn.w_v], 1)?),
            (at("attn.c_attn.bias"), Tensor::cat(&[&attn.b_q, &attn.b_k, &attn.b_v], 0)?),
            (at("attn.c_proj.weight"), Tensor::clone(&attn.w_o)),
            (at("attn.c_proj.bias"), attn.b_o.clone()),
            (at("mlp.c_fc.weight"), Tensor::clone(&mlp.w_in)),
            (at("mlp.c_fc.bias"), mlp.b_in.clone()),
            (at("mlp.c_proj.weight"), Tensor::clone(&mlp.w_out)),
            (at("mlp.c_proj.bias"), mlp.b_out.clone()),
        ]);
    }
    named.extend(norm("transformer.ln_f".into(), &weights.ln_final)?);
    named.extend(all);
    Ok(named)
}
