//! Damaged, hostile and contradictory files of dictionaries: a sentence that names the file, before anything is computed.

use std::fs;
use std::path::{Path, PathBuf};

use candle_lens::Result;
use candle_lens::candle::{Device, Tensor};
use candle_lens::prelude::*;
use serde_json::Value;

use crate::support::damage::{torture, torture_keys};
use crate::support::fixture::path;
use crate::support::scratch;
use crate::support::sentence::sentence;
use crate::support::torch::zip;

/// A copy of a folder of fixtures, to be damaged.
fn copy(name: &str, into: &str) -> PathBuf {
    fn all(from: &Path, to: &Path) {
        fs::create_dir_all(to).expect("a folder");
        for entry in fs::read_dir(from).expect("the fixture is there").flatten() {
            match entry.path().is_dir() {
                true => all(&entry.path(), &to.join(entry.file_name())),
                false => drop(fs::copy(entry.path(), to.join(entry.file_name())).expect("it can be copied")),
            }
        }
    }
    let folder = scratch(into);
    all(&path(&format!("dictionaries/formats/{name}")), &folder);
    folder
}

fn open(folder: &Path) -> Result<Vec<Dictionary>> {
    DictionarySet::open(folder.to_string_lossy())?.all()
}

fn with_json(file: &Path, change: impl Fn(&mut Value)) {
    let mut json: Value = serde_json::from_slice(&fs::read(file).expect("the fixture")).expect("JSON");
    change(&mut json);
    fs::write(file, json.to_string()).expect("it can be written");
}

fn tensors(file: &Path) -> std::collections::HashMap<String, Tensor> {
    candle_lens::candle::safetensors::load(file, &Device::Cpu).expect("a file of tensors")
}

fn save(file: &Path, tensors: &std::collections::HashMap<String, Tensor>) {
    candle_lens::candle::safetensors::save(tensors, file).expect("it can be written");
}

