//! Models as people store them: with something else before the names, one matrix for two, heads for other tasks; and what
//! is not a model, and the error says so.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_lens::Result;
use candle_lens::candle::{Device, Tensor, safetensors};
use candle_lens::model::{HookedTransformer, Processing};
use serde_json::{Value, json};

use crate::support::fixture::{json, path, tiny_gpt2};
use crate::support::models::FOLDERS;
use crate::support::scratch;
use crate::support::sentence::sentence;

type Tensors = HashMap<String, Tensor>;

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 548105171\n";

/// Families of tiny models, and how the names of their tensors without the unembedding begin.
fn families() -> impl Iterator<Item = (PathBuf, &'static str)> {
    let prefix = |family: &str| match family {
        "gpt_neo" | "gptj" | "bloom" | "bloom_6_heads" => "transformer.",
        _ if family.starts_with("gpt_neox") => "gpt_neox.",
        _ => "model.",
    };
    let families = FOLDERS.into_iter().map(move |family| (path("families").join(family), prefix(family)));
    families.chain([(tiny_gpt2(), "transformer.")])
}

fn tensors(folder: &Path) -> Tensors {
    safetensors::load(folder.join("model.safetensors"), &Device::Cpu).unwrap()
}

fn config(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap()
}

fn write(name: &str, config: &Value, tensors: &Tensors) -> PathBuf {
    let folder = scratch(name);
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    safetensors::save(tensors, folder.join("model.safetensors")).unwrap();
    folder
}

fn load(folder: &Path) -> Result<HookedTransformer> {
    HookedTransformer::from_pretrained_no_processing(folder.to_str().unwrap())
}

