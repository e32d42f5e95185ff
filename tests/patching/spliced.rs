//! Sweeps, attributions and integrated gradients of a model with a dictionary spliced in, against whole runs under plans.

use candle_lens::experiment::Experiment;
use candle_lens::gradients::IgOptions;
use candle_lens::hooks::AxisName::{Feature, Layer, Pos};
use candle_lens::hooks::{AxisName, Edit, HookPlan, HookPoint};
use candle_lens::metrics::Metric;
use candle_lens::model::{HookedTransformer, HookedTransformerConfig};
use candle_lens::patching::{Mlps, PatchSite, Receiver, Sender};
use candle_lens::prelude::{DType, Device, Tensor};
use candle_lens::tasks::{Split, Task};
use candle_lens::tokens::{PaddingSide, Tokens};
use candle_lens::{Error, Result};

use crate::support::sentence::sentence;
use crate::support::splice::{FEATURES, Linear};
use crate::support::tolerance::VISIBLE;

/// Sweeps compute runs in parts, so that sums have another order than in whole runs.
const TOLERANCE: f32 = 2e-5;

/// Rounding of two metrics over a small step, and the share by which the metric bends within it.
const DIFFERENCES: f32 = 2e-3;
const CURVED: f32 = 0.02;

/// The error of a quadrature of 60 steps.
const QUADRATURE: f32 = 1e-3;

const D_MODEL: usize = 8;
const LAYERS: usize = 3;

fn model(parallel: bool) -> Result<HookedTransformer> {
    let cfg = HookedTransformerConfig {
        n_layers: LAYERS,
        d_model: D_MODEL,
        n_heads: 2,
        d_vocab: 20,
        n_ctx: 12,
        parallel_attn_mlp: parallel,
        ..Default::default()
    };
    Ok(HookedTransformer::trainable(cfg, 7, &Device::Cpu)?.0.without_weight_gradients())
}

fn pair(padded: bool) -> Result<(Tokens, Tokens)> {
    let rows = |change: u32| match padded {
        true => vec![vec![1, 2 + change, 3, 4, 5, 6], vec![7 + change, 8, 9, 10]],
        false => vec![vec![1, 2, 3 + change, 4, 5, 6], vec![7, 8, 9, 10 + change, 11, 12]],
    };
    let of = |change| match padded {
        true => Tokens::padded(rows(change), 0, PaddingSide::Left),
        false => Tokens::from_rows(rows(change)),
    };
    Ok((of(0)?, of(5)?))
}

fn metric(model: &HookedTransformer) -> Result<Metric> {
    Ok(Metric::logit_diff(&model.answers([(3u32, 11u32), (4, 12)])?))
}

/// The difference of each prompt's answers under a plan, the mean.
fn under(model: &HookedTransformer, tokens: &Tokens, plan: &HookPlan) -> Result<f32> {
    let logits = model.run_with_hooks(tokens, plan)?.0.narrow(1, tokens.pos() - 1, 1)?.squeeze(1)?;
    let logits = logits.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    Ok(((logits[0][3] - logits[0][11]) + (logits[1][4] - logits[1][12])) / 2.)
}

fn plan_at(point: HookPoint, by_position: bool) -> HookPlan {
    HookPlan::new().splice(point, Linear { by_position, ..Linear::new(D_MODEL, true) })
}

/// Where something may be spliced in: before, inside and behind attention and MLP, in the first, a middle and the last block.
const POINTS: [&str; 6] = [
    "blocks.1.hook_resid_pre",
    "blocks.2.hook_resid_pre",
    "blocks.2.attn.hook_z",
    "blocks.0.hook_mlp_out",
    "blocks.1.hook_attn_out",
    "blocks.2.hook_resid_post",
];

