//! The keys of `config.json`: each is honoured as `transformers` honours it (tests/fixtures/config_keys.py), or harmless,
//! or refused. The configs of models of the hub (tests/fixtures/hub_configs.json, facts written anew) are understood.

use std::fs;
use std::path::PathBuf;

use candle_lens::candle::{DType, IndexOp};
use candle_lens::model::{CheckpointOptions, HookedTransformer, LoadOptions, Processing};
use candle_lens::tokens::Tokens;
use candle_lens::{Error, Result};
use serde_json::{Value, json};

use crate::support::fixture::{Agreement, json, path};
use crate::support::models::FOLDERS;
use crate::support::scratch;
use crate::support::sentence::sentence;

fn source(family: &str) -> PathBuf {
    path(if family == "tiny_gpt2" { "" } else { "families" }).join(family)
}

/// The folder of a family's tiny model with these changes of its config; a key that is null here is null there.
fn changed(folder: &str, family: &str, changes: &[(&str, Value)]) -> PathBuf {
    let folder = scratch(folder);
    let bytes = fs::read(source(family).join("config.json")).unwrap();
    let mut config: serde_json::Map<String, Value> = serde_json::from_slice(&bytes).unwrap();
    for (key, value) in changes {
        match value.as_str() {
            Some("(absent)") => drop(config.remove(*key)),
            _ => drop(config.insert((*key).into(), value.clone())),
        }
    }
    fs::write(folder.join("config.json"), Value::from(config).to_string()).unwrap();
    fs::copy(source(family).join("model.safetensors"), folder.join("model.safetensors")).unwrap();
    folder
}

fn load(folder: &std::path::Path) -> Result<HookedTransformer> {
    HookedTransformer::from_pretrained_no_processing(folder.to_str().unwrap())
}

