//! Models in GGUF files (tests/fixtures/gguf_models.py) against `transformers`, and what is wrong with such files.

use std::fs;
use std::path::{Path, PathBuf};

use candle_lens::Result;
use candle_lens::candle::{DType, Tensor};
use candle_lens::model::{AttentionType, CheckpointOptions, HookedTransformer, LoadOptions, Processing};
use candle_lens::tokens::Bos;

use crate::support::damage::torture;
use crate::support::fixture::{Reference, TOLERANCE, path};
use crate::support::gguf::{GgufFile, f32_value, list_value, text_value, u32_value, value};
use crate::support::sentence::sentence;
use crate::support::{assert_close, given, scratch};

/// How far a logit of a model with 30 blocks may be from that of `transformers`, which adds up in another order.
const REAL_MODEL: f32 = 1e-3;

/// Every architecture and, of some, what they have in several ways.
const MODELS: [&str; 16] = [
    "llama",
    "llama3",
    "linear",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3",
    "phi3",
    "phi3_long",
    "gpt2",
    "gptneox",
    "gptneox_serial",
    "phi2",
    "mixed",
];

fn file(name: &str) -> PathBuf {
    path("gguf").join(format!("{name}.gguf"))
}

fn load(path: &Path, options: impl Into<LoadOptions>) -> Result<HookedTransformer> {
    HookedTransformer::from_pretrained_with(path.to_str().expect("the path is UTF-8"), options)
}

fn logits(model: &HookedTransformer, reference: &Reference) -> Tensor {
    let logits = model.forward(reference.tokens("tokens")).expect("the model runs");
    logits.get(0).and_then(|logits| logits.to_dtype(DType::F32)).expect("one prompt")
}

/// The model `llama` with a change.
fn changed(name: &str, change: impl FnOnce(GgufFile) -> GgufFile) -> PathBuf {
    changed_of("llama", name, change)
}

/// This model with a change.
fn changed_of(model: &str, name: &str, change: impl FnOnce(GgufFile) -> GgufFile) -> PathBuf {
    let place = scratch(&format!("gguf_model_{name}")).join("model.gguf");
    let whole = GgufFile::of(&fs::read(file(model)).expect("the fixture is there"));
    fs::write(&place, change(whole).bytes()).expect("the scratch folder can be written");
    place
}

#[test]
fn logits_are_those_of_transformers() {
    let reference = Reference::load("gguf/logits.safetensors");
    for name in MODELS {
        let model = load(&file(name), Processing::NONE).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_close(&logits(&model, &reference), reference.get(name), TOLERANCE as f32, name);
    }
}

#[test]
fn processing_changes_no_probabilities() {
    let reference = Reference::load("gguf/logits.safetensors");
    let centred =
        |logits: &Tensor| logits.broadcast_sub(&logits.log_sum_exp(1).unwrap().unsqueeze(1).unwrap()).unwrap();
    for name in ["llama", "mixed", "gemma3", "gpt2", "gptneox"] {
        let model = load(&file(name), LoadOptions::default()).unwrap();
        let (ours, expected) = (centred(&logits(&model, &reference)), centred(reference.get(name)));
        assert_close(&ours, &expected, TOLERANCE as f32, name);
    }
}

#[test]
fn configs_are_those_of_the_original_models() {
    let cfg = |name: &str| load(&file(name), Processing::NONE).unwrap().cfg().clone();
    let llama = cfg("llama");
    assert_eq!((llama.n_layers, llama.d_model, llama.n_heads, llama.n_ctx, llama.d_vocab), (2, 8, 2, 32, 17));
    assert_eq!((llama.eps, llama.rotary_base, llama.n_key_value_heads), (1e-6, 100.0, Some(1)));
    assert_eq!(llama.rotary_scaling, None);
    // The factors of its tensor are those of the formula, so that it is known again.
    let scaling = format!("{:?}", cfg("llama3").rotary_scaling);
    assert!(scaling.contains("factor: 8.0") && scaling.contains("original_n_ctx: 8192"), "{scaling}");
    assert!(cfg("llama3").long_rope.is_none());
    assert_eq!(
        (cfg("mistral").window_size, cfg("phi3").window_size, cfg("qwen2").window_size),
        (Some(4), Some(4), None)
    );
    let long = cfg("phi3_long").long_rope.clone().expect("it has factors");
    assert_eq!((long.original_n_ctx, long.long_factor), (8, vec![2.0, 4.0]));
    assert_eq!((cfg("gptneox").rotary_dim(), cfg("gptneox_serial").parallel_attn_mlp), (2, false));
    assert_eq!(cfg("gemma2").attn_scores_soft_cap, Some(3.0));
}

