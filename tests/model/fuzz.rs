//! Every reader of files against some thousand damaged ones, the same in each run: whatever the damage, there is a
//! sentence or something valid, never a panic, and never more memory than [`MOST_BYTES`].
//!
//! PyTorch's checkpoints have damages of their own in `checkpoints.rs`; here they are spliced and measured too.

use std::backtrace::Backtrace;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use candle_lens::Result;
use candle_lens::cache::ActivationCache;
use candle_lens::candle::{Device, Tensor, safetensors};
use candle_lens::labelled::Labelled;
use candle_lens::model::{HookedTransformer, HookedTransformerConfig, LoadOptions, Processing};
use candle_lens::prelude::DecomposeOptions;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::support::allocations::held_at_most;
use crate::support::fixture::{path, tiny_gpt2, tiny_model};
use crate::support::models::FOLDERS;
use crate::support::scratch;
use crate::support::sentence::sentence;

/// No file here has more than 300 kB: a reader that takes more than this believes what a file says of itself.
const MOST_BYTES: usize = 32 << 20;

/// What damages files.
struct Damage(ChaCha8Rng);

impl Damage {
    fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n.max(1) as u64) as usize
    }

    fn one_of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    /// A place in a file: near its beginning as often as anywhere, because there is what readers believe.
    fn place(&mut self, bytes: &[u8]) -> usize {
        let reach = if self.below(2) == 0 { bytes.len().min(2000) } else { bytes.len() };
        self.below(reach)
    }

    /// The whole file with some damage.
    fn of(&mut self, whole: &[u8]) -> Vec<u8> {
        let mut bytes = whole.to_vec();
        for _ in 0..=self.below(3) {
            if bytes.is_empty() {
                break;
            }
            let place = self.place(&bytes);
            let span = place..(place + 1 + self.below(40)).min(bytes.len());
            match self.below(8) {
                0 => bytes[place] ^= 1 << self.below(8),
                1 => bytes[place] = self.below(256) as u8,
                2 => bytes.truncate(place),
                3 => drop(bytes.drain(span)),
                4 => {
                    let copy = bytes[span].to_vec();
                    let at = self.place(&bytes);
                    bytes.splice(at..at, copy);
                }
                5 => self.header_length(&mut bytes),
                _ => self.number(&mut bytes, place),
            }
        }
        bytes
    }

    /// The first eight bytes, which safetensors has as the length of its header.
    fn header_length(&mut self, bytes: &mut [u8]) {
        let Some(length) = bytes.first_chunk_mut::<8>() else { return };
        let old = u64::from_le_bytes(*length);
        let new = match self.below(5) {
            0 => u64::MAX - self.below(16) as u64,
            1 => 1 << self.below(64),
            2 => old.wrapping_add(self.below(9) as u64).wrapping_sub(4),
            3 => 0,
            _ => self.0.next_u64(),
        };
        *length = new.to_le_bytes();
    }

    /// A number written in digits becomes something else that JSON can say.
    fn number(&mut self, bytes: &mut Vec<u8>, from: usize) {
        let Some(start) = (from..bytes.len()).find(|at| bytes[*at].is_ascii_digit()) else { return };
        let end = (start..bytes.len()).find(|at| !bytes[*at].is_ascii_digit()).unwrap_or(bytes.len());
        let others = [
            "0",
            "-1",
            "1",
            "3",
            "65536",
            "4294967295",
            "1000000000000",
            "18446744073709551615",
            "1e308",
            "1e-320",
            "0.5",
            "null",
            "true",
            "[]",
            "{}",
            "\"x\"",
            "99999999999999999999999999",
        ];
        let other = self.one_of(&others);
        bytes.splice(start..end, other.bytes());
    }
}

/// Reads `count` damaged copies of `whole` in the place of `file`, and tells how many were still read as something.
fn torture(seed: u64, count: usize, file: &Path, whole: &[u8], read: impl Fn() -> Result<()>) -> usize {
    let mut damage = Damage::new(seed);
    let mut valid = 0;
    // A reader may catch a panic of a library, which is told with a backtrace where the environment asks for one: the
    // symbols for it, more than any file, are loaded before anything is measured.
    drop(Backtrace::capture().to_string());
    for case in 0..count {
        let bytes = damage.of(whole);
        fs::write(file, &bytes).expect("the scratch folder can be written");
        let what = format!("case {case} of seed {seed} in {}", file.display());
        let (result, most) = held_at_most(|| catch_unwind(AssertUnwindSafe(&read)));
        match result.unwrap_or_else(|_| panic!("a panic: {what}")) {
            Ok(()) => valid += 1,
            Err(error) => drop(sentence(Err::<(), _>(error), &[])),
        }
        assert!(most <= MOST_BYTES, "{most} bytes were held at once: {what}");
    }
    fs::write(file, whole).expect("the scratch folder can be written");
    read().unwrap_or_else(|error| panic!("the whole file is refused, so nothing was tested: {error}"));
    valid
}

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
        assert!((1..450).contains(&valid), "{name}: {valid} of 500 were still valid, so the damage is of no use");
    }
}

#[test]
fn damaged_configs_and_weights_of_every_family() {
    for (seed, family) in FOLDERS.into_iter().enumerate() {
        let folder = copy(&path("families").join(family), &format!("fuzz_{family}"));
        for (name, count) in [("config.json", 100), ("model.safetensors", 60)] {
            let file = folder.join(name);
            let whole = fs::read(&file).unwrap();
            torture(100 + seed as u64, count, &file, &whole, || load_and_run(&folder, LoadOptions::default()));
        }
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
        cache.decompose_resid(&DecomposeOptions { apply_ln: true, ..Default::default() }).map(drop)
    });
    assert!(valid > 0, "nothing was read, so what was read is not tested");
    let file = folder.join("result.safetensors");
    let direction = Tensor::ones(24, candle_lens::candle::DType::F32, &Device::Cpu).unwrap();
    let stack = cache.decompose_resid(&DecomposeOptions::default()).unwrap();
    stack.project(&direction).unwrap().save(&file).unwrap();
    let whole = fs::read(&file).unwrap();
    torture(41, 500, &file, &whole, || Labelled::load(&file).map(|result| drop(format!("{result:?}"))));
}
