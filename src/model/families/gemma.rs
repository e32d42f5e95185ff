//! Gemma 1: Llama with embeddings multiplied by `sqrt(d_model)`, norms that scale by `1 + w`, and gelu in the gate.
//!
//! As in TransformerLens the factor is in `W_E` (not in `W_U`, which is the same matrix in the file) and the 1 in the norms.
//!
//! Reference: `transformers` `GemmaForCausalLM`.

use serde_json::json;

use super::super::config::{Activation, HookedTransformerConfig};
use super::super::load::TensorFile;
use super::super::weights::{NormWeights, Weights};
use super::config_file::ConfigFile;
use super::{Family, Tied, llama};
use crate::error::Result;

pub(super) const FAMILY: Family = Family { model_type: "gemma", config, weights, usually_tied: true };

fn config(file: &ConfigFile) -> Result<HookedTransformerConfig> {
    file.only("attention_bias", &[json!(false)])?;
    file.only("use_bidirectional_attention", &[json!(false)])?;
    let base = llama::base(file)?;
    // The older key named the exact gelu where the weights were trained with the approximation; transformers ignores it.
    let act_fn = file.activation("hidden_activation", Activation::GeluNew)?;
    Ok(HookedTransformerConfig { act_fn, d_head: Some(file.optional_size("head_dim")?.unwrap_or(256)), ..base })
}

fn weights(file: &mut TensorFile, cfg: &HookedTransformerConfig, tied: Tied) -> Result<Weights> {
    let mut weights = llama::weights(file, cfg, tied, false)?;
    weights.w_e = (weights.w_e * (cfg.d_model as f64).sqrt())?;
    let norms = weights.blocks.iter_mut().flat_map(|block| [&mut block.ln1, &mut block.ln2]);
    for norm in norms.chain([&mut weights.ln_final]) {
        *norm = norm.take().map(one_more).transpose()?;
    }
    Ok(weights)
}

fn one_more(norm: NormWeights) -> Result<NormWeights> {
    Ok(NormWeights { w: (norm.w + 1.0)?, b: norm.b })
}
