//! Several metrics of one experiment: each is what it is alone, and no run is made for it; statistics over prompts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_lens::Result;
use candle_lens::candle::{Device, Tensor};
use candle_lens::dims::Dims;
use candle_lens::experiment::{Baseline, Experiment};
use candle_lens::gradients::IgOptions;
use candle_lens::hooks::AxisName::{Head, Layer, Pos};
use candle_lens::hooks::{Edit, HookPlan, HookPoint, InnerSite, Splice, SpliceRun};
use candle_lens::labelled::{Axis, Labelled};
use candle_lens::metrics::{Metric, Metrics, Positions};
use candle_lens::model::{HookedTransformer, HookedTransformerConfig, Processing};
use candle_lens::patching::{Mlps, PatchResult, PatchSite, Receiver, Sender};
use candle_lens::statistics::{Center, StatisticsOptions};
use candle_lens::tokens::{PaddingSide, Tokens};

use crate::support::fixture::{path, tiny_model};
use crate::support::scratch;
use crate::support::sentence::sentence;
use crate::support::tolerance::{LAST_DIGITS, REORDERED, TWO_WAYS};

const LENGTHS: [usize; 5] = [7, 5, 6, 7, 4];

/// Five prompts that differ from their counterparts at the third token.
fn prompts(side: Option<PaddingSide>) -> Result<(Tokens, Tokens)> {
    let batch = |other: u32| {
        let row = |(seed, length): (u32, usize)| -> Vec<u32> {
            (0..length as u32).map(|i| (seed * 7 + i * 5 + if i == 2 { other } else { 0 }) % 29 + 1).collect()
        };
        let lengths = LENGTHS.map(|length| if side.is_some() { length } else { 7 });
        Tokens::padded((1..).zip(lengths).map(row).collect(), 0, side.unwrap_or_default())
    };
    Ok((batch(0)?, batch(9)?))
}

/// Metrics that read one row, all rows and their own rows; two logits, all logits, a few; the clean run and not.
fn metrics(model: &HookedTransformer) -> Result<Vec<Metric>> {
    let answers = model.answers((0..5u32).map(|b| (3 + b, 20 - b)))?;
    let some = Metric::custom("some", |logits| logits.sum(1)).columns(model, [9_u32, 2, 5])?;
    Ok(vec![
        Metric::logit_diff(&answers),
        Metric::mean_loss(),
        Metric::kl(),
        Metric::log_prob(model, [3_u32, 4, 5, 6, 7])?.at(Positions::each([4, 2, 5, 3, 3])),
        some.at(3),
        Metric::custom("spread", |logits| logits.max(1)? - logits.min(1)?).at_all(),
    ])
}

fn family(name: &str) -> Result<HookedTransformer> {
    let folder = path(&format!("families/{name}"));
    HookedTransformer::from_pretrained_with(folder.to_str().expect("the path is UTF-8"), Processing::NONE)
}

/// GPT-2, grouped queries with gates, parallel blocks.
fn models() -> Result<Vec<HookedTransformer>> {
    Ok(vec![tiny_model(Processing::NONE), tiny_model(Processing::default()), family("llama")?, family("gpt_neox")?])
}

/// Each metric of the list has the numbers that it has alone.
#[track_caller]
fn same(together: &PatchResult, alone: &[PatchResult], names: &[String], what: &str) {
    for (name, alone) in names.iter().zip(alone) {
        let one = together.only(name).expect("a metric of the list");
        for (got, expected) in
            [(&one.raw, &alone.raw), (&one.normalised, &alone.normalised), (&one.per_prompt, &alone.per_prompt)]
        {
            assert_eq!(got.axes(), expected.axes(), "{what}, {name}");
            assert_eq!(got.title, expected.title);
            for (a, b) in got.values().iter().zip(&expected.values()) {
                // The logits of a metric's own columns are another product than those of all columns.
                assert!((a - b).abs() <= TWO_WAYS * b.abs().max(1.0), "{what}, {name}: {a} and {b}");
            }
        }
        assert!((one.clean - alone.clean).abs() <= LAST_DIGITS * alone.clean.abs().max(1.0));
        assert!((one.corrupted - alone.corrupted).abs() <= LAST_DIGITS * alone.corrupted.abs().max(1.0));
        let close = |(a, b): (&f32, &f32)| (a - b).abs() <= REORDERED * b.abs().max(1.0);
        let (lost, expected) = (one.effect().as_lost().values.values(), alone.effect().as_lost().values.values());
        assert!(lost.iter().zip(&expected).all(close), "{what}, {name}");
    }
    let shape = [&[names.len()], &alone[0].raw.shape()[..]].concat();
    assert_eq!((together.raw.shape(), together.untouched.shape().to_vec()), (shape.clone(), shape));
    assert_eq!(together.raw.axes()[0], Axis::new("metric", names));
}

