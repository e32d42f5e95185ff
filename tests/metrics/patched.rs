//! Patched runs under metrics at every kind of positions, against a run of the whole model for each site, with the metric computed
//! by hand from all of its logits.

use candle_lens::Result;
use candle_lens::experiment::{Baseline, Experiment};
use candle_lens::hooks::{AxisName, Edit, HookPlan};
use candle_lens::patching::{Mlps, PatchSite, Receiver, Sender, Untouched};

use super::by_hand::{Case, Kind, Logits, assert_near, cases, every_kind_of_positions, every_metric, logits};
use crate::support::tolerance::REORDERED;

/// All logits of the corrupted run with the clean run's activation at a point, at one position.
fn patched(case: &Case, point: (&str, isize), pos: usize) -> Result<Logits> {
    let (_, cache) = case.model.run_with_hooks(&case.clean, HookPlan::new().capture(point))?;
    let edit = Edit::replace(cache.get(point)?).pos(pos as isize..pos as isize + 1);
    logits(&case.model.run_with_hooks(&case.corrupted, HookPlan::new().edit(point, edit))?.0)
}

fn some(case: &Case, names: &[&str]) -> Result<Vec<Kind>> {
    Ok(every_metric(&case.model)?.into_iter().filter(|kind| names.contains(&kind.name)).collect())
}

#[test]
fn every_metric_at_every_kind_of_positions_is_that_by_hand() -> Result<()> {
    for case in cases()? {
        let (clean, corrupted) = (case.model.forward(&case.clean)?, case.model.forward(&case.corrupted)?);
        let (clean, corrupted) = (logits(&clean)?, logits(&corrupted)?);
        for kind in every_metric(&case.model)? {
            for (positions, chosen) in every_kind_of_positions(&case.clean) {
                if !kind.has(&case.clean, &chosen) {
                    continue;
                }
                let what = format!("{} at {positions}, {}", kind.name, case.name);
                let metric = kind.metric.clone().at(positions);
                let mean = |of: Vec<f64>| of.iter().sum::<f64>() / 3.;
                let expected = kind.of(&corrupted, &clean, &case.clean, &chosen);
                // Ranks and accuracies may be equal in both runs, which an experiment refuses.
                if let Ok(patching) = Experiment::new(&case.model, &case.clean, &case.corrupted, metric.clone()) {
                    assert_near(patching.clean(), mean(kind.of(&clean, &clean, &case.clean, &chosen)), &what);
                    assert_near(patching.corrupted(), mean(expected.clone()), &what);
                } else {
                    assert_eq!(mean(expected), mean(kind.of(&clean, &clean, &case.clean, &chosen)), "{what}");
                }
                if kind.name.contains("clean") || kind.name == "kl" {
                    assert!(metric.measure(&case.model, &case.clean).is_err(), "{what} needs two runs");
                    continue;
                }
                let measured = metric.measure(&case.model, &case.clean)?;
                for (got, expected) in measured.values().iter().zip(kind.of(&clean, &clean, &case.clean, &chosen)) {
                    assert_near(*got, expected, &what);
                }
            }
        }
    }
    Ok(())
}

const POINTS: [&str; 8] = ["resid_pre", "k", "q", "z", "resid_mid", "attn_out", "mlp_out", "resid_post"];

#[test]
fn sweeps_equal_whole_runs() -> Result<()> {
    let mut skipped = 0;
    for case in cases()? {
        let clean = logits(&case.model.forward(&case.clean)?)?;
        let kinds = some(&case, &["logit_diff", "mean_loss", "kl"])?;
        for point in POINTS {
            let mut by_site = Vec::new();
            for layer in 0..case.model.cfg().n_layers as isize {
                for pos in 0..case.clean.pos() {
                    by_site.push(patched(&case, (point, layer), pos)?);
                }
            }
            for (kind, (positions, chosen)) in
                kinds.iter().flat_map(|kind| every_kind_of_positions(&case.clean).into_iter().map(move |p| (kind, p)))
            {
                if !kind.has(&case.clean, &chosen) {
                    continue;
                }
                let metric = kind.metric.clone().at(positions.clone());
                let patching = Experiment::new(&case.model, &case.clean, &case.corrupted, metric)?;
                let result = patching.sweep(point, &[AxisName::Layer, AxisName::Pos])?;
                skipped += result.untouched.iter().filter(|why| **why == Some(Untouched::NoPath)).count();
                let expected = by_site.iter().flat_map(|site| kind.of(site, &clean, &case.clean, &chosen));
                for (number, (got, expected)) in result.per_prompt.values().iter().zip(expected).enumerate() {
                    let what = format!("{} at {positions}, {point}, {}, number {number}", kind.name, case.name);
                    assert_near(*got, expected, &what);
                }
            }
        }
    }
    assert!(skipped > 100, "hardly any site was skipped because nothing that is read depends on it: {skipped}");
    Ok(())
}

