//! Models that were saved are the models that are loaded.

use std::fs;

use candle_lens::Result;
use candle_lens::candle::{DType, Device};
use candle_lens::model::{
    ActFn, AttentionDir, HookedTransformer, HookedTransformerConfig, LoadOptions, PositionalEmbeddingType, Processing,
};
use serde_json::Value;

use crate::support::allocations::held_at_most;
use crate::support::fixture::tiny_gpt2;
use crate::support::sentence::sentence;
use crate::support::tolerance::LAST_DIGITS;
use crate::support::{assert_close, scratch};

fn config(folder: &std::path::Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("config.json")).expect("it was saved")).expect("JSON")
}

#[test]
fn the_config_names_the_type_of_the_weights() -> Result<()> {
    for (dtype, name) in [(DType::F32, "float32"), (DType::BF16, "bfloat16"), (DType::F16, "float16")] {
        let options = LoadOptions { dtype, processing: Some(Processing::NONE), ..Default::default() };
        let model = HookedTransformer::from_pretrained_with(tiny_gpt2().to_str().unwrap(), options.clone())?;
        let folder = scratch(&format!("saved_{name}"));
        model.save_pretrained(&folder)?;
        assert_eq!(config(&folder)["dtype"], name);
        let tensors = candle_lens::candle::safetensors::load(folder.join("model.safetensors"), &Device::Cpu)?;
        assert!(tensors.values().all(|tensor| tensor.dtype() == dtype), "{name}");
        let again = HookedTransformer::from_pretrained_with(folder.to_str().unwrap(), options)?;
        assert_close(&again.forward(vec![1, 2, 3])?, &model.forward(vec![1, 2, 3])?, 0.0, name);
    }
    Ok(())
}

/// What is rounded once, at the end, is what f32 gives rounded.
#[test]
fn half_precision_is_processed_in_f32() -> Result<()> {
    for (dtype, name) in [(DType::BF16, "bf16"), (DType::F16, "f16")] {
        let load = |folder: &std::path::Path, dtype: DType, processing: Option<Processing>| {
            let options = LoadOptions { dtype, processing, ..Default::default() };
            HookedTransformer::from_pretrained_with(folder.to_str().expect("UTF-8"), options)
        };
        let folder = scratch(&format!("processed_{name}"));
        load(&tiny_gpt2(), dtype, Some(Processing::NONE))?.save_pretrained(&folder)?;
        let (half, full) = (load(&folder, dtype, None)?, load(&folder, DType::F32, None)?);
        assert_eq!((half.dtype(), half.processing()), (dtype, full.processing()));
        for (what, half, full) in [
            ("W_Q", half.W_Q()?, full.W_Q()?),
            ("b_O", half.b_O()?, full.b_O()?),
            ("W_out", half.W_out()?, full.W_out()?),
            ("W_E", half.W_E(), full.W_E()),
            ("W_U", half.W_U(), full.W_U()),
        ] {
            let share = half.ne(&full.to_dtype(dtype)?)?.to_dtype(DType::F32)?.mean_all()?.to_scalar::<f32>()?;
            // Means over the vocabulary are summed in another order, which may tip a number that lies between two.
            let allowed = if what == "W_U" { 0.01 } else { 0.0 };
            assert!(share <= allowed, "{share} of the numbers of {what} in {name} are not those of f32 rounded");
        }
    }
    Ok(())
}

/// Of any type, from a file of any type, processed: the model is never there twice, nor wide before it is rounded.
#[test]
fn loading_takes_little_more_memory_than_the_model() -> Result<()> {
    let cfg = HookedTransformerConfig {
        n_layers: 16,
        d_model: 192,
        n_heads: 4,
        d_vocab: 6000,
        n_ctx: 64,
        ..Default::default()
    };
    let (model, vars) = HookedTransformer::trainable(cfg, 0, &Device::Cpu)?;
    let parameters: usize = vars.iter().map(|var| var.elem_count()).sum();
    let load = |folder: &std::path::Path, dtype: DType, processing: Option<Processing>| {
        let options = LoadOptions { dtype, processing, ..Default::default() };
        held_at_most(|| HookedTransformer::from_pretrained_with(folder.to_str().expect("UTF-8"), options))
    };
    let whole = scratch("memory_f32");
    model.save_pretrained(&whole)?;
    drop((model, vars));
    let half = scratch("memory_bf16");
    load(&whole, DType::BF16, Some(Processing::NONE)).0?.save_pretrained(&half)?;
    for (file, folder) in [("f32", &whole), ("bf16", &half)] {
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let (loaded, most) = load(folder, dtype, None);
            let ratio = most as f64 / (parameters * dtype.size_in_bytes()) as f64;
            // Not below 1: the model itself is counted.
            assert!((1.0..1.3).contains(&ratio), "{file} as {dtype:?} took {ratio:.2} times the model");
            drop(loaded?);
        }
    }
    Ok(())
}

fn small(change: impl Fn(&mut HookedTransformerConfig)) -> HookedTransformer {
    let mut cfg =
        HookedTransformerConfig { n_layers: 1, d_model: 8, n_heads: 2, d_vocab: 10, n_ctx: 6, ..Default::default() };
    change(&mut cfg);
    HookedTransformer::trainable(cfg, 3, &Device::Cpu).expect("a config of a model").0
}

