//! What an experiment does besides its sweeps: lists of sites, files of sweeps, caches, metrics, NaN.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_lens::cache::ActivationCache;
use candle_lens::candle::{Device, Tensor};
use candle_lens::experiment::{Baseline, Experiment};
use candle_lens::hooks::{Edit, HookPlan};
use candle_lens::metrics::{Direction, Metric};
use candle_lens::model::{HookedTransformer, HookedTransformerConfig, Processing, RunOptions};
use candle_lens::patching::PatchSite;
use candle_lens::tokens::Tokens;
use candle_lens::{Error, Result};

use crate::support::fixture::tiny_model;
use crate::support::scratch;
use crate::support::sentence::sentence;
use crate::support::tolerance::{REORDERED, TWO_WAYS};

const CLEAN: [u32; 6] = [3, 8, 13, 18, 23, 28];
const CORRUPTED: [u32; 6] = [3, 8, 22, 18, 23, 28];

fn rows(row: [u32; 6]) -> Result<Tokens> {
    Tokens::from_rows(vec![row.to_vec()])
}

fn logit_diff(model: &HookedTransformer) -> Result<Metric> {
    Ok(Metric::logit_diff(&model.answers([(4u32, 19u32)])?))
}

fn experiment(model: &HookedTransformer) -> Result<Experiment> {
    Experiment::new(model, rows(CLEAN)?, rows(CORRUPTED)?, logit_diff(model)?)
}

fn last_logits(logits: &Tensor) -> Result<Vec<f32>> {
    Ok(logits.get(0)?.get(logits.dim(1)? - 1)?.to_vec1()?)
}

/// Each number is that of one run under a plan with all sites so far.
#[test]
fn cumulative_sites_are_runs_with_more_and_more_edits() -> Result<()> {
    let model = tiny_model(Processing::default());
    let sites = [
        PatchSite::new(&model, ("resid_pre", 0))?.pos(2),
        PatchSite::new(&model, ("z", 0))?.head(1),
        PatchSite::new(&model, ("z", 0))?.head(0).pos(5),
        PatchSite::new(&model, ("mlp_out", 1))?,
    ];
    let (_, clean) = model.run_with_cache(rows(CLEAN)?)?;
    let edits = |zero: bool| -> Result<Vec<(&'static str, i32, Edit)>> {
        let value = |name, layer| -> Result<Edit> {
            Ok(if zero { Edit::zero() } else { Edit::replace(clean.get((name, layer))?) })
        };
        Ok(vec![
            ("resid_pre", 0, value("resid_pre", 0)?.pos(2)),
            ("z", 0, value("z", 0)?.head(1)),
            ("z", 0, value("z", 0)?.head(0).pos(5)),
            ("mlp_out", 1, value("mlp_out", 1)?),
        ])
    };
    for zero in [false, true] {
        let patching = match zero {
            false => experiment(&model)?,
            true => Experiment::new(&model, rows(CORRUPTED)?, Baseline::Zero, logit_diff(&model)?)?,
        };
        let result = patching.cumulative(&sites)?;
        let mut plan = HookPlan::new();
        for (i, (name, layer, edit)) in edits(zero)?.into_iter().enumerate() {
            plan = plan.edit((name, layer), edit);
            let logits = last_logits(&model.run_with_hooks(rows(CORRUPTED)?, &plan)?.0)?;
            let got = result.raw.at(&[i as isize])?;
            assert!((got - (logits[4] - logits[19])).abs() < TWO_WAYS, "{i} sites, zero {zero}: {got}");
        }
    }
    sentence(experiment(&model)?.cumulative(&[sites[0].clone(), sites[0].clone()]), &["pos 2", "twice"]);
    Ok(())
}

/// A metric that fails from its `limit`-th reading on, and how often it was read.
fn failing(limit: usize) -> (Metric, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let metric = Metric::custom("difference", move |logits| {
        if counted.fetch_add(1, Ordering::SeqCst) >= limit {
            return Err(Error::argument("interrupted."));
        }
        Ok((logits.narrow(1, 4, 1)? - logits.narrow(1, 19, 1)?)?.squeeze(1)?)
    });
    (metric, count)
}