#[test]
fn frequencies_that_no_formula_gives_are_kept() {
    let odd = |factors: [f32; 2]| {
        changed("frequencies", |mut whole| {
            let offset = whole.data.len().next_multiple_of(32);
            whole.data.resize(offset, 0);
            whole.data.extend(factors.iter().flat_map(|factor| factor.to_le_bytes()));
            whole.tensors.push(("rope_freqs.weight".into(), vec![2], 0, offset as u64));
            whole
        })
    };
    let reference = Reference::load("gguf/logits.safetensors");
    let plain = load(&odd([1.0, 1.0]), Processing::NONE).unwrap();
    assert_close(&logits(&plain, &reference), reference.get("llama"), TOLERANCE as f32, "factors of 1");
    // All frequencies halved are positions halved, as in linear scaling.
    let halved = load(&odd([2.0, 2.0]), Processing::NONE).unwrap();
    let linear = load(
        &changed("linear", |whole| {
            whole
                .with("llama.rope.scaling.type", text_value("linear"))
                .with("llama.rope.scaling.factor", f32_value(2.0))
        }),
        Processing::NONE,
    )
    .unwrap();
    assert!(halved.cfg().long_rope.is_some() && linear.cfg().long_rope.is_none());
    assert_close(&logits(&halved, &reference), &logits(&linear, &reference), TOLERANCE as f32, "halved frequencies");
    sentence(load(&odd([2.0, 0.0]), Processing::NONE), &["model.gguf", "long_rope", "positive"]);
}

/// llama.cpp divides by the factors and by the keys; either alone would be another model.
#[test]
fn positions_that_are_stretched_twice_are_refused() {
    let by = |kind: &str, factor: f32| {
        changed_of("llama3", "twice", |whole| {
            whole.with("llama.rope.scaling.type", text_value(kind)).with("llama.rope.scaling.factor", f32_value(factor))
        })
    };
    for kind in ["linear", "yarn"] {
        sentence(load(&by(kind, 2.0), Processing::NONE), &["model.gguf", "rope_freqs.weight", kind, "twice"]);
    }
    let reference = Reference::load("gguf/logits.safetensors");
    for (kind, factor) in [("none", 2.0), ("linear", 1.0)] {
        let model = load(&by(kind, factor), Processing::NONE).unwrap();
        assert_close(&logits(&model, &reference), reference.get("llama3"), TOLERANCE as f32, kind);
    }
}

#[test]
fn keys_for_longer_contexts_need_their_factors() {
    let refused = |key: &str, value: Vec<u8>, says: &str| {
        let place = changed_of("phi3", "without_factors", |whole| whole.with(key, value));
        sentence(load(&place, Processing::NONE), &["model.gguf", says, "rope_factors_long.weight"]);
    };
    refused("phi3.rope.scaling.type", text_value("longrope"), "longrope");
    refused("phi3.rope.scaling.type", text_value("linear"), "linear");
    refused("phi3.rope.scaling.attn_factor", f32_value(1.25), "1.25");
    let harmless = changed_of("phi3", "without_factors", |whole| {
        whole.with("phi3.rope.scaling.attn_factor", f32_value(1.0)).with("phi3.rope.scaling.type", text_value("none"))
    });
    assert!(load(&harmless, Processing::NONE).unwrap().cfg().long_rope.is_none());
}

/// As in llama.cpp, whose layers then all see everything and rotate by the base of those that do.
#[test]
fn gemma_3_without_a_window_has_no_windows() {
    let key = "gemma3.attention.sliding_window";
    for zero in [false, true] {
        let place = changed_of("gemma3", "no_window", |whole| match zero {
            true => whole.with(key, u32_value(0)),
            false => whole.without(key),
        });
        let cfg = load(&place, Processing::NONE).unwrap().cfg().clone();
        assert!(cfg.attn_types.as_ref().expect("Gemma 3 has them").iter().all(|kind| *kind == AttentionType::Global));
    }
    let whole = load(&file("gemma3"), Processing::NONE).unwrap().cfg().clone();
    assert!(
        whole.attn_types.as_ref().expect("Gemma 3 has them").contains(&AttentionType::Local),
        "or else this tests nothing"
    );
}

