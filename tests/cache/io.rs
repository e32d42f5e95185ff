//! Saving and loading: the same bits, complete files only, and an error sentence for everything else.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_lens::Result;
use candle_lens::candle::{DType, Device, Tensor};
use candle_lens::prelude::*;

use crate::support::scratch;
use crate::support::sentence::sentence;

fn model() -> HookedTransformer {
    let cfg =
        HookedTransformerConfig { n_layers: 2, d_model: 8, n_heads: 2, d_vocab: 20, n_ctx: 8, ..Default::default() };
    HookedTransformer::trainable(cfg, 1, &Device::Cpu).expect("a config of a model").0
}

fn tokens() -> Tokens {
    Tokens::padded(vec![vec![1, 2, 3, 4, 5], vec![6, 7]], 0, PaddingSide::Left).expect("two rows")
}

fn bits(tensor: &Tensor) -> (Vec<usize>, DType, Vec<u64>) {
    let flat = tensor.flatten_all().and_then(|flat| flat.to_dtype(DType::F64)?.to_vec1::<f64>()).expect("numbers");
    (tensor.dims().to_vec(), tensor.dtype(), flat.into_iter().map(f64::to_bits).collect())
}

#[track_caller]
fn assert_same(a: &ActivationCache, b: &ActivationCache) {
    assert_eq!(a.len(), b.len());
    for ((point, x), (other, y)) in a.iter().zip(b.iter()) {
        assert_eq!((point, bits(x)), (other, bits(y)));
    }
    assert_eq!((a.dims(), a.tokens(), a.has_batch_dim()), (b.dims(), b.tokens(), b.has_batch_dim()));
    assert_eq!(a.provenance(), b.provenance());
}

#[test]
fn a_cache_is_restored_bit_for_bit() -> Result<()> {
    let model = model();
    let path = scratch("io_cache").join("run.safetensors");
    let one = Tokens::from_rows(vec![vec![1, 2, 3]])?;
    let plans = [
        (tokens(), HookPlan::new().capture_where(|_| true)),
        (tokens(), HookPlan::new().capture("resid_post").capture("pattern").pos(1..3).edit(("z", 0), Edit::zero())),
        (tokens(), HookPlan::new().capture("resid_post").pos(-1)),
        (one.clone(), HookPlan::new().capture_all().remove_batch_dim()),
        (one, HookPlan::new()),
    ];
    for (tokens, plan) in plans {
        let (_, cache) = model.run_with_hooks(tokens, &plan)?;
        cache.save(&path)?;
        let loaded = ActivationCache::load(&path)?;
        assert_same(&cache, &loaded);
        assert_eq!(loaded.provenance().plan, plan.to_string());
        assert_eq!(loaded.provenance().model, model.provenance());
    }
    Ok(())
}

#[test]
fn a_loaded_cache_is_analysed_like_the_one_that_was_saved() -> Result<()> {
    let path = scratch("io_analysis").join("run.safetensors");
    for model in [model(), model().process(Processing::default())?] {
        let (_, cache) = model.run_with_cache(tokens())?;
        let cache = cache.with_sink(Sink::LeftOut);
        cache.save(&path)?;
        let loaded = ActivationCache::load(&path)?;
        assert_eq!(loaded.sink(), Sink::LeftOut);
        let lens = |cache: &ActivationCache| -> Result<_> { cache.accumulated_resid(Stack::accumulated().normed()) };
        assert_eq!(bits(&lens(&cache)?.tensor()), bits(&lens(&loaded)?.tensor()));
    }
    Ok(())
}

#[test]
fn stacks_results_and_tokens_are_restored() -> Result<()> {
    let folder = scratch("io_rest");
    let path = folder.join("value.safetensors");
    let (_, cache) = model().run_with_cache(tokens())?;
    for pos in [Slice::All, (1..3).into(), (-1).into()] {
        let stack = cache.decompose_resid(Stack::components().pos(pos))?;
        stack.save(&path)?;
        let loaded = ResidualStack::load(&path)?;
        assert_eq!((bits(&stack.tensor()), stack.labels()), (bits(&loaded.tensor()), loaded.labels()));
        let direction = Tensor::ones(8, DType::F32, &Device::Cpu)?;
        let projected = stack.project(&direction)?;
        assert_eq!(projected, loaded.project(&direction)?, "positions and prompts are still labelled");
        projected.save(&path)?;
        assert_eq!(Labelled::load(&path)?, projected);
    }
    let odd = Labelled::new("</script> \"", vec![Axis::new("\n", ["", "é"])], vec![f32::NEG_INFINITY, -0.0])?;
    odd.save(&path)?;
    let loaded = Labelled::load(&path)?;
    assert_eq!(loaded, odd);
    assert!(loaded.values()[1].is_sign_negative());
    let none = Labelled::new("a number", vec![], vec![2.5])?;
    none.save(&path)?;
    assert_eq!(Labelled::load(&path)?, none);
    tokens().save(&path)?;
    assert_eq!(Tokens::load(&path)?, tokens());
    assert_eq!(fs::read_dir(&folder).expect("the folder").count(), 1, "no part of a file is left");
    Ok(())
}

