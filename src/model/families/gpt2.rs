//! GPT-2 (Radford et al. 2019) as Hugging Face `transformers` stores it.
//!
//! `c_attn` holds q, k and v side by side, and all matrices are `[in, out]`, which is our own layout.

use candle_core::{DType, Device, IndexOp, Tensor};
use serde_json::{Map, Value, json};

use super::super::config::{Activation, HookedTransformerConfig, NormalizationType};
use super::super::tensor_file::TensorFile;
use super::super::weights::{AttentionWeights, BlockWeights, MlpWeights, NormWeights, Weights};
use crate::error::{Error, Result};

/// Keys that do not change what the model computes when it is evaluated.
const IGNORED: &[&str] = &[
    "_name_or_path",
    "_num_labels",
    "architectures",
    "attn_pdrop",
    "bos_token_id",
    "dtype",
    "embd_pdrop",
    "eos_token_id",
    "gradient_checkpointing",
    "initializer_range",
    "model_type",
    "n_ctx",
    "output_past",
    "pad_token_id",
    "resid_pdrop",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "task_specific_params",
    "torch_dtype",
    "transformers_version",
    "use_cache",
    // Changes rounding only.
    "reorder_and_upcast_attn",
];

/// The config of a `config.json`.
///
/// # Errors
/// [`Error::Config`] for a missing size, an unsupported activation, or a key that is not understood.
pub(in super::super) fn config(json: &Map<String, Value>) -> Result<HookedTransformerConfig> {
    let size = |key: &str| {
        optional(json, key, "a whole number", Value::as_u64)?.map(|n| n as usize).ok_or_else(|| {
            Error::config(format!("config.json has no {key:?}, which a GPT-2 model needs: is it complete?"))
        })
    };
    let flag = |key: &str| optional(json, key, "true or false", Value::as_bool);
    refuse_unknown_keys(json)?;
    let act_fn = match optional(json, "activation_function", "a text", Value::as_str)?.unwrap_or("gelu_new") {
        "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluNew,
        "gelu" => Activation::Gelu,
        "relu" => Activation::Relu,
        "silu" | "swish" => Activation::Silu,
        other => {
            return Err(Error::config(format!(
                "config.json asks for the activation function {other:?}; gelu_new, gelu, relu and silu are supported."
            )));
        }
    };
    let unscaled = flag("scale_attn_weights")? == Some(false);
    let cfg = HookedTransformerConfig {
        model_name: json
            .get("_name_or_path")
            .and_then(Value::as_str)
            .filter(|s| !s.is_empty())
            .unwrap_or("gpt2")
            .into(),
        n_layers: size("n_layer")?,
        d_model: size("n_embd")?,
        n_ctx: size("n_positions")?,
        n_heads: size("n_head")?,
        d_mlp: optional(json, "n_inner", "a whole number", Value::as_u64)?.map(|n| n as usize),
        d_vocab: size("vocab_size")?,
        act_fn,
        normalization_type: NormalizationType::LN,
        eps: optional(json, "layer_norm_epsilon", "a number", Value::as_f64)?.unwrap_or(1e-5),
        attn_scale: unscaled.then_some(1.0),
        scale_attn_by_inverse_layer_idx: flag("scale_attn_by_inverse_layer_idx")? == Some(true),
        ..Default::default()
    };
    cfg.check()?;
    Ok(cfg)
}

/// Refuses a key that may change what the model computes and is not understood; one that is off changes nothing.
fn refuse_unknown_keys(json: &Map<String, Value>) -> Result<()> {
    for (key, value) in json {
        let handled = matches!(
            key.as_str(),
            "n_layer"
                | "n_embd"
                | "n_head"
                | "n_positions"
                | "n_inner"
                | "vocab_size"
                | "activation_function"
                | "layer_norm_epsilon"
                | "scale_attn_by_inverse_layer_idx"
                | "scale_attn_weights"
                | "tie_word_embeddings"
        );
        let off = matches!(value, Value::Null | Value::Bool(false));
        if !handled && !off && !IGNORED.contains(&key.as_str()) {
            return Err(Error::config(format!(
                "config.json sets {key:?} to {value}, which is not understood for GPT-2 and may change what the model \
                 computes: remove the key if it does not."
            )));
        }
    }
    Ok(())
}

