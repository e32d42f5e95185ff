//! What holds of every spliced dictionary, whatever its weights are.

use candle_lens::Result;
use candle_lens::prelude::*;

use super::{D_MODEL, FEATURES, apart, autoencoder, captured, logits, model, padded, random, tokens, transcoder};
use crate::support::assert_close;
use crate::support::tolerance::{CLEAR, REORDERED};

/// Every kind of dictionary, each with the point that it writes.
fn dictionaries() -> Vec<Dictionary> {
    let at = |point: &str, change: fn(DictionaryParts) -> DictionaryParts| {
        random((5, D_MODEL, D_MODEL), Expects::at(point.parse().unwrap()), change)
    };
    let vector = |seed: u64| (Random::new(seed).normal(FEATURES).unwrap() * 0.2).unwrap();
    let mut all = vec![
        autoencoder(3, "blocks.1.hook_resid_post"),
        autoencoder(4, "blocks.2.attn.hook_z"),
        autoencoder(4, "hook_embed"),
        transcoder(6, 1, false),
        transcoder(7, 2, true),
        at("blocks.0.hook_attn_out", |parts| DictionaryParts { input_norm: InputNorm::LayerNorm, ..parts }),
        at("blocks.1.hook_mlp_out", |parts| DictionaryParts { input_norm: InputNorm::ConstantNorm, ..parts }),
        at("blocks.0.hook_resid_pre", |parts| DictionaryParts { activation: Activation::TopK { k: 4 }, ..parts }),
        at("blocks.2.hook_resid_post", |parts| DictionaryParts {
            activation: Activation::AbsTopK { k: 4 },
            scaled_by_decoder_norm: true,
            ..parts
        }),
    ];
    let threshold = Activation::JumpRelu { threshold: vector(8) };
    all.push(random((9, D_MODEL, D_MODEL), Expects::at("resid_mid1".parse().unwrap()), |parts| DictionaryParts {
        activation: threshold.clone(),
        ..parts
    }));
    let gated = Activation::Gated { b_gate: vector(10), b_mag: vector(11), r_mag: vector(12) };
    all.push(random((13, D_MODEL, D_MODEL), Expects::at("resid_post0".parse().unwrap()), |parts| DictionaryParts {
        activation: gated.clone(),
        ..parts
    }));
    // One head alone.
    let head = Expects { head: Some(1), ..Expects::at("z1".parse().unwrap()) };
    all.push(random((14, D_MODEL / 2, D_MODEL / 2), head, |parts| parts));
    all
}

#[test]
fn with_its_error_term_an_unedited_splice_changes_nothing() -> Result<()> {
    let model = model();
    for tokens in [tokens(), padded()] {
        let plain = model.forward(tokens.clone())?;
        for dictionary in dictionaries() {
            for error in [ErrorTerm::Recomputed, ErrorTerm::frozen(&tokens)] {
                let plan = model.splice(&dictionary, error)?;
                assert_close(&logits(&model, &tokens, &plan)?, &plain, REORDERED, &format!("{plan}"));
            }
            let plan = model.splice(&dictionary, ErrorTerm::None)?;
            assert!(apart(&logits(&model, &tokens, &plan)?, &plain)? > CLEAR, "{plan} changes what goes through it");
        }
    }
    Ok(())
}

/// The point that a dictionary reads, the one that it writes, and its features' point.
fn points(dictionary: &Dictionary) -> (HookPoint, HookPoint, String) {
    let expects = dictionary.expects();
    let writes = expects.writes().expect("it says so");
    (expects.hook_in.expect("it says so"), writes, format!("{writes}.hook_sae_acts_post"))
}

