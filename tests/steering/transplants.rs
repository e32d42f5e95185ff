//! Transplants, against plans by hand and identities.

use candle_lens::Result;
use candle_lens::candle::{DType, Device, IndexOp, Tensor};
use candle_lens::generate::GenerateOptions;
use candle_lens::hooks::{Edit, HookPlan};
use candle_lens::metrics::Metric;
use candle_lens::model::{HookedTransformer, Processing};
use candle_lens::random::Random;
use candle_lens::steering::Transplant;
use candle_lens::tokens::{PaddingSide, Tokens};

use super::{SIDES, kinds, prompts};
use crate::support::assert_close;
use crate::support::fixture::{path, tiny_model};
use crate::support::models::pretrained;
use crate::support::sentence::sentence;
use crate::support::tolerance::{TWO_WAYS, VISIBLE};

/// The state of a prompt behind a layer at its last token but `back`.
fn state(model: &HookedTransformer, tokens: &Tokens, (prompt, layer, back): (usize, usize, usize)) -> Result<Tensor> {
    let (_, cache) = model.run_with_hooks(tokens, HookPlan::new().capture(("resid_post", layer)))?;
    Ok(cache.get(("resid_post", layer))?.i((prompt, tokens.last_positions()[prompt] - back))?)
}

fn last_logits(logits: &Tensor) -> Result<Tensor> {
    Ok(logits.i((.., logits.dim(1)? - 1))?)
}

#[test]
fn transplants_are_edits_by_hand() -> Result<()> {
    for (name, model) in kinds()? {
        for side in SIDES {
            let (from, into) = (prompts(1, side)?, prompts(9, side)?);
            let layers = model.cfg().n_layers;
            let transplant = Transplant::new(&model, &from, &into)?.from_pos(-2)?;
            let sweep = transplant.sweep(Metric::logit(&model, [4u32, 5, 6])?)?;
            for from_layer in 0..layers {
                for into_layer in 0..layers {
                    let left = transplant.prompts();
                    let mut plan = HookPlan::new();
                    for b in 0..3 {
                        let h = state(&model, &from, (b, from_layer, 1))?;
                        plan = plan.edit(("resid_post", into_layer), Edit::replace(h).batch(b).pos(-1));
                    }
                    let expected = last_logits(&model.run_with_hooks(&left, &plan)?.0)?;
                    let got = last_logits(&transplant.logits(from_layer as isize, into_layer as isize)?)?;
                    assert_close(&got, &expected, TWO_WAYS, &format!("{name}, {side:?}, {from_layer} {into_layer}"));
                    let metric = (0..3).map(|b| Ok(expected.i((b, 4 + b))?.to_scalar::<f32>()?));
                    let metric = metric.collect::<Result<Vec<_>>>()?.iter().sum::<f32>() / 3.;
                    let swept = sweep.at(&[from_layer as isize, into_layer as isize])?;
                    assert!((swept - metric).abs() < TWO_WAYS, "{name}, {side:?}: {swept}, not {metric}");
                }
            }
        }
    }
    Ok(())
}

/// A state in its own place, and through the identity map, changes nothing; in another place it does.
#[test]
fn a_state_in_its_own_place_changes_nothing() -> Result<()> {
    for (name, model) in kinds()? {
        for side in SIDES {
            let tokens = prompts(2, side)?;
            for pos in [-1, -2] {
                let own = Transplant::new(&model, &tokens, &tokens)?.from_pos(pos)?.into_pos(pos)?;
                let plain = last_logits(&model.forward(own.prompts())?)?;
                let d = model.cfg().d_model;
                let identity = own.clone().through_affine(
                    &Tensor::eye(d, DType::F32, &Device::Cpu)?,
                    &Tensor::zeros(d, DType::F32, &Device::Cpu)?,
                )?;
                for layer in 0..model.cfg().n_layers as isize {
                    assert_close(&last_logits(&own.logits(layer, layer)?)?, &plain, 0., &name);
                    assert_close(&last_logits(&identity.logits(layer, layer)?)?, &plain, 0., &name);
                }
                let elsewhere = last_logits(&own.logits(0, -1)?)?;
                let change = (elsewhere - &plain)?.abs()?.max_all()?.to_scalar::<f32>()?;
                assert!(change > VISIBLE || pos == -2, "{name}: {change}");
            }
        }
    }
    Ok(())
}