#[test]
fn half_precision_is_rounded_from_the_same_numbers() {
    let reference = Reference::load("gguf/logits.safetensors");
    for name in ["mixed", "gemma2"] {
        let options = LoadOptions { dtype: DType::BF16, processing: Some(Processing::NONE), ..Default::default() };
        let model = load(&file(name), options).unwrap();
        assert_eq!(model.dtype(), DType::BF16);
        // bf16 has 8 bits, and logits here reach 8.
        assert_close(&logits(&model, &reference), reference.get(name), 0.5, name);
    }
}

#[test]
fn a_folder_and_the_files_in_it() {
    let folder = scratch("gguf_folder");
    sentence(load(&folder, Processing::NONE), &["gguf_folder", "one GGUF file"]);
    fs::copy(file("llama"), folder.join("a.gguf")).unwrap();
    let model = load(&folder, Processing::NONE).unwrap();
    let by_path = load(&folder.join("a.gguf"), Processing::NONE).unwrap();
    assert_eq!(model.provenance().crc32, by_path.provenance().crc32);
    fs::copy(file("gpt2"), folder.join("b.gguf")).unwrap();
    sentence(load(&folder, Processing::NONE), &["gguf_folder", "several GGUF files", "a.gguf, b.gguf", "path of one"]);
    assert!(load(&folder.join("b.gguf"), Processing::NONE).is_ok());
    sentence(load(&folder.join("c.gguf"), Processing::NONE), &["c.gguf"]);
    sentence(HookedTransformer::from_pretrained("c.gguf"), &["c.gguf", "does not exist"]);
    let revision = LoadOptions { revision: Some("main".into()), ..Default::default() };
    sentence(load(&folder.join("a.gguf"), revision), &["a.gguf", "no revisions"]);
    // A name without an ending is known by its first bytes.
    fs::rename(folder.join("b.gguf"), folder.join("b")).unwrap();
    assert!(load(&folder.join("b"), Processing::NONE).is_ok());
    // Weights in Hugging Face's files count more than a GGUF file beside them.
    for name in ["config.json", "model.safetensors"] {
        fs::copy(path("tiny_gpt2").join(name), folder.join(name)).unwrap();
    }
    let beside = load(&folder, Processing::NONE).unwrap();
    assert!(beside.provenance().source.starts_with("the folder"), "{}", beside.provenance());
}

#[test]
fn a_split_model_is_read_as_one() {
    let folder = scratch("gguf_split_model");
    let whole = GgufFile::of(&fs::read(file("llama")).unwrap());
    let count = whole.tensors.len();
    let place = |number: usize| folder.join(format!("m-{number:05}-of-00002.gguf"));
    for number in 0..2u16 {
        let mut part = whole
            .clone()
            .with("split.no", value(2, &number.to_le_bytes()))
            .with("split.count", value(2, &2u16.to_le_bytes()))
            .with("split.tensors.count", value(5, &(count as i32).to_le_bytes()));
        part.tensors = part.tensors.split_off(if number == 0 { 0 } else { count / 2 });
        part.tensors.truncate(if number == 0 { count / 2 } else { count });
        fs::write(place(usize::from(number) + 1), part.bytes()).unwrap();
    }
    let expected = load(&file("llama"), Processing::NONE).unwrap().provenance().crc32;
    for given in [place(1), place(2), folder.clone()] {
        assert_eq!(load(&given, Processing::NONE).unwrap().provenance().crc32, expected, "{}", given.display());
    }
    for (removed, named) in [(2, "m-00002-of-00002.gguf"), (1, "m-00001-of-00002.gguf")] {
        let aside = folder.join("aside");
        fs::rename(place(removed), &aside).unwrap();
        sentence(load(&folder, Processing::NONE), &["missing", named, "Download"]);
        fs::rename(&aside, place(removed)).unwrap();
    }
}

