//! Cross-layer transcoders: each layer reads its own input, and its features write to this and all later layers.

use candle_lens::Result;
use candle_lens::prelude::*;

use super::{D_MODEL, FEATURES, apart, captured, logits, model, padded, random, tokens, transcoder};
use crate::support::assert_close;
use crate::support::sentence::sentence;
use crate::support::tolerance::{CLEAR, REORDERED};

const LAYERS: usize = 3;

/// What is written to a layer is a sum of what all layers write, in another order than here.
const SUMS_OF_LAYERS: f32 = 3e-5;

fn point(layer: usize, name: &str) -> HookPoint {
    format!("blocks.{layer}.{name}").parse().unwrap()
}

fn acts(layer: usize) -> String {
    format!("blocks.{layer}.hook_mlp_out.hook_sae_acts_post")
}

/// The layers of a random cross-layer transcoder of [`model`], its decoders to later layers times `later`.
pub fn layers(later: f64) -> Vec<Dictionary> {
    let of = |layer: usize| {
        let seed = 20 + layer as u64;
        let expects = Expects::between(point(layer, "ln2.hook_normalized"), point(layer, "hook_mlp_out"));
        random((seed, D_MODEL, D_MODEL), expects, |parts| {
            let own = parts.w_dec.unsqueeze(1).unwrap();
            let rest = Random::new(seed + 9).normal((FEATURES, LAYERS - 1 - layer, D_MODEL)).unwrap();
            let w_dec = Tensor::cat(&[own, (rest * (0.3 * later)).unwrap()], 1).unwrap();
            let w_skip = (layer == 1).then(|| (Random::new(5).normal((D_MODEL, D_MODEL)).unwrap() * 0.3).unwrap());
            DictionaryParts { w_dec, w_skip, b_in: None, ..parts }
        })
    };
    (0..LAYERS).map(of).collect()
}

/// What the transcoder writes to a layer, from the activations of features so far, by the formula.
fn written(layers: &[Dictionary], acts: &[Tensor], x: &Tensor) -> Result<Tensor> {
    let layer = acts.len() - 1;
    let parts = layers[layer].parts();
    let mut y = parts.b_dec.broadcast_as(x.shape())?.contiguous()?;
    for (before, acts) in acts.iter().enumerate() {
        let decoder = layers[before].w_dec().narrow(1, layer - before, 1)?.squeeze(1)?;
        y = (y + acts.broadcast_matmul(&decoder)?)?;
    }
    match parts.w_skip {
        Some(w_skip) => Ok((y + x.broadcast_matmul(&w_skip)?)?),
        None => Ok(y),
    }
}

#[test]
fn every_layer_writes_what_the_formula_says() -> Result<()> {
    let model = model();
    for tokens in [tokens(), padded()] {
        let transcoder = layers(1.);
        // Features of layer 0 doubled by an edit, which later layers must see.
        for edited in [false, true] {
            let (mut by_hand, mut features) = (HookPlan::new(), Vec::new());
            for layer in 0..LAYERS {
                let reads = point(layer, "ln2.hook_normalized");
                let x = model.run_with_hooks(&tokens, by_hand.clone().capture(reads))?.1.get(reads)?;
                let f = transcoder[layer].encode_dense(&x)?;
                features.push(if edited && layer == 0 { (f * 2.)? } else { f });
                let y = written(&transcoder, &features, &x)?;
                by_hand = by_hand.edit(point(layer, "hook_mlp_out"), Edit::replace(y));
            }
            let mut plan = model.splice(&transcoder, ErrorTerm::None)?;
            if edited {
                plan = plan.edit(acts(0).as_str(), Edit::scale(2.));
            }
            let (got, cache) = model.run_with_hooks(&tokens, plan.capture("sae_acts_post"))?;
            assert_close(&got, &logits(&model, &tokens, &by_hand)?, REORDERED, "the logits");
            for (layer, features) in features.iter().enumerate() {
                assert_close(&cache.get(acts(layer).as_str())?, features, REORDERED, &acts(layer));
            }
        }
        for error in [ErrorTerm::Recomputed, ErrorTerm::frozen(&tokens)] {
            let plan = model.splice(&transcoder, error)?;
            assert_close(
                &logits(&model, &tokens, &plan)?,
                &model.forward(&tokens)?,
                SUMS_OF_LAYERS,
                "with error terms",
            );
        }
    }
    Ok(())
}