#[test]
fn scores_that_are_not_scaled_come_back_so() -> Result<()> {
    let model = small(|cfg| cfg.attn_scale = Some(1.0));
    let folder = scratch("saved_unscaled");
    model.save_pretrained(&folder)?;
    let again = HookedTransformer::from_pretrained_no_processing(folder.to_str().unwrap())?;
    assert_close(&again.forward(vec![1, 2, 3])?, &model.forward(vec![1, 2, 3])?, 0.0, "logits");
    let scaled = small(|_| {});
    let differs =
        (again.forward(vec![1, 2, 3])? - scaled.forward(vec![1, 2, 3])?)?.abs()?.sum_all()?.to_scalar::<f32>()?;
    assert!(differs > LAST_DIGITS, "the scale makes no difference here, so nothing was tested: {differs}");
    Ok(())
}

/// What makes a GPT-2 into something else.
type Change = fn(&mut HookedTransformerConfig);

#[test]
fn what_gpt2_cannot_hold_is_refused() {
    let folder = scratch("saved_unfit");
    let cases: [(&str, Change); 6] = [
        ("looks ahead", |cfg| cfg.attention_dir = AttentionDir::Bidirectional),
        ("scale", |cfg| cfg.attn_scale = Some(3.0)),
        ("solu", |cfg| cfg.act_fn = ActFn::SoluLn),
        ("solu", |cfg| cfg.act_fn = ActFn::Solu),
        ("ALiBi", |cfg| cfg.positional_embedding_type = PositionalEmbeddingType::Alibi),
        ("shortformer", |cfg| cfg.positional_embedding_type = PositionalEmbeddingType::Shortformer),
    ];
    for (told, change) in cases {
        sentence(small(change).save_pretrained(&folder), &["GPT-2", told]);
    }
}

/// The folder into which a started process saves two models in turn until it is killed.
const KILLED: &str = "CANDLE_LENS_TEST_KILLED";

/// Two models of equal shapes, so that nothing but their numbers and their rotation of names tells them apart.
fn two_models() -> Result<[HookedTransformer; 2]> {
    let cfg = |eps| HookedTransformerConfig {
        n_layers: 2,
        d_model: 32,
        n_heads: 2,
        d_vocab: 50,
        n_ctx: 16,
        eps,
        ..Default::default()
    };
    Ok([
        HookedTransformer::trainable(cfg(1e-5), 1, &Device::Cpu)?.0,
        HookedTransformer::trainable(cfg(2e-5), 2, &Device::Cpu)?.0,
    ])
}

#[test]
#[ignore = "started by the test below"]
fn saves_until_it_is_killed() {
    let Some(folder) = std::env::var_os(KILLED) else { return };
    let models = two_models().expect("two models");
    for model in models.iter().cycle() {
        model.save_pretrained(&folder).expect("the folder can be written");
    }
}

/// Weights of one model under the config of another would be loaded without a word.
#[test]
fn a_kill_never_leaves_parts_of_two_models() -> Result<()> {
    const KILLS: u64 = 30;
    let folder = scratch("saved_killed");
    let models = two_models()?;
    let prompt = vec![1, 2, 3, 4];
    let logits = models
        .each_ref()
        .map(|model| model.forward(prompt.clone()).and_then(|x| Ok(x.flatten_all()?.to_vec1::<f32>()?)));
    let [first, second] = [logits[0].as_ref(), logits[1].as_ref()].map(|logits| logits.expect("it runs"));
    let (mut whole, mut parts) = (0, 0);
    for kill in 0..KILLS {
        let mut child = std::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "model::saved::saves_until_it_is_killed", "--ignored"])
            .env(KILLED, &folder)
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("it starts");
        // Once it writes, some moment later, another each time.
        while !folder.join("model.safetensors").exists() {
            std::thread::yield_now();
        }
        std::thread::sleep(std::time::Duration::from_micros(20_000 + 1_777 * (kill * 13 % KILLS)));
        child.kill().expect("it runs until it is killed");
        child.wait().expect("it was killed");
        parts = parts.max(fs::read_dir(&folder).expect("the folder").count());
        match HookedTransformer::from_pretrained_no_processing(folder.to_str().expect("UTF-8")) {
            Ok(model) => {
                let loaded = model.forward(prompt.clone())?.flatten_all()?.to_vec1::<f32>()?;
                assert!(&loaded == first || &loaded == second, "neither the one nor the other, kill {kill}");
                whole += 1;
            }
            Err(_) => assert!(!folder.join("config.json").exists(), "what is there does not load, kill {kill}"),
        }
    }
    assert!(whole > 0, "no kill left a model: nothing was compared");
    models[0].save_pretrained(&folder)?;
    let mut names: Vec<String> = fs::read_dir(&folder)
        .expect("the folder")
        .map(|entry| entry.expect("a file").file_name().to_string_lossy().into())
        .collect();
    names.sort();
    assert_eq!(names, ["config.json", "model.safetensors"], "of at most {parts} files nothing is left but these");
    Ok(())
}

/// What would be read as part of the model is not left there.
#[test]
fn a_tokenizer_of_another_model_is_not_left_beside_a_model_without() -> Result<()> {
    let folder = scratch("saved_foreign");
    HookedTransformer::from_pretrained_no_processing(tiny_gpt2().to_str().unwrap())?.save_pretrained(&folder)?;
    let before = fs::read(folder.join("model.safetensors")).expect("it was saved");
    sentence(two_models()?[0].save_pretrained(&folder), &["tokenizer.json", "which has none"]);
    assert_eq!(fs::read(folder.join("model.safetensors")).expect("it is there"), before);
    Ok(())
}