/// Whatever an experiment does with one metric, it does with a list.
#[test]
fn each_metric_is_what_it_is_alone() -> Result<()> {
    for model in models()? {
        for side in [None, Some(PaddingSide::Left), Some(PaddingSide::Right)] {
            let (clean, corrupted) = prompts(side)?;
            let list = metrics(&model)?;
            let names = Metrics::from(list.clone()).names();
            let of = |metrics: Metrics| Experiment::new(&model, &clean, &corrupted, metrics);
            let together = of(list.clone().into())?;
            let alone = list.into_iter().map(|metric| of(metric.into())).collect::<Result<Vec<_>>>()?;
            assert_eq!(together.metrics(), names);
            let check = |what: &str, work: &dyn Fn(&Experiment) -> Result<PatchResult>| -> Result<()> {
                let each = alone.iter().map(work).collect::<Result<Vec<_>>>()?;
                same(&work(&together)?, &each, &names, &format!("{what} of {}, {side:?}", model.cfg().model_name));
                Ok(())
            };
            check("heads", &|it| it.get_act_patch_attn_head_out_all_pos())?;
            check("positions", &|it| it.get_act_patch_resid_pre())?;
            if side.is_some() {
                continue;
            }
            check("noising", &|it| it.clone().noising()?.get_act_patch_mlp_out())?;
            let sites = [PatchSite::from((0, 1)), PatchSite::from((1, 2)).pos(3)];
            check("sites", &|it| it.sites(&sites))?;
            check("together", &|it| it.together(&sites))?;
            check("nothing together", &|it| it.together(Vec::<PatchSite>::new()))?;
            check("cumulative", &|it| it.cumulative(&sites))?;
            check("plans", &|it| it.plans([("zero", HookPlan::new().edit(("z", 0), Edit::zero()))]))?;
            check("paths", &|it| it.path_patch(&[Sender::Head(0, 1)], &[Receiver::Final], Mlps::Frozen))?;
            check("one by name", &|it| it.sweep("resid_post", &[Layer]))?;
            check("a small budget", &|it| it.clone().budget(200_000).sweep("v", &[Layer, Pos, Head]))?;
        }
    }
    Ok(())
}

/// Under ablation no metric is measured from the clean run, where it would not change.
#[test]
fn ablations_take_several_metrics() -> Result<()> {
    let model = tiny_model(Processing::default());
    let (clean, _) = prompts(None)?;
    let mut list = metrics(&model)?;
    list.remove(2);
    let names = Metrics::from(list.clone()).names();
    for baseline in [Baseline::Zero, Baseline::mean(candle_lens::hooks::MeanOver::Batch), Baseline::Resample(3)] {
        let of = |metrics: Metrics| {
            Experiment::new(&model, &clean, baseline.clone(), metrics)?.get_act_patch_attn_head_out_all_pos()
        };
        let alone = list.iter().map(|metric| of(metric.into())).collect::<Result<Vec<_>>>()?;
        same(&of(list.clone().into())?, &alone, &names, &format!("{baseline:?}"));
    }
    Ok(())
}

/// Counts the runs through a block.
struct Counter(Arc<AtomicUsize>);

impl Splice for Counter {
    fn name(&self) -> String {
        "counter".into()
    }

    fn inner(&self) -> Vec<InnerSite> {
        Vec::new()
    }

    fn check(&self, _: HookPoint, _: &Dims) -> Result<()> {
        Ok(())
    }