/// Every site of a sweep against the whole run under a plan that splices and patches.
fn check(
    (model, plan): (&HookedTransformer, &HookPlan),
    (clean, corrupted): (&Tokens, &Tokens),
    (point, axes): (&str, &[AxisName]),
) -> Result<()> {
    let experiment = Experiment::with_splices(model, plan, clean.clone(), corrupted.clone(), metric(model)?)?;
    let swept = experiment.sweep(point, axes)?;
    for (index, value) in swept.raw.values().indexed_iter() {
        let along = |axis: AxisName| axes.iter().position(|a| *a == axis).map(|at| index[at] as isize);
        let name = match along(Layer) {
            Some(layer) => format!("blocks.{layer}.{point}"),
            None => point.to_string(),
        };
        let source = model.run_with_hooks(clean, plan.clone().capture(&name))?.1.get(&name)?;
        let mut edit = Edit::replace(source);
        if let Some(pos) = along(Pos) {
            edit = edit.pos(pos..pos + 1);
        }
        if let Some(feature) = along(Feature) {
            edit = edit.feature(feature..feature + 1);
        }
        // Where prompts are padded, a position counts for those that have a token there.
        if swept.raw.axes().iter().any(|axis| axis.labels.iter().any(|label| label.contains("prompts")))
            && along(Pos).is_some()
        {
            continue;
        }
        let expected = under(model, corrupted, &plan.clone().edit(&name[..], edit))?;
        assert!((value - expected).abs() < TOLERANCE, "{plan}, {name} {index:?}: {value}, by a whole run {expected}");
    }
    assert!(
        swept.raw.values().iter().any(|value| (value - swept.corrupted).abs() > VISIBLE),
        "{plan}: patching {point} changes something"
    );
    Ok(())
}

#[test]
fn sweeps_over_features_are_whole_runs() -> Result<()> {
    for (parallel, padded, by_position) in [(false, false, true), (true, true, true), (false, true, false)] {
        let (model, (clean, corrupted)) = (model(parallel)?, pair(padded)?);
        for name in POINTS {
            let plan = plan_at(name.parse()?, by_position);
            let inner = format!("{name}.hook_sae_acts_post");
            check((&model, &plan), (&clean, &corrupted), (&inner, &[Feature]))?;
            check((&model, &plan), (&clean, &corrupted), (&inner, &[Pos, Feature]))?;
        }
    }
    Ok(())
}

#[test]
fn sweeps_of_ordinary_points_go_through_the_splice() -> Result<()> {
    for by_position in [true, false] {
        let (model, (clean, corrupted)) = (model(false)?, pair(false)?);
        for name in POINTS {
            // Without its error term the dictionary changes what goes through it.
            let dictionary = Linear { by_position, ..Linear::new(D_MODEL, false) };
            let plan = HookPlan::new().splice(name.parse::<HookPoint>()?, dictionary);
            for point in ["hook_resid_pre", "attn.hook_z", "attn.hook_k", "hook_mlp_out", "hook_resid_post"] {
                check((&model, &plan), (&clean, &corrupted), (point, &[Layer]))?;
                check((&model, &plan), (&clean, &corrupted), (point, &[Layer, Pos]))?;
            }
        }
    }
    Ok(())
}

/// Doubles each position's activation and adds that of the position before it, so that positions depend on each other.
struct Shift;

impl candle_lens::hooks::Splice for Shift {
    fn name(&self) -> String {
        "shift".into()
    }

    fn inner(&self) -> Vec<candle_lens::hooks::InnerSite> {
        Vec::new()
    }

    fn run(&self, x: &Tensor, _: &mut candle_lens::hooks::SpliceRun) -> Result<Tensor> {
        let before = x.narrow(1, 0, x.dim(1)? - 1)?.pad_with_zeros(1, 1, 0)?;
        Ok((x * 2.)?.add(&before)?)
    }
}

#[test]
fn a_splice_across_positions_gets_whole_texts() -> Result<()> {
    let (model, (clean, corrupted)) = (model(false)?, pair(false)?);
    for name in POINTS {
        let plan = HookPlan::new().splice(name.parse::<HookPoint>()?, Shift);
        for point in ["hook_resid_pre", "attn.hook_z", "hook_mlp_out", "hook_resid_post"] {
            check((&model, &plan), (&clean, &corrupted), (point, &[Layer, Pos]))?;
        }
    }
    Ok(())
}

