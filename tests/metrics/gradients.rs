//! Gradients under metrics at every kind of positions, against the gradients of the same metric computed by hand from all logits;
//! integrated gradients against whole runs.

use candle_lens::Result;
use candle_lens::candle::{D, IndexOp, Tensor};
use candle_lens::experiment::Experiment;
use candle_lens::hooks::{AxisName, Edit, Gradients, HookPlan};
use candle_lens::metrics::Metric;
use candle_lens::model::RunOptions;
use candle_lens::tokens::Tokens;

use super::by_hand::{Case, Chosen, assert_near, cases, every_kind_of_positions, every_metric, logits, right, wrong};
use crate::support::assert_close;

/// How far a gradient may be from the one by hand, which is summed in another order.
const TOLERANCE: f32 = 1e-4;

/// The error of a quadrature of 12 steps, relative to the effect above 1.
const QUADRATURE: f64 = 2e-2;

/// The logit difference, or the loss of the next tokens: the mean over the positions of each prompt, summed over prompts.
fn scalar(logits: &Tensor, tokens: &Tokens, chosen: &Chosen, is_loss: bool) -> Result<Tensor> {
    let mut sum = Tensor::zeros((), logits.dtype(), logits.device())?;
    for (b, chosen) in chosen.iter().enumerate() {
        let last = tokens.last_positions()[b];
        let chosen: Vec<usize> = chosen.iter().copied().filter(|&p| !is_loss || p < last).collect();
        for &p in &chosen {
            let row = logits.i((b, p))?;
            let value = match is_loss {
                true => (row.exp()?.sum(D::Minus1)?.log()? - row.get(tokens.id(b, p + 1) as usize)?)?,
                false => (row.get(right(b))? - row.get(wrong(b))?)?,
            };
            sum = (sum + (value / chosen.len() as f64)?)?;
        }
    }
    Ok(sum)
}

fn by_hand(case: &Case, tokens: &Tokens, points: &[&str], chosen: &Chosen, is_loss: bool) -> Result<Gradients> {
    let plan = points.iter().fold(HookPlan::new(), |plan, &point| plan.watch(point));
    let run = case.model.without_weight_gradients().run(tokens, plan, RunOptions::default())?;
    run.taps.gradients(&scalar(&run.logits.expect("asked for"), &case.clean, chosen, is_loss)?)
}

/// The two metrics that [`scalar`] knows.
fn metrics(case: &Case) -> Result<Vec<(Metric, bool)>> {
    let kinds = every_metric(&case.model)?.into_iter();
    Ok(kinds
        .filter(|kind| ["logit_diff", "mean_loss"].contains(&kind.name))
        .map(|kind| (kind.metric, kind.is_next))
        .collect())
}

#[test]
fn gradients_and_attributions_are_those_of_the_metric_by_hand() -> Result<()> {
    for case in cases()? {
        for (metric, is_loss) in metrics(&case)? {
            for (positions, chosen) in every_kind_of_positions(&case.clean) {
                let last = case.clean.last_positions();
                if is_loss && chosen.iter().zip(&last).any(|(chosen, last)| chosen.iter().all(|p| p == last)) {
                    continue;
                }
                let metric = metric.clone().at(positions);
                let what = format!("{metric:?} of {}", case.name);
                // With the final norm among the points, the run computes all logits.
                for points in [&["resid_pre", "z", "k", "mlp_out"][..], &["resid_mid", "ln_final.hook_normalized"]] {
                    let expected = by_hand(&case, &case.clean, points, &chosen, is_loss)?;
                    let (_, got) = case.model.run_with_grads(&case.clean, &metric, points)?;
                    assert_eq!(got.points(), expected.points());
                    for point in got.points() {
                        let zero = |gradients: &Gradients| gradients.zero_by_structure().contains(&point);
                        assert_eq!(zero(&got), zero(&expected), "{what}, {point}");
                        if !zero(&got) {
                            assert_close(
                                &got.get(point)?,
                                &expected.get(point)?,
                                TOLERANCE,
                                &format!("{what}, {point}"),
                            );
                        }
                    }
                }
                check_attribution(&case, metric, &chosen, is_loss, &what)?;
            }
        }
    }
    Ok(())
}

/// Each estimate is the metric of the patched run plus the gradient by hand times the difference of the activations.
fn check_attribution(case: &Case, metric: Metric, chosen: &Chosen, is_loss: bool, what: &str) -> Result<()> {
    let patching = Experiment::new(&case.model, &case.clean, &case.corrupted, metric)?;
    let attribution = patching.attribution(["resid_pre"])?;
    let estimated = attribution.sweep("resid_pre", &[AxisName::Layer, AxisName::Pos])?;
    let gradients = by_hand(case, &case.corrupted, &["resid_pre"], chosen, is_loss)?;
    let (_, cache) = case.model.run_with_hooks(&case.clean, HookPlan::new().capture("resid_pre"))?;
    let base = patching.plans([("nothing", HookPlan::new())])?;
    for layer in 0..case.model.cfg().n_layers {
        let point = ("resid_pre", layer as isize);
        let difference = (cache.get(point)? - gradients.activation(point)?)?;
        let products = (gradients.get(point)? * difference)?.sum(2)?.to_vec2::<f32>()?;
        for (b, products) in products.iter().enumerate() {
            for (pos, product) in products.iter().enumerate() {
                let expected = base.per_prompt.values()[[0, b]] + product;
                let got = estimated.per_prompt.values()[[layer, pos, b]];
                assert_near(got, f64::from(expected), &format!("{what}, layer {layer}, position {pos}"));
            }
        }
    }
    Ok(())
}

#[test]
fn integrated_gradients_sum_to_what_whole_runs_differ_by() -> Result<()> {
    for case in cases()? {
        let clean = logits(&case.model.forward(&case.clean)?)?;
        let (_, cache) = case.model.run_with_hooks(&case.corrupted, HookPlan::new().capture("mlp_out"))?;
        let baseline = Edit::replace(cache.get(("mlp_out", 0))?);
        let plan = HookPlan::new().edit(("mlp_out", 0), baseline);
        let replaced = logits(&case.model.run_with_hooks(&case.clean, plan)?.0)?;
        let kinds = every_metric(&case.model)?.into_iter();
        for kind in kinds.filter(|kind| ["log_prob", "custom", "mean_loss"].contains(&kind.name)) {
            for (positions, chosen) in every_kind_of_positions(&case.clean) {
                if !kind.has(&case.clean, &chosen) {
                    continue;
                }
                let metric = kind.metric.clone().at(positions);
                let experiment = Experiment::new(&case.model, &case.clean, &case.corrupted, metric.clone())?;
                let attributed = experiment.integrated_gradients([("mlp_out", 0)], 12)?;
                let sums = attributed.get(("mlp_out", 0))?.flatten_from(1)?.sum(1)?.to_vec1::<f32>()?;
                let at = |logits| kind.of(logits, &clean, &case.clean, &chosen);
                for (b, (reached, base)) in at(&clean).into_iter().zip(at(&replaced)).enumerate() {
                    let what = format!("{metric:?} of {}", case.name);
                    assert_near(attributed.effect.values()[[0, b]], reached - base, &what);
                    // The quadrature's own error.
                    let error = (f64::from(sums[b]) - (reached - base)).abs();
                    assert!(
                        error < QUADRATURE * (reached - base).abs().max(1.),
                        "{what}: {} and {}",
                        sums[b],
                        reached - base
                    );
                }
            }
        }
    }
    Ok(())
}
