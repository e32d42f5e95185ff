//! SAELens' folders: what they compute as SAELens computes it, what they expect, what is refused, damaged files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_lens::Result;
use candle_lens::candle::Var;
use candle_lens::prelude::*;
use serde_json::{Value, json};

use crate::support::allocations::held_at_most;
use crate::support::damage::{torture, torture_keys};
use crate::support::fixture::{Reference, path};
use crate::support::sentence::sentence;
use crate::support::tolerance::{LAST_DIGITS, REORDERED};
use crate::support::{assert_close, scratch};

const NAMES: [&str; 21] = [
    "abstopk",
    "averaged",
    "b_dec_not_applied",
    "constant_norm",
    "gated",
    "hook_z",
    "jumprelu",
    "jumprelu_skip_transcoder",
    "jumprelu_transcoder",
    "layer_norm",
    "matching_pursuit",
    "matching_pursuit_all",
    "matching_pursuit_support",
    "skip_transcoder",
    "standard",
    "topk",
    "topk_rescaled",
    "transcoder",
    "version_2",
    "version_3_topk",
    "version_5_z",
];

/// Gradients of squares, which reach some 20, summed in another order.
const STEEP: f32 = 1e-4;

fn folder(name: &str) -> PathBuf {
    path("dictionaries/saelens").join(name)
}

fn open(folder: &Path, options: DictionaryOptions) -> Result<Dictionary> {
    Dictionary::from_pretrained_with(folder.to_str().expect("UTF-8"), options)
}

fn load(name: &str) -> Dictionary {
    let norm_factor = (name == "averaged").then_some(1.75);
    open(&folder(name), DictionaryOptions { norm_factor, ..Default::default() }).expect("SAELens wrote it")
}

#[test]
fn every_architecture_computes_what_saelens_computes() -> Result<()> {
    let expected = Reference::load("dictionaries/saelens/expected.safetensors");
    for name in NAMES {
        let dictionary = load(name);
        let get = |part: &str| expected.get(&format!("{name}.{part}"));
        let acts = dictionary.encode(get("x"))?;
        assert_close(&acts.dense()?, get("f"), REORDERED, &format!("features of {name}"));
        assert!(acts.active() > 0 && acts.l0() < 32.0, "{name} has {} active", acts.l0());
        assert_close(&dictionary.reconstruct(get("x"))?, get("y"), REORDERED, &format!("output of {name}"));
        if dictionary.parts().input_norm == InputNorm::None && dictionary.parts().w_skip.is_none() {
            let written = dictionary.decode(&acts)?.reshape(get("y").shape())?;
            assert_close(&written, get("y"), REORDERED, &format!("what {name} decodes"));
        }
    }
    Ok(())
}

#[test]
fn gradients_flow_through_features_as_in_pytorch() -> Result<()> {
    let expected = Reference::load("dictionaries/saelens/expected.safetensors");
    for name in NAMES {
        let x = Var::from_tensor(expected.get(&format!("{name}.x")))?;
        let grads = load(name).encode_dense(&x)?.sqr()?.sum_all()?.backward()?;
        let grad = grads.get(&x).expect("a gradient");
        assert_close(grad, expected.get(&format!("{name}.grad")), STEEP, &format!("gradient of {name}"));
    }
    Ok(())
}

#[test]
fn what_it_expects_is_what_its_configuration_says() -> Result<()> {
    let expects = load("standard").expects();
    assert_eq!(expects.model.as_deref(), Some("tiny"));
    assert_eq!(expects.hook_in, Some("blocks.1.hook_resid_pre".parse()?));
    assert_eq!((expects.prepend_bos, expects.context_size), (Some(true), Some(16)));
    // Version 6 loads models without processing, apart from what the file names.
    assert_eq!(
        (expects.centred, expects.value_biases_folded, expects.norms_folded),
        (Some(true), Some(false), Some(false))
    );
    assert_eq!(load("topk").expects().centred, None, "nothing is said");
    let old = load("version_3_topk");
    assert_eq!((old.expects().centred, old.expects().norms_folded), (Some(false), None));
    assert_eq!((old.architecture(), old.name().as_str()), (Architecture::TopK, "version_3_topk"));
    let transcoder = load("jumprelu_skip_transcoder");
    assert_eq!(transcoder.architecture(), Architecture::SkipTranscoder);
    assert_eq!(transcoder.expects().hook_in, Some("blocks.1.ln2.hook_normalized".parse()?));
    assert_eq!(transcoder.expects().writes(), Some("blocks.1.hook_mlp_out".parse()?));
    Ok(())
}