#[test]
fn attributions_of_features_are_gradients_times_differences() -> Result<()> {
    let (model, (clean, corrupted)) = (model(false)?, pair(false)?);
    let name = "blocks.1.hook_resid_post.hook_sae_acts_post";
    let plan = plan_at("blocks.1.hook_resid_post".parse()?, true);
    let experiment = Experiment::with_splices(&model, &plan, clean.clone(), corrupted.clone(), metric(&model)?)?;
    let estimated = experiment.attribution(name)?.sweep(name, &[Feature])?.raw;
    // The same by finite differences: a small step of the way from the corrupted to the clean features.
    let there = model.run_with_hooks(&corrupted, plan.clone().capture(name))?.1.get(name)?;
    let clean_acts = model.run_with_hooks(&clean, plan.clone().capture(name))?.1.get(name)?;
    let difference = (clean_acts - &there)?;
    let base = under(&model, &corrupted, &plan)?;
    let step = 0.02f64;
    for feature in 0..FEATURES {
        let at = |sign: f64| {
            let edit = Edit::add((&difference * (sign * step))?.narrow(2, feature, 1)?).feature(feature..feature + 1);
            under(&model, &corrupted, &plan.clone().edit(name, edit))
        };
        let slope = (at(1.)? - at(-1.)?) / (2. * step as f32);
        let got = estimated.at(&[feature as isize])? - base;
        assert!(
            (got - slope).abs() < DIFFERENCES + CURVED * slope.abs(),
            "feature {feature}: {got}, by differences {slope}"
        );
    }
    Ok(())
}

#[test]
fn integrated_gradients_of_features_sum_to_the_effect() -> Result<()> {
    let (model, (clean, corrupted)) = (model(false)?, pair(false)?);
    for outer in ["blocks.1.hook_mlp_out", "blocks.2.attn.hook_z", "blocks.0.hook_resid_pre"] {
        let name = format!("{outer}.hook_sae_acts_post");
        let plan = plan_at(outer.parse()?, true);
        let experiment = Experiment::with_splices(&model, &plan, clean.clone(), corrupted.clone(), metric(&model)?)?;
        let attributed = experiment.integrated_gradients(&name, IgOptions { steps: 60, ..Default::default() })?;
        // What they sum to: the metric less that with the other run's features, by whole runs.
        let other = model.run_with_hooks(&corrupted, plan.clone().capture(&name))?.1.get(&name)?;
        let at_baseline = under(&model, &clean, &plan.clone().edit(&name[..], Edit::replace(other)))?;
        let effect = under(&model, &clean, &plan)? - at_baseline;
        let sum: f32 = attributed.get(&name)?.sum_all()?.to_scalar::<f32>()? / 2.;
        assert!(
            (sum - effect).abs() < QUADRATURE && effect.abs() > QUADRATURE,
            "{name}: {sum}, by whole runs {effect}"
        );
        let by_feature: f32 = attributed.sweep(&name, &[Feature])?.values.values().iter().sum();
        assert!((by_feature - sum).abs() < TOLERANCE, "{name}: {by_feature} {sum}");
    }
    Ok(())
}

/// The batch of a task has the experiment that its prompts and metric have.
#[test]
fn a_task_has_an_experiment_with_splices() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let prompts = Task::Sva.prompts(Split::Combinations, 20, 0)?.aligned(&model)?;
    let batch = prompts.batches(&model, 4)?.remove(0);
    let dictionary = Linear::new(model.cfg().d_model, false);
    let plan = HookPlan::new().splice(("resid_post", 1), dictionary);
    let experiment = batch.experiment_with_splices(&model, &plan)?;
    let same =
        Experiment::with_splices(&model, &plan, batch.clean.clone(), batch.corrupted.clone(), batch.metric.clone())?;
    assert_eq!((experiment.clean(), experiment.corrupted()), (same.clean(), same.corrupted()));
    let plain = batch.experiment(&model)?;
    assert!((plain.clean() - experiment.clean()).abs() > VISIBLE, "the dictionary changes what goes through it");
    let by_feature = experiment.sweep("sae_acts_post", &[Feature])?.raw;
    assert_eq!(by_feature.values(), same.sweep("sae_acts_post", &[Feature])?.raw.values());
    assert_eq!(by_feature.shape(), [FEATURES]);
    sentence(batch.experiment_with_splices(&model, &HookPlan::new()), &["only splices"]);
    Ok(())
}

