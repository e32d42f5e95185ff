//! Architectures besides GPT-2's own against TransformerLens 3.9: attention only, no norms or folded ones,
//! bidirectional attention, the other activation functions (tests/fixtures/generate.py).

use candle_lens::Result;
use candle_lens::candle::{Device, Tensor, Var};
use candle_lens::model::{HookedTransformer, HookedTransformerConfig};
use serde_json::Value;

use super::parity::{all_points, compare_run};
use crate::support::fixture::{Agreement, Reference, json};

/// Our config of TransformerLens' fields: the same names, except that no norm is `"None"` rather than null.
fn config(mut fields: Value) -> HookedTransformerConfig {
    if fields["normalization_type"].is_null() {
        fields["normalization_type"] = "None".into();
    }
    serde_json::from_value(fields).expect("each field of the reference is one of ours")
}

/// Names of TransformerLens' parameters in the order in which a trainable model has its variables.
fn variable_names(cfg: &HookedTransformerConfig, reference: &Reference) -> Vec<String> {
    let mut names = vec!["embed.W_E".to_string(), "pos_embed.W_pos".into()];
    for layer in 0..cfg.n_layers {
        let parts = ["ln1.w", "ln1.b", "attn.W_Q", "attn.W_K", "attn.W_V", "attn.b_Q", "attn.b_K", "attn.b_V"];
        let rest = ["attn.W_O", "attn.b_O", "ln2.w", "ln2.b", "mlp.W_in", "mlp.b_in", "mlp.W_out", "mlp.b_out"];
        names.extend(parts.iter().chain(&rest).map(|part| format!("blocks.{layer}.{part}")));
    }
    names.extend(["ln_final.w", "ln_final.b", "unembed.W_U"].map(String::from));
    let there = reference.names("weights.");
    names.retain(|name| there.contains(name));
    assert_eq!(names.len() + 1, there.len(), "every weight but b_U, which is zero, has its variable");
    names
}

/// Heads side by side, as the variables have them.
fn lay_out(name: &str, weight: &Tensor) -> Result<Tensor> {
    Ok(match name.rsplit('.').next() {
        Some("W_Q" | "W_K" | "W_V") => weight.transpose(0, 1)?.flatten_from(1)?,
        Some("W_O") => weight.flatten_to(1)?,
        Some("b_Q" | "b_K" | "b_V") => weight.flatten_all()?,
        _ => weight.clone(),
    }
    .contiguous()?)
}

fn compare(name: &str) -> Result<()> {
    let cfg = config(json(&format!("architectures/{name}.json")));
    let reference = Reference::load(&format!("architectures/{name}.safetensors"));
    let names = variable_names(&cfg, &reference);
    let (model, variables) = HookedTransformer::trainable(cfg, 0, &Device::Cpu)?;
    assert_eq!(names.len(), variables.len());
    for (name, variable) in names.iter().zip(&variables) {
        let weight = lay_out(name, reference.get(&format!("weights.{name}")))?;
        assert_eq!(variable.dims(), weight.dims(), "{name}");
        Var::set(variable, &weight)?;
    }
    let mut agreement = Agreement::default();
    let points = compare_run(&mut agreement, &model, &reference, "run.")?;
    if reference.names("run.").contains(&"loss".to_string()) {
        assert_eq!(points, all_points(&model), "TransformerLens and we have the same points");
    }
    agreement.finish(name);
    Ok(())
}

#[test]
fn attention_only() -> Result<()> {
    compare("attn_only")
}

#[test]
fn without_norms_and_with_relu() -> Result<()> {
    compare("no_norm_relu")
}

#[test]
fn bidirectional_with_gelu() -> Result<()> {
    compare("bidirectional_gelu")
}

#[test]
fn folded_norms_silu_narrow_heads_and_another_output_vocabulary() -> Result<()> {
    compare("ln_pre_silu")
}
