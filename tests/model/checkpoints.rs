//! PyTorch's checkpoints (tests/fixtures/checkpoints.py), whole and damaged.

use std::fs;
use std::path::PathBuf;

use candle_lens::model::{CheckpointOptions, HookedTransformer, HookedTransformerConfig, LoadOptions, Processing};

use crate::support::fixture::{Reference, path, tiny_gpt2, tiny_model};
use crate::support::sentence::sentence;
use crate::support::{assert_close, scratch};

fn checkpoint(name: &str) -> PathBuf {
    path("checkpoints").join(name)
}

fn trained(key: Option<&str>, strip_prefix: Option<&str>) -> candle_lens::Result<HookedTransformer> {
    let options = CheckpointOptions {
        key: key.map(String::from),
        strip_prefix: strip_prefix.map(String::from),
        load: Processing::NONE.into(),
    };
    HookedTransformer::from_checkpoint(tiny_gpt2().to_str().unwrap(), checkpoint("trained.pth"), options)
}

#[test]
fn what_a_training_left_is_that_model() {
    let model = trained(Some("model_state_dict"), Some("_orig_mod.")).expect("it is whole");
    let original = tiny_model(Processing::NONE);
    assert_close(&model.forward("the").unwrap(), &original.forward("the").unwrap(), 0.0, "logits");
    let (provenance, same) = (model.provenance(), original.provenance());
    assert_eq!(provenance.crc32, same.crc32);
    assert!(
        provenance.source.contains("trained.pth") && provenance.source.contains("model_state_dict"),
        "{provenance}"
    );
}

#[test]
fn keys_and_prefixes_that_are_wrong() {
    sentence(trained(None, None), &["trained.pth", "\"model_state_dict\"", "key"]);
    sentence(trained(Some("model"), None), &["\"model\"", "\"model_state_dict\"", "\"epoch\""]);
    sentence(trained(Some("epoch"), None), &["\"epoch\"", "no dictionary"]);
    sentence(trained(Some("optimizer"), None), &["no tensor in \"optimizer\"", "\"param_groups\""]);
    sentence(trained(Some("optimizer.state"), None), &["no tensor in \"optimizer.state\"", "none"]);
    // What stands before all names need not be said, but may be.
    for prefix in [None, Some("_orig_mod.transformer."), Some("_orig_mod.")] {
        let model = trained(Some("model_state_dict"), prefix).expect("it is the same model");
        assert_eq!(model.provenance().crc32, tiny_model(Processing::NONE).provenance().crc32);
    }
    sentence(
        trained(Some("model_state_dict"), Some("module.")),
        &["strip_prefix \"module.\"", "\"_orig_mod.transformer."],
    );
    let base = tiny_gpt2();
    let with = |file: PathBuf, key: Option<&str>| {
        let options = CheckpointOptions { key: key.map(String::from), ..Default::default() };
        HookedTransformer::from_checkpoint(base.to_str().unwrap(), file, options)
    };
    sentence(with(base.join("model.safetensors"), Some("model")), &["safetensors", "leave key out"]);
    sentence(with(base.join("config.json"), None), &["config.json"]);
    sentence(with(base.join("none.pth"), None), &["none.pth", "cannot be read"]);
    sentence(with(base.clone(), None), &["folder"]);
    sentence(with(checkpoint("whole.pth"), None), &["posix.system", "state_dict"]);
    with(base.join("model.safetensors"), None).expect("safetensors are checkpoints too");
}

fn attn_only(file: PathBuf) -> candle_lens::Result<HookedTransformer> {
    let cfg = HookedTransformerConfig::from_file(path("architectures/attn_only.json"))?;
    HookedTransformer::from_transformer_lens(cfg, file)
}

#[test]
fn views_parameters_and_the_old_format() -> candle_lens::Result<()> {
    let reference = Reference::load("architectures/attn_only.safetensors");
    let sums: Vec<_> = ["views.pt", "legacy.pt"]
        .into_iter()
        .map(|name| {
            let model = attn_only(checkpoint(name))?;
            assert_close(&model.W_E(), reference.get("weights.embed.W_E"), 0.0, "W_E");
            assert_close(&model.W_U(), reference.get("weights.unembed.W_U"), 0.0, "W_U");
            let w_q = model.W_Q()?.get(0)?;
            assert_close(&w_q, reference.get("weights.blocks.0.attn.W_Q"), 0.0, "W_Q");
            Ok(model.provenance().crc32)
        })
        .collect::<candle_lens::Result<_>>()?;
    assert_eq!(sums[0], sums[1]);
    Ok(())
}

#[test]
fn nothing_in_a_pickle_is_run() {
    let message = sentence(attn_only(checkpoint("hostile.pth")), &["hostile.pth"]);
    assert!(!PathBuf::from("hostile-was-here").exists(), "{message}");
}

/// Whatever the damage, there is a sentence or a model, and never a panic or a flood of memory.
#[test]
fn damaged_checkpoints() {
    let folder = scratch("damaged_checkpoints");
    let mut state = 1u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for name in ["views.pt", "legacy.pt", "hostile.pth"] {
        let whole = fs::read(checkpoint(name)).unwrap();
        let file = folder.join(name);
        let check = |bytes: &[u8], must_fail: bool| {
            fs::write(&file, bytes).unwrap();
            match attn_only(file.clone()) {
                Err(error) => drop(sentence(Err::<(), _>(error), &[name])),
                Ok(_) => assert!(!must_fail, "a part of {name} was taken for the whole"),
            }
        };
        for part in 0..64 {
            check(&whole[..whole.len() * part / 64], true);
        }
        // The pickle is at the beginning, the list of a zip's parts at its end.
        for round in 0..600 {
            let mut bytes = whole.clone();
            for _ in 0..=random(3) {
                let place = match round % 3 {
                    0 => random(bytes.len()),
                    1 => random(bytes.len().min(4000)),
                    _ => bytes.len() - 1 - random(bytes.len().min(1500)),
                };
                bytes[place] = if round % 2 == 0 { bytes[place] ^ (1 << random(8)) } else { random(256) as u8 };
            }
            check(&bytes, false);
        }
    }
}