fn logits(model: &HookedTransformer) -> Vec<f32> {
    model.forward(vec![vec![3, 17, 5, 29, 11]]).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The names of the embedding and of the unembedding, without what stands before them.
fn matrices(tensors: &Tensors) -> (String, &'static str) {
    let embed = ["wte.weight", "embed_in.weight", "embed_tokens.weight", "word_embeddings.weight"];
    let is_embed = |name: &&String| embed.iter().any(|embed| name.ends_with(embed));
    let embed = tensors.keys().find(is_embed).unwrap().clone();
    (embed.clone(), if embed.ends_with("embed_in.weight") { "embed_out.weight" } else { "lm_head.weight" })
}

#[test]
fn whatever_stands_before_the_names() {
    for (source, prefix) in families() {
        let (plain, whole) = (load(&source).unwrap(), tensors(&source));
        let (expected, sum) = (logits(&plain), plain.provenance().crc32);
        let check = |what: &str, rename: &dyn Fn(&str) -> String, told: bool| {
            let renamed = whole.iter().map(|(name, tensor)| (rename(name), tensor.clone())).collect();
            let model = load(&write("prefixes", &config(&source), &renamed));
            let model = model.unwrap_or_else(|error| panic!("{} {what}: {error}", source.display()));
            assert_eq!(logits(&model), expected, "{} {what}", source.display());
            let provenance = model.provenance();
            assert_eq!((provenance.crc32, provenance.notes.is_empty()), (sum.clone(), !told), "{what}");
        };
        check("as they are", &|name| name.into(), false);
        check("saved alone", &|name| name.strip_prefix(prefix).unwrap_or(name).into(), false);
        for wrapper in ["module.", "_orig_mod.module.", "base_model.model.", "net/"] {
            check(wrapper, &|name| format!("{wrapper}{name}"), true);
            check(wrapper, &|name| format!("{wrapper}{}", name.strip_prefix(prefix).unwrap_or(name)), true);
        }
        let mut two: Tensors = whole.iter().map(|(name, tensor)| (format!("a.{name}"), tensor.clone())).collect();
        two.extend(whole.iter().map(|(name, tensor)| (format!("b.{name}"), tensor.clone())));
        let two = load(&write("two_models", &config(&source), &two));
        sentence(two, &["several models", &format!("\"a.{prefix}\" and \"b.{prefix}\"")]);
    }
}

#[test]
fn one_matrix_for_two_under_either_name() {
    for (source, _) in families() {
        let mut whole = tensors(&source);
        let (embed, unembed) = matrices(&whole);
        let matrix = whole.remove(&embed).unwrap();
        whole.remove(unembed);
        let with = |name: &str, tied: bool| {
            let mut config = config(&source);
            config["tie_word_embeddings"] = tied.into();
            let mut tensors = whole.clone();
            tensors.insert(name.into(), matrix.clone());
            load(&write("tied", &config, &tensors))
        };
        let (one, other) = (with(&embed, true).unwrap(), with(unembed, true).unwrap());
        assert_eq!(logits(&one), logits(&other), "{}", source.display());
        assert_eq!(one.provenance().crc32, other.provenance().crc32, "{}", source.display());
        sentence(with(unembed, false), &["is missing", embed.rsplit('.').nth(1).unwrap()]);
        sentence(with(&embed, false), &[unembed, "is missing"]);
    }
}

/// The state dict of a GPT-NeoX in transformers 5 has another name for the unembedding than its files.
#[test]
fn the_two_names_of_an_unembedding() {
    let source = path("families/gpt_neox");
    let mut tensors = tensors(&source);
    let unembed = tensors.remove("embed_out.weight").unwrap();
    tensors.insert("lm_head.weight".into(), unembed);
    let model = load(&write("lm_head", &config(&source), &tensors)).unwrap();
    assert_eq!(logits(&model), logits(&load(&source).unwrap()));
}

#[test]
fn heads_for_other_tasks_are_left_out_and_said() {
    let head = Tensor::ones((3, 16), candle_lens::candle::DType::F32, &Device::Cpu).unwrap();
    for (source, _) in families() {
        let mut tensors = tensors(&source);
        tensors.insert("score.weight".into(), head.clone());
        tensors.insert("classifier.bias".into(), head.clone());
        tensors.insert("v_head.summary.weight".into(), head.clone());
        let model = load(&write("heads", &config(&source), &tensors)).unwrap();
        assert_eq!(logits(&model), logits(&load(&source).unwrap()), "{}", source.display());
        let notes = model.provenance().notes;
        assert_eq!(notes, ["classifier.bias, score.weight, v_head.summary.weight left out, a head for another task"]);
        // Without an unembedding there is nothing to say of the next token.
        let unembed = matrices(&tensors).1;
        let mut untied = config(&source);
        untied["tie_word_embeddings"] = false.into();
        tensors.remove(unembed);
        sentence(load(&write("classifier", &untied, &tensors)), &[unembed, "is missing", "score.weight", "classifier"]);
        // What nobody knows is still refused.
        let mut tensors = self::tensors(&source);
        tensors.insert("memory.weight".into(), head.clone());
        sentence(load(&write("unknown_head", &config(&source), &tensors)), &["memory.weight is unexpected"]);
    }
}

#[test]
fn transposed_matrices_are_told() {
    for (source, _) in families() {
        let mut tensors = tensors(&source);
        for (name, tensor) in &mut tensors {
            let block = name.contains(".h.") || name.contains(".layers.");
            if block && tensor.rank() == 2 {
                *tensor = tensor.t().unwrap().contiguous().unwrap();
            }
        }
        let message =
            sentence(load(&write("transposed", &config(&source), &tensors)), &["other way round", "Transpose"]);
        assert!(message.contains("but the config makes it"), "{message}");
    }
}

#[test]
fn adapters_are_named_with_their_base() {
    let folder = scratch("adapter");
    let about = json!({"peft_type": "LORA", "base_model_name_or_path": "openai-community/gpt2", "r": 8});
    fs::write(folder.join("adapter_config.json"), about.to_string()).unwrap();
    let parts = ["adapter", "LORA", "\"openai-community/gpt2\"", "merge_and_unload"];
    sentence(load(&folder), &parts);
    // Some have the config of their base model, too.
    fs::copy(tiny_gpt2().join("config.json"), folder.join("config.json")).unwrap();
    sentence(load(&folder), &parts);

    let mut wrapped: Tensors = HashMap::new();
    for (name, tensor) in tensors(&tiny_gpt2()) {
        let name = if name.ends_with("c_attn.weight") { name.replace("c_attn.", "c_attn.base_layer.") } else { name };
        wrapped.insert(format!("base_model.model.{name}"), tensor);
    }
    let lora = Tensor::zeros((4, 24), candle_lens::candle::DType::F32, &Device::Cpu).unwrap();
    let lora_name = "base_model.model.transformer.h.0.attn.c_attn.lora_A.default.weight";
    wrapped.insert(lora_name.into(), lora.clone());
    let folder = write("wrapped", &config(&tiny_gpt2()), &wrapped);
    sentence(load(&folder), &["peft", "merge_and_unload"]);
    let only = write("adapter_weights", &json!({}), &HashMap::from([(lora_name.to_string(), lora)]));
    let base = tiny_gpt2();
    let checkpoint = only.join("model.safetensors");
    let loaded = HookedTransformer::from_checkpoint(base.to_str().unwrap(), checkpoint, Processing::NONE);
    sentence(loaded, &["peft", "merge_and_unload"]);
}

#[test]
fn pointers_of_git_lfs_are_named() {
    let folder = scratch("pointers");
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        fs::copy(tiny_gpt2().join(file), folder.join(file)).unwrap();
    }
    load(&folder).expect("all files are there");
    for file in ["model.safetensors", "tokenizer.json", "config.json"] {
        fs::write(folder.join(file), POINTER).unwrap();
        sentence(load(&folder), &[file, "pointer", "git lfs pull"]);
        fs::copy(tiny_gpt2().join(file), folder.join(file)).unwrap();
    }
    fs::remove_file(folder.join("model.safetensors")).unwrap();
    fs::write(folder.join("pytorch_model.bin"), POINTER).unwrap();
    sentence(load(&folder), &["pytorch_model.bin", "git lfs pull"]);
    let base = tiny_gpt2();
    let checkpoint = folder.join("pytorch_model.bin");
    let loaded = HookedTransformer::from_checkpoint(base.to_str().unwrap(), checkpoint, Processing::NONE);
    sentence(loaded, &["pytorch_model.bin", "git lfs pull"]);
    fs::remove_file(folder.join("pytorch_model.bin")).unwrap();
    let index = json!({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}});
    fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
    sentence(load(&folder), &["model-1.safetensors, model-2.safetensors are missing"]);
    fs::copy(tiny_gpt2().join("model.safetensors"), folder.join("model-1.safetensors")).unwrap();
    sentence(load(&folder), &["index.json", "model-2.safetensors is missing", "download"]);
    fs::write(folder.join("model-2.safetensors"), POINTER).unwrap();
    sentence(load(&folder), &["model-2.safetensors", "git lfs pull"]);
}

/// The tiny models that this crate itself saves and embeds have no notes.
#[test]
fn usual_models_have_nothing_to_note() {
    assert!(json("hub_configs.json").is_array());
    let tiny = HookedTransformer::from_pretrained("tiny").unwrap();
    assert!(tiny.provenance().notes.is_empty());
    assert!(tiny.provenance().to_string().ends_with("notes: none"));
}