    fn is_by_position(&self) -> bool {
        true
    }

    fn run(&self, x: &Tensor, _: &mut SpliceRun) -> Result<Tensor> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(x.clone())
    }
}

#[test]
fn more_metrics_are_no_more_runs() -> Result<()> {
    let model = tiny_model(Processing::default());
    let (clean, corrupted) = prompts(None)?;
    let runs = |metrics: Metrics| -> Result<usize> {
        let count = Arc::new(AtomicUsize::new(0));
        let plan = [0, 1]
            .iter()
            .fold(HookPlan::new(), |plan, &layer: &i32| plan.splice(("resid_post", layer), Counter(count.clone())));
        let experiment = Experiment::with_splices(&model, &plan, &clean, &corrupted, metrics)?;
        experiment.get_act_patch_attn_head_out_by_pos()?;
        experiment.together([(0, 1), (1, 3)])?;
        experiment.clone().noising()?.cumulative(&[PatchSite::from((0, 1))])?;
        experiment.path_patch_head_to_final_resid_post()?;
        Ok(count.load(Ordering::Relaxed))
    };
    let list = metrics(&model)?;
    let one = runs(list[0].clone().into())?;
    assert!(one > 10, "{one} runs were counted");
    assert_eq!(runs(vec![list[0].clone(), list[2].clone()].into())?, one, "both read the last position");
    // A site that no metric but one can tell is computed for that one.
    assert_eq!(runs(list.clone().into())?, runs(list[5].clone().into())?);
    Ok(())
}

/// A sweep that was saved goes on with all its metrics, and belongs to them.
#[test]
fn sweeps_of_several_metrics_are_saved() -> Result<()> {
    let model = tiny_model(Processing::default());
    let (clean, corrupted) = prompts(None)?;
    let list = metrics(&model)?;
    let file = scratch("several_metrics").join("sweep.safetensors");
    let of = |metrics: Vec<Metric>| Experiment::new(&model, &clean, &corrupted, metrics);
    let whole = of(list.clone())?.get_act_patch_attn_out()?;
    let saved = of(list.clone())?.save_to(&file).get_act_patch_attn_out()?;
    let again = of(list.clone())?.save_to(&file).get_act_patch_attn_out()?;
    assert_eq!((&again.raw, &again.per_prompt), (&saved.raw, &saved.per_prompt));
    for (a, b) in whole.raw.values().iter().zip(&saved.raw.values()) {
        assert!((a - b).abs() <= REORDERED * b.abs().max(1.0));
    }
    sentence(of(list[..2].to_vec())?.save_to(&file).get_act_patch_attn_out(), &["another sweep", "another metric"]);
    Ok(())
}

#[test]
fn what_needs_one_metric_says_so() -> Result<()> {
    let model = tiny_model(Processing::default());
    let (clean, corrupted) = prompts(None)?;
    let answers = model.answers((0..5u32).map(|b| (3 + b, 20 - b)))?;
    let two = vec![Metric::logit_diff(&answers), Metric::log_prob(&model, [3_u32, 4, 5, 6, 7])?];
    let experiment = Experiment::new(&model, &clean, &corrupted, two.clone())?;
    let parts = ["this experiment has 2", "Experiment::only", "logit difference, log-probability"];
    sentence(experiment.attribution("z"), &parts);
    sentence(experiment.integrated_gradients("z", IgOptions::from(2)), &parts);
    sentence(experiment.edges(), &parts);
    let one = experiment.only("log-probability")?;
    let alone = Experiment::new(&model, &clean, &corrupted, two[1].clone())?;
    let heads = |it: &Experiment| it.attribution("z")?.sweep("z", &[Layer, Head]);
    assert_eq!(heads(&one)?.raw, heads(&alone)?.raw);
    assert_eq!(one.edges()?.clean(), alone.clean());
    sentence(experiment.only("rank"), &["\"rank\"", "\"logit difference\"", "\"log-probability\""]);
    sentence(alone.sites(&[(0, 1).into()])?.only("rank"), &["of one metric"]);
    // Rows in an order of their own stay in it.
    let backwards = Metric::kl().at(vec![5, 3]);
    let heads = |it: &Experiment| it.sweep("z", &[Layer, Head]);
    let of_list = Experiment::new(&model, &clean, &corrupted, [two[0].clone(), backwards.clone()])?
        .only("KL divergence at positions [5, 3]")?;
    let alone_backwards = Experiment::new(&model, &clean, &corrupted, backwards)?;
    assert_eq!(heads(&of_list)?.raw, heads(&alone_backwards)?.raw);

    sentence(Experiment::new(&model, &clean, &corrupted, Vec::<Metric>::new()), &["no metric", "at least one"]);
    let twice = [Metric::logit_diff(&answers), Metric::logit_diff(&answers)];
    sentence(Experiment::new(&model, &clean, &corrupted, twice), &["two of the metrics", "Metric::named"]);
    let renamed = [Metric::logit_diff(&answers), Metric::logit_diff(&answers).named("again").at(-1)];
    assert_eq!(Experiment::new(&model, &clean, &corrupted, renamed)?.metrics(), ["logit difference", "again"]);
    // Its denominator is zero, which the others' is not.
    let constant = Metric::custom("constant", |logits| logits.sum(1)? * 0.0);
    let all = vec![two[0].clone(), constant];
    sentence(Experiment::new(&model, &clean, &corrupted, all), &["the constant is 0", "no difference"]);
    Ok(())
}

