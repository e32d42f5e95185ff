//! Weights by TransformerLens' names, and models written in its format.

use std::fs;

use candle_lens::Result;
use candle_lens::candle::{DType, Device, Tensor, safetensors};
use candle_lens::model::{
    ActFn, HookedTransformer, HookedTransformerConfig, LoadOptions, Processing, QkNormType, RotaryScaling,
};
use serde_json::Value;

use crate::support::fixture::{Reference, path, tiny_gpt2};
use crate::support::models::{ARCHITECTURES, architecture, every_model, pretrained};
use crate::support::scratch;
use crate::support::sentence::sentence;

/// The same numbers, bit for bit, of the same shape.
fn assert_same(a: &Tensor, b: &Tensor, what: &str) {
    assert_eq!((a.dims(), a.dtype()), (b.dims(), b.dtype()), "{what}");
    let numbers = |x: &Tensor| x.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>();
    assert_eq!(numbers(a).unwrap(), numbers(b).unwrap(), "{what}");
}

/// What TransformerLens wrote is what we call so.
#[test]
fn names_and_shapes_are_those_of_transformer_lens() -> Result<()> {
    let mut compared = 0;
    for name in ARCHITECTURES {
        let model = architecture(name, Some(Processing::NONE))?;
        let reference = Reference::load(&format!("architectures/{name}.safetensors"));
        let weights = model.state_dict()?;
        assert_eq!(weights.keys().cloned().collect::<Vec<_>>(), reference.names("weights."), "{name}");
        for (weight, tensor) in &weights {
            let what = format!("{name}: {weight}");
            assert_same(tensor, reference.get(&format!("weights.{weight}")), &what);
            assert_same(&model.weight(weight)?, tensor, &what);
            compared += 1;
        }
    }
    assert!(compared > 200, "only {compared} weights were compared");
    Ok(())
}

#[test]
fn stacked_views_have_the_same_weights() -> Result<()> {
    for (name, model) in every_model() {
        for layer in 0..model.cfg().n_layers {
            for (part, stacked) in [
                ("attn.W_Q", model.W_Q()?),
                ("attn.W_K", model.W_K()?),
                ("attn.W_V", model.W_V()?),
                ("attn.W_O", model.W_O()?),
                ("attn.b_Q", model.b_Q()?),
                ("attn.b_K", model.b_K()?),
                ("attn.b_V", model.b_V()?),
                ("attn.b_O", model.b_O()?),
            ] {
                let weight = format!("blocks.{layer}.{part}");
                assert_same(&model.weight(&weight)?, &stacked.get(layer)?, &format!("{name}: {weight}"));
            }
        }
    }
    let shared = pretrained(path("families/llama3").to_str().unwrap(), Some(Processing::NONE))?;
    let cfg = shared.cfg();
    assert!(cfg.n_key_value_heads() < cfg.n_heads, "this family shares keys");
    let stored = shared.weight("blocks.0.attn._W_K")?;
    assert_eq!(stored.dims(), [cfg.n_key_value_heads(), cfg.d_model, cfg.d_head()]);
    let repeats = cfg.n_heads / cfg.n_key_value_heads();
    for head in 0..cfg.n_heads {
        let repeated = shared.weight("blocks.0.attn.W_K")?.get(head)?;
        assert_same(&repeated, &stored.get(head / repeats)?, &format!("keys of head {head}"));
    }
    Ok(())
}

#[test]
fn names_that_are_none_have_near_ones() -> Result<()> {
    let model = pretrained("tiny", Some(Processing::NONE))?;
    sentence(model.weight("blocks.0.ln1.W"), &["\"blocks.0.ln1.W\"", "\"blocks.0.ln1.w\"", "state_dict()"]);
    sentence(model.weight("W_E"), &["\"embed.W_E\""]);
    sentence(model.weight("blocks.9.attn.W_Q"), &["\"blocks.9.attn.W_Q\"", "attn.W_Q\""]);
    sentence(model.weight(""), &["\"\""]);
    let processed = pretrained("tiny", None)?;
    sentence(processed.weight("blocks.0.ln1.w"), &["\"blocks.0.ln1.w\"", "folded", "from_pretrained_no_processing"]);
    let text = processed.weight("blocks.0.attn.W_X").unwrap_err().to_string();
    assert!(!text.contains("folded"), "{text}");
    Ok(())
}