/// Text goes on from the state: it is that of a run of the whole text under the plan.
#[test]
fn text_goes_on_from_the_state() -> Result<()> {
    for (name, model) in kinds()? {
        let (from, into) = (prompts(1, Some(PaddingSide::Right))?, prompts(9, Some(PaddingSide::Right))?);
        let transplant = Transplant::new(&model, &from, &into)?;
        let options = GenerateOptions { max_new_tokens: 6, stop_at_eos: false, ..Default::default() };
        let text = transplant.generate(0, -1, options)?;
        let (logits, _) = model.run_with_hooks(text.tokens()?, transplant.plan(0, -1)?)?;
        let best = logits.argmax(2)?.to_vec2::<u32>()?;
        let length = into.pos();
        for (new, best) in text.new_tokens().iter().zip(&best) {
            assert_eq!(new[..], best[length - 1..length + 5], "{name}");
        }
    }
    Ok(())
}

#[test]
fn models_and_counts_of_prompts_may_differ() -> Result<()> {
    let source = tiny_model(Processing::NONE);
    let target = pretrained(path("families/gpt_neox").to_str().expect("UTF-8"), None)?;
    let (from, into) = (prompts(1, None)?, prompts(9, None)?.row(0));
    let sizes = (source.cfg().d_model, target.cfg().d_model);
    let w = (Random::new(3).normal(sizes)? * 0.3)?;
    let b = Random::new(4).normal(sizes.1)?;
    let transplant = Transplant::between(&source, &from, &target, vec![into.clone()])?.through_affine(&w, &b)?;
    let got = last_logits(&transplant.logits(1, 0)?)?;
    for prompt in 0..3 {
        let h = state(&source, &from, (prompt, 1, 0))?;
        let mapped = (h.unsqueeze(0)?.matmul(&w)?.squeeze(0)? + &b)?;
        let plan = HookPlan::new().edit(("resid_post", 0), Edit::replace(mapped).pos(-1));
        let expected = last_logits(&target.run_with_hooks(vec![into.clone()], &plan)?.0)?;
        assert_close(&got.narrow(0, prompt, 1)?, &expected, TWO_WAYS, "between models");
    }
    // One source for several targets.
    let one = Transplant::between(&source, vec![from.row(0)], &target, prompts(9, None)?)?.through(&w)?;
    assert_eq!(last_logits(&one.logits(0, 0)?)?.dim(0)?, 3);
    let sweep = one.sweep(Metric::logit(&target, [4u32, 5, 6])?)?;
    assert_eq!(sweep.shape(), [source.cfg().n_layers, target.cfg().n_layers]);
    Ok(())
}

#[test]
fn mistakes_are_said_before_anything_runs() -> Result<()> {
    let model = tiny_model(Processing::NONE);
    let (tokens, padded) = (prompts(1, None)?, prompts(1, Some(PaddingSide::Left))?);
    let two = Tokens::from_rows(vec![tokens.row(0), tokens.row(1)])?;
    sentence(Transplant::new(&model, &tokens, &two), &["3 source prompts", "2 target prompts"]);
    let transplant = Transplant::new(&model, &tokens, &tokens)?;
    sentence(transplant.clone().from_pos(6), &["position 6"]);
    sentence(transplant.clone().into_pos(-7), &["-7"]);
    let uneven = Transplant::new(&model, &padded, &tokens)?;
    sentence(uneven.clone().from_pos(2), &["count from the end"]);
    sentence(uneven.from_pos(-5), &["prompt 1 has 4 tokens"]);
    sentence(transplant.plan(0, 2), &["layer"]);
    let d = model.cfg().d_model;
    sentence(transplant.clone().through(&Random::new(1).normal((d, 3))?), &["the map of a transplant"]);
    let wrong = (Tensor::eye(d, DType::F32, &Device::Cpu)? * f64::NAN)?;
    sentence(transplant.clone().through(&wrong), &["not finite"]);
    let plan = GenerateOptions { plan: HookPlan::new().edit(("z", 0), Edit::zero()), ..Default::default() };
    sentence(transplant.generate(0, 0, plan), &["plan"]);
    let other = HookedTransformer::from_pretrained("tiny")?;
    if other.cfg().d_model != d {
        let apart = Transplant::between(&other, "The key", &model, &tokens)?;
        sentence(apart.plan(0, 0), &["give a map"]);
    }
    sentence(transplant.sweep(Metric::logit(&model, [4u32])?), &["answers for 1 prompts"]);
    Ok(())
}