fn saved(name: &str) -> (PathBuf, Vec<u8>) {
    let path = scratch(name).join("run.safetensors");
    let (_, cache) = model().run_with_cache(tokens()).expect("a run");
    cache.save(&path).expect("a file");
    let bytes = fs::read(&path).expect("the file");
    (path, bytes)
}

#[test]
fn every_truncation_is_refused() {
    let (path, whole) = saved("io_truncated");
    for part in 0..64 {
        fs::write(&path, &whole[..whole.len() * part / 64]).expect("a file");
        sentence(ActivationCache::load(&path), &["run.safetensors", "cut off"]);
    }
    fs::write(&path, [&whole[..], &[0]].concat()).expect("a file");
    sentence(ActivationCache::load(&path), &["run.safetensors"]);
}

#[test]
fn no_flipped_bit_goes_unnoticed() {
    let (path, whole) = saved("io_flipped");
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().expect("8 bytes")) as usize;
    let step = whole.len() / 400;
    for at in (0..header).step_by(3).chain((header..whole.len()).step_by(step)) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 7);
        fs::write(&path, &bytes).expect("a file");
        // Blanks that pad the header may become other blanks; then nothing is changed.
        match ActivationCache::load(&path) {
            Ok(_) => assert!(whole[at].is_ascii_whitespace() && bytes[at].is_ascii_whitespace(), "byte {at}"),
            refused => drop(sentence(refused, &["run.safetensors"])),
        }
    }
}

/// The file with its tensors and metadata changed, by another writer of the format.
fn rewritten(
    path: &Path,
    bytes: &[u8],
    change: impl FnOnce(&mut HashMap<String, Tensor>, &mut HashMap<String, String>),
) {
    let (_, header) = safetensors::SafeTensors::read_metadata(bytes).expect("a header");
    let mut metadata = header.metadata().clone().expect("metadata");
    let mut tensors = candle_lens::candle::safetensors::load_buffer(bytes, &Device::Cpu).expect("tensors");
    change(&mut tensors, &mut metadata);
    let bytes = safetensors::serialize(&tensors, Some(metadata)).expect("a file");
    fs::write(path, bytes).expect("a file");
}

#[test]
fn foreign_and_changed_files_are_refused() -> Result<()> {
    let (path, whole) = saved("io_foreign");
    rewritten(&path, &whole, |_, _| {});
    assert!(ActivationCache::load(&path).is_ok(), "another writer may order the same tensors otherwise");
    rewritten(&path, &whole, |tensors, _| drop(tensors.remove("hook_embed")));
    sentence(ActivationCache::load(&path), &["run.safetensors", "missing"]);
    rewritten(&path, &whole, |_, metadata| drop(metadata.remove("kind")));
    sentence(ActivationCache::load(&path), &["not one that candle-lens saved"]);
    rewritten(&path, &whole, |_, metadata| drop(metadata.insert("about".into(), "{}".into())));
    sentence(ActivationCache::load(&path), &["checksum"]);
    fs::write(&path, "no tensors at all").expect("a file");
    sentence(ActivationCache::load(&path), &["safetensors"]);
    sentence(ActivationCache::load(path.with_file_name("nowhere")), &["nowhere", "cannot be read"]);
    tokens().save(&path)?;
    sentence(ActivationCache::load(&path), &["\"tokens\"", "\"activation cache\""]);
    sentence(Labelled::load(&path), &["\"tokens\"", "\"labelled result\""]);
    sentence(ResidualStack::load(&path), &["\"tokens\"", "\"residual stack\""]);
    Ok(())
}

#[test]
fn a_file_that_cannot_be_written_leaves_the_old_one() -> Result<()> {
    let folder = scratch("io_unwritable");
    sentence(tokens().save(folder.join("no/such/folder")), &["could not be written", "nothing was changed"]);
    sentence(tokens().save(""), &["not a file name"]);
    // A folder is where the file should go.
    fs::create_dir(folder.join("taken")).expect("a folder");
    sentence(tokens().save(folder.join("taken")), &["taken", "is a folder", "give the name of a file"]);
    assert_eq!(fs::read_dir(&folder).expect("the folder").count(), 1, "no part was begun");
    Ok(())
}
