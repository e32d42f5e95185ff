//! Model folders with something wrong in them: the message names the file and what to do, whatever the damage.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_lens::candle::{DType, Device, Tensor, safetensors};
use candle_lens::model::HookedTransformer;
use serde_json::Value;

use crate::support::fixture::{json, tiny_gpt2};
use crate::support::scratch;
use crate::support::sentence::sentence;

/// A copy of the tiny GPT-2's folder, to be damaged.
fn copy(name: &str) -> PathBuf {
    let folder = scratch(name);
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(tiny_gpt2().join(file), folder.join(file)).expect("the fixture can be copied");
    }
    folder
}

fn load(folder: &Path) -> candle_lens::Result<HookedTransformer> {
    HookedTransformer::from_pretrained_no_processing(folder.to_str().expect("the path is UTF-8"))
}

#[test]
fn names_that_are_no_model() {
    let named = HookedTransformer::from_pretrained;
    sentence(named("gpt2-smal"), &["gpt2-smal", "gpt2-small"]);
    sentence(named(""), &["\"\""]);
    sentence(named("no/such/folder"), &["no/such/folder"]);
    sentence(named("./no-such-folder"), &["no-such-folder"]);
    let file = tiny_gpt2().join("config.json");
    sentence(named(file.to_str().unwrap()), &["config.json", "folder"]);
}

#[test]
fn missing_files() {
    for (file, parts) in [("config.json", ["config.json"]), ("model.safetensors", ["model.safetensors"])] {
        let folder = copy("missing_file");
        fs::remove_file(folder.join(file)).unwrap();
        sentence(load(&folder), &parts);
    }
    let folder = copy("missing_tokenizer");
    fs::remove_file(folder.join("tokenizer.json")).unwrap();
    let model = load(&folder).expect("ids need no tokenizer");
    sentence(model.forward("the"), &["no tokenizer"]);
    assert!(model.forward(vec![1, 2]).is_ok());
}

#[test]
fn every_truncation_and_many_flipped_bits() {
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        let folder = copy(&format!("damaged_{}", file.replace('.', "_")));
        let whole = fs::read(folder.join(file)).unwrap();
        for part in 0..32 {
            fs::write(folder.join(file), &whole[..whole.len() * part / 32]).unwrap();
            sentence(load(&folder), &[file]);
        }
        // A flipped bit may leave a valid file of other numbers or names; it must never panic or speak in candle's voice.
        let header = whole.len().min(6000);
        for place in (0..header).step_by(37) {
            let mut flipped = whole.clone();
            flipped[place] ^= 1 << (place % 8);
            fs::write(folder.join(file), flipped).unwrap();
            if let Err(error) = load(&folder) {
                sentence(Err::<(), _>(error), &[]);
            }
        }
    }
}

#[test]
fn configs_that_do_not_fit() {
    let folder = copy("wrong_config");
    let original = json("tiny_gpt2/config.json");
    let with = |key: &str, value: Value, parts: &[&str]| {
        let mut config = original.clone();
        config[key] = value;
        fs::write(folder.join("config.json"), config.to_string()).unwrap();
        sentence(load(&folder), &[&["config.json"], parts].concat());
    };
    let fits_no_tensor = |key: &str, value: Value, parts: &[&str]| {
        let mut config = original.clone();
        config[key] = value;
        fs::write(folder.join("config.json"), config.to_string()).unwrap();
        sentence(load(&folder), &[&["model.safetensors", "do not fit"], parts].concat());
    };
    for key in ["n_layer", "n_embd", "n_head", "n_positions", "vocab_size"] {
        for wrong in [Value::Null, "two".into(), (-1).into(), 2.5.into(), Value::Array(vec![])] {
            with(key, wrong, &[key]);
        }
    }
    with("n_head", 5.into(), &["n_heads 5"]);
    with("n_head", 0.into(), &["n_heads"]);
    with("n_embd", u64::MAX.into(), &["d_model"]);
    with("n_layer", 1_000_000_000_000u64.into(), &["n_layers"]);
    with("vocab_size", 1_000_000_000_000u64.into(), &["d_vocab"]);
    with("activation_function", "tanhshrink".into(), &["tanhshrink", "gelu_new"]);
    with("model_type", "bert".into(), &["bert", "gpt2", "gpt_neox"]);
    with("layer_norm_epsilon", (-1.0).into(), &["eps"]);
    with("add_cross_attention", true.into(), &["add_cross_attention"]);
    with("rope_theta", 10000.into(), &["rope_theta"]);
    fits_no_tensor("n_layer", 3.into(), &["h.2.", "missing"]);
    fits_no_tensor("n_layer", 1.into(), &["h.1.", "unexpected"]);
    fits_no_tensor("n_inner", 95.into(), &["mlp.c_fc.weight", "[24, 96]", "[24, 95]"]);
    fits_no_tensor("n_positions", 33.into(), &["wpe.weight", "[33, 24]"]);
    fits_no_tensor("vocab_size", 301.into(), &["wte.weight", "[301, 24]"]);
}

