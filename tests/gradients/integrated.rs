//! Integrated gradients against captum (tests/fixtures/gradients.py), and against what they must sum to.

use candle_lens::Result;
use candle_lens::candle::{Device, Tensor};
use candle_lens::experiment::{Baseline, Experiment, Quadrature};
use candle_lens::gradients::IgOptions;
use candle_lens::hooks::AxisName;
use candle_lens::hooks::MeanOver;
use candle_lens::hooks::{Edit, HookPlan};
use candle_lens::metrics::Metric;
use candle_lens::model::{Frozen, HookedTransformer, Processing};
use candle_lens::views::View;

use super::run::prompts_of_fixtures as prompts;
use crate::support::fixture::{Agreement, Reference, numbers, path, tiny_model};
use crate::support::sentence::sentence;
use crate::support::tolerance::{LAST_DIGITS, REORDERED, VISIBLE};

/// The error of 50 steps of Gauss and Legendre on the tiny model, in logits.
const QUADRATURE: f32 = 1e-3;

/// Three prompts with this in place of their activations.
fn experiment(model: &HookedTransformer, baseline: impl Into<Baseline>) -> Result<Experiment> {
    Experiment::new(model, prompts(0), baseline, metric(model)?)
}

fn metric(model: &HookedTransformer) -> Result<Metric> {
    Ok(Metric::logit_diff(&model.answers((0..3u32).map(|b| (3 + b, 20 - b)))?))
}

#[test]
fn attributions_and_errors_are_those_of_captum() -> Result<()> {
    let (model, reference) = (tiny_model(Processing::default()), Reference::load("gradients.safetensors"));
    let names = reference.names("ig.");
    assert_eq!(names.len(), 10, "{names:?}");
    let got = experiment(&model, prompts(9))?.integrated_gradients(names.clone(), IgOptions::default())?;
    let mut agreement = Agreement::default();
    for (place, point) in got.points().into_iter().enumerate() {
        agreement.check(&point.to_string(), &got.get(point)?, reference.get(&format!("ig.{point}")));
        let errors = got.completeness_error.select("point", place as isize)?.values().into_iter().collect();
        let errors = Tensor::from_vec(errors, 3, &Device::Cpu)?;
        agreement.check("delta", &errors, reference.get(&format!("delta.{point}")));
    }
    for name in reference.names("layer_ig.") {
        agreement.check(&name, &got.get(name.as_str())?, reference.get(&format!("layer_ig.{name}")));
    }
    // z's attributions summed are those of the heads' results summed.
    let heads = got.heads()?.values;
    for layer in 0..2 {
        let expected = reference.get(&format!("ig.blocks.{layer}.attn.hook_result")).sum((1, 3))?.mean(0)?;
        let expected = expected.to_vec1::<f32>()?;
        let pairs = expected.iter().enumerate().map(|(h, &x)| (f64::from(heads.values()[[layer, h]]), f64::from(x)));
        agreement.check_numbers("heads", pairs);
    }
    assert_eq!(got.neurons()?.values.shape(), [2, 96]);
    agreement.finish("integrated gradients");
    let text = got.render()?.text().to_string();
    assert!(text.contains("completeness error") && text.contains("gausslegendre with 50 steps"), "{text}");
    Ok(())
}

#[test]
fn every_rule_from_both_baselines_is_captums() -> Result<()> {
    let (model, reference) = (tiny_model(Processing::default()), Reference::load("gradients.safetensors"));
    let mut agreement = Agreement::default();
    let rules = [
        (Quadrature::GaussLegendre, 50),
        (Quadrature::RiemannLeft, 8),
        (Quadrature::RiemannRight, 8),
        (Quadrature::RiemannMiddle, 8),
        (Quadrature::RiemannTrapezoid, 8),
    ];
    for (rule, steps) in rules {
        for (name, baseline) in [("corrupted", Baseline::from(prompts(9))), ("zero", Baseline::Zero)] {
            let options = IgOptions { rule, steps, ..Default::default() };
            let got = experiment(&model, baseline)?.integrated_gradients([("post", 1)], options)?.get(("post", 1))?;
            // captum's trapezoid has weights that sum to 7/8 for 8 steps.
            let share = if rule == Quadrature::RiemannTrapezoid { 7. / 8. } else { 1. };
            agreement.check(
                &format!("{rule} from {name}"),
                &(got * share)?,
                reference.get(&format!("rule.{rule}.{name}")),
            );
        }
    }
    agreement.finish("rules of quadrature");
    Ok(())
}

