//! Attribution patching against TransformerLens' gradients (tests/fixtures/gradients.py), against slopes of patched runs,
//! and beside true patching.

use candle_lens::Result;
use candle_lens::candle::{Device, Tensor};
use candle_lens::experiment::{Baseline, Comparison, Experiment};
use candle_lens::hooks::AxisName;
use candle_lens::hooks::{Edit, HookPlan};
use candle_lens::labelled::{Axis, Labelled};
use candle_lens::metrics::Metric;
use candle_lens::model::{HookedTransformer, Processing};
use candle_lens::patching::{PatchResult, Untouched};
use candle_lens::tasks::{Split, Task};
use candle_lens::tokens::Tokens;
use candle_lens::views::View;

use super::run::prompts_of_fixtures as prompts;
use crate::support::fixture::{Agreement, Reference, tiny_model};
use crate::support::sentence::sentence;
use AxisName::{DMlp, Head, KPos, Layer, Pos};

/// The step of a slope by four points, as a share of the way from one run to the other.
const STEP: f64 = 0.05;

/// How far such a slope may be from the estimate: f32's rounding of logits, divided by the step.
const SLOPE: f64 = 2e-4;
use crate::support::tolerance::{IN_F64, LAST_DIGITS, REORDERED, VISIBLE};

fn experiment(model: &HookedTransformer) -> Result<Experiment> {
    let answers = model.answers((0..3u32).map(|b| (3 + b, 20 - b)))?;
    Experiment::new(model, prompts(0), prompts(9), Metric::logit_diff(&answers))
}

/// What the estimate adds to the base run.
fn added(result: &PatchResult, base: f32) -> Result<Tensor> {
    let values = result.raw.values().iter().map(|value| value - base).collect();
    Ok(Tensor::from_vec(values, result.raw.shape(), &Device::Cpu)?)
}

#[test]
fn estimates_are_those_of_transformer_lens_gradients() -> Result<()> {
    let (model, reference) = (tiny_model(Processing::default()), Reference::load("gradients.safetensors"));
    let patching = experiment(&model)?;
    let attribution = patching.attribution(["resid_pre", "mlp_out", "z", "q", "pattern", "post"])?;
    let mut agreement = Agreement::default();
    let sweeps: [(&str, &str, &[AxisName]); 6] = [
        ("resid_pre", "hook_resid_pre", &[Layer, Pos]),
        ("mlp_out", "hook_mlp_out", &[Layer, Pos]),
        ("z", "attn.hook_z", &[Layer, Pos, Head]),
        ("q", "attn.hook_q", &[Layer, Pos, Head]),
        ("pattern", "attn.hook_pattern", &[Layer, Head, Pos, KPos]),
        ("post", "mlp.hook_post", &[Layer, Pos, DMlp]),
    ];
    for (point, name, axes) in sweeps {
        let result = attribution.sweep(point, axes)?;
        agreement.check(point, &added(&result, patching.corrupted())?, reference.get(&format!("attr.{name}")));
        assert_eq!((result.clean, result.corrupted), (patching.clean(), patching.corrupted()));
        // The axes are those of true patching, so that both can be compared.
        let patched = patching.sweep(point, axes)?;
        assert_eq!(patched.raw.axes(), result.raw.axes());
        assert_eq!(patched.per_prompt.axes(), result.per_prompt.axes());
        for (a, b) in patched.untouched.iter().zip(&result.untouched) {
            assert_eq!(a, b, "{point}: what cannot change is known without running");
        }
    }
    agreement.finish("attribution patching");
    Ok(())
}