#[test]
fn the_provenance_says_how_the_numbers_are_stored() {
    let provenance = load(&file("mixed"), LoadOptions::default()).unwrap().provenance();
    assert!(provenance.source.starts_with("the file ") && provenance.source.contains("mixed.gguf"), "{provenance}");
    for part in ["GGUF", "Q4_0: ", "of F32", "1 of Q4_K", "1 of Q6_K", "2 of Q8_0", "1 of BF16"] {
        assert!(provenance.source.contains(part), "{part} is missing in {provenance}");
    }
    // The checksum is of the numbers, whatever the file: the same weights in another file have the same.
    let expected = load(&file("llama"), LoadOptions::default()).unwrap().provenance().crc32;
    let renamed = changed("renamed", |whole| whole.with("general.name", text_value("another")));
    assert_eq!(load(&renamed, LoadOptions::default()).unwrap().provenance().crc32, expected);
}

#[test]
fn keys_that_are_not_understood_are_refused() {
    let refused = |key: &str, value: Vec<u8>, says: &[&str]| {
        let place = changed("keys", |whole| whole.with(key, value));
        sentence(load(&place, Processing::NONE), &[&["model.gguf"], says].concat());
    };
    refused("llama.logit_scale", f32_value(0.5), &["llama.logit_scale", "0.5", "ignore_config_keys"]);
    refused("qwen2.block_count", u32_value(3), &["qwen2.block_count", "not understood"]);
    refused("llama.rope.scaling.type", text_value("su"), &["its header asks for rotary positions", "\"su\""]);
    refused("llama.rope.dimension_count", u32_value(2), &["rope.dimension_count", "part of each head", "another file"]);
    refused("llama.expert_count", u32_value(8), &["mixture of experts"]);
    refused("llama.attention.value_length", u32_value(6), &["values of size 6"]);
    refused("llama.block_count", u32_value(3), &["layers.2", "missing"]);
    refused("llama.block_count", u32_value(1), &["layers.1", "unexpected"]);
    refused("llama.block_count", u32_value(u32::MAX), &["4294967295"]);
    refused("llama.block_count", f32_value(2.0), &["llama.block_count", "2.0", "f32", "whole number"]);
    refused("llama.block_count", text_value("2"), &["llama.block_count", "text"]);
    refused("llama.block_count", value(5, &(-2i32).to_le_bytes()), &["llama.block_count", "-2", "not negative"]);
    refused("llama.attention.head_count", list_value(4, 2, &[1; 8]), &["attention.head_count", "list of u32"]);
    refused("llama.attention.head_count", u32_value(0), &["n_heads is 0", "convert it again"]);
    refused("llama.rope.freq_base", f32_value(f32::NAN), &["llama.rope.freq_base", "finite"]);
    refused("llama.rope.freq_base", value(7, &[1]), &["llama.rope.freq_base", "true"]);
    refused("llama.tensor_data_layout", text_value("other"), &["tensor_data_layout", "other"]);
    refused("general.architecture", text_value("mamba"), &["\"mamba\"", "llama, qwen2"]);
    refused("general.architecture", u32_value(1), &["general.architecture", "a text is needed"]);
    refused("general.type", text_value("adapter"), &["\"adapter\"", "not a model"]);
    for key in ["llama.context_length", "llama.attention.layer_norm_rms_epsilon"] {
        let place = changed("missing", |whole| whole.without(key));
        sentence(load(&place, Processing::NONE), &["model.gguf", key, "complete"]);
    }
    sentence(load(&changed("none", |whole| whole.without("general.architecture")), Processing::NONE), &["\"\""]);
}