#[test]
fn an_edit_of_a_feature_shows_its_decoder_row_only() -> Result<()> {
    let (model, tokens) = (model(), tokens());
    for dictionary in [autoencoder(3, "resid_post1"), autoencoder(4, "z1"), transcoder(6, 1, true)] {
        let (reads, writes, acts) = points(&dictionary);
        let (x, y) = (captured(&model, &tokens, reads)?, captured(&model, &tokens, writes)?);
        let f = dictionary.encode_dense(&x)?;
        // One that is active at the end, where some of the edits are.
        let strongest = f.get(0)?.get(5)?.argmax(0)?.to_scalar::<u32>()? as usize;
        let feature = f.narrow(2, strongest, 1)?;
        let (at, from_end) = (strongest as isize, strongest as isize - FEATURES as isize);
        let last =
            Tensor::from_vec((0..6).map(|pos| f32::from(u8::from(pos == 5))).collect(), (1, 6, 1), &Device::Cpu)?;
        let number = |value: f32| Tensor::new(value, &Device::Cpu);
        // By how much the edit changes the feature.
        let cases = [
            ("zero", Edit::zero().feature(at), feature.neg()?),
            ("zero at the end", Edit::zero().feature(at).pos(-1), feature.neg()?.broadcast_mul(&last)?),
            ("scale", Edit::scale(3.).feature(from_end), (&feature * 2.)?),
            ("set", Edit::replace(number(2.5)?).feature(at), (feature.neg()? + 2.5)?),
            ("set at the end", Edit::replace(number(2.5)?).feature(at).pos(5), {
                (feature.neg()? + 2.5)?.broadcast_mul(&last)?
            }),
            ("add", Edit::add(number(2.)?).feature(at), feature.zeros_like()?.affine(1., 2.)?),
        ];
        for (name, edit, change) in cases {
            let row = dictionary.w_dec().narrow(0, strongest, 1)?.reshape((1, 1, D_MODEL))?;
            let expected = (&y + change.broadcast_mul(&row)?.reshape(y.shape())?)?;
            let expected = logits(&model, &tokens, &HookPlan::new().edit(writes, Edit::replace(expected)))?;
            assert!(apart(&expected, &model.forward(&tokens)?)? > CLEAR, "{name} does something");
            for error in [ErrorTerm::Recomputed, ErrorTerm::frozen(&tokens)] {
                let plan = model.splice(&dictionary, error)?.edit(acts.as_str(), edit.clone());
                assert_close(&logits(&model, &tokens, &plan)?, &expected, REORDERED, &format!("{name} {plan}"));
            }
        }
        // Steering is the same in the model itself.
        let added = model.splice(&dictionary, ErrorTerm::Recomputed)?;
        let added = added.edit(acts.as_str(), Edit::add(number(2.)?).feature(5).pos(2..));
        let steered = HookPlan::new().edit(writes, dictionary.steer(&model, 5, 2.)?.pos(2..));
        assert_close(&logits(&model, &tokens, &steered)?, &logits(&model, &tokens, &added)?, REORDERED, "steering");
    }
    Ok(())
}

#[test]
fn an_edit_upstream_passes_exactly_or_through_features_only() -> Result<()> {
    let model = model();
    for tokens in [tokens(), padded()] {
        for dictionary in dictionaries() {
            let (reads, writes, _) = points(&dictionary);
            let point: HookPoint = if writes == HookPoint::Embed { HookPoint::Tokens } else { HookPoint::Embed };
            let edit = match point {
                HookPoint::Tokens => Edit::custom("next", |ids, _| ids + 1.),
                _ => Edit::scale(1.5).pos(2..),
            };
            let upstream = HookPlan::new().edit(point, edit.clone());
            let recomputed = model.splice(&dictionary, ErrorTerm::Recomputed)?.edit(point, edit.clone());
            let expected = logits(&model, &tokens, &upstream)?;
            assert_close(&logits(&model, &tokens, &recomputed)?, &expected, REORDERED, &format!("{recomputed}"));
            if dictionary.expects().head.is_some() {
                continue;
            }
            // A frozen error stays that of the plain run: what is written is recon(x') + (y - recon(x)).
            let (x, y) = (captured(&model, &tokens, reads)?, captured(&model, &tokens, writes)?);
            let edited = model.run_with_hooks(&tokens, upstream.clone().capture(reads))?.1.get(reads)?;
            let written = (dictionary.reconstruct(&edited)? + (y - dictionary.reconstruct(&x)?)?)?;
            let by_hand = upstream.edit(writes, Edit::replace(written));
            let frozen = model.splice(&dictionary, ErrorTerm::frozen(&tokens))?.edit(point, edit);
            let expected_frozen = logits(&model, &tokens, &by_hand)?;
            assert_close(&logits(&model, &tokens, &frozen)?, &expected_frozen, REORDERED, &format!("{frozen}"));
            assert!(apart(&expected, &expected_frozen)? > CLEAR, "the two kinds of error differ: {frozen}");
        }
    }
    Ok(())
}

