//! Sweeps over layers and scales, against one run for each.

use candle_lens::Result;
use candle_lens::experiment::{Baseline, Experiment};
use candle_lens::hooks::Selection;
use candle_lens::metrics::Metric;
use candle_lens::model::HookedTransformer;
use candle_lens::steering::{Steering, SteeringVector};
use candle_lens::tokens::Tokens;

use super::{SIDES, direction, kinds, prompts, random};
use crate::support::tolerance::TWO_WAYS;

const SCALES: [f64; 3] = [0., -0.5, 2.];

fn metric(model: &HookedTransformer) -> Result<Metric> {
    Ok(Metric::logit_diff(&model.answers([(4u32, 19u32), (5, 20), (6, 21)])?))
}

fn check(
    name: &str,
    model: &HookedTransformer,
    (experiment, base): (&Experiment, &Tokens),
    steering: &Steering,
) -> Result<()> {
    let swept = experiment.steering_sweep(steering, SCALES)?;
    let metric = metric(model)?;
    for (i, vector) in steering.vectors().iter().enumerate() {
        for (j, scale) in SCALES.into_iter().enumerate() {
            let one = with_vector(steering, vector, scale);
            let under = model.run_with_hooks(base, one.plan(model, base)?)?.0;
            let answers = model.answers([(4u32, 19u32), (5, 20), (6, 21)])?;
            let expected = answers.logit_diff(&under, base)?;
            for prompt in 0..3 {
                let got = swept.per_prompt.at(&[i as isize, j as isize, prompt])?;
                let wanted = expected.at(&[prompt])?;
                assert!((got - wanted).abs() < TWO_WAYS, "{name}: {one:?}, prompt {prompt}: {got}, not {wanted}");
            }
        }
    }
    assert_eq!(swept.raw.axes()[1].name, "scale");
    assert!(swept.raw.title.starts_with(metric.name()), "{}", swept.raw.title);
    Ok(())
}

/// The same positions and norm for one vector at one scale.
fn with_vector(steering: &Steering, vector: &SteeringVector, scale: f64) -> Steering {
    let text = steering.to_string();
    let one = vector.steer(scale);
    let one = if text.contains("norm kept") { one.keeping_norm() } else { one };
    match text {
        text if text.contains("at the last") => one.last(),
        text if text.contains("pos 2") => one.at(Selection::new().pos(2)),
        _ => one,
    }
}

#[test]
fn sweeps_are_runs_one_by_one() -> Result<()> {
    for (name, model) in kinds()? {
        for side in SIDES {
            let (clean, corrupted) = (prompts(1, side)?, prompts(9, side)?);
            let vectors = (0..model.cfg().n_layers).map(|layer| direction(&model, layer, 3));
            let all = Steering::add(vectors.collect::<Result<Vec<_>>>()?, 1);
            let denoising = Experiment::new(&model, &clean, &corrupted, metric(&model)?)?;
            let ablation = Experiment::new(&model, &clean, Baseline::Zero, metric(&model)?)?;
            for steering in
                [all.clone(), all.clone().last(), all.clone().keeping_norm(), all.at(Selection::new().pos(2))]
            {
                let what = format!("{name}, {side:?}");
                check(&what, &model, (&denoising, &corrupted), &steering)?;
                check(&what, &model, (&denoising.clone().noising()?, &clean), &steering)?;
                check(&what, &model, (&ablation, &clean), &steering)?;
            }
        }
    }
    Ok(())
}

/// Several directions at one point are swept one by one, and are called by their names.
#[test]
fn directions_at_one_point_are_apart() -> Result<()> {
    let (name, model) = kinds()?.remove(0);
    let (clean, corrupted) = (prompts(1, None)?, prompts(9, None)?);
    let at = |point: &'static str, seed| {
        Ok::<_, candle_lens::Error>(SteeringVector::new(&model, (point, 0), &random(&model, seed)?)?.named(point))
    };
    let steering = Steering::add([at("resid_post", 1)?, at("resid_post", 2)?, at("mlp_out", 3)?], 1);
    let experiment = Experiment::new(&model, &clean, &corrupted, metric(&model)?)?;
    check(&name, &model, (&experiment, &corrupted), &steering)?;
    let swept = experiment.steering_sweep(&steering, SCALES)?;
    assert_eq!(swept.raw.labels("direction")?[2], "mlp_out at blocks.0.hook_mlp_out");
    Ok(())
}
