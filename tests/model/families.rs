//! Every family against `transformers` on tiny random models (tests/fixtures/families.py), and the promises of weight
//! processing on each of them.

use std::collections::{BTreeSet, HashMap};

use candle_lens::Result;
use candle_lens::cache::Stack;
use candle_lens::candle::{D, Device, Tensor, safetensors};
use candle_lens::hooks::{HookPlan, HookPoint};
use candle_lens::model::{HookedTransformer, HookedTransformerConfig, Loss, Processing, RunOptions};

use crate::support::fixture::{Agreement, Reference, json, path};
use crate::support::models::{FOLDERS, pretrained};
use crate::support::scratch;

fn load(family: &str, processing: Option<Processing>) -> Result<HookedTransformer> {
    let folder = path(&format!("families/{family}"));
    pretrained(folder.to_str().expect("the path is UTF-8"), processing)
}

fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?;
    Ok(shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)?)
}

#[test]
fn logits_are_those_of_transformers() -> Result<()> {
    let mut agreement = Agreement::default();
    for family in FOLDERS {
        let reference = Reference::load(&format!("families/{family}/reference.safetensors"));
        let logits = load(family, Some(Processing::NONE))?.forward(reference.tokens("tokens"))?;
        agreement.check(family, &logits, reference.get("logits"));
    }
    agreement.finish("raw weights");
    Ok(())
}

/// Those that TransformerLens was run on too.
const HOOKED: [&str; 17] = [
    "bloom",
    "gpt_neo",
    "gpt_neox",
    "gpt_neox_serial",
    "gptj",
    "gemma",
    "gemma2",
    "gemma3",
    "llama",
    "mistral",
    "olmo2",
    "opt",
    "phi",
    "phi3",
    "qwen2",
    "qwen3",
    "stablelm",
];

#[test]
fn activations_are_those_of_transformer_lens_under_its_names() -> Result<()> {
    let mut agreement = Agreement::default();
    for family in HOOKED {
        let reference = Reference::load(&format!("families/{family}/hooked.safetensors"));
        let (logits, cache) = load(family, Some(Processing::NONE))?.run_with_cache(reference.tokens("tokens"))?;
        agreement.check(&format!("{family}'s logits"), &logits, reference.get("logits"));
        let ours: Vec<String> = cache.iter().map(|(point, _)| point.to_string()).collect();
        let mut theirs = reference.names("");
        theirs.retain(|name| name != "logits" && name != "tokens");
        assert_eq!(ours.iter().collect::<BTreeSet<_>>(), theirs.iter().collect::<BTreeSet<_>>(), "{family}");
        for name in theirs {
            agreement.check(&format!("{family}'s {name}"), &cache.get(name.as_str())?, reference.get(&name));
        }
    }
    agreement.finish("activations");
    Ok(())
}

/// Of a model that also reads images, under the names that `transformers` has used so far.
#[test]
fn the_text_part_of_a_model_that_reads_images() -> Result<()> {
    let reference = Reference::load("families/gemma3_images/reference.safetensors");
    let mut agreement = Agreement::default();
    let source = path("families/gemma3_images");
    let tensors = safetensors::load(source.join("model.safetensors"), &Device::Cpu)?;
    let later = |name: &str| match name.strip_prefix("language_model.model.") {
        Some(part) => format!("model.language_model.{part}"),
        None => format!("model.{name}"),
    };
    for (way, rename) in [("first", &(|name: &str| name.to_string()) as &dyn Fn(&str) -> String), ("later", &later)] {
        let folder = scratch(&format!("images_{way}"));
        std::fs::copy(source.join("config.json"), folder.join("config.json")).unwrap();
        let renamed: HashMap<_, _> = tensors.iter().map(|(name, tensor)| (rename(name), tensor.clone())).collect();
        safetensors::save(&renamed, folder.join("model.safetensors"))?;
        let model = pretrained(folder.to_str().expect("the path is UTF-8"), Some(Processing::NONE))?;
        agreement.check(way, &model.forward(reference.tokens("tokens"))?, reference.get("logits"));
        let notes = model.provenance().notes;
        let count = tensors.keys().filter(|name| !name.starts_with("language_model.")).count();
        assert!(notes.contains(&format!("{count} tensors of the part that reads images left out")), "{notes:?}");
    }
    agreement.finish("names of text and images");
    Ok(())
}

#[test]
fn default_processing_keeps_the_predictions() -> Result<()> {
    let mut agreement = Agreement::default();
    for family in FOLDERS {
        let reference = Reference::load(&format!("families/{family}/reference.safetensors"));
        let model = load(family, None)?;
        assert!(model.processing().fold_ln, "{family}");
        let logits = model.forward(reference.tokens("tokens"))?;
        agreement.check(family, &log_softmax(&logits)?, &log_softmax(reference.get("logits"))?);
    }
    agreement.finish("default processing");
    Ok(())
}