#[test]
fn negative_layers_and_heads_of_paths_count_from_the_end() -> Result<()> {
    let (model, (clean, corrupted)) = (model(false)?, pair(false)?);
    let experiment = Experiment::new(&model, clean, corrupted, metric(&model)?)?;
    let paths =
        |senders: &[Sender], receivers: &[Receiver]| experiment.path_patch(senders, receivers, Mlps::Recomputed);
    let from_end = paths(&[Sender::Head(-3, -1), Sender::Mlp(-3)], &[Receiver::V(-1, -2), Receiver::Mlp(-1)])?;
    let plain = paths(&[Sender::Head(0, 1), Sender::Mlp(0)], &[Receiver::V(2, 0), Receiver::Mlp(2)])?;
    assert_eq!(from_end.raw.values(), plain.raw.values());
    assert_eq!(from_end.raw.axes(), plain.raw.axes(), "labels are those of resolved senders");
    sentence(paths(&[Sender::Head(0, -3)], &[Receiver::Final]), &["no head -3", "each layer has 2"]);
    Ok(())
}

#[test]
fn paths_and_plans_go_through_the_splice() -> Result<()> {
    let (model, (clean, corrupted)) = (model(false)?, pair(false)?);
    let plan = plan_at("blocks.1.hook_resid_mid".parse()?, true);
    let experiment = Experiment::with_splices(&model, &plan, clean.clone(), corrupted.clone(), metric(&model)?)?;
    // With its error term the dictionary leaves everything as it is, so that paths are those of the model alone.
    let plain = Experiment::new(&model, clean, corrupted.clone(), metric(&model)?)?;
    let (senders, receivers) = ([Sender::Head(0, 1), Sender::Mlp(0)], [Receiver::V(2, 0), Receiver::Final]);
    let paths = |experiment: &Experiment| experiment.path_patch(&senders, &receivers, Mlps::Recomputed);
    for (got, expected) in paths(&experiment)?.raw.values().iter().zip(&paths(&plain)?.raw.values()) {
        assert!((got - expected).abs() < TOLERANCE, "{got} {expected}");
    }
    let name = "blocks.1.hook_resid_mid.hook_sae_acts_post";
    let edited = experiment.plans([("no feature", HookPlan::new().edit(name, Edit::zero()))])?.raw.at(&[0])?;
    let expected = under(&model, &corrupted, &plan.edit(name, Edit::zero()))?;
    assert!((edited - expected).abs() < TOLERANCE, "{edited} {expected}");
    Ok(())
}

#[test]
fn sites_select_features_and_mistakes_are_sentences() -> Result<()> {
    let (model, (clean, corrupted)) = (model(false)?, pair(false)?);
    let name = "blocks.1.hook_resid_post.hook_sae_acts_post";
    let plan = plan_at("blocks.1.hook_resid_post".parse()?, true);
    let experiment =
        |plan: &HookPlan| Experiment::with_splices(&model, plan, clean.clone(), corrupted.clone(), metric(&model)?);
    let site = experiment(&plan)?.site(("sae_acts_post", -2))?;
    assert_eq!(site.to_string(), name);
    let some = experiment(&plan)?.sites(&[site.clone().feature([1, -1]), site.clone().pos(-1)])?;
    let source = model.run_with_hooks(&clean, plan.clone().capture(name))?.1.get(name)?;
    let patch = Edit::replace(source);
    for (value, edit) in some.raw.values().iter().zip([patch.clone().feature([1, FEATURES - 1]), patch.pos([5])]) {
        let expected = under(&model, &corrupted, &plan.clone().edit(name, edit))?;
        assert!((value - expected).abs() < TOLERANCE, "{value} {expected}");
    }
    sentence(experiment(&plan.clone().edit(name, Edit::zero())), &["only splices"]);
    sentence(experiment(&plan_at(HookPoint::Embed, true)), &["hook_embed", "outside the blocks"]);
    sentence(experiment(&plan)?.edges(), &["edges are between heads", "with_splices"]);
    sentence(experiment(&plan)?.sites(&[site.feature(FEATURES)]), &["feature 12"]);
    sentence(experiment(&plan)?.sweep(name, &[AxisName::Head]), &["d_sae", "cannot be swept"]);
    sentence(PatchSite::new(&model, name), &["blocks.0"]);
    let plain = Experiment::new(&model, clean.clone(), corrupted.clone(), metric(&model)?)?;
    sentence::<()>(plain.sweep(name, &[Feature]).map(drop).map_err(|error: Error| error), &["no hook point"]);
    Ok(())
}