#[test]
fn an_edit_of_a_feature_adds_its_row_for_each_layer() -> Result<()> {
    let (model, tokens, transcoder) = (model(), tokens(), layers(1.));
    let plan = model.splice(&transcoder, ErrorTerm::Recomputed)?;
    // Edits of pre-activations and of the input are edits of features as well.
    let acts_at = |plan: &HookPlan| -> Result<Tensor> {
        model.run_with_hooks(&tokens, plan.clone().capture(acts(0).as_str()))?.1.get(acts(0).as_str())
    };
    let clean = acts_at(&plan)?;
    for (site, edit) in [
        ("acts_post", Edit::zero().feature([3, 4, 5, 6, 7])),
        ("acts_pre", Edit::scale(2.).feature([3, 4, 5, 6, 7])),
        ("input", Edit::scale(1.5).pos(3)),
    ] {
        let plan = plan.clone().edit((format!("sae_{site}").as_str(), 0), edit);
        let change = (acts_at(&plan)? - &clean)?;
        let mut by_hand = HookPlan::new();
        for layer in 0..LAYERS {
            let row = transcoder[0].w_dec().narrow(1, layer, 1)?.squeeze(1)?;
            by_hand = by_hand.edit(point(layer, "hook_mlp_out"), Edit::add(change.broadcast_matmul(&row)?));
        }
        let expected = logits(&model, &tokens, &by_hand)?;
        assert_close(&logits(&model, &tokens, &plan)?, &expected, REORDERED, site);
        assert!(apart(&expected, &model.forward(&tokens)?)? > CLEAR, "{site} does something");
    }
    Ok(())
}

#[test]
fn without_later_decoders_it_is_a_transcoder_of_each_layer() -> Result<()> {
    let (model, tokens) = (model(), tokens());
    let own = |dictionary: &Dictionary| {
        let parts = dictionary.parts();
        let w_dec = parts.w_dec.narrow(1, 0, 1).unwrap().squeeze(1).unwrap();
        Dictionary::new(DictionaryParts { w_dec, ..parts }).unwrap()
    };
    let transcoders: Vec<Dictionary> = layers(0.).iter().map(own).collect();
    for error in [ErrorTerm::None, ErrorTerm::Recomputed] {
        let edit = Edit::scale(0.5).feature([1, 2, 3]);
        let of = |dictionaries: &Vec<Dictionary>| -> Result<Tensor> {
            let plan = model.splice(dictionaries, error.clone())?.edit(("sae_acts_post", 0), edit.clone());
            logits(&model, &tokens, &plan)
        };
        assert_close(&of(&layers(0.))?, &of(&transcoders)?, REORDERED, "layer by layer");
        assert!(apart(&of(&layers(1.))?, &of(&transcoders)?)? > CLEAR, "later decoders matter");
    }
    Ok(())
}

#[test]
fn gradients_pass_to_all_layers() -> Result<()> {
    /// So small that no feature of a later layer begins or ceases to be active.
    const STEP: f64 = 5e-4;
    /// Rounding of two losses over a small step.
    const DIFFERENCES: f32 = 2e-3;
    let (model, tokens) = (model(), tokens());
    let options = RunOptions { loss: Loss::Mean, ..Default::default() };
    let plan = model.splice(layers(1.), ErrorTerm::frozen(&tokens))?;
    let run = model.run(&tokens, plan.clone().watch(acts(0).as_str()), &options)?;
    let gradient = run.taps.gradients(&run.loss()?)?.get(acts(0).as_str())?;
    for feature in [0, 9, 20] {
        let loss = |sign: f64| -> Result<f32> {
            let step = Edit::add(Tensor::new((sign * STEP) as f32, &Device::Cpu)?).feature(feature).pos(2).batch(0);
            Ok(model.run(&tokens, plan.clone().edit(acts(0).as_str(), step), &options)?.loss()?.to_scalar::<f32>()?)
        };
        let slope = (loss(1.)? - loss(-1.)?) / (2. * STEP as f32);
        let got = gradient.get(0)?.get(2)?.get(feature as usize)?.to_scalar::<f32>()?;
        assert!((got - slope).abs() < DIFFERENCES, "feature {feature}: {got}, by differences {slope}");
    }
    Ok(())
}

#[test]
fn what_cannot_be_whole_is_refused() -> Result<()> {
    let (model, tokens, all) = (model(), tokens(), layers(1.));
    sentence(model.splice(&all[1..], ErrorTerm::None), &["layer 1", "features of layer 0", "from the first on"]);
    sentence(model.splice([&all[0], &all[2]], ErrorTerm::None), &["layer 2", "layer 1"]);
    // The first layers alone are a part that is whole: later layers are the model's own.
    let first = model.splice(&all[..2], ErrorTerm::None)?;
    assert_eq!(logits(&model, &tokens, &first)?.dims(), [2, 6, 20]);
    // A run that does not pass what is read.
    let resid = captured(&model, &tokens, point(1, "hook_resid_pre"))?;
    let plan = model.splice(transcoder(6, 1, false), ErrorTerm::None)?;
    let from = |layer: isize| RunOptions { start_at_layer: Some((layer, resid.clone())), ..Default::default() };
    let whole = logits(&model, &tokens, &plan)?;
    assert_close(&model.run(&tokens, &plan, from(1))?.logits()?, &whole, REORDERED, "from its own block");
    let clt = model.splice(&all, ErrorTerm::None)?;
    sentence(model.run(&tokens, clt, from(1)), &["blocks.0.hook_mlp_out", "never reached"]);
    sentence(all[0].steer(&model, 3, 1.), &["writes to 3 layers", "Edit::add"]);
    Ok(())
}
