//! A cache is read with the model that made it, and with another one only on request.

use candle_lens::prelude::*;
use candle_lens::{Error, Result};

use crate::support::fixture::{TOLERANCE, tiny_model};
use crate::support::models::pretrained;
use crate::support::scratch;
use crate::support::sentence::sentence;

fn rows() -> Tokens {
    Tokens::from_rows(vec![vec![5, 9, 2, 7, 1], vec![3, 3, 8, 6, 4]]).expect("rows of one length")
}

/// Every function that reads a cache with a model.
fn doors(model: &HookedTransformer, cache: &ActivationCache) -> Result<Vec<(&'static str, Result<()>)>> {
    let answers = model.answers([(5u32, 6u32), (7, 3)])?;
    let directions = answers.directions(model)?;
    let stack = cache.accumulated_resid(Stack::accumulated())?;
    let metric = Metric::logit_diff(&answers);
    let corrupted = Tokens::from_rows(vec![vec![5, 9, 3, 7, 1], vec![3, 3, 1, 6, 4]])?;
    let mut doors = vec![
        ("heads", cache.stack_head_results(model, Stack::heads()).map(drop)),
        ("neurons", cache.stack_neuron_results(model, Stack::neurons()).map(drop)),
        ("neurons of a layer", cache.get_neuron_results(model, 0, .., ..).map(drop)),
        ("projected neurons", cache.project_neuron_results(model, &directions, Stack::neurons()).map(drop)),
        ("full", cache.get_full_resid_decomposition(model, Stack::everything()).map(drop)),
        ("projected", cache.project_full_resid_decomposition(model, &directions, Stack::everything()).map(drop)),
        ("logit_attrs", cache.logit_attrs(model, &stack, 1u32).map(drop)),
        ("residual_stack_to_logit_diff", residual_stack_to_logit_diff(model, cache, &stack, &answers).map(drop)),
        ("accumulated", cache.stack(model, Stack::accumulated()).map(drop)),
        ("logit_lens", logit_lens(model, cache, LensOptions { k: 1, ..Default::default() }).map(drop)),
        ("logit_lens_to_logit_diff", logit_lens_to_logit_diff(model, cache, &answers).map(drop)),
        ("from_cache", Experiment::from_cache(model, cache, corrupted, metric).map(drop)),
    ];
    for unit in [Unit::Component, Unit::Layer, Unit::Head, Unit::Neuron] {
        doors.push(("direct_logit_attribution", direct_logit_attribution(model, cache, &answers, unit).map(drop)));
    }
    Ok(doors)
}

#[test]
fn another_models_cache_is_refused_at_every_door() -> Result<()> {
    let (raw, processed) = (tiny_model(Processing::NONE), tiny_model(Processing::default()));
    let (_, cache) = raw.run_with_cache(rows())?;
    for (door, read) in doors(&processed, &cache)? {
        let message = sentence(read, &["not made by this model", "its processing is none", "fold_ln"]);
        assert!(message.contains("without_model_check"), "{door}: {message}");
    }
    for (door, read) in doors(&processed, &cache.without_model_check())? {
        read.unwrap_or_else(|error| panic!("{door}: {error}"));
    }
    // Other weights of the same sizes, which were drawn here and have no checksum.
    let cfg =
        HookedTransformerConfig { n_layers: 2, d_model: 8, n_heads: 2, d_vocab: 20, n_ctx: 8, ..Default::default() };
    let drawn = |seed| Ok::<_, Error>(HookedTransformer::trainable(cfg.clone(), seed, &Device::Cpu)?.0);
    let (_, cache) = drawn(1)?.run_with_cache(rows())?;
    for (_, read) in doors(&drawn(2)?, &cache)? {
        sentence(read, &["new weights of seed 1", "new weights of seed 2"]);
    }
    doors(&drawn(1)?, &cache)?.into_iter().try_for_each(|(_, read)| read)
}

