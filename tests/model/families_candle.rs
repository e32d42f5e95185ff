//! Every family that candle-transformers implements too, against that implementation, on the tiny random models of
//! tests/fixtures/families.py.
//!
//! Its models give the logits of the last position only, so each prefix of the prompts is run. Its windows reach one
//! position further than those of `transformers`, its Gemma 2 has them in each layer and its Phi-3 in none: of these two
//! only prefixes that fit into the window are compared. Stretched positions of Phi-3 are not: it multiplies frequencies
//! by the factors that `transformers` divides them by.

use std::fs;
use std::path::PathBuf;

use candle_lens::Result;
use candle_lens::candle::{DType, Device, Tensor, safetensors};
use candle_lens::model::{HookedTransformer, Processing};
use candle_nn::VarBuilder;
use candle_transformers::models::{gemma, gemma2, llama, mistral, phi, phi3, qwen2, qwen3};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::support::fixture::{Agreement, Reference, json, path};
use crate::support::scratch;

type Logits<'a> = Box<dyn FnMut(&Tensor) -> candle_lens::candle::Result<Tensor> + 'a>;

/// The config in the words of candle-transformers, which has how positions turn at its top.
fn config<T: DeserializeOwned>(family: &str) -> T {
    let mut config = json(&format!("families/{family}/config.json"));
    let rotary = config["rope_parameters"].clone();
    for key in ["rope_theta", "partial_rotary_factor"] {
        if !rotary[key].is_null() {
            config[key] = rotary[key].clone();
        }
    }
    if rotary["rope_type"] == "llama3" {
        config["rope_scaling"] = rotary;
    }
    let fields = config.as_object_mut().expect("an object");
    if fields.get("hidden_activation").is_some_and(Value::is_string) {
        fields.remove("hidden_act");
    }
    match fields.get("sliding_window").and_then(Value::as_u64) {
        Some(window) if family == "mistral" => drop(fields.insert("sliding_window".into(), (window - 1).into())),
        None if family == "qwen2" => drop(fields.insert("sliding_window".into(), 1000.into())),
        _ => {}
    }
    serde_json::from_value(config).unwrap_or_else(|error| panic!("candle-transformers' config of {family}: {error}"))
}

fn weights(family: &str) -> Result<VarBuilder<'static>> {
    let tensors = safetensors::load(path(&format!("families/{family}/model.safetensors")), &Device::Cpu)?;
    Ok(VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu))
}

/// Logits of the last position `[batch, d_vocab]` for each prefix of `tokens` that is at most `longest` long.
fn last_logits(mut model: Logits, tokens: &Tensor, longest: usize) -> Result<Tensor> {
    let logits: Vec<Tensor> = (1..=longest)
        .map(|length| {
            let logits = model(&tokens.narrow(1, 0, length)?.contiguous()?)?;
            Ok(if logits.rank() == 3 { logits.squeeze(1)? } else { logits })
        })
        .collect::<Result<_>>()?;
    Ok(Tensor::stack(&logits, 1)?)
}

/// The model of candle-transformers, and how far its attention is that of the original.
fn theirs(family: &str) -> Result<(Logits<'static>, usize)> {
    let vb = weights(family)?;
    let name = family.to_string();
    Ok(match family {
        "llama" | "llama3" => {
            let cfg = config::<llama::LlamaConfig>(family).into_config(false);
            let model = llama::Llama::load(vb, &cfg)?;
            let logits = move |x: &Tensor| {
                let mut cache = llama::Cache::new(false, DType::F32, &cfg, &Device::Cpu)?;
                model.forward(x, 0, &mut cache)
            };
            (Box::new(logits), 11)
        }
        "mistral" => {
            let mut model = mistral::Model::new(&config(&name), vb)?;
            (Box::new(move |x| once(&mut model, |m| m.clear_kv_cache(), |m| m.forward(x, 0))), 11)
        }
        "qwen2" => {
            let mut model = qwen2::ModelForCausalLM::new(&config(&name), vb)?;
            (Box::new(move |x| once(&mut model, |m| m.clear_kv_cache(), |m| m.forward(x, 0))), 11)
        }
        "qwen3" => {
            let mut model = qwen3::ModelForCausalLM::new(&config(&name), vb)?;
            (Box::new(move |x| once(&mut model, |m| m.clear_kv_cache(), |m| m.forward(x, 0))), 11)
        }
        "gemma" => {
            let mut model = gemma::Model::new(false, &config(&name), vb)?;
            (Box::new(move |x| once(&mut model, |m| m.clear_kv_cache(), |m| m.forward(x, 0))), 11)
        }
        "gemma2" => {
            let mut model = gemma2::Model::new(false, &config(&name), vb)?;
            (Box::new(move |x| once(&mut model, |m| m.clear_kv_cache(), |m| m.forward(x, 0))), 5)
        }
        "phi" => {
            let mut model = phi::Model::new(&config(&name), vb)?;
            (Box::new(move |x| once(&mut model, |m| m.clear_kv_cache(), |m| m.forward(x))), 11)
        }
        "phi3" | "phi3_partial" => {
            let mut model = phi3::Model::new(&config(&name), vb)?;
            let longest = if family == "phi3" { 5 } else { 11 };
            (Box::new(move |x| once(&mut model, |m| m.clear_kv_cache(), |m| m.forward(x, 0))), longest)
        }
        other => panic!("no model of candle-transformers is known for {other}"),
    })
}

/// A run that remembers nothing of the one before.
fn once<M>(
    model: &mut M,
    forget: impl Fn(&mut M),
    run: impl Fn(&mut M) -> candle_lens::candle::Result<Tensor>,
) -> candle_lens::candle::Result<Tensor> {
    forget(model);
    run(model)
}

/// The folder of our model; of Gemma 2 with scores scaled by the width of a head, which candle-transformers always does.
fn folder(family: &str) -> PathBuf {
    let original = path(&format!("families/{family}"));
    if family != "gemma2" {
        return original;
    }
    let folder = scratch("gemma2_scaled_by_width");
    let mut config = json("families/gemma2/config.json");
    assert_ne!(config["query_pre_attn_scalar"], config["head_dim"], "then nothing need be changed");
    config["query_pre_attn_scalar"] = config["head_dim"].clone();
    fs::write(folder.join("config.json"), config.to_string()).expect("the scratch folder can be written");
    fs::copy(original.join("model.safetensors"), folder.join("model.safetensors")).expect("the fixture is there");
    folder
}

const BOTH: [&str; 10] =
    ["llama", "llama3", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi", "phi3", "phi3_partial"];

#[test]
fn logits_are_those_of_candle_transformers() -> Result<()> {
    let mut agreement = Agreement::default();
    for family in BOTH {
        let reference = Reference::load(&format!("families/{family}/reference.safetensors"));
        let folder = folder(family);
        let model = HookedTransformer::from_pretrained_with(folder.to_str().expect("UTF-8"), Processing::NONE)?;
        let ours = model.forward(reference.tokens("tokens"))?;
        let tokens = reference.get("tokens").to_dtype(DType::U32)?;
        let (model, longest) = theirs(family)?;
        agreement.check(family, &ours.narrow(1, 0, longest)?, &last_logits(model, &tokens, longest)?);
    }
    agreement.finish("candle-transformers");
    Ok(())
}