#[test]
fn a_set_knows_its_dictionaries_and_reads_them_when_asked() -> Result<()> {
    let options = DictionaryOptions { norm_factor: Some(1.0), dtype: Some(DType::BF16), ..Default::default() };
    let root = path("dictionaries/saelens");
    let set = DictionarySet::open_with(root.to_str().expect("UTF-8"), options)?;
    let mut names = set.names();
    names.sort();
    assert_eq!(names, NAMES);
    let layers: Vec<_> = set
        .names()
        .iter()
        .map(|name| Ok(set.expects(name)?.hook_in.and_then(HookPoint::layer)))
        .collect::<Result<_>>()?;
    assert!(layers.is_sorted(), "{layers:?}");
    assert_eq!(set.layer(0)?.iter().map(Dictionary::name).collect::<Vec<_>>(), ["hook_z", "version_5_z"]);
    sentence(set.layer(7), &["no dictionary that reads layer 7", "[0, 1]"]);
    sentence(set.get("topq"), &["\"topq\"", "nearest name is \"topk\""]);
    assert_eq!(set.get("topk")?.dtype(), DType::BF16);
    assert!(set.to_string().contains("gated: gated, 8 -> 32 -> 8, f32, at blocks.1.hook_resid_pre"), "{set}");
    // Without the option, a set that holds one that cannot be read correctly is not opened.
    sentence(DictionarySet::open(root.to_str().expect("UTF-8")), &["averaged", "norm_factor"]);
    Ok(())
}

#[test]
fn embedded_dictionaries_open_by_name() -> Result<()> {
    let set = DictionarySet::open("tiny")?;
    for name in set.names() {
        let dictionary = Dictionary::from_pretrained(format!("tiny/{name}"))?;
        assert_eq!(dictionary.expects(), set.expects(&name)?);
        assert_eq!((dictionary.d_in(), dictionary.expects().model.as_deref()), (128, Some("tiny")));
        assert_eq!(dictionary.name(), format!("tiny/{name}"));
    }
    assert_eq!(set.len(), 9);
    assert_eq!(set.layer(2)?.len(), 2);
    sentence(Dictionary::from_pretrained("tiny/z9"), &["\"z9\"", "\"tiny/z"]);
    sentence(Dictionary::from_pretrained("tiny"), &["holds 9 dictionaries", "DictionarySet::open", "z3"]);
    Ok(())
}

#[test]
fn half_precision_is_kept_and_what_is_saved_is_read_back() -> Result<()> {
    let expected = Reference::load("dictionaries/saelens/expected.safetensors");
    for name in NAMES {
        let dictionary = load(name);
        let folder = scratch("saelens-saved").join(name);
        dictionary.save_pretrained(&folder)?;
        let again = open(&folder, DictionaryOptions::default())?;
        let x = expected.get(&format!("{name}.x"));
        assert_close(&again.reconstruct(x)?, &dictionary.reconstruct(x)?, LAST_DIGITS, name);
        assert_eq!((again.architecture(), again.expects()), (dictionary.architecture(), dictionary.expects()));
        for dtype in [DType::F16, DType::BF16] {
            let half = open(&folder, DictionaryOptions { dtype: Some(dtype), ..Default::default() })?;
            half.save_pretrained(&folder)?;
            assert_eq!(open(&folder, DictionaryOptions::default())?.dtype(), dtype, "{name}");
        }
    }
    Ok(())
}