#[test]
fn values_of_the_wrong_type_are_not_ignored() {
    let folder = copy("wrong_types");
    let original = json("tiny_gpt2/config.json");
    for (key, value) in [
        ("n_inner", Value::from("wide")),
        ("n_inner", (-4).into()),
        ("activation_function", 3.into()),
        ("layer_norm_epsilon", "small".into()),
        ("scale_attn_weights", "no".into()),
        ("scale_attn_by_inverse_layer_idx", "yes".into()),
    ] {
        let mut config = original.clone();
        config[key] = value;
        fs::write(folder.join("config.json"), config.to_string()).unwrap();
        sentence(load(&folder), &["config.json", key]);
    }
}

#[test]
fn weights_that_do_not_fit() {
    let folder = copy("wrong_weights");
    let original = safetensors::load(tiny_gpt2().join("model.safetensors"), &Device::Cpu).unwrap();
    let with = |change: &dyn Fn(&mut HashMap<String, Tensor>), parts: &[&str]| {
        let mut tensors = original.clone();
        change(&mut tensors);
        safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
        sentence(load(&folder), &[&["model.safetensors"], parts].concat());
    };
    let name = "transformer.h.1.attn.c_attn.weight";
    with(&|tensors| drop(tensors.remove(name)), &["h.1.attn.c_attn.weight", "missing"]);
    with(&|tensors| drop(tensors.insert("extra".into(), tensors[name].clone())), &["extra", "unexpected"]);
    let transposed = original[name].t().unwrap().contiguous().unwrap();
    with(&|tensors| drop(tensors.insert(name.into(), transposed.clone())), &["[72, 24]", "[24, 72]"]);
    with(&HashMap::clear, &["missing", "more"]);
    let scalar = Tensor::zeros((), DType::F32, &Device::Cpu).unwrap();
    with(&|tensors| drop(tensors.insert(name.into(), scalar.clone())), &["[]", "[24, 72]"]);
}

#[test]
fn a_token_without_a_row_is_refused_where_it_is_used() {
    let folder = copy("token_without_a_row");
    let mut tokenizer = json("tiny_gpt2/tokenizer.json");
    let mut added = tokenizer["added_tokens"][0].clone();
    added["id"] = 300.into();
    added["content"] = "<extra>".into();
    tokenizer["added_tokens"].as_array_mut().unwrap().push(added);
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    // Fine-tuned models come with a `[PAD]` that their embedding has no row for.
    let model = load(&folder).expect("it loads, with a line on stderr");
    assert!(model.forward("a").is_ok());
    sentence(model.forward("a<extra>"), &["300", "299"]);
    sentence(model.forward(vec![0u32, 300]), &["300", "299"]);
}