#[test]
fn an_interrupted_sweep_continues() -> Result<()> {
    let model = tiny_model(Processing::default());
    let file = scratch("interrupted_sweep").join("sweep.safetensors");
    let with = |metric: Metric| Experiment::new(&model, rows(CLEAN)?, rows(CORRUPTED)?, metric);
    let whole = with(failing(usize::MAX).0)?.get_act_patch_attn_head_out_by_pos()?;
    let sites = whole.computed();

    let error = with(failing(2 + sites / 2).0)?.save_to(&file).get_act_patch_attn_head_out_by_pos().unwrap_err();
    assert!(error.to_string().contains("interrupted"), "{error}");
    let (metric, count) = failing(usize::MAX);
    let resumed = with(metric)?.save_to(&file).get_act_patch_attn_head_out_by_pos()?;
    let read = count.load(Ordering::SeqCst) - 2;
    assert!(0 < read && read < sites, "{read} of {sites} sites were computed again");
    assert_eq!(resumed.untouched, whole.untouched);
    for (resumed, whole) in resumed.per_prompt.values().iter().zip(&whole.per_prompt.values()) {
        assert!((resumed - whole).abs() < REORDERED, "{resumed} {whole}");
    }

    // What is finished is read from the file, and no other sweep is.
    let (metric, count) = failing(usize::MAX);
    let again = with(metric)?.save_to(&file).get_act_patch_attn_head_out_by_pos()?;
    assert_eq!((again.raw.values(), count.load(Ordering::SeqCst)), (resumed.raw.values(), 2));
    for other in [
        with(failing(usize::MAX).0)?.save_to(&file).get_act_patch_resid_pre(),
        experiment(&model)?.noising()?.save_to(&file).get_act_patch_attn_head_out_by_pos(),
        with(Metric::log_prob(&model, [4u32])?)?.save_to(&file).get_act_patch_attn_head_out_by_pos(),
    ] {
        sentence(other, &["holds another sweep"]);
    }
    Ok(())
}

#[test]
fn a_cache_stands_for_its_prompts_and_only_with_the_model_that_made_it() -> Result<()> {
    let model = tiny_model(Processing::default());
    let (_, cache) = model.run_with_cache(rows(CLEAN)?)?;
    let from_cache = Experiment::from_cache(&model, &cache, rows(CORRUPTED)?, logit_diff(&model)?)?;
    let expected = experiment(&model)?.get_act_patch_mlp_out()?;
    assert_eq!(from_cache.get_act_patch_mlp_out()?.raw.values(), expected.raw.values());
    let raw = tiny_model(Processing::NONE);
    sentence(Experiment::from_cache(&raw, &cache, rows(CORRUPTED)?, logit_diff(&raw)?), &["fold_ln"]);
    Ok(())
}

/// The activations patched in are those of a plain run; a cache of any other run holds different ones.
#[test]
fn only_the_cache_of_a_plain_run_stands_for_its_prompts() -> Result<()> {
    let model = tiny_model(Processing::default());
    let refused = |cache: &ActivationCache, part: &str| {
        let patching = Experiment::from_cache(&model, cache, rows(CORRUPTED)?, logit_diff(&model)?);
        sentence(patching, &["not a plain one", part, "Experiment::plans"]);
        Ok::<_, Error>(())
    };
    let edited = HookPlan::new().capture_all().edit(("z", 0), Edit::zero());
    let (_, cache) = model.run_with_hooks(rows(CLEAN)?, &edited)?;
    refused(&cache, "zero")?;
    let file = scratch("from_cache").join("edited.safetensors");
    cache.save(&file)?;
    refused(&ActivationCache::load(&file)?, "zero")?;
    // From a given residual stream, and behind a past whose tokens the cache does not have.
    let (_, other) = model.run_with_cache(rows(CORRUPTED)?)?;
    let plan = HookPlan::new().capture(("resid_post", -1));
    let from = RunOptions { start_at_layer: Some((1, other.get(("resid_pre", 1))?)), ..Default::default() };
    refused(&model.cache_of(model.run(rows(CLEAN)?, &plan, &from)?, &plan)?, "began at block 1")?;
    let keep = RunOptions { keep_kv_cache: true, ..Default::default() };
    let past = model.run(rows(CORRUPTED)?, HookPlan::new(), &keep)?.kv_cache;
    let behind = RunOptions { past_kv_cache: past, ..Default::default() };
    refused(&model.cache_of(model.run(vec![vec![3u32]], &plan, &behind)?, &plan)?, "began behind 6 positions")?;
    // A run that stops early, or keeps little, is a plain one.
    let stopped = RunOptions { stop_at_layer: Some(1), ..Default::default() };
    let plan = HookPlan::new().capture(("resid_post", 0)).pos(-1);
    let cache = model.cache_of(model.run(rows(CLEAN)?, &plan, &stopped)?, &plan)?;
    Experiment::from_cache(&model, &cache, rows(CORRUPTED)?, logit_diff(&model)?)?;
    Ok(())
}

