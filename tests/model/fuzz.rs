//! Every reader of files against some thousand damaged ones, the same in each run: whatever the damage, there is a
//! sentence or something valid, never a panic, and never more memory than `MOST_BYTES` of `support/damage.rs`.
//!
//! PyTorch's checkpoints have damages of their own in `checkpoints.rs`; here they are spliced and measured too.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use candle_lens::Result;
use candle_lens::cache::ActivationCache;
use candle_lens::candle::{Device, Tensor, safetensors};
use candle_lens::labelled::Labelled;
use candle_lens::model::{HookedTransformer, HookedTransformerConfig, LoadOptions, Processing};
use candle_lens::prelude::{ResidualStack, Stack};

use crate::support::damage::{Damage, torture, torture_by, torture_keys};
use crate::support::fixture::{path, tiny_gpt2, tiny_model};
use crate::support::models::FOLDERS;
use crate::support::{scratch, sealed};

fn copy(from: &Path, name: &str) -> PathBuf {
    let folder = scratch(name);
    for entry in fs::read_dir(from).expect("the fixture is there") {
        let file = entry.expect("a readable folder").path();
        let name = file.file_name().expect("a file").to_owned();
        if ["config.json", "model.safetensors", "tokenizer.json"].iter().any(|kept| name == *kept) {
            fs::copy(&file, folder.join(name)).expect("the fixture can be copied");
        }
    }
    folder
}

/// Loads the model and, where it loads, runs it.
fn load_and_run(folder: &Path, options: impl Into<LoadOptions>) -> Result<()> {
    let model = HookedTransformer::from_pretrained_with(folder.to_str().expect("the path is UTF-8"), options)?;
    model.forward(vec![0, 0]).map(drop)
}

#[test]
fn damaged_models() {
    let folder = copy(&tiny_gpt2(), "fuzz_model");
    for (seed, name) in ["config.json", "model.safetensors", "tokenizer.json"].into_iter().enumerate() {
        let file = folder.join(name);
        let whole = fs::read(&file).unwrap();
        let valid = torture(seed as u64, 500, &file, &whole, || load_and_run(&folder, Processing::NONE));
        assert!(valid > 0.0 && valid < 0.9, "{name}: {valid} of all were still valid, so the damage is of no use");
    }
}

#[test]
fn damaged_configs_and_weights_of_every_family() {
    for (seed, family) in FOLDERS.into_iter().chain(["gemma3_images"]).enumerate() {
        let folder = copy(&path("families").join(family), &format!("fuzz_{family}"));
        for (name, count) in [("config.json", 100), ("model.safetensors", 60)] {
            let file = folder.join(name);
            let whole = fs::read(&file).unwrap();
            torture(100 + seed as u64, count, &file, &whole, || load_and_run(&folder, LoadOptions::default()));
        }
        let file = folder.join("config.json");
        let whole = fs::read(&file).unwrap();
        torture_keys(200 + seed as u64, 40, &file, &whole, || load_and_run(&folder, LoadOptions::default()));
    }
}

#[test]
fn damaged_lists_of_weights() {
    let folder = copy(&tiny_gpt2(), "fuzz_index");
    let tensors: BTreeMap<_, _> =
        safetensors::load(folder.join("model.safetensors"), &Device::Cpu).unwrap().into_iter().collect();
    fs::remove_file(folder.join("model.safetensors")).unwrap();
    let mut shards: [HashMap<String, Tensor>; 2] = Default::default();
    let mut map = BTreeMap::new();
    for (i, (name, tensor)) in tensors.into_iter().enumerate() {
        map.insert(name.clone(), format!("model-{}.safetensors", i % 2));
        shards[i % 2].insert(name, tensor);
    }
    for (i, shard) in shards.iter().enumerate() {
        safetensors::save(shard, folder.join(format!("model-{i}.safetensors"))).unwrap();
    }
    let index = folder.join("model.safetensors.index.json");
    let whole = serde_json::json!({"metadata": {"total_size": 92424}, "weight_map": map}).to_string();
    torture_keys(8, 100, &index, whole.as_bytes(), || load_and_run(&folder, Processing::NONE));
    torture(7, 300, &index, whole.as_bytes(), || load_and_run(&folder, Processing::NONE));
}

#[test]
fn damaged_checkpoints_in_pieces() {
    let folder = scratch("fuzz_checkpoints");
    let cfg = HookedTransformerConfig::from_file(path("architectures/attn_only.json")).unwrap();
    for (seed, name) in ["views.pt", "legacy.pt"].into_iter().enumerate() {
        let whole = fs::read(path("checkpoints").join(name)).unwrap();
        let file = folder.join(name);
        torture(30 + seed as u64, 400, &file, &whole, || {
            HookedTransformer::from_transformer_lens(cfg.clone(), &file)?.forward(vec![0, 0]).map(drop)
        });
    }
}

#[test]
fn damaged_caches_and_results() {
    let folder = scratch("fuzz_results");
    let model = tiny_model(Processing::NONE);
    let (_, cache) = model.run_with_cache(vec![vec![1, 2, 3]]).unwrap();
    let file = folder.join("cache.safetensors");
    cache.save(&file).unwrap();
    let whole = fs::read(&file).unwrap();
    let valid = torture(40, 500, &file, &whole, || {
        let cache = ActivationCache::load(&file)?;
        cache.decompose_resid(Stack::components().normed()).map(drop)
    });
    assert!(valid > 0.0, "nothing was read, so what was read is not tested");
    let file = folder.join("result.safetensors");
    let direction = Tensor::ones(24, candle_lens::candle::DType::F32, &Device::Cpu).unwrap();
    let stack = cache.decompose_resid(Stack::components()).unwrap();
    stack.project(&direction).unwrap().save(&file).unwrap();
    let whole = fs::read(&file).unwrap();
    torture(41, 500, &file, &whole, || Labelled::load(&file).map(|result| drop(format!("{result:?}"))));
}

/// What passes the checksum, because whoever forged it made that right too.
#[test]
fn forged_caches_and_results() {
    let folder = scratch("fuzz_forged");
    let model = tiny_model(Processing::NONE);
    let (_, cache) = model.run_with_cache(vec![vec![1, 2, 3]]).unwrap();
    let stack = cache.decompose_resid(Stack::components()).unwrap();
    let direction = Tensor::ones(24, candle_lens::candle::DType::F32, &Device::Cpu).unwrap();
    let files = ["cache.safetensors", "stack.safetensors", "result.safetensors"].map(|name| folder.join(name));
    cache.save(&files[0]).unwrap();
    stack.save(&files[1]).unwrap();
    stack.project(&direction).unwrap().save(&files[2]).unwrap();
    for (seed, file) in files.iter().enumerate() {
        let whole = fs::read(file).unwrap();
        let forged = |damage: &mut Damage| {
            fs::write(file, &whole).unwrap();
            let about = |said: &mut serde_json::Value| {
                *said = serde_json::from_slice(&damage.of_keys(said)).unwrap_or_default();
            };
            sealed::change(file, about, |_| {});
            fs::read(file).unwrap()
        };
        torture_by(50 + seed as u64, 150, file, &whole, forged, || match seed {
            0 => {
                let cache = ActivationCache::load(file)?;
                cache.accumulated_resid(Stack::accumulated().normed())?;
                cache.decompose_resid(Stack::components().normed()).map(drop)
            }
            1 => ResidualStack::load(file)?.project(&direction).map(drop),
            _ => Labelled::load(file).map(|result| drop((result.top(3), format!("{result:?}")))),
        });
    }
}