#[test]
fn configurations_that_contradict_their_tensors() {
    let attention =
        "gpt2-small_L1_Hcat_z_lr1.20e-03_l11.80e+00_ds32_bs4096_dc1.00e-06_rsanthropic_rie25000_nr4_v9_cfg.json";
    type Case<'a> = (&'a str, &'a str, &'a [&'a str], Value, &'a [&'a str]);
    let cases: &[Case] = &[
        ("attention", attention, &["dict_size"], 64.into(), &["64", "32"]),
        ("attention", attention, &["act_size"], 16.into(), &["16", "8"]),
        ("attention", attention, &["act_name"], "blocks.1.attn.hook_zz".into(), &["act_name", "hook_zz"]),
        ("attention", attention, &["rectify"], "twice".into(), &["rectify", "ignore_config_keys"]),
        ("sparsify_topk", "layers.1/cfg.json", &["k"], 33.into(), &["33", "32"]),
        ("sparsify_topk", "layers.1/cfg.json", &["k"], 0.into(), &["0"]),
        ("sparsify_topk", "layers.1/cfg.json", &["k"], "four".into(), &["k", "four"]),
        ("sparsify_topk", "layers.1/cfg.json", &["num_latents"], 64.into(), &["64", "32"]),
        ("sparsify_topk", "layers.1/cfg.json", &["d_in"], 9.into(), &["9", "8"]),
        ("sparsify_topk", "layers.1/cfg.json", &["activation"], "softmax".into(), &["softmax"]),
        ("sparsify_topk", "layers.1/cfg.json", &["skip_connection"], true.into(), &["W_skip"]),
        ("sparsify_skip", "layers.1.mlp/cfg.json", &["skip_connection"], false.into(), &["W_skip"]),
        ("sparsify_groupmax", "layers.1/cfg.json", &["k"], 5.into(), &["32", "5"]),
        ("sparsify_groupmax", "layers.1/cfg.json", &["signed"], true.into(), &["groupmax", "signed"]),
        ("sparsify_groupmax", "layers.1/cfg.json", &["normalize_input"], true.into(), &["normalize_input"]),
        ("dictionary_learning_topk", "config.json", &["trainer", "k"], 6.into(), &["6", "5"]),
        ("dictionary_learning_topk", "config.json", &["trainer", "dict_class"], "BatchTopK".into(), &["BatchTopK"]),
        ("dictionary_learning_topk", "config.json", &["trainer", "dict_class"], "AutoEncoder".into(), &["bias"]),
        ("dictionary_learning_topk", "config.json", &["trainer", "dict_size"], 16.into(), &["16", "32"]),
        ("dictionary_learning_topk", "config.json", &["trainer", "scale"], 3.into(), &["scale"]),
        ("dictionary_learning_gated", "config.json", &["trainer", "activation_dim"], 16.into(), &["16", "8"]),
    ];
    for (name, file, keys, value, parts) in cases {
        let folder = copy(name, "dictionary_contradiction");
        with_json(&folder.join(file), |json| {
            let mut at = json;
            for key in *keys {
                at = &mut at[*key];
            }
            *at = value.clone();
        });
        sentence(open(&folder), parts);
    }
    let folder = copy("attention", "dictionary_ignored_key");
    with_json(&folder.join(attention), |json| json["rectify"] = "twice".into());
    let options = DictionaryOptions { ignore_config_keys: vec!["rectify".into()], ..Default::default() };
    assert!(DictionarySet::open_with(folder.to_string_lossy(), options).is_ok());
}

#[test]
fn sets_that_are_not_whole() {
    let folder = copy("transcoder_set", "set_with_a_gap");
    fs::remove_file(folder.join("layer_1.safetensors")).expect("ours");
    sentence(open(&folder), &["config.yaml", "[0, 2]"]);
    let folder = copy("cross_layer", "cross_layer_without_decoder");
    fs::remove_file(folder.join("W_dec_1.safetensors")).expect("ours");
    sentence(open(&folder), &["W_dec_1.safetensors"]);
    fs::remove_file(folder.join("W_enc_0.safetensors")).expect("ours");
    sentence(open(&folder), &["[1, 2]"]);

    let folder = copy("transcoder_set", "set_of_two_widths");
    let file = folder.join("layer_2.safetensors");
    let narrow = tensors(&file).into_iter().map(|(name, tensor)| {
        let tensor = if name == "b_dec" { tensor } else { tensor.narrow(0, 0, 31).expect("rows") };
        (name, tensor.contiguous().expect("a copy"))
    });
    save(&file, &narrow.collect());
    sentence(open(&folder), &["layer_2.safetensors", "31", "32"]);

    // A cross-layer transcoder of four layers, the last of which is missing, has too many places to write to.
    let folder = copy("cross_layer", "cross_layer_cut_off");
    for part in ["W_enc_2.safetensors", "W_dec_2.safetensors"] {
        fs::remove_file(folder.join(part)).expect("ours");
    }
    sentence(open(&folder), &["W_dec_0", "[32, 3, 8]", "[32, 2, 8]"]);
}

#[test]
fn configurations_of_circuit_tracer() {
    let folder = copy("transcoder_set", "set_config");
    let file = folder.join("config.yaml");
    let config = fs::read_to_string(&file).expect("the fixture");
    for (from, to, parts) in [
        ("transcoder_set", "sae_set", &["sae_set", "cross_layer_transcoder"][..]),
        ("feature_input_hook:", "feature_inputs:", &["feature_input_hook"]),
        ("ln2.hook_normalized", "ln2.hook_normalised", &["ln2.hook_normalised", "not a point"]),
        ("scan:", "activation: topk\nscan:", &["activation", "topk", "ignore_config_keys"]),
        ("scan: ", "scan: &x ", &["line 5", "more than one"]),
        ("scan:", "model_kind: again\nscan:", &["a second time"]),
        ("scan:", "transcoders:\n- layer_0.pt\nscan:", &["layer_0.pt", "hf://"]),
        (
            "hook_mlp_out\nmodel_kind: transcoder_set\nmodel_name: gpt2",
            "mlp.hook_out\nmodel_kind: transcoder_set\nmodel_name: google/gemma-2-2b",
            &["norm"],
        ),
    ] {
        assert!(config.contains(from), "{config}");
        fs::write(&file, config.replacen(from, to, 1)).expect("ours");
        sentence(open(&folder), &[&["config.yaml"], parts].concat());
    }
    fs::write(&file, [0xff, 0xfe]).expect("ours");
    sentence(open(&folder), &["config.yaml", "not text"]);
    // The files of layers may be listed instead.
    let listed = "transcoders:\n- layer_2.safetensors\n- layer_0.safetensors\nscan:";
    fs::write(&file, config.replacen("scan:", listed, 1)).expect("ours");
    assert_eq!(open(&folder).expect("two layers").len(), 2);
}

#[test]
fn numbers_that_are_none() {
    let folder = copy("transcoder_set_skip", "dictionary_nan");
    let file = folder.join("layer_1.safetensors");
    let whole = tensors(&file);
    for name in ["W_enc", "W_dec", "b_enc", "b_dec", "W_skip", "activation_function.threshold"] {
        let mut damaged = whole.clone();
        damaged.insert(name.into(), (&whole[name] * f64::NAN).expect("numbers"));
        save(&file, &damaged);
        sentence(open(&folder), &["layer_1", "finite"]);
    }
    // circuit-tracer lets numbers above a threshold below 0 pass, which JumpReLU here does not.
    let mut damaged = whole.clone();
    damaged.insert("activation_function.threshold".into(), whole["b_enc"].clone());
    save(&file, &damaged);
    sentence(open(&folder), &["layer_1.safetensors", "below 0"]);
}

#[test]
fn sets_that_circuit_tracer_would_not_load() -> Result<()> {
    let all = DictionarySet::open(path("dictionaries/formats/transcoder_set").to_string_lossy())?.all()?;
    let folder = scratch("set_not_written");
    let saved = |dictionaries: &[Dictionary]| Dictionary::save_transcoder_set(&folder, dictionaries);
    sentence(saved(&[]), &["no transcoders"]);
    sentence(saved(&all[1..]), &["layer 0"]);
    sentence(saved(&[all[0].clone(), all[0].clone()]), &["layer 0"]);
    let with = |change: &dyn Fn(&mut DictionaryParts)| {
        let mut parts = all[0].parts();
        change(&mut parts);
        Dictionary::new(parts)
    };
    let topk = with(&|parts| parts.activation = Activation::TopK { k: 3 })?;
    sentence(saved(&[topk]), &["layer_0", "ReLU"]);
    sentence(saved(&[with(&|parts| parts.expects.hook_out = None)?]), &["layer_0", "not a transcoder"]);
    sentence(saved(&[with(&|parts| parts.scaled_by_decoder_norm = true)?]), &["layer_0", "scales"]);
    let other = with(&|parts| parts.expects.model = Some("other".into()))?;
    sentence(saved(&[other, all[1].clone()]), &["no set"]);
    let clt = DictionarySet::open(path("dictionaries/formats/cross_layer").to_string_lossy())?.all()?;
    sentence(saved(&clt), &["cross-layer"]);
    assert!(fs::read_dir(&folder).expect("a folder").next().is_none(), "nothing was written");
    saved(&all)?;
    sentence(saved(&all[..2]), &["layer_2.safetensors", "larger set"]);
    Ok(())
}

/// Pickles that would run something, or have an object that is not a configuration: nothing is run, and what is missing is said.
#[test]
fn hostile_pickles() {
    let folder = scratch("hostile_dictionary");
    let file = folder.join("final_sparse_autoencoder_gpt2-small_blocks.0.ln2.hook_normalized_32.pt");
    let proof = folder.join("proof");
    let system = format!("cos\nsystem\n(X\x0f\0\0\0touch {}tR", &"proof....."[..9]);
    let text = |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let dict = |key: &str, value: &[u8]| [&b"\x80\x02}"[..], &text(key), value, b"s."].concat();
    // An object whose state is itself, and one that is given its state twice.
    let itself = b"csae_training.config\nLanguageModelSAERunnerConfig\n)\x81q\x01h\x01b".to_vec();
    let twice = b"csae_training.config\nLanguageModelSAERunnerConfig\n)\x81}b}b".to_vec();
    for pickle in [
        [b"\x80\x02", system.as_bytes(), b"."].concat(),
        dict("cfg", system.as_bytes()),
        dict("state_dict", system.as_bytes()),
        dict("cfg", &itself),
        dict("cfg", &twice),
        dict("state_dict", b"}"),
        b"\x80\x02ios\nsystem\n.".to_vec(),
    ] {
        let archive = [("archive/data.pkl", &pickle[..]), ("archive/byteorder", b"little")];
        fs::write(&file, zip(&archive)).expect("ours");
        sentence(open(&folder), &["final_sparse_autoencoder"]);
        assert!(!proof.exists() && !Path::new("proof").exists(), "it was run");
    }
}

/// Files of every format, damaged in bounded numbers.
#[test]
fn damaged_files() {
    let transcoder = "final_sparse_autoencoder_gpt2-small_blocks.1.ln2.hook_normalized_32.pt";
    let attention =
        "gpt2-small_L1_Hcat_z_lr1.20e-03_l11.80e+00_ds32_bs4096_dc1.00e-06_rsanthropic_rie25000_nr4_v9_cfg.json";
    for (seed, name, file) in [
        (1, "transcoder_circuits", transcoder),
        (2, "openai/resid_post_mlp_v5_32k", "autoencoders/1.pt"),
        (3, "dictionary_learning_matryoshka", "ae.pt"),
        (4, "transcoder_set_skip", "layer_1.safetensors"),
        (5, "cross_layer_jumprelu", "W_dec_0.safetensors"),
        (6, "transcoder_set", "config.yaml"),
        (7, "sparsify_skip", "layers.1.mlp/sae.safetensors"),
        (8, "attention", attention),
        (9, "dictionary_learning_topk", "config.json"),
        (10, "sparsify_groupmax", "layers.1/cfg.json"),
    ] {
        let folder = copy(name, &format!("damaged_dictionary_{seed}"));
        let path = folder.join(file);
        let whole = fs::read(&path).expect("the fixture");
        let read = || {
            let x = Tensor::ones((2, 8), candle_lens::candle::DType::F32, &Device::Cpu)?;
            for dictionary in open(&folder)? {
                dictionary.encode(&x)?;
            }
            Ok(())
        };
        let share = match file.ends_with(".json") {
            true => torture_keys(seed, 100, &path, &whole, read),
            false => torture(seed, 100, &path, &whole, read),
        };
        println!("{name}/{file}: {share:.2} were read");
    }
}
