//! Files that claim the worst sizes: configs, checkpoints, and what this crate has saved, forged with the right checksum. Run by
//! `sizes.rs` where little memory is to be had.

use std::fs;
use std::path::PathBuf;

use candle_lens::candle::{DType, Device, Tensor};
use candle_lens::prelude::*;

use super::sizes::{Cases, OTHER, PROMPT, SIZES};
use crate::support::fixture::path;
use crate::support::{scratch, sealed, torch};

pub(super) fn configs(cases: &mut Cases) {
    let folder = scratch("hostile_configs");
    for family in ["gemma2", "qwen2_window", "gpt_neo", "llama", "mistral", "phi3", "opt", "gptj", "gpt_neox", "phi"] {
        let whole = fs::read(path("families").join(family).join("config.json")).expect("the fixture is there");
        let weights = path("families").join(family).join("model.safetensors");
        fs::copy(weights, folder.join("model.safetensors")).expect("the fixture can be copied");
        let config: serde_json::Value = serde_json::from_slice(&whole).expect("JSON");
        let numbers = config.as_object().expect("an object").iter().filter(|(_, value)| value.is_u64());
        for key in numbers.map(|(key, _)| key.clone()).chain(["layer_types".into()]) {
            for size in [0u64, 1, 1 << 32, 10_000_000_000_000, u64::MAX] {
                let mut changed = config.clone();
                changed[&key] = size.into();
                // The lists by which layers are told apart are made from the number, where there is no list.
                changed.as_object_mut().expect("an object").remove("layer_types");
                fs::write(folder.join("config.json"), changed.to_string()).expect("the scratch folder can be written");
                let name = folder.to_str().expect("the path is UTF-8");
                cases.run(&format!("{family}: {key} {size}"), || {
                    HookedTransformer::from_pretrained(name)?.forward(vec![0])
                });
            }
        }
    }
    for size in SIZES {
        let cfg = HookedTransformerConfig {
            d_vocab: 10,
            n_ctx: 4,
            n_layers: 1,
            d_model: 8,
            n_heads: 2,
            ..Default::default()
        };
        for cfg in [
            HookedTransformerConfig { n_layers: size, ..cfg.clone() },
            HookedTransformerConfig { d_model: size, ..cfg.clone() },
            HookedTransformerConfig { n_heads: size, n_key_value_heads: Some(size), ..cfg.clone() },
            HookedTransformerConfig { d_head: Some(size), d_mlp: Some(size), ..cfg.clone() },
            HookedTransformerConfig { d_mlp: Some(size), ..cfg.clone() },
            HookedTransformerConfig { n_ctx: size, window_size: Some(size), ..cfg.clone() },
        ] {
            cases.run(&format!("config of {size}"), || {
                let _ = (cfg.n_params(), cfg.dims(), cfg.d_mlp(), cfg.window(size), cfg.attn_scale(0));
                cfg.check()
            });
        }
        let cfg = HookedTransformerConfig { d_mlp: Some(0), ..cfg };
        cases.refuse("no neurons", || HookedTransformer::trainable(cfg, 0, &Device::Cpu), &["d_mlp is 0", "attn_only"]);
    }
}