/// What several metrics read together is counted before the prompts are run.
#[test]
fn more_metrics_than_memory_are_refused() -> Result<()> {
    let cfg = HookedTransformerConfig {
        n_layers: 1,
        d_model: 4,
        n_heads: 1,
        d_vocab: 20_000,
        n_ctx: 4000,
        ..Default::default()
    };
    let model = HookedTransformer::trainable(cfg, 3, &Device::Cpu)?.0;
    // 16 million positions of 20,000 logits: terabytes, of tokens that are 64 MB.
    let prompts = Tokens::from_rows(vec![vec![1_u32; 4000]; 4000])?;
    let list = [Metric::mean_loss(), Metric::mean_loss().named("at the end").at(-2)];
    sentence(
        Experiment::new(&model, &prompts, Baseline::Zero, list),
        &["2 metrics", "memory that is free", "fewer prompts, fewer metrics"],
    );
    Ok(())
}

/// A list of one is a list.
#[test]
fn a_list_of_one_has_its_axis() -> Result<()> {
    let model = tiny_model(Processing::default());
    let (clean, corrupted) = prompts(None)?;
    let list = vec![metrics(&model)?.remove(0)];
    let experiment = Experiment::new(&model, &clean, &corrupted, list)?;
    let heads = experiment.get_act_patch_attn_head_out_all_pos()?;
    assert_eq!((heads.raw.shape(), heads.per_prompt.shape()), (vec![1, 2, 4], vec![1, 2, 4, 5]));
    assert_eq!(heads.statistics(Center::Mean)?.estimate.shape(), [1, 2, 4]);
    assert!(experiment.edges().is_ok(), "one metric is one metric");
    Ok(())
}