/// Every architecture, as it was trained, folded and processed: what is read back is what was written, bit for bit.
#[test]
fn models_written_for_transformer_lens_come_back() -> Result<()> {
    let (mut written, mut refused) = (0, 0);
    for (name, model) in every_model() {
        let folder = scratch(&format!("tl_{}", name.replace(", ", "_")));
        let cfg = model.cfg();
        let foreign = [
            (cfg.long_rope.is_some(), "long_rope"),
            (matches!(cfg.rotary_scaling, Some(RotaryScaling::Dynamic { .. })), "dynamic rotary_scaling"),
            (cfg.use_normalization_after_only, "use_normalization_after_only"),
            (cfg.act_fn == ActFn::QuickGelu, "quick_gelu"),
            (cfg.dims().alibi && !cfg.n_heads.is_power_of_two(), "ALiBi"),
            (cfg.gated_mlp_biases, "gated_mlp_biases"),
            (cfg.use_qk_norm && cfg.qk_norm_type != QkNormType::RMS, "qk_norm_type"),
        ];
        if let Some((_, field)) = foreign.into_iter().find(|(is_there, _)| *is_there) {
            sentence(model.save_transformer_lens(&folder), &[field, "TransformerLens"]);
            assert!(!folder.join("model.safetensors").exists(), "{name}");
            refused += 1;
            continue;
        }
        model.save_transformer_lens(&folder)?;
        let cfg = HookedTransformerConfig::from_file(folder.join("config.json"))?;
        assert_eq!(cfg.dims(), model.cfg().dims(), "{name}");
        let whole = HookedTransformer::from_pretrained_no_processing(folder.to_str().unwrap())?;
        let weights = HookedTransformer::from_transformer_lens(cfg, folder.join("model.safetensors"))?;
        let expected = model.forward(vec![1, 2, 3, 0, 2])?;
        for again in [&whole, &weights] {
            assert_same(&again.forward(vec![1, 2, 3, 0, 2])?, &expected, &name);
            assert_eq!(again.state_dict()?.len(), model.state_dict()?.len(), "{name}");
        }
        assert_eq!(whole.tokenizer().is_ok(), model.tokenizer().is_ok(), "{name}");
        if model.tokenizer().is_ok() {
            assert_eq!(whole.to_tokens("the")?, model.to_tokens("the")?, "{name}");
        }
        // What was read writes the same files.
        let second = scratch(&format!("tl_again_{}", name.replace(", ", "_")));
        whole.save_transformer_lens(&second)?;
        let config = |folder: &std::path::Path| -> Value {
            let mut config: Value = serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap();
            config["model_name"] = Value::Null;
            config
        };
        assert_eq!(config(&second), config(&folder), "{name}");
        let bytes = |folder: &std::path::Path| fs::read(folder.join("model.safetensors")).unwrap();
        assert!(bytes(&second) == bytes(&folder), "{name}");
        written += 1;
    }
    assert!(written > 60 && refused > 0, "{written} models were written and {refused} refused");
    Ok(())
}

#[test]
fn half_precision_and_default_loading_of_such_a_folder() -> Result<()> {
    let folder = scratch("tl_half");
    let options = LoadOptions { dtype: DType::BF16, processing: Some(Processing::NONE), ..Default::default() };
    HookedTransformer::from_pretrained_with(tiny_gpt2().to_str().unwrap(), options)?.save_transformer_lens(&folder)?;
    let tensors = safetensors::load(folder.join("model.safetensors"), &Device::Cpu)?;
    assert!(tensors.values().all(|tensor| tensor.dtype() == DType::BF16));
    // A folder of TransformerLens is processed as any other.
    let model = HookedTransformer::from_pretrained(folder.to_str().unwrap())?;
    assert!(model.processing().fold_ln);
    let options = |key: &str| LoadOptions { ignore_config_keys: vec![key.into()], ..Default::default() };
    let load = |key: &str| HookedTransformer::from_pretrained_with(folder.to_str().unwrap(), options(key));
    sentence(load("nothing"), &["ignore_config_keys", "\"nothing\""]);
    let config = folder.join("config.json");
    let mut fields: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    fields["clip_qkv"] = 2.0.into();
    fs::write(&config, fields.to_string()).unwrap();
    sentence(HookedTransformer::from_pretrained(folder.to_str().unwrap()), &["config.json", "clip_qkv"]);
    assert!(load("clip_qkv").is_ok());
    Ok(())
}

/// evcxr keeps what a cell binds beyond the cell, so that it may borrow nothing.
#[test]
fn what_a_model_gives_can_be_kept() -> Result<()> {
    fn kept<T: Clone + 'static>(value: T) -> T {
        value
    }
    let model = pretrained("tiny", None)?;
    let (cfg, tokenizer, processing) = (kept(model.cfg()), kept(model.tokenizer()?), kept(model.processing()));
    // Shared, not copied.
    assert!(std::ptr::eq(&*cfg, &*model.cfg()));
    drop(model);
    assert_eq!((cfg.n_layers, processing.fold_ln), (4, true));
    assert!(tokenizer.to_single_token(" Mary").is_ok());
    Ok(())
}