/// The metric of a run in which one head at one position is moved by `share` of the path to the other activation.
fn partly(model: &HookedTransformer, base: &Tokens, value: &Tensor, share: f64) -> Result<f64> {
    let (_, cache) = model.run_with_hooks(base, HookPlan::new().capture(("z", 1)))?;
    let there = cache.get(("z", 1))?;
    let mixed = (&there + ((value - &there)? * share)?)?;
    let plan = HookPlan::new().edit(("z", 1), Edit::replace(mixed).pos(5..6).head(2..3));
    let (logits, _) = model.run_with_hooks(base, plan)?;
    let last: Vec<Vec<f32>> = logits.narrow(1, 6, 1)?.squeeze(1)?.to_vec2()?;
    Ok(last.iter().enumerate().map(|(b, row)| f64::from(row[3 + b] - row[20 - b])).sum::<f64>() / 3.)
}

#[test]
fn estimates_are_slopes_of_patched_runs_in_every_direction() -> Result<()> {
    let model = tiny_model(Processing::default());
    let answers = model.answers((0..3u32).map(|b| (3 + b, 20 - b)))?;
    let metric = || Metric::logit_diff(&answers);
    let (clean, corrupted) = (prompts(0), prompts(9));
    let of = |tokens: &Tokens| -> Result<Tensor> {
        model.run_with_hooks(tokens, HookPlan::new().capture(("z", 1)))?.1.get(("z", 1))
    };
    let zeros = of(&clean)?.zeros_like()?;
    let cases = [
        ("denoising", Experiment::new(&model, &clean, &corrupted, metric())?, &corrupted, of(&clean)?),
        ("noising", Experiment::new(&model, &clean, &corrupted, metric())?.noising()?, &clean, of(&corrupted)?),
        ("zero ablation", Experiment::new(&model, &clean, Baseline::Zero, metric())?, &clean, zeros),
    ];
    for (what, patching, base, value) in cases {
        // Position 5 reaches the last position through block 1's z only where it is read: the last one.
        let result = patching.attribution(["z"])?.sweep(("z", 1), &[Pos, Head])?;
        assert_eq!(result.untouched[[5, 2]], Some(Untouched::NoPath), "{what}: the last block's other positions");
        let result = patching.attribution([("z", 0)])?.sweep(("z", 0), &[Pos, Head])?;
        let (_, cache) = model.run_with_hooks(base, HookPlan::new().capture(("z", 0)))?;
        let there = cache.get(("z", 0))?;
        let put_in = match what {
            "zero ablation" => there.zeros_like()?,
            "denoising" => model.run_with_hooks(&clean, HookPlan::new().capture(("z", 0)))?.1.get(("z", 0))?,
            _ => model.run_with_hooks(&corrupted, HookPlan::new().capture(("z", 0)))?.1.get(("z", 0))?,
        };
        let at = |share: f64| -> Result<f64> {
            let mixed = (&there + ((&put_in - &there)? * share)?)?;
            let plan = HookPlan::new().edit(("z", 0), Edit::replace(mixed).pos(5..6).head(2..3));
            let (logits, _) = model.run_with_hooks(base, plan)?;
            let last: Vec<Vec<f32>> = logits.narrow(1, 6, 1)?.squeeze(1)?.to_vec2()?;
            Ok(last.iter().enumerate().map(|(b, row)| f64::from(row[3 + b] - row[20 - b])).sum::<f64>() / 3.)
        };
        let slope = (8. * (at(STEP)? - at(-STEP)?) - (at(2. * STEP)? - at(-2. * STEP)?)) / (12. * STEP);
        let got = f64::from(result.raw.values()[[5, 2]]) - at(0.)?;
        assert!((slope - got).abs() < SLOPE, "{what}: slope {slope}, estimate {got}");
        assert!(slope.abs() > f64::from(VISIBLE), "{what}: nothing to compare, {slope}");
        // Nothing of what a run does not read moves it.
        let moved = partly(&model, base, &value, 1.)? - partly(&model, base, &value, 0.)?;
        assert!(moved.abs() < f64::from(LAST_DIGITS), "{what}: {moved}");
    }
    Ok(())
}