fn first_logits(model: &HookedTransformer, tokens: &Tokens) -> Vec<f64> {
    let logits = model.forward(tokens.clone()).unwrap();
    let row = logits.i((0, logits.dim(1).unwrap() - 1, ..12)).unwrap();
    row.to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

#[test]
fn changed_keys_do_what_they_do_in_transformers() {
    let reference = json("config_keys.json");
    let rows: Vec<Vec<u32>> = serde_json::from_value(reference["tokens"].clone()).unwrap();
    let tokens = Tokens::from_rows(rows).unwrap();
    let mut agreement = Agreement::default();
    for (i, case) in reference["cases"].as_array().unwrap().iter().enumerate() {
        let family = case["family"].as_str().unwrap();
        let changes = case["changes"].as_object().unwrap();
        let changes: Vec<_> = changes.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        let folder = changed(&format!("config_keys_{i}"), family, &changes);
        let model = load(&folder).unwrap_or_else(|error| panic!("{family} {changes:?}: {error}"));
        let expected: Vec<f64> = serde_json::from_value(case["logits"].clone()).unwrap();
        let pairs = first_logits(&model, &tokens).into_iter().zip(expected);
        agreement.check_numbers(&format!("{family} {changes:?}"), pairs);
    }
    agreement.finish("changed keys");
}

/// A family, changes of its config and what their refusal names.
type Refused = (&'static str, Vec<(&'static str, Value)>, &'static str);

/// That each family refuses these changes of its config.
fn refuse<const N: usize>(what: &str, cases: [Refused; N]) {
    for (i, (family, changes, told)) in cases.into_iter().enumerate() {
        sentence(load(&changed(&format!("refused_{what}_{i}"), family, &changes)), &["config.json", told]);
    }
}

/// Rotations that cannot be computed, or on which versions of transformers do not agree, and what is around a text model.
#[test]
fn rotations_and_parts_that_are_not_honoured_are_refused() {
    let scaled_window = json!({"sliding_attention": {"rope_type": "linear", "factor": 2.0}});
    let refused = [
        ("llama", vec![("rope_parameters", json!({"rope_type": "linear"}))], "\"factor\""),
        ("llama", vec![("rope_parameters", json!({"rope_type": "yarn", "factor": -4.0}))], "rotary_scaling"),
        ("llama", vec![("rope_parameters", json!({"rope_type": "dynamic", "factor": 0.5}))], "rotary_scaling"),
        ("llama", vec![("rope_parameters", json!({"rope_type": "dynamic", "factor": 2.0, "alpha": 9.0}))], "alpha"),
        ("llama", vec![("rope_parameters", json!({"rope_type": "proportional"}))], "proportional"),
        ("gemma3", vec![("rope_parameters", json!({"rope_theta": 7.0}))], "\"full_attention\" and for"),
        ("gemma3", vec![("rope_scaling", json!({"rope_type": "linear", "factor": 2.0}))], "both rope_scaling"),
        ("gemma3", vec![("rope_parameters", json!(null)), ("rope_scaling", json!({"factor": 2.0}))], "no rope_type"),
        ("gemma3", vec![("sliding_window_pattern", json!(0))], "sliding_window_pattern"),
        ("gemma3", vec![("rope_parameters", scaled_window)], "\"sliding_attention\""),
    ];
    refuse("rotations", refused);
}

/// What would change the numbers and is not computed, or what versions of transformers do not agree on.
#[test]
fn keys_that_are_not_honoured_are_refused() {
    let window = json!({"full_attention": {"rope_type": "default", "rope_theta": 1e4}});
    let refused = [
        ("llama", vec![("rope_interleaved", json!(true))], "rope_interleaved"),
        ("mistral", vec![("attention_bias", json!(true))], "attention_bias"),
        ("mistral", vec![("partial_rotary_factor", json!(0.5))], "partial_rotary_factor"),
        ("qwen3", vec![("mlp_bias", json!(true))], "mlp_bias"),
        ("llama", vec![("sliding_window", json!(4))], "sliding_window"),
        ("llama", vec![("layer_types", json!(["sliding_attention", "full_attention"]))], "layer_types"),
        ("llama", vec![("rope_parameters", window)], "full_attention"),
        ("llama", vec![("per_layer_config", json!({"0": {"head_dim": 2}}))], "per_layer_config"),
        ("llama", vec![("pruned_heads", json!({"0": [1]}))], "pruned_heads"),
        ("llama", vec![("residual_multiplier", json!(0.22))], "residual_multiplier"),
        ("phi3", vec![("full_attn_mod", json!(2))], "full_attn_mod"),
        ("phi3", vec![("interpolate_factor", json!(4))], "interpolate_factor"),
        ("phi3", vec![("lm_head_bias", json!(true))], "lm_head_bias"),
        ("qwen2", vec![("use_mrope", json!(true))], "use_mrope"),
        ("qwen2", vec![("layer_types", json!(["sliding_attention", "full_attention"]))], "no window"),
        ("qwen2", vec![("layer_types", json!(["full_attention"]))], "each of the 2 layers"),
        ("qwen3", vec![("layer_types", json!(["linear_attention", "full_attention"]))], "each of the 2 layers"),
        ("gemma2", vec![("layer_types", json!(["chunked_attention", "full_attention"]))], "each of the 2 layers"),
        ("gemma2", vec![("sliding_window", json!(null))], "sliding_window"),
        ("gemma2", vec![("sliding_window_size", json!(9))], "sliding_window_size"),
        ("gemma2", vec![("use_bidirectional_attention", json!(true))], "use_bidirectional_attention"),
        ("gemma3_images", vec![("text_config", json!({"moe_layers": 2}))], "\"text_config.moe_layers\""),
        ("gemma3_images", vec![("text_config", json!(null))], "text_config"),
        ("gemma3_images", vec![("audio_config", json!({"layers": 2}))], "audio_config"),
        ("gemma", vec![("hidden_activation", json!("relu"))], "hidden_activation"),
        ("gemma", vec![("hidden_act", json!("relu")), ("hidden_activation", json!("silu"))], "hidden_activation"),
        ("olmo2", vec![("attention_bias", json!(true))], "attention_bias"),
        ("olmo2", vec![("clip_qkv", json!(8.0))], "clip_qkv"),
        ("gpt_neox", vec![("rope_theta", json!(7.0))], "rotary_emb_base"),
        ("gpt_neox", vec![("partial_rotary_factor", json!(1.0))], "rotary_pct"),
        ("gpt_neo", vec![("attention_layers", json!(["local", "global"]))], "attention_types"),
        ("tiny_gpt2", vec![("add_cross_attention", json!(true))], "add_cross_attention"),
        ("tiny_gpt2", vec![("hidden_size", json!(24))], "hidden_size"),
        ("tiny_gpt2", vec![("n_special", json!(1))], "n_special"),
        ("opt", vec![("do_layer_norm_before", json!(false))], "not the sum of what was written"),
        ("opt", vec![("word_embed_proj_dim", json!(8))], "word_embed_proj_dim"),
        ("bloom", vec![("apply_residual_connection_post_layernorm", json!(true))], "post_layernorm"),
        ("bloom", vec![("slow_but_exact", json!(true))], "slow_but_exact"),
        ("bloom", vec![("n_inner", json!(20))], "n_inner"),
        ("stablelm", vec![("rope_parameters", json!({"rope_type": "ntk"}))], "ntk"),
        ("opt", vec![("enable_bias", json!(false))], "enable_bias"),
        ("opt", vec![("layer_norm_elementwise_affine", json!(false))], "layer_norm_elementwise_affine"),
        ("opt", vec![("_remove_final_layer_norm", json!(true))], "_remove_final_layer_norm"),
    ];
    refuse("keys", refused);
    for family in FOLDERS.into_iter().chain(["tiny_gpt2"]) {
        let both_sides = changed("refused_keys_causal", family, &[("is_causal", json!(false))]);
        sentence(load(&both_sides), &["is_causal"]);
        let quantized = changed("refused_keys_quant", family, &[("quantization_config", json!({"bits": 4}))]);
        sentence(load(&quantized), &["quantized"]);
    }
}

/// The defaults of `transformers` at values that are not theirs, what models of the hub carry, and what is off.
const HARMLESS: &str = r#"{
"_commit_hash": "abc", "_from_model_config": true, "architectures": ["Another"], "auto_map": {"A": "b.C"},
"bad_words_ids": [[1]], "cache_implementation": "hybrid", "chunk_size_feed_forward": 7, "custom_pipelines": {"a": 1},
"decoder_start_token_id": 4, "diversity_penalty": 0.5, "do_sample": true, "early_stopping": true,
"encoder_no_repeat_ngram_size": 3, "finetuning_task": "sst2", "forced_bos_token_id": 1,
"forced_eos_token_id": 2, "id2label": {"0": "A", "1": "B", "2": "C"}, "is_decoder": true,
"is_llama_config": true, "label2id": {"A": 0}, "length_penalty": 2.0, "max_length": 50, "max_new_tokens": 9,
"min_length": 3, "no_repeat_ngram_size": 2, "num_beam_groups": 2, "num_beams": 4, "num_labels": 3,
"num_return_sequences": 2, "output_attentions": true, "output_scores": true, "prefix": "</s>", "pretraining_tp": 2,
"problem_type": "regression", "remove_invalid_values": true, "repetition_penalty": 1.3, "return_dict": false,
"return_dict_in_generate": true, "sep_token_id": 3, "suppress_tokens": [1, 2], "task_specific_params": {"a": {}},
"temperature": 0.7, "tie_encoder_decoder": true, "tokenizer_class": "GPT2Tokenizer", "top_k": 10, "top_p": 0.9,
"torchscript": true, "transformers.js_config": {"dtype": "q4"}, "typical_p": 0.9, "use_bfloat16": true,
"use_cache": false, "watermarking_config": {"a": 1},
"nobody_knows_this": null, "nor_this": false, "nor_that": [], "and_not_that": {}, "and_this": "",
"full_attn_mod": 1, "interpolate_factor": 1.0
}"#;