/// A copy of a dictionary with other values of keys.
fn changed(name: &str, keys: &[(&str, Value)]) -> PathBuf {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let to = scratch(&format!("saelens-changed-{}", MADE.fetch_add(1, Ordering::Relaxed)));
    fs::copy(folder(name).join("sae_weights.safetensors"), to.join("sae_weights.safetensors")).expect("copied");
    let text = fs::read_to_string(folder(name).join("cfg.json")).expect("there");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    for (key, value) in keys {
        match key.strip_prefix("metadata.") {
            Some(key) => config["metadata"][key] = value.clone(),
            None => config[key] = value.clone(),
        }
    }
    fs::write(to.join("cfg.json"), config.to_string()).expect("written");
    to
}

/// Opening many reads headers only, and what was read is not kept.
#[test]
fn a_set_holds_no_more_than_what_was_asked_for() -> Result<()> {
    let (root, d_sae) = (scratch("saelens-many"), 8192);
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F16, &Device::Cpu);
    for layer in 0..6 {
        let parts = DictionaryParts {
            name: "large".into(),
            w_enc: zeros(&[64, d_sae])?,
            b_enc: zeros(&[d_sae])?,
            w_dec: zeros(&[d_sae, 64])?,
            b_dec: zeros(&[64])?,
            b_in: None,
            w_skip: None,
            activation: Activation::Relu,
            input_norm: InputNorm::None,
            scaled_by_decoder_norm: false,
            expects: Expects::at(HookPoint::Block(layer, Site::ResidPre)),
        };
        Dictionary::new(parts)?.save_pretrained(root.join(format!("layer_{layer}")))?;
    }
    // 2 x 64 x 8192 numbers of 2 bytes.
    let one = 2 << 20;
    let (set, most) = held_at_most(|| DictionarySet::open(root.to_str().expect("UTF-8")));
    let set = set?;
    assert!(most < one / 8, "opening six dictionaries held {most} bytes");
    let (result, most) =
        held_at_most(|| -> Result<()> { set.names().iter().try_for_each(|name| set.get(name).map(drop)) });
    result?;
    assert!(most < 4 * one, "reading them one by one held {most} bytes");
    assert_eq!(set.layer(5)?[0].dtype(), DType::F16);
    Ok(())
}

#[test]
fn what_may_change_numbers_and_is_not_understood_is_refused_by_name() {
    for (name, key, value, words) in [
        ("standard", "architecture", json!("temporal"), "temporal autoencoder"),
        ("standard", "architecture", json!("batchtopk"), "save_inference_model"),
        ("standard", "architecture", json!("crosscoder"), "\"crosscoder\""),
        ("standard", "architecture", json!("jumprelu"), "no threshold"),
        ("jumprelu", "architecture", json!("standard"), "(threshold)"),
        ("standard", "d_sae", json!(31), "the others make it [31, 8]"),
        ("standard", "d_in", json!(1u64 << 40), "W_dec"),
        ("standard", "d_in", json!(-8), "d_in = -8"),
        ("standard", "d_in", Value::Null, "\"d_in\""),
        ("topk", "k", json!(0), "k is from 1 to 32"),
        ("topk", "k", json!(33), "k is from 1 to 32"),
        ("topk", "k", Value::Null, "\"k\""),
        ("standard", "rotate_first", json!(3), "rotate_first = 3"),
        ("standard", "normalize_activations", json!("expected_average_only_in"), "norm_factor, 1.0 if it is folded"),
        ("standard", "normalize_activations", json!("covariance_whitening"), "fold_activation_whitening"),
        ("standard", "normalize_activations", json!("batch"), "\"batch\""),
        ("transcoder", "normalize_activations", json!("layer_norm"), "input of a transcoder"),
        ("transcoder", "apply_b_dec_to_input", json!(true), "apply_b_dec_to_input"),
        ("transcoder", "metadata.hook_head_index_out", json!(2), "hook_head_index_out"),
        ("standard", "reshape_activations", json!("hook_z"), "at a point that has none"),
        ("standard", "metadata.hook_name", json!("blocks.1.hook_resid_prf"), "blocks.1.hook_resid_pre"),
        ("version_2", "finetuning_scaling_factor", json!(true), "finetuning_scaling_factor"),
        ("version_2", "normalize_activations", json!(true), "norm_factor"),
        ("version_2", "activation_fn_str", json!("tanh-relu"), "tanh-relu"),
        ("version_3_topk", "activation_fn_kwargs", json!({"k": 4, "tau": 2}), "tau = 2"),
        ("matching_pursuit", "max_iterations", json!(0), "at least 1"),
        ("matching_pursuit", "max_iterations", json!(1u64 << 60), "at most 65536"),
    ] {
        let folder = changed(name, &[(key, value)]);
        assert!(open(&folder, DictionaryOptions::default()).is_err(), "{name} with another {key}: {words}");
        sentence(open(&folder, DictionaryOptions::default()), &[words]);
    }
    let folder = changed("standard", &[("rotate_first", json!(3))]);
    let options = DictionaryOptions { ignore_config_keys: vec!["rotate_first".into()], ..Default::default() };
    open(&folder, options).expect("the user says it is harmless");
    let options = DictionaryOptions { norm_factor: Some(2.0), ..Default::default() };
    sentence(open(&self::folder("standard"), options), &["norm_factor"]);
}