#[test]
fn keys_that_change_nothing_are_passed_over() {
    let reference = Reference::load("gguf/logits.safetensors");
    let place = changed("harmless", |whole| {
        whole
            .with("general.languages", list_value(8, 0, &[]))
            .with("quantize.imatrix.entries_count", u32_value(7))
            .with("llama.odd", value(7, &[0]))
            .with("llama.attention.causal", value(7, &[1]))
            .with("llama.rope.scaling.finetuned", value(7, &[1]))
            .with("llama.expert_count", u32_value(0))
    });
    let model = load(&place, Processing::NONE).unwrap();
    assert_close(&logits(&model, &reference), reference.get("llama"), TOLERANCE as f32, "harmless keys");
    let ignoring = |keys: &[&str]| LoadOptions {
        ignore_config_keys: keys.iter().map(|key| key.to_string()).collect(),
        ..Processing::NONE.into()
    };
    let place = changed("ignored", |whole| whole.with("llama.logit_scale", f32_value(0.5)));
    let model = load(&place, ignoring(&["llama.logit_scale"])).unwrap();
    assert!(model.provenance().notes[0].contains("llama.logit_scale"), "{}", model.provenance());
    sentence(load(&place, ignoring(&["llama.x"])), &["ignore_config_keys", "llama.x", "no such key"]);
    sentence(load(&file("llama"), ignoring(&["llama.block_count"])), &["llama.block_count", "understood"]);
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let refused = |change: fn(&mut GgufFile), says: &[&str]| {
        let place = changed("tensors", |mut whole| {
            change(&mut whole);
            whole
        });
        sentence(load(&place, Processing::NONE), &[&["model.gguf"], says].concat());
    };
    let of =
        |file: &GgufFile, name: &str| file.tensors.iter().position(|tensor| tensor.0 == name).expect("it is there");
    refused(|file| file.tensors[2].0 = "blk.0.odd.weight".into(), &["blk.0.odd.weight is unexpected", "missing"]);
    refused(|file| file.tensors[0].2 = 20, &["IQ4_NL", "Q4_0", "another quantisation"]);
    let at = of(&GgufFile::of(&fs::read(file("llama")).unwrap()), "blk.0.attn_q.weight");
    let place = changed("shape", |mut whole| {
        whole.tensors[at].1 = vec![4, 16];
        whole
    });
    sentence(load(&place, Processing::NONE), &["self_attn.q_proj.weight", "[16, 4]", "[8, 8]"]);
    let place = changed("infinite", |mut whole| {
        let start = whole.tensors[at].3 as usize;
        whole.data[start..start + 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
        whole
    });
    sentence(load(&place, Processing::NONE), &["self_attn.q_proj.weight", "inf"]);
}

#[test]
fn a_gguf_file_is_the_base_of_a_checkpoint_but_no_checkpoint() {
    let base = file("gpt2");
    let base = base.to_str().unwrap();
    let options = || CheckpointOptions { load: Processing::NONE.into(), ..Default::default() };
    sentence(
        HookedTransformer::from_checkpoint(base, file("gpt2"), options()),
        &["gpt2.gguf", "GGUF", "from_pretrained"],
    );
    let model = load(&file("gpt2"), Processing::NONE).unwrap();
    let saved = scratch("gguf_checkpoint");
    model.save_pretrained(&saved).unwrap();
    let checkpoint = saved.join("model.safetensors");
    let again = HookedTransformer::from_checkpoint(base, &checkpoint, options()).unwrap();
    assert_eq!(again.provenance().crc32, model.provenance().crc32);
}

#[test]
fn damaged_models() {
    for (seed, name) in MODELS.into_iter().enumerate() {
        let place = scratch(&format!("fuzz_gguf_{name}")).join("model.gguf");
        let whole = fs::read(file(name)).unwrap();
        torture(400 + seed as u64, 150, &place, &whole, || {
            load(&place, LoadOptions::default())?.forward(vec![0, 0]).map(drop)
        });
    }
}

/// The trial conversion of SmolLM2 gave these logits in `transformers`, without a BOS.
#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn smollm2_is_read_as_transformers_reads_it() {
    let model = load(Path::new(&given("CANDLE_LENS_SMOLLM2")), Processing::NONE).unwrap();
    let source = model.provenance().source;
    assert!(source.contains("Q4_1: 210 tensors of Q4_1, 61 of F32, 1 of Q8_0"), "{source}");
    for (prompt, token, expected) in [
        ("The capital of France is", " Paris", 17.3713),
        ("The war lasted from the year 1741 to the year 17", "4", 37.7813),
    ] {
        let tokens = model.to_tokens_with(prompt, Bos::Omit).unwrap();
        let logits = model.forward(&tokens).unwrap().get(0).unwrap().get(tokens.last_positions()[0]).unwrap();
        let logits = logits.to_vec1::<f32>().unwrap();
        let id = model.to_single_token(token).unwrap() as usize;
        assert!((logits[id] - expected).abs() < REAL_MODEL, "{prompt:?}: {}", logits[id]);
        assert!(logits.iter().all(|logit| *logit <= logits[id]), "{token:?} is not first after {prompt:?}");
    }
}