#[test]
fn harmless_keys_are_harmless_in_every_family() {
    let tokens = Tokens::from_rows(vec![vec![3, 17, 5, 29, 11]]).unwrap();
    let harmless: Value = serde_json::from_str(HARMLESS).unwrap();
    let harmless: Vec<_> =
        harmless.as_object().unwrap().iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    for family in FOLDERS.into_iter().chain(["tiny_gpt2"]) {
        let plain = load(&source(family)).unwrap();
        let model = load(&changed("harmless_keys", family, &harmless)).unwrap();
        assert_eq!(first_logits(&model, &tokens), first_logits(&plain, &tokens), "{family}");
        assert!(model.provenance().notes.is_empty(), "{family}");
    }
}

#[test]
fn the_configs_of_models_of_the_hub_are_understood() {
    let table = json("hub_configs.json");
    let rows = table.as_array().unwrap();
    let folder = scratch("hub_configs");
    for row in rows {
        let model = row["model"].as_str().unwrap();
        fs::write(folder.join("config.json"), row["config"].to_string()).unwrap();
        let error = load(&folder).expect_err("there are no weights");
        match row["refused"].as_str() {
            Some(reason) => assert!(error.to_string().contains(reason), "{model}: {error}"),
            // The config is understood where the weights are missed.
            None => match &error {
                Error::File { path, .. } if path.ends_with("model.safetensors") => {}
                other => panic!("{model}: {other}"),
            },
        }
    }
    assert!(rows.len() > 80, "{} configs", rows.len());
}

