//! Sweeps, attributions and patches over features of spliced dictionaries, against one run each.

use candle_lens::Result;
use candle_lens::hooks::AxisName::{Feature, Pos};
use candle_lens::prelude::*;

use super::{FEATURES, autoencoder, cross_layer, logits, model, transcoder};
use crate::support::sentence::sentence;
use crate::support::tolerance::VISIBLE;

/// Sweeps compute runs in parts, so that sums have another order than in whole runs.
const TOLERANCE: f32 = 2e-5;

fn pair() -> (Tokens, Tokens) {
    let of = |id: u32| Tokens::from_rows(vec![vec![1, 2, id, 4, 5, 6], vec![7, 8, 9, id + 7, 11, 12]]).unwrap();
    (of(3), of(9))
}

fn metric(model: &HookedTransformer) -> Result<Metric> {
    Ok(Metric::logit_diff(&model.answers([(3u32, 11u32), (4, 12)])?))
}

/// The difference of each prompt's answers under a plan, the mean.
fn under(model: &HookedTransformer, tokens: &Tokens, plan: &HookPlan) -> Result<f32> {
    let logits = logits(model, tokens, plan)?.narrow(1, tokens.pos() - 1, 1)?.squeeze(1)?.to_vec2::<f32>()?;
    Ok(((logits[0][3] - logits[0][11]) + (logits[1][4] - logits[1][12])) / 2.)
}

/// Each case: the dictionaries, and the points that are swept.
fn cases() -> Vec<(Vec<Dictionary>, Vec<String>)> {
    let inside = |point: &str| format!("{point}.hook_sae_acts_post");
    vec![
        (
            vec![autoencoder(4, "z1"), transcoder(6, 2, true)],
            vec![inside("blocks.1.attn.hook_z"), inside("blocks.2.hook_mlp_out")],
        ),
        (
            vec![autoencoder(3, "resid_post0"), transcoder(7, 1, false)],
            vec![inside("blocks.0.hook_resid_post"), "blocks.1.ln2.hook_normalized".into()],
        ),
        // What layer 2 writes needs features of all layers, so that every run is a whole one.
        (
            cross_layer::layers(1.),
            vec![inside("blocks.0.hook_mlp_out"), inside("blocks.2.hook_mlp_out"), "blocks.1.attn.hook_z".into()],
        ),
    ]
}

#[test]
fn sweeps_are_runs_one_by_one() -> Result<()> {
    let (model, (clean, corrupted)) = (model(), pair());
    for (dictionaries, points) in cases() {
        for error in [ErrorTerm::None, ErrorTerm::Recomputed] {
            let plan = model.splice(&dictionaries, error)?;
            let experiment = Experiment::with_splices(&model, &plan, &clean, &corrupted, metric(&model)?)?;
            for name in &points {
                let source = model.run_with_hooks(&clean, plan.clone().capture(name.as_str()))?.1.get(name.as_str())?;
                let is_feature = name.ends_with("acts_post");
                let axes: &[AxisName] = if is_feature { &[Pos, Feature] } else { &[Pos] };
                let swept = experiment.sweep(name.as_str(), axes)?;
                let mut moved = 0f32;
                for (index, value) in swept.raw.values().indexed_iter() {
                    // Every position, and some of the features.
                    if is_feature && index[1] % 5 != 0 {
                        continue;
                    }
                    let mut edit = Edit::replace(source.clone()).pos(index[0] as isize..index[0] as isize + 1);
                    if is_feature {
                        edit = edit.feature(index[1] as isize..index[1] as isize + 1);
                    }
                    let expected = under(&model, &corrupted, &plan.clone().edit(name.as_str(), edit))?;
                    assert!(
                        (value - expected).abs() < TOLERANCE,
                        "{plan}, {name} {index:?}: {value}, alone {expected}"
                    );
                    moved = moved.max((value - swept.corrupted).abs());
                }
                assert!(moved > VISIBLE, "{plan}: patching {name} changes something");
            }
        }
    }
    Ok(())
}