/// What `key` is set to; `None` where it is absent or null.
///
/// # Errors
/// [`Error::Config`] for a value of another kind than `kind`.
fn optional<'a, T>(
    json: &'a Map<String, Value>,
    key: &str,
    kind: &str,
    read: impl Fn(&'a Value) -> Option<T>,
) -> Result<Option<T>> {
    let Some(value) = json.get(key).filter(|value| !value.is_null()) else { return Ok(None) };
    match read(value) {
        Some(read) => Ok(Some(read)),
        None => Err(Error::config(format!("config.json sets {key:?} to {value}, but {kind} is needed: correct it."))),
    }
}

/// Whether a `config.json` lets the embedding serve as unembedding too, as GPT-2's does unless it says otherwise.
///
/// # Errors
/// [`Error::Config`] for something that is neither true nor false.
pub(in super::super) fn may_be_tied(json: &Map<String, Value>) -> Result<bool> {
    Ok(optional(json, "tie_word_embeddings", "true or false", Value::as_bool)? != Some(false))
}

/// The layer that a tensor belongs to, by its name.
pub(in super::super) fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("transformer.").unwrap_or(name).strip_prefix("h.")?.split('.').next()?.parse().ok()
}

/// The weights of a state dict, with or without the prefix `transformer.`. Where `lm_head.weight` is not there and
/// `may_be_tied`, the embedding takes its place.
///
/// # Errors
/// [`Error::File`] listing every tensor that is missing, unexpected or of another shape.
pub(in super::super) fn weights(
    file: &mut TensorFile,
    cfg: &HookedTransformerConfig,
    may_be_tied: bool,
) -> Result<Weights> {
    file.strip_prefix("transformer.");
    // Masks that old checkpoints carry; they hold no weights.
    file.ignore(|name| name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias"));
    let (d, v) = (cfg.d_model, cfg.d_vocab);
    let w_e = file.take("wte.weight", &[v, d]);
    let own = match file.take_optional("lm_head.weight", &[v, d]) {
        None if !may_be_tied => Some(file.take("lm_head.weight", &[v, d])),
        own => own,
    };
    let w_pos = file.take("wpe.weight", &[cfg.n_ctx, d]);
    let blocks = (0..cfg.n_layers).map(|layer| block(file, layer, cfg)).collect::<Vec<_>>();
    let ln_final = norm(file, "ln_f", d);
    file.finish()?;
    let w_u = own.as_ref().unwrap_or(&w_e).t()?.contiguous()?;
    let b_u = Tensor::zeros(v, w_e.dtype(), w_e.device())?;
    Ok(Weights { w_e, w_pos, blocks: blocks.into_iter().collect::<Result<_>>()?, ln_final: Some(ln_final), w_u, b_u })
}

fn norm(file: &mut TensorFile, name: &str, d: usize) -> NormWeights {
    NormWeights { w: file.take(&format!("{name}.weight"), &[d]), b: file.take(&format!("{name}.bias"), &[d]) }
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
        attn: AttentionWeights {
            w_q,
            w_k,
            w_v,
            b_q,
            b_k,
            b_v,
            w_o: take("attn.c_proj.weight", &[d, d]),
            b_o: take("attn.c_proj.bias", &[d]),
        },
        mlp: Some(MlpWeights {
            w_in: take("mlp.c_fc.weight", &[d, m]),
            b_in: take("mlp.c_fc.bias", &[m]),
            w_out: take("mlp.c_proj.weight", &[m, d]),
            b_out: take("mlp.c_proj.bias", &[d]),
        }),
        ln1: Some(norm(file, &format!("h.{layer}.ln_1"), d)),
        ln2: Some(norm(file, &format!("h.{layer}.ln_2"), d)),
    })
}