#[test]
fn several_dictionaries_act_one_after_the_other() -> Result<()> {
    let (model, tokens) = (model(), tokens());
    let all = [transcoder(6, 1, false), autoencoder(3, "resid_post1"), autoencoder(4, "z2"), transcoder(7, 2, true)];
    let mut by_hand = HookPlan::new();
    for dictionary in &all {
        let (reads, writes, _) = points(dictionary);
        let x = model.run_with_hooks(&tokens, by_hand.clone().capture(reads))?.1.get(reads)?;
        by_hand = by_hand.edit(writes, Edit::replace(dictionary.reconstruct(&x)?));
    }
    let plan = model.splice(&all, ErrorTerm::None)?;
    assert_close(&logits(&model, &tokens, &plan)?, &logits(&model, &tokens, &by_hand)?, REORDERED, "all four");
    // No error is left behind for the next run, and edits of two at once are those of both.
    let with_errors = model.splice(&all, ErrorTerm::Recomputed)?;
    assert_close(&logits(&model, &tokens, &with_errors)?, &model.forward(&tokens)?, REORDERED, "with errors");
    assert_close(&logits(&model, &tokens, &plan)?, &logits(&model, &tokens, &by_hand)?, REORDERED, "and again");
    Ok(())
}

#[test]
fn gradients_of_features_are_finite_differences() -> Result<()> {
    const STEP: f64 = 1e-2;
    /// Rounding of two losses over a small step, and the share by which the loss bends within it.
    const DIFFERENCES: f32 = 1e-3;
    let (model, tokens) = (model(), tokens());
    let options = RunOptions { loss: Loss::Mean, ..Default::default() };
    for dictionary in dictionaries() {
        let (_, _, acts) = points(&dictionary);
        for error in [ErrorTerm::None, ErrorTerm::Recomputed, ErrorTerm::frozen(&tokens)] {
            let plan = model.splice(&dictionary, error)?;
            let run = model.run(&tokens, plan.clone().watch(acts.as_str()), &options)?;
            let gradient = run.taps.gradients(&run.loss()?)?.get(acts.as_str())?;
            assert_eq!(gradient.dims(), [2, 6, FEATURES]);
            for feature in [0, 11, 31] {
                let loss = |sign: f64| -> Result<f32> {
                    let step =
                        Edit::add(Tensor::new((sign * STEP) as f32, &Device::Cpu)?).feature(feature).pos(3).batch(1);
                    Ok(model
                        .run(&tokens, plan.clone().edit(acts.as_str(), step), &options)?
                        .loss()?
                        .to_scalar::<f32>()?)
                };
                let slope = (loss(1.)? - loss(-1.)?) / (2. * STEP as f32);
                let got = gradient.get(1)?.get(3)?.get(feature as usize)?.to_scalar::<f32>()?;
                assert!((got - slope).abs() < DIFFERENCES, "{plan}, feature {feature}: {got}, by differences {slope}");
            }
        }
    }
    Ok(())
}

/// With an error term nothing but features passes gradients on: the error is detached.
#[test]
fn gradients_do_not_pass_the_error() -> Result<()> {
    let (model, tokens) = (model(), tokens());
    let dictionary = autoencoder(3, "resid_post1");
    let of = |plan: HookPlan| -> Result<Tensor> {
        let options = RunOptions { stop_at_layer: Some(2), ..Default::default() };
        let run = model.run(&tokens, plan.watch(("resid_post", 1)), options)?;
        run.taps.gradients(&run.resid()?.sum_all()?)?.get(("resid_post", 1))
    };
    let without = of(model.splice(&dictionary, ErrorTerm::None)?)?;
    for error in [ErrorTerm::Recomputed, ErrorTerm::frozen(&tokens)] {
        assert_close(&of(model.splice(&dictionary, error)?)?, &without, REORDERED, "as without the error");
    }
    assert!(apart(&without, &without.ones_like()?)? > CLEAR, "the features' gradient is not the model's own");
    Ok(())
}
