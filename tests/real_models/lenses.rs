//! The Jacobian lens of SmolLM2, whose blocks have grouped queries and gates, against small steps of the model; and circuits by EAP-GP.

use candle_lens::Result;
use candle_lens::candle::{IndexOp, Tensor};
use candle_lens::circuits::EdgeMethod;
use candle_lens::hooks::{Edit, HookPlan};
use candle_lens::lenses::{JacobianLens, JacobianOptions, Lens, LensOptions, LogitLens};
use candle_lens::model::{HookedTransformer, RunOptions};
use candle_lens::random::Random;
use candle_lens::tasks::Task;

use super::checks::{IOI, unprocessed};
use crate::circuits::gradient_path::areas;
use crate::support::sentence::sentence;

/// How far slopes by finite differences of f32 are from gradients, as a share of their length.
const STEPS: f32 = 0.02;

const TEXT: &str = "The river rose in the spring, and the people of the valley moved their animals to the hills. In the summer they \
                    came back and cut the hay.";

/// What comes of a direction, added at each position that counts by itself, at all of them together.
fn moved(model: &HookedTransformer, layer: usize, direction: &Tensor, first: usize) -> Result<Tensor> {
    let tokens = model.to_tokens(TEXT)?;
    let options = || RunOptions { stop_at_layer: Some(model.cfg().n_layers as isize), ..Default::default() };
    let counted = first..tokens.pos() - 1;
    let mut sum: Option<Tensor> = None;
    for at in counted.clone() {
        let plan = HookPlan::new().edit(("resid_post", layer), Edit::add(direction.clone()).pos(at));
        let end = model.run(&tokens, plan, options())?.resid()?.i((0, counted.clone()))?.sum(0)?;
        sum = Some(match sum {
            Some(sum) => (sum + end)?,
            None => end,
        });
    }
    Ok((sum.expect("positions") / counted.len() as f64)?)
}

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn the_jacobian_lens_is_the_slope_of_the_model() -> Result<()> {
    const LAYER: usize = 24;
    let model = unprocessed();
    let options = JacobianOptions { layers: LAYER.into(), ..Default::default() };
    let lens = JacobianLens::fit(model, TEXT, options)?;
    let direction = Random::new(0).normal(model.cfg().d_model)?;
    let (_, cache) = model.run_with_cache(TEXT)?;
    let length = cache.get(("resid_post", LAYER))?.i((0, 20))?.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>()?;
    // A hundredth of the residual stream, both ways.
    let step = f64::from(length) * 0.01 / (model.cfg().d_model as f64).sqrt();
    let there = moved(model, LAYER, &(&direction * step)?, 16)?;
    let back = moved(model, LAYER, &(&direction * -step)?, 16)?;
    let slope = ((there - back)? / (2. * step))?;
    let by_lens = lens.matrix(LAYER as isize)?.matmul(&direction.unsqueeze(1)?)?.squeeze(1)?;
    let norm = |x: &Tensor| x.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>();
    let apart = norm(&(&slope - &by_lens)?)? / norm(&slope)?;
    assert!(apart < STEPS, "{apart}");
    // In another text, what it says is nearer to the model's own prediction than what the logit lens says.
    let read = |lens: &dyn Fn(LensOptions) -> Result<f32>| lens(LensOptions::default());
    let kl = |reading: candle_lens::lenses::LensReading, at: isize| -> Result<f32> {
        let all = reading.kl()?.select("component", at)?;
        Ok(all.values().iter().sum::<f32>() / all.values().len() as f32)
    };
    let ours = read(&|options| kl(lens.read(model, IOI, options)?, 0))?;
    let logit = read(&|options| kl(LogitLens.read(model, IOI, options)?, LAYER as isize + 1))?;
    println!("KL at layer {LAYER}: Jacobian lens {ours:.3}, logit lens {logit:.3}");
    assert!(ours < logit, "{ours} {logit}");
    sentence(lens.vectors(super::checks::processed(), [" Mary"], LAYER as isize), &["fold_ln"]);
    Ok(())
}

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn circuits_by_eap_gp_beside_eap_ig() -> Result<()> {
    let methods = [EdgeMethod::EapIgInputs { steps: 5 }, EdgeMethod::EapGp { steps: 5 }];
    for task in [Task::Ioi, Task::Sva] {
        let areas = areas(unprocessed(), task, (2, &[0., 0.01, 0.05, 0.2, 1.]), &methods)?;
        assert!(areas.iter().all(|area| area.is_finite()), "{task}: {areas:?}");
    }
    Ok(())
}