/// The `config.json` of a model that GPT-2's format can hold.
pub(in super::super) fn config_json(cfg: &HookedTransformerConfig, tied: bool, end_of_text: Option<u32>) -> Value {
    let act = match cfg.act_fn {
        Activation::GeluNew => "gelu_new",
        Activation::Gelu => "gelu",
        Activation::Relu => "relu",
        Activation::Silu => "silu",
    };
    json!({
        "_name_or_path": cfg.model_name, "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2",
        "n_layer": cfg.n_layers, "n_embd": cfg.d_model, "n_head": cfg.n_heads, "n_positions": cfg.n_ctx,
        "n_inner": cfg.d_mlp(), "vocab_size": cfg.d_vocab, "activation_function": act,
        "layer_norm_epsilon": cfg.eps, "scale_attn_by_inverse_layer_idx": cfg.scale_attn_by_inverse_layer_idx,
        "bos_token_id": end_of_text, "eos_token_id": end_of_text, "tie_word_embeddings": tied,
        "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "dtype": "float32",
    })
}

/// Whether the unembedding is the embedding transposed, number for number, so that one matrix serves for both.
pub(in super::super) fn is_tied(weights: &Weights) -> Result<bool> {
    let w_u = weights.w_u.t()?;
    if w_u.dims() != weights.w_e.dims() {
        return Ok(false);
    }
    Ok((w_u - &weights.w_e)?.abs()?.flatten_all()?.max(0)?.to_dtype(DType::F32)?.to_scalar::<f32>()? == 0.0)
}

/// The tensors of a model under GPT-2's names; tied embeddings are stored once.
///
/// # Errors
/// [`Error::Argument`] where GPT-2's format has no place for the model: folded norms, no MLP, a bias of the logits.
pub(in super::super) fn tensors(weights: &Weights, cfg: &HookedTransformerConfig) -> Result<Vec<(String, Tensor)>> {
    let unfit = |what: &str| {
        Error::argument(format!("GPT-2's format cannot hold a model with {what}: save an unprocessed GPT-2."))
    };
    let b_u = weights.b_u.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.abs()?.max(0)?.to_scalar::<f32>()?;
    if b_u != 0.0 {
        return Err(unfit("a bias of the logits"));
    }
    if cfg.n_heads * cfg.d_head() != cfg.d_model || cfg.d_vocab_out() != cfg.d_vocab {
        return Err(unfit("heads that do not fill d_model, or another output vocabulary"));
    }
    let mut named = vec![
        ("transformer.wte.weight".to_string(), weights.w_e.clone()),
        ("transformer.wpe.weight".to_string(), weights.w_pos.clone()),
    ];
    if !is_tied(weights)? {
        named.push(("lm_head.weight".to_string(), weights.w_u.t()?.contiguous()?));
    }
    let norm = |name: String, norm: &Option<NormWeights>| match norm {
        Some(norm) => Ok([(format!("{name}.weight"), norm.w.clone()), (format!("{name}.bias"), norm.b.clone())]),
        None => Err(unfit("folded or missing norms")),
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
            (at("attn.c_proj.weight"), attn.w_o.clone()),
            (at("attn.c_proj.bias"), attn.b_o.clone()),
            (at("mlp.c_fc.weight"), mlp.w_in.clone()),
            (at("mlp.c_fc.bias"), mlp.b_in.clone()),
            (at("mlp.c_proj.weight"), mlp.w_out.clone()),
            (at("mlp.c_proj.bias"), mlp.b_out.clone()),
        ]);
    }
    named.extend(norm("transformer.ln_f".into(), &weights.ln_final)?);
    named.extend(all);
    Ok(named)
}