/// Statistics over the prompts that have a token there, by hand.
#[test]
fn statistics_are_those_of_the_prompts_with_a_token() -> Result<()> {
    let model = tiny_model(Processing::NONE);
    let answers = model.answers((0..5u32).map(|b| (3 + b, 20 - b)))?;
    let two = [Metric::logit_diff(&answers), Metric::log_prob(&model, [3_u32, 4, 5, 6, 7])?];
    for side in [None, Some(PaddingSide::Left), Some(PaddingSide::Right)] {
        let (clean, corrupted) = prompts(side)?;
        let values = |tokens: &Tokens, metric: &Metric| -> Result<Vec<f32>> {
            Ok(metric.measure(&model, tokens)?.values().iter().copied().collect())
        };
        for is_noising in [false, true] {
            let experiment = Experiment::new(&model, &clean, &corrupted, two.clone())?;
            let experiment = if is_noising { experiment.noising()? } else { experiment };
            let found = experiment.get_act_patch_resid_pre()?;
            let statistics = found.statistics(StatisticsOptions::default())?;
            let share = found.effect().as_share()?.statistics(StatisticsOptions::default())?;
            let lost = found.effect().as_lost().statistics(StatisticsOptions::default())?;
            for (number, metric) in two.iter().enumerate() {
                let (of_clean, of_corrupted) = (values(&clean, metric)?, values(&corrupted, metric)?);
                for (layer, pos) in (0..2).flat_map(|layer| (0..7).map(move |pos| (layer, pos))) {
                    let there: Vec<usize> = (0..5).filter(|&b| clean.is_real(b, pos)).collect();
                    let place = [number, layer, pos];
                    let at = |b: usize| found.per_prompt.values()[[number, layer, pos, b]];
                    let expected = |of: &dyn Fn(usize) -> f32| -> Result<Option<(f32, f32, f32)>> {
                        let values: Vec<f32> = there.iter().map(|&b| of(b)).collect();
                        if values.len() < 2 {
                            return Ok(None);
                        }
                        let list = Labelled::new("by hand", vec![Axis::numbered("prompt", values.len())], values)?;
                        let found = list.statistics_over("prompt", StatisticsOptions::default())?;
                        Ok(Some((found.estimate.scalar()?, found.standard_error.scalar()?, found.p()?.scalar()?)))
                    };
                    let base = if is_noising { &of_clean } else { &of_corrupted };
                    let span = |b: usize| of_clean[b] - of_corrupted[b];
                    for (got, expected) in [
                        (&statistics, expected(&|b| at(b) - base[b])?),
                        (&lost, expected(&|b| of_clean[b] - at(b))?),
                        (&share, expected(&|b| (at(b) - of_corrupted[b]) / span(b))?),
                    ] {
                        assert_eq!(got.count.values()[place], there.len() as f32);
                        let Some((mean, error, p)) = expected else {
                            assert!(got.low.values()[place].is_nan() && got.holds_zero()[place]);
                            continue;
                        };
                        for (got, expected) in [(&got.estimate, mean), (&got.standard_error, error), (&got.p()?, p)] {
                            let got = got.values()[place];
                            assert!((got - expected).abs() < REORDERED * 10.0, "{place:?}: {got}, expected {expected}");
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

/// A prompt whose clean and corrupted metrics are the same has no share and does not count; edges know no prompts.
#[test]
fn shares_without_a_denominator_do_not_count() -> Result<()> {
    let model = tiny_model(Processing::default());
    let (clean, corrupted) = prompts(None)?;
    let mut rows: Vec<Vec<u32>> = (0..5).map(|b| corrupted.row(b).to_vec()).collect();
    rows[2] = clean.row(2).to_vec();
    let answers = model.answers((0..5u32).map(|b| (3 + b, 20 - b)))?;
    let experiment = Experiment::new(&model, &clean, Tokens::from_rows(rows)?, Metric::logit_diff(&answers))?;
    let heads = experiment.get_act_patch_attn_head_out_all_pos()?;
    let share = heads.effect().as_share()?.statistics(Center::Mean)?;
    assert!(share.count.values().iter().all(|&count| count == 4.0));
    assert!(share.estimate.values().iter().all(|mean| mean.is_finite()));
    assert!(heads.statistics(Center::Mean)?.count.values().iter().all(|&count| count == 5.0));
    let estimated = experiment.integrated_gradients("z", IgOptions::from(3))?.heads()?;
    let found = estimated.statistics(Center::Mean)?;
    for (a, b) in found.estimate.values().iter().zip(&estimated.values.values()) {
        assert!((a - b).abs() < REORDERED, "{a} and {b}");
    }
    let nodes = experiment.edges()?.attribute_nodes(candle_lens::circuits::EdgeMethod::Eap)?;
    sentence(nodes.effect()?.statistics(Center::Mean), &["a mean over prompts only", "sweep"]);
    let one = Experiment::new(&model, clean.row(0).to_vec(), corrupted.row(0).to_vec(), Metric::mean_loss())?;
    sentence(one.get_act_patch_resid_pre()?.statistics(Center::Mean), &["1 entries", "more prompts"]);
    Ok(())
}