/// What is not another model: the same one frozen, untrained, without its tokenizer's BOS, loaded again from elsewhere or from
/// TransformerLens' format; nor is a cache another for having been saved, moved, cloned or stripped.
#[test]
fn the_same_weights_are_the_same_model() -> Result<()> {
    let model = tiny_model(Processing::default());
    let (_, cache) = model.run_with_cache(rows())?;
    let folder = scratch("made_by_same");
    tiny_model(Processing::NONE).save_pretrained(folder.join("elsewhere"))?;
    let elsewhere = folder.join("elsewhere");
    let tokenizer = model.tokenizer()?.clone().with_default_prepend_bos(!model.cfg().default_prepend_bos);
    let models = [
        ("frozen", model.with_frozen([Frozen::NormScales, Frozen::Mlps])),
        ("without gradients", model.without_weight_gradients()),
        ("with another tokenizer", model.clone().with_tokenizer(tokenizer)),
        ("loaded again", tiny_model(Processing::default())),
        ("processed afterwards", tiny_model(Processing::NONE).process(Processing::default())?),
        ("from elsewhere", pretrained(elsewhere.to_str().expect("UTF-8"), Some(Processing::default()))?),
    ];
    cache.save(folder.join("cache.safetensors"))?;
    let loaded = ActivationCache::load(folder.join("cache.safetensors"))?;
    let moved = cache.clone().to_device(&Device::Cpu)?;
    for (what, model) in &models {
        for cache in [&cache, &loaded, &moved] {
            for (door, read) in doors(model, cache)? {
                read.unwrap_or_else(|error| panic!("{what}, {door}: {error}"));
            }
        }
    }
    Ok(())
}

/// A key-value cache belongs to a model's weights as well.
#[test]
fn another_models_past_is_refused() -> Result<()> {
    let (raw, processed) = (tiny_model(Processing::NONE), tiny_model(Processing::default()));
    let keep = RunOptions { keep_kv_cache: true, ..Default::default() };
    let past = raw.run(rows(), HookPlan::new(), &keep)?.kv_cache;
    let on = RunOptions { past_kv_cache: past, ..Default::default() };
    let later = Tokens::from_rows(vec![vec![4], vec![2]])?;
    sentence(processed.run(&later, HookPlan::new(), &on), &["past_kv_cache was not made by this model", "fold_ln"]);
    raw.run(&later, HookPlan::new(), &on)?;
    Ok(())
}

/// Training changes weights in place. A cache still reads its residual stream with the final norm of its run.
#[test]
fn a_cache_keeps_the_norm_of_its_run() -> Result<()> {
    let cfg =
        HookedTransformerConfig { n_layers: 1, d_model: 8, n_heads: 2, d_vocab: 20, n_ctx: 8, ..Default::default() };
    let (model, vars) = HookedTransformer::trainable(cfg, 1, &Device::Cpu)?;
    let (_, cache) = model.run_with_cache(rows())?;
    let lens = || cache.accumulated_resid(Stack::accumulated().normed());
    let numbers = |stack: ResidualStack| Ok::<_, Error>(stack.tensor().flatten_all()?.to_vec1::<f32>()?);
    let before = numbers(lens()?)?;
    for var in vars.iter().filter(|var| var.dims() == [8]) {
        var.set(&(var.as_tensor() * 3.0)?.affine(1.0, 0.5)?)?;
    }
    assert_eq!(numbers(lens()?)?, before);
    Ok(())
}

/// The final norm moves with the activations, so that lenses of unfolded models work on the other device. Only a machine with a
/// second device can test this.
#[test]
#[cfg_attr(
    not(any(feature = "cuda", feature = "metal")),
    ignore = "needs a device besides the CPU: build with --features cuda or metal where there is one"
)]
fn the_final_norm_moves_with_the_cache() -> Result<()> {
    let there = best_device()?;
    assert!(!there.is_cpu(), "built for a device that this machine does not have");
    let model = tiny_model(Processing::NONE);
    let answers = model.answers([(5u32, 6u32), (7, 3)])?;
    let (_, here) = model.run_with_cache(rows())?;
    let moved = here.clone().to_device(&there)?;
    let (_, captured_there) = model.run_with_hooks(rows(), HookPlan::new().capture_all().device(&there))?;
    let options = Stack::accumulated().normed();
    let numbers = |cache: &ActivationCache| -> Result<Vec<f32>> {
        let stack = cache.accumulated_resid(options.clone())?.tensor().to_device(&Device::Cpu)?;
        let directions = answers.directions(&model)?.to_device(cache.get("embed")?.device())?;
        let stream = cache.stack(&model, Stack::point(("resid_post", -1)))?;
        let shares = residual_stack_to_logit_diff(&model, cache, &stream, &directions)?;
        Ok([stack.flatten_all()?.to_vec1::<f32>()?, shares.values().into_iter().collect()].concat())
    };
    let expected = numbers(&here)?;
    for cache in [moved, captured_there] {
        for (got, expected) in numbers(&cache)?.into_iter().zip(&expected) {
            assert!(f64::from((got - expected).abs()) < TOLERANCE, "{got} {expected}");
        }
    }
    Ok(())
}
