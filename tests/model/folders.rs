//! Folders of a model: weights in several files, in other types, cut to fewer layers and positions.

use std::collections::{BTreeMap, HashMap};
use std::fs;

use candle_lens::candle::{DType, Device, Tensor, safetensors};
use candle_lens::model::{HookedTransformer, LoadOptions, Processing};
use serde_json::json;

use crate::support::fixture::{path, tiny_gpt2, tiny_model};
use crate::support::sentence::sentence;
use crate::support::tolerance::LAST_DIGITS;
use crate::support::{assert_close, scratch};

/// How far a weight near 1 may be from itself in f32: a unit in the last place, of 10 and of 7 bits.
const HALF: [(DType, f32); 2] = [(DType::F16, 1e-3), (DType::BF16, 8e-3)];

/// How many such errors the logits of the tiny model may add up.
const SUMMED: f32 = 40.0;

fn with(name: &str, options: impl Into<LoadOptions>) -> candle_lens::Result<HookedTransformer> {
    HookedTransformer::from_pretrained_with(name, options)
}

#[test]
fn weights_in_several_files_are_the_same_weights() {
    let folder = scratch("sharded");
    for file in ["config.json", "tokenizer.json"] {
        fs::copy(tiny_gpt2().join(file), folder.join(file)).unwrap();
    }
    let all: BTreeMap<_, _> =
        safetensors::load(tiny_gpt2().join("model.safetensors"), &Device::Cpu).unwrap().into_iter().collect();
    let mut map = BTreeMap::new();
    let mut shards: [HashMap<String, Tensor>; 3] = Default::default();
    for (i, (name, tensor)) in all.iter().enumerate() {
        map.insert(name.clone(), format!("model-{}.safetensors", i % 3));
        shards[i % 3].insert(name.clone(), tensor.clone());
    }
    for (i, shard) in shards.iter().enumerate() {
        safetensors::save(shard, folder.join(format!("model-{i}.safetensors"))).unwrap();
    }
    let index = folder.join("model.safetensors.index.json");
    fs::write(&index, json!({"weight_map": map}).to_string()).unwrap();
    let name = folder.to_str().unwrap();
    let model = with(name, Processing::NONE).expect("three files are one model");
    let whole = tiny_model(Processing::NONE);
    assert_eq!(model.provenance().crc32, whole.provenance().crc32);
    assert_close(&model.W_E(), &whole.W_E(), 0.0, "W_E");
    fs::copy(folder.join("model-0.safetensors"), folder.join("model-1.safetensors")).unwrap();
    sentence(with(name, Processing::NONE), &["is there twice"]);
    fs::remove_file(folder.join("model-1.safetensors")).unwrap();
    sentence(with(name, Processing::NONE), &["model-1.safetensors"]);
    for wrong in ["[]", "{", r#"{"weight_map": {}}"#, r#"{"weight_map": {"a": 1}}"#] {
        fs::write(&index, wrong).unwrap();
        sentence(with(name, Processing::NONE), &["model.safetensors.index.json"]);
    }
}

