//! Architectures besides GPT-2's own against TransformerLens 3.9: attention only, no norms or folded ones,
//! bidirectional attention, the other activation functions (tests/fixtures/generate.py).

use candle_lens::Result;
use candle_lens::cache::Stack;
use candle_lens::candle::{D, Device, Tensor, Var};
use candle_lens::candle_nn::ops::log_softmax;
use candle_lens::hooks::HookPlan;
use candle_lens::model::{HookedTransformer, HookedTransformerConfig, Processing, RunOptions};

use super::parity::{all_points, compare_run};
use crate::support::fixture::{Agreement, Reference, json};
use crate::support::models::{architecture, config};
use crate::support::sentence::sentence;

/// Names of TransformerLens' parameters in the order in which a trainable model has its variables.
fn variable_names(cfg: &HookedTransformerConfig, reference: &Reference) -> Vec<String> {
    let mut names = vec!["embed.W_E".to_string(), "pos_embed.W_pos".into()];
    for layer in 0..cfg.n_layers {
        let parts = ["ln1.w", "ln1.b", "attn.W_Q", "attn.W_K", "attn.W_V", "attn.b_Q", "attn.b_K", "attn.b_V"];
        let rest = ["attn.W_O", "attn.b_O", "ln2.w", "ln2.b", "mlp.W_in", "mlp.b_in"];
        let last = ["mlp.ln.w", "mlp.ln.b", "mlp.W_out", "mlp.b_out"];
        names.extend(parts.iter().chain(&rest).chain(&last).map(|part| format!("blocks.{layer}.{part}")));
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

#[test]
fn solu_with_and_without_its_norm() -> Result<()> {
    compare("solu_ln")?;
    compare("solu_ln_pre")?;
    compare("solu")
}

#[test]
fn positions_that_only_queries_and_keys_see() -> Result<()> {
    compare("shortformer")?;
    compare("shortformer_mlp")
}

#[test]
fn a_classifier_that_looks_both_ways() -> Result<()> {
    compare("classifier")
}

const FROM_FILES: [&str; 6] = ["attn_only", "solu_ln", "solu_ln_pre", "shortformer", "shortformer_mlp", "classifier"];

#[test]
fn processing_keeps_what_they_predict_and_their_parts_add_up() -> Result<()> {
    let mut agreement = Agreement::default();
    for name in FROM_FILES {
        let reference = Reference::load(&format!("architectures/{name}.safetensors"));
        let tokens = reference.tokens("tokens");
        let expected = reference.get("run.logits");
        agreement.check(name, &architecture(name, Some(Processing::NONE))?.forward(&tokens)?, expected);
        let model = architecture(name, None)?;
        let (logits, cache) = model.run_with_cache(&tokens)?;
        agreement.check(name, &log_softmax(&logits, D::Minus1)?, &log_softmax(expected, D::Minus1)?);
        let parts = cache.decompose_resid(Stack::components())?;
        agreement.check(&format!("{name}'s sum"), &parts.sum()?, &cache.get(("resid_post", -1))?);
        let unfolded = model.cfg().normalization_type.has_weights();
        assert_eq!(unfolded, name == "shortformer", "only a shortformer keeps its norms: {name}");
    }
    agreement.finish("processed architectures");
    Ok(())
}

#[test]
fn norms_of_a_shortformer_are_not_folded() {
    let folded = Processing { fold_ln: true, ..Processing::NONE };
    sentence(architecture("shortformer", Some(folded)), &["shortformer", "fold_ln: false"]);
}

#[test]
fn a_shortformer_goes_on_from_any_layer() -> Result<()> {
    let model = architecture("shortformer_mlp", Some(Processing::NONE))?;
    let reference = Reference::load("architectures/shortformer_mlp.safetensors");
    let tokens = reference.tokens("tokens");
    let mut agreement = Agreement::default();
    for layer in 0..2 {
        let resid = reference.get(&format!("run.blocks.{layer}.hook_resid_pre")).clone();
        let options = RunOptions { start_at_layer: Some((layer, resid)), ..Default::default() };
        let logits = model.run(&tokens, HookPlan::new(), &options)?.logits.expect("asked for");
        agreement.check(&format!("from layer {layer}"), &logits, reference.get("run.logits"));
    }
    agreement.finish("runs from a layer");
    Ok(())
}