/// Pickles made to cost much: each is refused, quickly.
#[test]
fn pickles_that_would_fill_the_memory() {
    let folder = scratch("pickle_bombs");
    let head = {
        let whole = fs::read(checkpoint("legacy.pt")).unwrap();
        // The three pickles in front of the object: magic number, version, machine.
        let ends: Vec<usize> =
            (0..whole.len()).filter(|at| whole[*at] == b'.' && whole.get(at + 1) == Some(&0x80)).collect();
        whole[..=ends[2]].to_vec()
    };
    let mut doubling = b"\x80\x02]q\x00".to_vec();
    for step in 0u8..200 {
        doubling.extend([b'h', step, b'h', step, 0x86, b'q', step + 1]);
    }
    let deep = [b"\x80\x02N".to_vec(), vec![0x85; 2_000_000], b".".to_vec()].concat();
    let many = [b"\x80\x02(".to_vec(), vec![b'N'; 8_000_000], b"t.".to_vec()].concat();
    let long = b"\x80\x02X\xff\xff\xff\xffabc".to_vec();
    let longer = b"\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc".to_vec();
    let itself = b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.".to_vec();
    for (name, pickle) in [
        ("doubling", [doubling, b".".to_vec()].concat()),
        ("deep", deep),
        ("many", many),
        ("long", long),
        ("longer", longer),
        ("itself", itself),
    ] {
        let file = folder.join(format!("{name}.pt"));
        fs::write(&file, [head.clone(), pickle].concat()).unwrap();
        sentence(attn_only(file), &[name]);
    }
}

#[test]
fn a_checkpoint_is_loaded_as_any_model() {
    let options = CheckpointOptions {
        key: Some("model_state_dict".into()),
        strip_prefix: Some("_orig_mod.".into()),
        load: LoadOptions { first_n_layers: Some(1), n_ctx: Some(10), ..Default::default() },
    };
    let model = HookedTransformer::from_checkpoint(tiny_gpt2().to_str().unwrap(), checkpoint("trained.pth"), options);
    let model = model.expect("it is whole");
    assert_eq!((model.cfg().n_layers, model.cfg().n_ctx), (1, 10));
    assert!(model.processing().fold_ln);
}

/// What TransformerLens 3.9's `cfg.to_dict()` says of a small classifier of brackets, and mistakes in it.
#[test]
fn configs_of_transformer_lens() {
    let file = scratch("config_of_transformer_lens").join("cfg.json");
    let fields = serde_json::json!({
        "n_layers": 3, "d_model": 56, "n_ctx": 42, "d_head": 28, "n_heads": 2, "d_mlp": 56, "d_vocab": 5,
        "d_vocab_out": 2, "act_fn": "relu", "attention_dir": "bidirectional", "normalization_type": null, "eps": 1e-5,
        "attn_scale": 5.291502622129181, "use_attn_scale": true, "device": "cpu", "dtype": "torch.float32",
        "seed": 42, "n_params": 56448, "rotary_dim": null, "gated_mlp": false, "attn_scores_soft_cap": -1.0,
        "initializer_range": -1.0, "use_hook_tokens": true, "rotary_base": 10000, "window_size": null,
        "attn_only": false, "positional_embedding_type": "standard", "n_devices": 1, "init_weights": true,
    });
    let read = |change: &[(&str, serde_json::Value)]| {
        let mut fields = fields.clone();
        for (key, value) in change {
            fields[*key] = value.clone();
        }
        fs::write(&file, fields.to_string()).unwrap();
        HookedTransformerConfig::from_file(&file)
    };
    let cfg = read(&[]).expect("all of it is understood");
    assert_eq!((cfg.d_head(), cfg.d_vocab_out(), cfg.n_ctx), (28, 2, 42));
    assert_eq!(cfg.normalization_type, candle_lens::model::NormalizationType::None);
    assert_eq!(read(&[("use_attn_scale", false.into()), ("attn_scale", (-1.0).into())]).unwrap().attn_scale(0), 1.0);
    let cfg = read(&[
        ("positional_embedding_type", "rotary".into()),
        ("rotary_dim", 8.into()),
        ("normalization_type", "RMS".into()),
        ("final_rms", true.into()),
        ("gated_mlp", true.into()),
        ("use_local_attn", false.into()),
        ("window_size", 4.into()),
    ])
    .expect("what a Llama has is understood");
    assert_eq!((cfg.rotary_dim(), cfg.gated_mlp, cfg.window(0)), (8, true, None));
    let cfg = read(&[("positional_embedding_type", "alibi".into())]).expect("what a BLOOM has is understood");
    assert_eq!(cfg.positional_embedding_type, candle_lens::model::PositionalEmbeddingType::Alibi);
    for (key, value) in [
        ("positional_embedding_type", "relative_positional_bias".into()),
        ("attn_scores_soft_cap", 0.0.into()),
        ("final_rms", true.into()),
        ("act_fn", "xielu".into()),
        ("n_heads", 0.into()),
        ("d_model", "wide".into()),
        ("unheard_of", 1.into()),
    ] {
        sentence(read(&[(key, value)]), &["cfg.json"]);
    }
    fs::write(&file, "[]").unwrap();
    sentence(HookedTransformerConfig::from_file(&file), &["JSON"]);
    sentence(HookedTransformerConfig::from_file("no-such.json"), &["no-such.json", "path"]);
}