#[test]
fn headers_that_lie_are_refused_before_anything_is_read() {
    let folder = scratch("hostile_headers");
    fs::copy(tiny_gpt2().join("config.json"), folder.join("config.json")).unwrap();
    let file = |header: &str, length: Option<u64>, data: usize| {
        let mut bytes = length.unwrap_or(header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(vec![0; data]);
        fs::write(folder.join("model.safetensors"), bytes).unwrap();
        sentence(with(folder.to_str().unwrap(), Processing::NONE), &["model.safetensors"])
    };
    let info = |shape: &str, start: u64, end: u64| {
        format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}"#)
    };
    for length in [u64::MAX, u64::MAX - 8, 1 << 40, 3000] {
        assert!(file("{}", Some(length), 0).contains("more than there are"));
    }
    file(&format!(r#"{{"a":{},"b":{}}}"#, info("[2]", 0, 8), info("[2]", 4, 12)), None, 12);
    file(&format!(r#"{{"a":{}}}"#, info("[4]", 8, 24)), None, 24);
    file(&format!(r#"{{"a":{}}}"#, info("[1000000]", 0, 4_000_000)), None, 16);
    file(&format!(r#"{{"a":{}}}"#, info("[4294967296, 4294967296, 4]", 0, 16)), None, 16);
    file(&format!(r#"{{"a":{}}}"#, info("[4]", 0, 16)), None, 20);
    file(&"[".repeat(100_000), None, 0);
}

/// A config that asks for much more than its file holds costs nothing.
#[test]
fn a_hostile_config_takes_no_memory() {
    let folder = scratch("hostile_config");
    let path = folder.join("config.json");
    let config =
        json!({"n_layer": 4000, "n_embd": 131072, "n_positions": 16777216, "n_head": 8, "vocab_size": 16777216});
    fs::write(&path, config.to_string()).unwrap();
    fs::copy(tiny_gpt2().join("model.safetensors"), folder.join("model.safetensors")).unwrap();
    sentence(with(folder.to_str().unwrap(), Processing::NONE), &["do not fit", "more"]);
}

#[test]
fn other_types_are_close_to_f32() -> candle_lens::Result<()> {
    let folder = tiny_gpt2();
    let name = folder.to_str().unwrap();
    for processing in [None, Some(Processing::NONE)] {
        let exact = with(name, LoadOptions { processing, ..Default::default() })?;
        for (dtype, tolerance) in HALF {
            let model = with(name, LoadOptions { processing, dtype, ..Default::default() })?;
            assert_eq!(model.dtype(), dtype);
            assert_eq!(model.provenance().dtype, format!("{dtype:?}"));
            assert_eq!(model.provenance().crc32, exact.provenance().crc32);
            assert_close(&model.W_in()?, &exact.W_in()?, tolerance, "W_in");
            assert_close(&model.forward("the")?, &exact.forward("the")?, SUMMED * tolerance, "logits");
        }
    }
    sentence(with(name, LoadOptions { dtype: DType::U8, ..Default::default() }), &["U8", "BF16"]);
    Ok(())
}

#[test]
fn fewer_layers_and_positions() -> candle_lens::Result<()> {
    let folder = tiny_gpt2();
    let name = folder.to_str().unwrap();
    let whole = tiny_model(Processing::NONE);
    let none = || LoadOptions::from(Processing::NONE);
    let model = with(name, LoadOptions { first_n_layers: Some(1), n_ctx: Some(8), ..none() })?;
    assert_eq!((model.cfg().n_layers, model.cfg().n_ctx), (1, 8));
    assert_eq!(model.W_pos()?.dims()[0], 8);
    let tokens = vec![vec![1, 2, 3, 4]];
    let (_, cut) = model.run_with_cache(tokens.clone())?;
    let (_, full) = whole.run_with_cache(tokens)?;
    assert_close(&cut.get(("resid_post", 0))?, &full.get(("resid_post", 0))?, LAST_DIGITS, "the first block");
    sentence(model.forward(vec![vec![1; 9]]), &["8"]);
    let no_block = with(name, LoadOptions { first_n_layers: Some(0), ..none() })?;
    assert_eq!(no_block.cfg().n_layers, 0);
    sentence(with(name, LoadOptions { first_n_layers: Some(9), ..none() }), &["first_n_layers", "9"]);
    sentence(with(name, LoadOptions { n_ctx: Some(0), ..none() }), &["n_ctx"]);
    sentence(with(name, LoadOptions { n_ctx: Some(1 << 20), ..none() }), &["n_ctx", "1048576"]);
    Ok(())
}

#[test]
fn a_folder_of_pytorchs_weights() -> candle_lens::Result<()> {
    let folder = scratch("pytorch_folder");
    fs::copy(tiny_gpt2().join("config.json"), folder.join("config.json")).unwrap();
    fs::copy(path("checkpoints/pytorch_model.bin"), folder.join("pytorch_model.bin")).unwrap();
    let name = folder.to_str().unwrap();
    let (model, exact) = (with(name, Processing::NONE)?, tiny_model(Processing::NONE));
    assert_close(&model.W_in()?, &exact.W_in()?.to_dtype(DType::BF16)?, 0.0, "W_in");
    // In several files, and with one of them missing.
    let index = r#"{"weight_map": {"a": "pytorch_model-1.bin", "b": "pytorch_model-1.bin"}}"#;
    fs::rename(folder.join("pytorch_model.bin"), folder.join("pytorch_model-1.bin")).unwrap();
    fs::write(folder.join("pytorch_model.bin.index.json"), index).unwrap();
    assert_eq!(with(name, Processing::NONE)?.provenance().crc32, model.provenance().crc32);
    fs::remove_file(folder.join("pytorch_model-1.bin")).unwrap();
    sentence(with(name, Processing::NONE), &["pytorch_model-1.bin is missing"]);
    Ok(())
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    let folder = scratch("not_finite");
    for file in ["config.json", "tokenizer.json"] {
        fs::copy(tiny_gpt2().join(file), folder.join(file)).unwrap();
    }
    let whole = safetensors::load(tiny_gpt2().join("model.safetensors"), &Device::Cpu).unwrap();
    for odd in [f32::NAN, f32::INFINITY] {
        let mut tensors = whole.clone();
        let wrong = Tensor::new(&[[odd]], &Device::Cpu).unwrap();
        let name = tensors.keys().find(|name| name.ends_with("h.1.attn.c_proj.weight")).unwrap().clone();
        let spoilt = tensors[&name].slice_assign(&[3..4, 2..3], &wrong).unwrap();
        tensors.insert(name, spoilt);
        safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
        let parts = ["h.1.attn.c_proj.weight holds", &odd.to_string(), "number 74 of 576"];
        sentence(with(folder.to_str().unwrap(), Processing::default()), &parts);
    }
}

#[test]
fn a_saved_folder_has_the_tokenizer_too() -> candle_lens::Result<()> {
    let folder = scratch("saved_with_tokenizer");
    let model = HookedTransformer::from_pretrained_no_processing("tiny")?;
    model.save_pretrained(&folder)?;
    let again = HookedTransformer::from_pretrained_no_processing(folder.to_str().expect("the path is UTF-8"))?;
    let text = "When John and Mary went to the shops, café 🙂";
    assert_eq!(again.to_tokens(text)?, model.to_tokens(text)?);
    assert_eq!(again.tokenizer()?.eos_id(), model.tokenizer()?.eos_id());
    assert_eq!(again.provenance().crc32, model.provenance().crc32);
    Ok(())
}