#[test]
fn the_loss_is_minus_the_log_probability() -> Result<()> {
    let model = tiny_model(Processing::default());
    let with = |metric: Metric| Experiment::new(&model, rows(CLEAN)?, rows(CORRUPTED)?, metric);
    let loss = Metric::loss(&model, [4u32])?;
    let log_prob = Metric::log_prob(&model, [4u32])?;
    assert_eq!((loss.direction(), log_prob.direction()), (Some(Direction::Less), Some(Direction::More)));
    let (loss, log_prob) = (with(loss)?, with(log_prob)?);
    assert_eq!((loss.clean(), loss.corrupted()), (-log_prob.clean(), -log_prob.corrupted()));
    let logits = last_logits(&model.forward(rows(CLEAN)?)?)?;
    let total: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
    assert!((f64::from(loss.clean()) - (total.ln() - f64::from(logits[4]))).abs() < f64::from(TWO_WAYS));
    let (loss, log_prob) = (loss.get_act_patch_resid_pre()?, log_prob.get_act_patch_resid_pre()?);
    for (loss, log_prob) in loss.normalised.values().iter().zip(&log_prob.normalised.values()) {
        assert!((loss - log_prob).abs() < TWO_WAYS);
    }
    Ok(())
}

#[test]
fn nan_is_reported_with_the_first_point_that_has_it() -> Result<()> {
    let cfg =
        HookedTransformerConfig { n_layers: 2, d_model: 8, n_heads: 2, d_vocab: 30, n_ctx: 6, ..Default::default() };
    let (model, vars) = HookedTransformer::trainable(cfg, 0, &Device::Cpu)?;
    // The second block's MLP weights are the last of this shape.
    let broken = vars.iter().rfind(|var| var.dims() == [8, 32]).expect("an MLP has W_in");
    broken.set(&Tensor::full(f32::NAN, (8, 32), &Device::Cpu)?)?;
    let answers = model.answers([(4u32, 19u32)])?;
    let patching = Experiment::new(&model, rows(CLEAN)?, rows(CORRUPTED)?, Metric::logit_diff(&answers));
    sentence(patching, &["NaN", "blocks.1.mlp.hook_pre"]);
    // A metric that does not read it: the sweep still names the point.
    let constant = Metric::custom("a sum of tokens", |logits| logits.zeros_like()?.sum(1)? + 1.0);
    let ablation = Experiment::new(&model, rows(CLEAN)?, Baseline::Zero, constant)?;
    sentence(ablation.get_act_patch_mlp_out(), &["blocks.1.hook_mlp_out holds NaN"]);
    Ok(())
}

#[test]
fn what_would_give_a_wrong_number_is_refused() -> Result<()> {
    let model = tiny_model(Processing::default());
    let with = |metric: Metric| Experiment::new(&model, rows(CLEAN)?, rows(CORRUPTED)?, metric);
    let beyond = model.cfg().d_vocab as u32 + 3;
    let larger = HookedTransformer::trainable(
        HookedTransformerConfig { n_layers: 1, d_model: 8, n_heads: 2, d_vocab: 1000, n_ctx: 6, ..Default::default() },
        0,
        &Device::Cpu,
    )?;
    // Metrics that were made with another model.
    for metric in [
        Metric::prob_diff(&larger.0, [[beyond]], [[4u32]])?,
        Metric::log_prob(&larger.0, [beyond])?,
        Metric::loss(&larger.0, [beyond])?,
        Metric::rank(&larger.0, [beyond])?,
    ] {
        sentence(with(metric), &[&beyond.to_string(), "has no logit"]);
    }
    sentence(with(Metric::kl())?.noising()?.attribution(["z"]), &["its minimum there", "without noising"]);
    with(Metric::kl())?.attribution(["z"])?;
    let saved = experiment(&model)?.save_to("sweep.safetensors");
    sentence(saved.cumulative(&[PatchSite::new(&model, ("z", 0))?]), &["cumulative", "save_to"]);
    sentence(saved.get_act_patch_block_every(), &["get_act_patch_block_every", "save_to"]);
    Ok(())
}

/// A plan that patches like a site of a sweep gives the sweep's number, and so does a function that does the same.
#[test]
fn plans_of_the_user_are_whole_runs() -> Result<()> {
    let model = tiny_model(Processing::default());
    let patching = experiment(&model)?;
    let (_, clean) = model.run_with_cache(rows(CLEAN)?)?;
    let value = clean.get(("mlp_out", 1))?;
    let own = value.clone();
    let result = patching.plans([
        ("replaced", HookPlan::new().edit(("mlp_out", 1), Edit::replace(value))),
        (
            "by a function",
            HookPlan::new().edit(("mlp_out", 1), Edit::custom("own", move |_, _| Ok::<_, Error>(own.clone()))),
        ),
        ("nothing", HookPlan::new()),
    ])?;
    let swept = patching.sites(&[PatchSite::new(&model, ("mlp_out", 1))?])?.raw.at(&[0])?;
    assert!((result.raw.at(&[0])? - swept).abs() < TWO_WAYS && (result.raw.at(&[1])? - swept).abs() < TWO_WAYS);
    assert!((result.raw.at(&[2])? - patching.corrupted()).abs() < REORDERED);
    let none: [(&str, HookPlan); 0] = [];
    sentence(patching.plans(none), &["no plan"]);
    Ok(())
}