#[test]
fn what_was_written_adds_up_to_the_logits() -> Result<()> {
    let mut agreement = Agreement::default();
    for family in FOLDERS {
        let reference = Reference::load(&format!("families/{family}/reference.safetensors"));
        let model = load(family, None)?;
        let (logits, cache) = model.run_with_cache(reference.tokens("tokens"))?;
        let parts = cache.decompose_resid(Stack::components().normed())?;
        let (batch, pos, d_model) = cache.get("embed")?.dims3()?;
        let rows = parts.sum()?.reshape((batch * pos, d_model))?;
        let sum = rows.matmul(&model.W_U())?.broadcast_add(&model.b_U())?.reshape(logits.dims())?;
        let sum = match model.cfg().output_logits_soft_cap {
            Some(cap) => ((sum / cap)?.tanh()? * cap)?,
            None => sum,
        };
        agreement.check(family, &sum, &logits);
        if model.dims().norms_after {
            assert!(cache.stack_head_results(&model, Stack::heads()).is_err(), "{family}");
            continue;
        }
        let heads = cache.stack_head_results(&model, Stack::heads().with_remainder())?;
        let last = cache.get(("resid_post", -1))?;
        agreement.check(&format!("{family}'s heads"), &heads.sum()?, &last);
    }
    agreement.finish("sums of parts");
    Ok(())
}

#[test]
fn every_hook_point_is_captured_in_its_shape() -> Result<()> {
    for family in FOLDERS {
        let reference = Reference::load(&format!("families/{family}/reference.safetensors"));
        let tokens = reference.tokens("tokens");
        let model = load(family, Some(Processing::NONE))?;
        let plan = HookPoint::all(&model.dims()).into_iter().fold(HookPlan::new(), |plan, point| plan.capture(point));
        let run = model.run(&tokens, &plan, RunOptions { loss: Loss::Mean, ..Default::default() })?;
        for (point, value) in &run.captured {
            assert_eq!(value.dims(), point.shape(&model.dims(), tokens.batch(), tokens.pos()), "{family} {point}");
        }
        assert_eq!(run.captured.len(), HookPoint::all(&model.dims()).len(), "{family}");
    }
    Ok(())
}

#[test]
fn positions_that_turn_in_an_unknown_way_are_refused() {
    let changes = [
        ("gpt_neox", "rope_type", serde_json::json!("yarn"), "yarn"),
        ("phi", "rope_type", serde_json::json!("linear"), "linear"),
        ("qwen3", "partial_rotary_factor", serde_json::json!(0.5), "partial_rotary_factor"),
        ("llama", "partial_rotary_factor", serde_json::json!(0.25), "rotary_dim"),
        ("llama3", "mscale", serde_json::json!(2.0), "mscale"),
        ("gpt_neox", "partial_rotary_factor", serde_json::json!(0.0), "rotary_dim"),
        ("phi3", "rope_type", serde_json::json!("longrope"), "short_factor"),
        ("phi3_long", "long_factor", serde_json::json!([1.0, 2.0]), "4 positive numbers"),
        ("phi3_long", "short_factor", serde_json::json!([1.0, 2.0, -3.0, 4.0]), "4 positive numbers"),
        ("phi3_long", "attention_factor", serde_json::json!(-1.0), "attention_factor"),
        ("phi3", "rope_type", serde_json::json!("linear"), "linear"),
        ("phi3_partial", "partial_rotary_factor", serde_json::json!(0.3), "rotary_dim"),
    ];
    for (family, key, value, told) in changes {
        let folder = scratch(&format!("turned_{family}_{key}"));
        let mut config = json(&format!("families/{family}/config.json"));
        config["rope_parameters"][key] = value;
        std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
        std::fs::copy(path(&format!("families/{family}/model.safetensors")), folder.join("model.safetensors")).unwrap();
        let error = HookedTransformer::from_pretrained(folder.to_str().unwrap()).unwrap_err().to_string();
        assert!(error.contains(told), "{family} {key}: {error}");
    }
}

#[test]
fn processing_that_would_change_the_predictions_is_refused() -> Result<()> {
    let small =
        HookedTransformerConfig { n_layers: 1, d_model: 8, n_heads: 2, d_vocab: 10, n_ctx: 6, ..Default::default() };
    let refused = |cfg: HookedTransformerConfig, processing: Processing| -> Result<()> {
        let (model, _) = HookedTransformer::trainable(cfg, 0, &Device::Cpu)?;
        assert!(model.process(processing).is_err());
        Ok(())
    };
    let fold_ln = Processing { fold_ln: true, ..Processing::NONE };
    let refactor = Processing { refactor_factored_attn_matrices: true, ..Processing::NONE };
    let center_unembed = Processing { center_unembed: true, ..Processing::NONE };
    refused(HookedTransformerConfig { gated_mlp: true, ..small.clone() }, fold_ln)?;
    refused(HookedTransformerConfig { use_qk_norm: true, ..small.clone() }, refactor)?;
    refused(HookedTransformerConfig { n_key_value_heads: Some(1), ..small.clone() }, refactor)?;
    let centre = Processing { center_writing_weights: true, ..Processing::NONE };
    refused(HookedTransformerConfig { use_normalization_after_only: true, ..small.clone() }, centre)?;
    refused(HookedTransformerConfig { output_logits_soft_cap: Some(30.0), ..small }, center_unembed)
}