#[test]
fn attributions_sum_to_what_patching_the_whole_point_does() -> Result<()> {
    let model = tiny_model(Processing::default());
    let points = ["z", "post", "resid_pre", "attn_scores", "result"];
    let patching = experiment(&model, prompts(9))?.noising()?;
    let got = patching.integrated_gradients(points, IgOptions::default())?;
    for point in ["z", "post", "resid_pre"] {
        let patched = patching.sweep(point, &[AxisName::Layer])?;
        let summed = got.sweep(point, &[AxisName::Layer])?.values;
        for layer in 0..2usize {
            let effect = patching.clean() - patched.raw.values()[[layer]];
            let sum = summed.values()[[layer]];
            assert!((effect - sum).abs() < QUADRATURE, "{point} {layer}: effect {effect}, sum {sum}");
            assert!(effect.abs() > QUADRATURE, "{point} {layer}: nothing to compare");
        }
    }
    // Heads by their results are heads by z.
    let of_z = got.sweep("z", &[AxisName::Layer, AxisName::Head])?.values;
    assert_eq!(got.heads()?.values.shape(), [2, 4]);
    for (a, b) in got.heads()?.values.values().iter().zip(&of_z.values()) {
        assert!((a - b).abs() < REORDERED, "{a} and {b}");
    }
    let worst = got.completeness_error.values().iter().fold(0f32, |worst, error| worst.max(error.abs()));
    println!("the largest completeness error of {} points is {worst:.1e}", got.points().len());
    assert!(worst < QUADRATURE, "{worst}");
    // One copy at a time is the same as all at once.
    let single = IgOptions { tokens_at_once: 1, steps: 5, ..Default::default() };
    let all = IgOptions { tokens_at_once: 100_000, steps: 5, ..Default::default() };
    let of = |options| patching.integrated_gradients(["z"], options)?.get(("z", 0));
    crate::support::assert_close(&of(single)?, &of(all)?, LAST_DIGITS, "batches of steps");
    Ok(())
}

#[test]
fn what_cannot_be_integrated_is_refused() -> Result<()> {
    let model = tiny_model(Processing::default());
    let zero = experiment(&model, Baseline::Zero)?;
    let with = |options: IgOptions| zero.integrated_gradients(["z"], options);
    sentence(with(IgOptions { steps: 0, ..Default::default() }), &["0 steps of gausslegendre", "give 1 to"]);
    let trapezoid = IgOptions { steps: 1, rule: Quadrature::RiemannTrapezoid, ..Default::default() };
    let frozen = model.with_frozen([Frozen::NormScales]);
    sentence(
        experiment(&frozen, Baseline::Zero)?.integrated_gradients("z", IgOptions::default()),
        &["NormScales", "do not sum"],
    );
    sentence(with(trapezoid), &["1 steps of riemann_trapezoid", "give 2"]);
    sentence(experiment(&model, vec![vec![1u32, 2, 3]; 3]), &["tokens clean and 3 corrupted", "equally long"]);
    sentence(experiment(&model, vec![vec![1u32; 7]]), &["3 clean prompts and 1 corrupted", "counterpart"]);
    let none: [&str; 0] = [];
    let plain = IgOptions::from(2);
    sentence(zero.integrated_gradients(none, 2), &["no point was given"]);
    sentence(zero.integrated_gradients(["embed"], 2), &["outside the blocks"]);
    for point in ["attn_scores", "ln1.hook_scale"] {
        sentence(zero.integrated_gradients([(point, 0)], 2), &["zero is not a baseline"]);
    }
    let rank = Metric::rank(&model, [1u32, 2, 3])?;
    let rank = Experiment::new(&model, prompts(0), Baseline::Zero, rank)?;
    sentence(rank.integrated_gradients(["z"], 2), &["changes in steps"]);
    let got = with(plain)?;
    sentence(got.get("q0"), &["not attributed to"]);
    sentence(got.neurons(), &["not attributed to"]);
    Ok(())
}