#[test]
fn estimates_follow_true_patching_where_the_model_does_the_task() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let prompts = Task::Ioi.prompts(Split::Templates, 12, 3)?.hard()?;
    let patching = prompts.batches(&model, 12)?[0].experiment(&model)?;
    let attribution = patching.attribution(["z", "attn_out"])?;
    let estimated = attribution.sweep("z", &[Layer, Head])?;
    let patched = patching.get_act_patch_attn_head_out_all_pos()?;
    let comparison = Comparison::new(&patched.normalised, &estimated.normalised)?;
    println!("heads of {} prompts: Pearson {:.3}", prompts.len(), comparison.pearson);
    assert!(comparison.pearson > 0.7, "{}", comparison.pearson);
    let text = comparison.render()?.text().to_string();
    for part in ["Pearson", "Spearman", "worst misses"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    sentence(attribution.sweep("q", &[Layer, Head]), &["not among the points"]);
    sentence(attribution.sweep("z", &[Layer, KPos]), &["cannot be swept"]);
    let none: [&str; 0] = [];
    sentence(patching.attribution(none), &["no point was given"]);
    Ok(())
}

#[test]
fn points_on_demand_are_attributed_as_others() -> Result<()> {
    let model = tiny_model(Processing::default());
    let patching = experiment(&model)?;
    let attribution =
        patching.attribution(("result", "z", ("mlp_in", 1), "resid_mid", "mlp_out", ("q_input", 1), ("v_input", 1)))?;
    // What heads write is a linear function of z, so both have the same products.
    let (results, z) = (attribution.sweep("result", &[Layer, Head])?, attribution.sweep("z", &[Layer, Head])?);
    assert_eq!(results.raw.axes(), z.raw.axes());
    let mut agreement = Agreement::default();
    agreement.check("result", &added(&results, patching.corrupted())?, &added(&z, patching.corrupted())?);
    // What the last MLP reads reaches the logits only through it.
    let of = |point| Ok::<_, candle_lens::Error>(attribution.sweep((point, 1), &[Pos])?.raw);
    let (gradients, numbers) =
        (attribution.gradients(), |x: Tensor| Ok::<_, candle_lens::Error>(x.flatten_all()?.to_vec1::<f32>()?));
    let through = (gradients.get(("resid_mid", 1))? - gradients.get(("mlp_out", 1))?)?;
    for (a, b) in numbers(through)?.into_iter().zip(numbers(gradients.get(("mlp_in", 1))?)?) {
        assert!((a - b).abs() < REORDERED, "{a} and {b}");
    }
    assert_ne!(of("mlp_in")?.values(), of("resid_mid")?.values());
    // Queries' own inputs, against the slope of runs that take a part of the path.
    let (clean, corrupted) = (prompts(0), prompts(9));
    let got = attribution.sweep(("q_input", 1), &[Pos, Head])?;
    let input = |tokens: &Tokens| -> Result<Tensor> {
        model.run_with_hooks(tokens, HookPlan::new().capture(("q_input", 1)))?.1.get(("q_input", 1))
    };
    let (there, put_in) = (input(&corrupted)?, input(&clean)?);
    let at = |share: f64| -> Result<f64> {
        let mixed = (&there + ((&put_in - &there)? * share)?)?;
        let plan = HookPlan::new().edit(("q_input", 1), Edit::replace(mixed).pos(6..7).head(1..2));
        let (logits, _) = model.run_with_hooks(&corrupted, plan)?;
        let last: Vec<Vec<f32>> = logits.narrow(1, 6, 1)?.squeeze(1)?.to_vec2()?;
        Ok(last.iter().enumerate().map(|(b, row)| f64::from(row[3 + b] - row[20 - b])).sum::<f64>() / 3.)
    };
    let slope = (8. * (at(STEP)? - at(-STEP)?) - (at(2. * STEP)? - at(-2. * STEP)?)) / (12. * STEP);
    let estimate = f64::from(got.raw.values()[[6, 1]]) - f64::from(patching.corrupted());
    assert!((slope - estimate).abs() < SLOPE && slope.abs() > f64::from(VISIBLE), "slope {slope}, estimate {estimate}");
    assert_eq!(got.untouched[[5, 1]], Some(Untouched::NoPath), "a query of the last block at another position");
    // What a head reads for its values reaches the logits from every position.
    let values = attribution.sweep(("v_input", 1), &[Pos, Head])?;
    assert_eq!(values.untouched[[5, 1]], None);
    assert_ne!(values.raw.values()[[5, 1]], patching.corrupted());
    agreement.finish("points on demand");
    // Points of no block are refused before anything is run; patching itself says what to use.
    sentence(patching.attribution(("z", "embed")), &["hook_embed is outside the blocks", "resid_pre"]);
    sentence(patching.attribution("ln_final.hook_scale"), &["outside the blocks", "resid_post"]);
    sentence(
        patching.sweep("q_input", &[Layer, Head]),
        &["not computed in an ordinary run", "Experiment::attribution"],
    );
    sentence(patching.attribution(("q_input", ("ln1.hook_scale", 0))), &["is watched", "not used"]);
    Ok(())
}