/// Frozen errors are those of the clean run, sliced to the positions that are run.
#[test]
fn ablations_under_frozen_errors_are_runs_one_by_one() -> Result<()> {
    let (model, (clean, corrupted)) = (model(), pair());
    for (dictionaries, points) in cases() {
        let plan = model.splice(&dictionaries, ErrorTerm::frozen(&clean))?;
        let experiment = Experiment::with_splices(&model, &plan, &clean, Baseline::Zero, metric(&model)?)?;
        for name in points.iter().filter(|name| name.ends_with("acts_post")) {
            let swept = experiment.sweep(name.as_str(), &[Pos, Feature])?;
            assert_eq!(swept.raw.shape(), [6, FEATURES]);
            for (index, value) in swept.raw.values().indexed_iter().filter(|(index, _)| index[1] % 7 == 0) {
                let edit = Edit::zero().pos(index[0] as isize).feature(index[1] as isize);
                let expected = under(&model, &clean, &plan.clone().edit(name.as_str(), edit))?;
                assert!((value - expected).abs() < TOLERANCE, "{plan}, {name} {index:?}: {value}, alone {expected}");
            }
        }
        let other = Experiment::with_splices(&model, &plan, &clean, &corrupted, metric(&model)?);
        sentence(other, &["error term", "2 prompts of 6 tokens", "other ones are run", "ErrorTerm::Recomputed"]);
    }
    Ok(())
}

#[test]
fn attributions_of_features_sum_to_their_effect() -> Result<()> {
    /// The error of a quadrature of 40 steps.
    const QUADRATURE: f32 = 2e-3;
    let (model, (clean, corrupted)) = (model(), pair());
    for (dictionaries, points) in cases() {
        // Recomputed errors of later dictionaries would pass changes that gradients do not.
        let plan = model.splice(&dictionaries, ErrorTerm::None)?;
        let experiment = Experiment::with_splices(&model, &plan, &clean, &corrupted, metric(&model)?)?;
        let name = points[0].as_str();
        let other = model.run_with_hooks(&corrupted, plan.clone().capture(name))?.1.get(name)?;
        let at_baseline = under(&model, &clean, &plan.clone().edit(name, Edit::replace(other)))?;
        let effect = under(&model, &clean, &plan)? - at_baseline;
        let attributed = experiment.integrated_gradients(name, IgOptions { steps: 40, ..Default::default() })?;
        let sum: f32 = attributed.sweep(name, &[Feature])?.values.values().iter().sum();
        assert!((sum - effect).abs() < QUADRATURE && effect.abs() > QUADRATURE, "{name}: {sum}, by runs {effect}");
        let estimated = experiment.attribution(name)?.sweep(name, &[Feature])?;
        assert_eq!(estimated.raw.shape(), [FEATURES]);
    }
    Ok(())
}

#[test]
fn paths_pass_through_what_is_spliced() -> Result<()> {
    let (model, (clean, corrupted)) = (model(), pair());
    // With error terms the dictionaries leave everything as it is, so that paths are those of the model alone.
    let plain = Experiment::new(&model, &clean, &corrupted, metric(&model)?)?;
    let (senders, receivers) = ([Sender::Head(0, 1), Sender::Head(1, 0)], [Receiver::V(2, 0), Receiver::Final]);
    let paths = |experiment: &Experiment| experiment.path_patch(&senders, &receivers, Mlps::Recomputed);
    for (dictionaries, _) in cases() {
        let plan = model.splice(&dictionaries, ErrorTerm::Recomputed)?;
        if dictionaries.iter().any(|dictionary| dictionary.expects().writes() == "z1".parse().ok()) {
            continue;
        }
        let experiment = Experiment::with_splices(&model, &plan, &clean, &corrupted, metric(&model)?)?;
        for (got, expected) in paths(&experiment)?.raw.values().iter().zip(&paths(&plain)?.raw.values()) {
            assert!((got - expected).abs() < TOLERANCE, "{plan}: {got} {expected}");
        }
    }
    Ok(())
}