/// KL divergence is 0 at the clean run, so its attributions sum to minus that with the point at its baseline; every baseline
/// interpolates, and the sums are those of the activations that it puts in place.
#[test]
fn every_baseline_and_the_divergence_from_the_clean_run_are_integrated() -> Result<()> {
    let model = tiny_model(Processing::default());
    let means = [MeanOver::Batch, MeanOver::BatchAndPos];
    let of_others = means.map(|over| Baseline::mean_of(over, prompts(4)));
    let of_own = means.map(Baseline::mean);
    let rest = [Baseline::MeanByGroup(vec![0, 0, 0]), Baseline::Resample(1), prompts(9).into(), Baseline::Zero];
    for baseline in of_others.into_iter().chain(of_own).chain(rest) {
        let experiment = Experiment::new(&model, prompts(0), baseline, Metric::kl())?;
        let got = experiment.integrated_gradients(["z", "post"], 50)?;
        let worst = got.completeness_error.values().iter().fold(0f32, |worst, error| worst.max(error.abs()));
        assert!(worst < QUADRATURE, "{experiment:?}: {worst}");
        assert!(got.effect.values().iter().all(|effect| *effect < LAST_DIGITS), "{experiment:?}: nothing is below 0");
        assert!(got.effect.values().iter().any(|effect| *effect < -VISIBLE), "{experiment:?}: nothing is compared");
    }
    Ok(())
}

/// From a baseline of zero the first point of a left sum is at the kinks of all neurons, where PyTorch's slope of relu is
/// 0. The numbers are captum's (0.9.0, torch 2.15) of `transformers`' OPT with the output of `fc1` replaced.
#[test]
fn at_the_kink_of_relu_the_slope_is_that_of_pytorch() -> Result<()> {
    let opt = path("families/opt");
    let model = HookedTransformer::from_pretrained_no_processing(opt.to_str().expect("UTF-8"))?;
    let metric = Metric::logit_diff(&model.answers([(3u32, 10u32)])?);
    let prompt = vec![vec![1u32, 5, 2, 10, 3, 7, 4]];
    let zero = Experiment::new(&model, prompt.clone(), Baseline::Zero, metric)?;
    let options = IgOptions { rule: Quadrature::RiemannLeft, steps: 4, ..Default::default() };
    let got = zero.integrated_gradients("pre", options.clone())?;
    let expected = [
        [0.0, 0.104706, -0.536883, 0.320371, 0.0, 0.469485, 0.176271, -0.002789],
        [0.0, 0.0, 0.264929, 0.031402, 0.0, 0.121852, 0.0, -0.017198],
    ];
    let mut agreement = Agreement::default();
    for (layer, (expected, sum)) in expected.iter().zip([-0.428_615_5, 0.502_593_3]).enumerate() {
        let by_neuron = numbers(&got.get(("pre", layer))?.sum((0, 1))?);
        agreement.check_numbers("neurons", by_neuron.iter().copied().zip(*expected));
        agreement.check_numbers("sum", [(by_neuron.iter().sum(), sum)].into_iter());
    }
    // One step is the kink alone.
    let kink = IgOptions { steps: 1, ..options };
    let at_zero = zero.integrated_gradients("pre", kink)?;
    assert!(numbers(&at_zero.get(("pre", 0))?).iter().all(|x| *x == 0.));
    agreement.finish("integrated gradients at a kink");
    let plan = HookPlan::new().edit("pre", Edit::zero()).watch("pre");
    let run = model.run(prompt, plan, candle_lens::model::RunOptions::default())?;
    let gradients = run.taps.gradients(&run.logits.expect("asked for").sum_all()?)?;
    for layer in 0..2 {
        assert!(numbers(&gradients.get(("pre", layer))?).iter().all(|x| *x == 0.), "layer {layer}");
    }
    Ok(())
}