/// With a small budget few runs are computed at once, and the logits of one run at a time.
#[test]
fn a_small_budget_changes_nothing() -> Result<()> {
    for case in cases()? {
        let metric = every_metric(&case.model)?.pop().expect("metrics").metric;
        let metric = if case.name == "causal" { metric } else { candle_lens::metrics::Metric::mean_loss() };
        let Ok(patching) = Experiment::new(&case.model, &case.clean, &case.corrupted, metric) else { continue };
        let sweep = |patching: &Experiment| patching.sweep("resid_pre", &[AxisName::Layer, AxisName::Pos]);
        let (whole, pieces) = (sweep(&patching)?, sweep(&patching.clone().budget(40_000))?);
        for (whole, piece) in whole.per_prompt.values().iter().zip(&pieces.per_prompt.values()) {
            assert!((whole - piece).abs() < REORDERED, "{}: {whole} and {piece}", case.name);
        }
    }
    Ok(())
}

#[test]
fn ablations_plans_and_cumulative_sites_equal_whole_runs() -> Result<()> {
    for case in cases()? {
        let clean = logits(&case.model.forward(&case.clean)?)?;
        let zeroed = |points: &[(&str, isize)]| -> Result<Logits> {
            let plan = points.iter().fold(HookPlan::new(), |plan, &point| plan.edit(point, Edit::zero()));
            logits(&case.model.run_with_hooks(&case.clean, plan)?.0)
        };
        for kind in some(&case, &["logit_diff", "loss", "custom"])? {
            for (positions, chosen) in every_kind_of_positions(&case.clean) {
                let what = format!("{} at {positions}, {}", kind.name, case.name);
                let metric = kind.metric.clone().at(positions.clone());
                let ablation = Experiment::new(&case.model, &case.clean, Baseline::Zero, metric.clone())?;
                let points = [("mlp_out", 0), ("z", 1), ("attn_out", 0)];
                let sites =
                    points.iter().map(|&point| PatchSite::new(&case.model, point)).collect::<Result<Vec<_>>>()?;
                let (each, together) = (ablation.sites(&sites)?, ablation.cumulative(&sites)?);
                for number in 0..points.len() {
                    let expected = kind.of(&zeroed(&points[number..=number])?, &clean, &case.clean, &chosen);
                    let more = kind.of(&zeroed(&points[..=number])?, &clean, &case.clean, &chosen);
                    for b in 0..3 {
                        assert_near(each.per_prompt.values()[[number, b]], expected[b], &what);
                        assert_near(together.per_prompt.values()[[number, b]], more[b], &what);
                    }
                }
                let patching = Experiment::new(&case.model, &case.clean, &case.corrupted, metric)?.noising()?;
                let plan = HookPlan::new().edit(("mlp_out", 1), Edit::zero());
                let planned = patching.plans([("without MLP 1", plan)])?;
                let expected = kind.of(&zeroed(&[("mlp_out", 1)])?, &clean, &case.clean, &chosen);
                for (got, expected) in planned.per_prompt.values().iter().zip(expected) {
                    assert_near(*got, expected, &what);
                }
            }
        }
    }
    Ok(())
}

/// The direct path from the first MLP to the logits adds what that MLP writes differently to the final residual stream.
#[test]
fn paths_equal_whole_runs() -> Result<()> {
    for case in cases()? {
        if case.clean.is_padded() {
            continue;
        }
        let last = case.model.cfg().n_layers as isize - 1;
        let clean = logits(&case.model.forward(&case.clean)?)?;
        let written = |tokens| -> Result<_> {
            let plan = HookPlan::new().capture(("mlp_out", 0)).capture(("resid_post", last));
            let (_, cache) = case.model.run_with_hooks(tokens, plan)?;
            Ok((cache.get(("mlp_out", 0))?, cache.get(("resid_post", last))?))
        };
        let ((other, _), (own, resid)) = (written(&case.clean)?, written(&case.corrupted)?);
        let changed = Edit::replace((resid + (other - own)?)?);
        let plan = HookPlan::new().edit(("resid_post", last), changed);
        let by_hand = logits(&case.model.run_with_hooks(&case.corrupted, plan)?.0)?;
        for kind in some(&case, &["logit_diff", "mean_loss", "kl"])? {
            for (positions, chosen) in every_kind_of_positions(&case.clean) {
                if !kind.has(&case.clean, &chosen) {
                    continue;
                }
                let metric = kind.metric.clone().at(positions.clone());
                let patching = Experiment::new(&case.model, &case.clean, &case.corrupted, metric)?;
                let result = patching.path_patch(&[Sender::Mlp(0)], &[Receiver::Final], Mlps::Frozen)?;
                let expected = kind.of(&by_hand, &clean, &case.clean, &chosen);
                for (got, expected) in result.per_prompt.values().iter().zip(expected) {
                    assert_near(*got, expected, &format!("{} at {positions}, {}", kind.name, case.name));
                }
            }
        }
    }
    Ok(())
}