#[test]
fn attention_attribution_is_pattern_times_gradient() -> Result<()> {
    let model = tiny_model(Processing::default());
    let metric = Metric::logit_diff(&model.answers((0..3u32).map(|b| (3 + b, 20 - b)))?);
    let attention = model.attention_attribution(prompts(9), &metric)?;
    let reference = Reference::load("gradients.safetensors");
    let (_, cache) = model.run_with_cache(prompts(9))?;
    let mut agreement = Agreement::default();
    for layer in 0..2isize {
        let gradient = reference.get(&format!("gradient.blocks.{layer}.attn.hook_pattern"));
        let expected = (cache.get(("pattern", layer))? * gradient)?.mean(0)?;
        let got = attention.entries.select("layer", layer)?;
        let values = got.values().iter().copied().collect();
        agreement.check("attention", &Tensor::from_vec(values, got.shape(), &Device::Cpu)?, &expected);
        for head in 0..4usize {
            let total = expected.get(head)?.abs()?.sum_all()?.to_scalar::<f32>()?;
            let got = attention.heads.at(&[layer, head as isize])?;
            agreement.check_numbers("heads", [(f64::from(got), f64::from(total))].into_iter());
        }
    }
    agreement.finish("attention attribution");
    assert_eq!(attention.top(3)?.shape(), [3, 7, 7]);
    assert!(!attention.render()?.text().is_empty());
    Ok(())
}

#[test]
fn correlations_are_those_of_numpy_and_pandas() -> Result<()> {
    let of = |values: &[f32]| Labelled::new("x", vec![Axis::numbered("site", values.len())], values.to_vec());
    let comparison = Comparison::new(&of(&[1., 2., 2., 4., 5., -3.])?, &of(&[2., 1., 4., 4., 7., 0.5])?)?;
    assert!((comparison.pearson - 0.819_013_431_888_844_5).abs() < IN_F64, "{}", comparison.pearson);
    assert!((comparison.spearman - 0.8676470588235294).abs() < IN_F64, "{}", comparison.spearman);
    assert_eq!(comparison.worst[0].labels, ["5"]);
    assert!((comparison.mean_miss - (1. + 1. + 2. + 0. + 2. + 3.5) / 6.).abs() < IN_F64);
    sentence(Comparison::new(&of(&[1., 2.])?, &of(&[1., 2.])?), &["2 sites"]);
    sentence(Comparison::new(&of(&[1., 2., 3.])?, &of(&[1., 2., 3., 4.])?), &["same names and labels"]);
    sentence(Comparison::new(&of(&[1., 2., 3.])?, &of(&[2., 2., 2.])?), &["correlates with nothing"]);
    sentence(Comparison::new(&of(&[1., f32::NAN, 3.])?, &of(&[2., 1., 2.])?), &["not finite"]);
    Ok(())
}