#[test]
fn special_tokens_are_those_that_the_folder_names() {
    let folder = copy("special_tokens_of_a_folder");
    let config = folder.join("tokenizer_config.json");
    let first = |folder: &Path| load(folder).and_then(|model| Ok(model.to_tokens("a")?.id(0, 0)));
    assert_eq!(first(&folder).unwrap(), 0, "<|endoftext|> where nothing is said");
    fs::write(&config, r#"{"bos_token": "!"}"#).unwrap();
    assert_eq!(first(&folder).unwrap(), 1);
    // As in transformers a name that the vocabulary lacks gets the next id, for which this embedding has no row.
    fs::write(&config, r#"{"bos_token": "<s>"}"#).unwrap();
    sentence(load(&folder).and_then(|model| model.forward("a")), &["300", "299"]);
    fs::write(&config, "{").unwrap();
    sentence(load(&folder), &["tokenizer_config.json", "JSON"]);
}

#[test]
fn an_unembedding_of_its_own_must_be_there() {
    let folder = copy("untied");
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["tie_word_embeddings"] = false.into();
    fs::write(&path, config.to_string()).unwrap();
    sentence(load(&folder), &["model.safetensors", "lm_head.weight", "missing"]);
    config["tie_word_embeddings"] = "no".into();
    fs::write(&path, config.to_string()).unwrap();
    sentence(load(&folder), &["config.json", "tie_word_embeddings"]);
}

/// The last of two values would win without a word, in whatever file it is.
#[test]
fn keys_that_come_twice() {
    let twice = |text: &str, key: &str, again: &str| {
        let at = text.find(key).expect("the key is there");
        format!("{}{again}, {}", &text[..at], &text[at..])
    };
    let folder = copy("bad_twice");
    let config = fs::read_to_string(folder.join("config.json")).expect("the fixture");
    fs::write(folder.join("config.json"), twice(&config, "\"n_layer\"", "\"n_layer\": 1")).expect("writable");
    sentence(load(&folder), &["config.json", "\"n_layer\"", "twice"]);
    fs::write(folder.join("config.json"), &config).expect("writable");

    fs::write(folder.join("tokenizer_config.json"), "{\"bos_token\": \"a\", \"bos_token\": null}").expect("writable");
    sentence(load(&folder), &["\"bos_token\"", "twice"]);
    fs::remove_file(folder.join("tokenizer_config.json")).expect("ours");

    let path = folder.join("model.safetensors");
    let bytes = fs::read(&path).expect("the fixture");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight")) as usize;
    let header = std::str::from_utf8(&bytes[8..8 + length]).expect("UTF-8");
    let json: Value = serde_json::from_str(header).expect("JSON");
    let (name, entry) =
        json.as_object().expect("an object").iter().find(|(name, _)| *name != "__metadata__").expect("one");
    let header = twice(header, &format!("\"{name}\""), &format!("\"{name}\":{entry}"));
    let changed = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes[8 + length..]].concat();
    fs::write(&path, changed).expect("writable");
    sentence(load(&folder), &["model.safetensors", name, "twice"]);

    let index = "{\"weight_map\": {\"a\": \"x.safetensors\", \"a\": \"y.safetensors\"}}";
    fs::write(folder.join("model.safetensors.index.json"), index).expect("writable");
    fs::remove_file(path).expect("ours");
    sentence(load(&folder), &["model.safetensors.index.json", "\"a\"", "twice"]);

    let axes = vec![candle_lens::labelled::Axis::numbered("x", 2)];
    let saved = candle_lens::labelled::Labelled::new("scores", axes, vec![1.0, 2.0]).expect("two");
    let path = folder.join("scores");
    saved.save(&path).expect("writable");
    let bytes = fs::read(&path).expect("it was saved");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight")) as usize;
    let header = twice(std::str::from_utf8(&bytes[8..8 + length]).expect("UTF-8"), "\"kind\"", "\"kind\":\"other\"");
    fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes[8 + length..]].concat())
        .expect("writable");
    sentence(candle_lens::labelled::Labelled::load(&path), &["scores", "\"kind\"", "twice"]);
}