/// A key that is not known is named with the way to go on, which is kept in what a cache says of the model.
#[test]
fn a_key_that_the_user_takes_as_harmless() -> Result<()> {
    let keys = [("invented", json!(4)), ("rope_parameters", json!({"rope_theta": 10000.0, "mscale": 2.0}))];
    let folder = changed("ignored_keys", "llama", &keys);
    let name = folder.to_str().unwrap();
    let with = |keys: &[&str]| {
        let ignore_config_keys = keys.iter().map(|key| key.to_string()).collect();
        let load = LoadOptions { ignore_config_keys, ..Processing::NONE.into() };
        HookedTransformer::from_pretrained_with(name, load)
    };
    sentence(
        with(&[]),
        &["\"rope_parameters.mscale\"", "2.0", "ignore_config_keys: vec![\"rope_parameters.mscale\".into()]"],
    );
    sentence(
        with(&["rope_parameters.mscale"]),
        &["\"invented\" to 4", "ignore_config_keys: vec![\"invented\".into()]"],
    );
    let model = with(&["rope_parameters.mscale", "invented"])?;
    let tokens = vec![vec![3, 17, 5]];
    let plain = load(&source("llama"))?;
    assert_eq!(
        model.forward(tokens.clone())?.flatten_all()?.to_vec1::<f32>()?,
        plain.forward(tokens.clone())?.flatten_all()?.to_vec1::<f32>()?
    );
    let (_, cache) = model.run_with_cache(tokens)?;
    let file = folder.join("run.safetensors");
    cache.save(&file)?;
    let cache = candle_lens::cache::ActivationCache::load(&file)?;
    let notes = &cache.provenance().model.notes;
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(cache.provenance().model.to_string().contains("config key \"invented\" taken as harmless"));

    sentence(with(&["invented", "rope_parameters.mscale", "missing"]), &["\"missing\"", "no such key"]);
    sentence(with(&["invented", "rope_parameters.mscale", "hidden_act"]), &["\"hidden_act\"", "understood"]);
    sentence(with(&["invented", "rope_parameters.mscale", "top_k"]), &["\"top_k\"", "no such key"]);
    let options = CheckpointOptions {
        load: LoadOptions {
            ignore_config_keys: vec!["rope_parameters.mscale".into(), "invented".into()],
            ..Processing::NONE.into()
        },
        ..Default::default()
    };
    let weights = folder.join("model.safetensors");
    let trained = HookedTransformer::from_checkpoint(name, &weights, options.clone())?;
    assert_eq!(trained.provenance().notes, model.provenance().notes);
    let cfg = candle_lens::model::HookedTransformerConfig::default();
    sentence(
        HookedTransformer::from_transformer_lens_with(cfg, &weights, options),
        &["ignore_config_keys", "leave it out"],
    );
    Ok(())
}