#[test]
fn what_the_user_says_takes_the_place_of_what_the_files_say() -> Result<()> {
    let folder = changed("standard", &[("metadata.hook_name", json!("model.layers.1.output"))]);
    sentence(open(&folder, DictionaryOptions::default()), &["model.layers.1.output", "Or set it in the options"]);
    let options = DictionaryOptions {
        hook_in: Some("resid_post0".parse()?),
        centred: Some(false),
        value_biases_folded: Some(true),
        ..Default::default()
    };
    let expects = open(&folder, options)?.expects();
    assert_eq!(expects.hook_in, Some("blocks.0.hook_resid_post".parse()?));
    assert_eq!((expects.centred, expects.value_biases_folded), (Some(false), Some(true)));
    Ok(())
}

#[test]
fn files_that_are_not_a_dictionary_are_called_what_they_are() {
    let model = path("tiny_gpt2");
    sentence(Dictionary::from_pretrained(model.to_str().expect("UTF-8")), &["holds a model and not a dictionary"]);
    let folder = scratch("saelens-nothing");
    fs::write(folder.join("notes.txt"), "").expect("written");
    sentence(open(&folder, DictionaryOptions::default()), &["no dictionary of a format that is read", "notes.txt"]);
    let copied = folder.join("sae_weights.safetensors");
    fs::copy(self::folder("gated").join("sae_weights.safetensors"), copied).expect("copied");
    sentence(open(&folder, DictionaryOptions::default()), &["no cfg.json beside it"]);
    fs::copy(self::folder("standard").join("cfg.json"), folder.join("cfg.json")).expect("copied");
    sentence(open(&folder, DictionaryOptions::default()), &["it has no b_enc"]);
}

#[test]
fn damaged_files_are_refused_or_read_as_something_else() {
    for (name, seed) in [("gated", 1), ("version_3_topk", 2), ("matching_pursuit", 3), ("jumprelu_skip_transcoder", 4)]
    {
        let to = changed(name, &[]);
        let read = || -> Result<()> {
            let dictionary = open(&to, DictionaryOptions::default())?;
            dictionary.encode(&Tensor::zeros((2, dictionary.d_in()), DType::F32, &Device::Cpu)?).map(drop)
        };
        let whole = |file: &str| fs::read(folder(name).join(file)).expect("there");
        torture(seed, 150, &to.join("sae_weights.safetensors"), &whole("sae_weights.safetensors"), read);
        let keys = torture_keys(seed, 150, &to.join("cfg.json"), &whole("cfg.json"), read);
        assert!(keys < 0.9, "most changes of keys matter, but {keys} of the files were read");
    }
}