pub(super) fn checkpoints(cases: &mut Cases) {
    let folder = scratch("hostile_checkpoints");
    let cfg = HookedTransformerConfig::from_file(path("architectures/attn_only.json")).expect("the fixture is there");
    let write = |name: &str, bytes: &[u8]| -> PathBuf {
        fs::write(folder.join(name), bytes).expect("the scratch folder can be written");
        folder.join(name)
    };
    let mut file = torch::zip(&[("a/data.pkl", &torch::shared_dictionaries(8, 10)), ("a/byteorder", b"little")]);
    let shared = write("shared.pt", &file);
    cases.refuse("shared dictionaries", || Circuit::from_pt(&shared), &["shared.pt", "cfg"]);
    file = torch::zip(&[("a/data.pkl", &torch::one_tensor_often(2000)), ("a/data/0", &vec![0; 4 << 20])]);
    let often = write("often.pt", &file);
    cases.refuse("one tensor under many names", || Circuit::from_pt(&often), &["often.pt", "cfg"]);
    file = torch::zip(&[("a/data.pkl", &torch::long_key(1_000_000, 100_000))]);
    let long = write("long.pt", &file);
    let load = |file: &PathBuf| HookedTransformer::from_transformer_lens(cfg.clone(), file);
    cases.refuse("one long key", || load(&long), &["long.pt", "twice"]);
    let small = torch::shared_dictionaries(1, 1);
    file = torch::zip(&[("a/data.pkl", &small), ("b/data.pkl", &small)]);
    let second = write("second.pt", &file);
    cases.refuse("a second data.pkl", || load(&second), &["second.pt", "contains data.pkl twice"]);
    for (what, sizes) in [("overflow", vec![0u64, 1 << 62, 1 << 62]), ("many axes", vec![1; 1000])] {
        file = torch::zip(&[("a/data.pkl", &torch::tensor_of(&sizes)), ("a/data/0", &[0; 64])]);
        let file = write("axes.pt", &file);
        cases.run(what, || load(&file));
    }
    let gguf = [b"GGUF\x03\x00\x00\x00".to_vec(), vec![0; 3000]].concat();
    let gguf = write("model.safetensors", &gguf);
    cases.refuse("a GGUF", || load(&gguf), &["GGUF"]);
    let claims = write("claims.safetensors", &200_000_000u64.to_le_bytes());
    let sparse = fs::OpenOptions::new().write(true).open(&claims).expect("it was written");
    sparse.set_len(15_000_000_000).expect("a file with a hole");
    cases.refuse("a header of 200 MB", || load(&claims), &["claims.safetensors", "header"]);
    drop(sparse);
    fs::remove_file(&claims).expect("it is ours");
}

pub(super) fn saved(cases: &mut Cases, model: &HookedTransformer) {
    let folder = scratch("hostile_saved");
    let (_, cache) = model.run_with_cache(PROMPT).expect("tiny runs");
    let stack = folder.join("stack.safetensors");
    cache.decompose_resid(Stack::components()).and_then(|whole| whole.save(&stack)).expect("it is saved");
    let integers = |tensors: &mut sealed::Tensors| {
        for tensor in tensors.values_mut() {
            *tensor = tensor.to_dtype(DType::I64).expect("numbers");
        }
    };
    sealed::change(&stack, |_| {}, integers);
    let direction = Tensor::ones(model.cfg().d_model, DType::F32, &Device::Cpu).expect("numbers");
    cases.refuse("a stack of integers", || ResidualStack::load(&stack)?.project(&direction), &["I64", "stack"]);
    let whole = folder.join("cache.safetensors");
    cache.save(&whole).expect("it is saved");
    for (key, size) in [("n_layers", u64::MAX), ("n_layers", 1 << 40), ("n_heads", u64::MAX), ("d_model", u64::MAX)] {
        cache.save(&whole).expect("it is saved");
        let forged = |about: &mut serde_json::Value| about["dims"][key] = size.into();
        sealed::change(&whole, forged, |_| {});
        cases.refuse(&format!("a cache of {key} {size}"), || ActivationCache::load(&whole), &["cache.safetensors"]);
    }
    let answers = model.answers([(" Mary", " John"), (" Mary", " John")]).expect("both are tokens");
    let sweep = folder.join("sweep.safetensors");
    let patching = Experiment::new(model, [PROMPT; 2], [OTHER; 2], Metric::logit_diff(&answers));
    let patching = patching.expect("prompts that differ").save_to(&sweep);
    let sites = [PatchSite::new(model, "z0").expect("a point"), PatchSite::new(model, "z1").expect("a point")];
    for cut in ["rows", "columns"] {
        let _ = fs::remove_file(&sweep);
        patching.sites(&sites).expect("it runs");
        sealed::change(
            &sweep,
            |_| {},
            |tensors| {
                let rows = tensors.get_mut("values").expect("it has values");
                let axis = usize::from(cut == "columns");
                *rows = rows
                    .narrow(axis, 0, rows.dim(axis).expect("two axes") - 1)
                    .and_then(|rows| rows.copy())
                    .expect("a part");
            },
        );
        cases.refuse(&format!("a sweep with {cut} cut"), || patching.sites(&sites), &["sweep.safetensors", "shape"]);
    }
}
