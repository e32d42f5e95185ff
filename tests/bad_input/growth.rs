//! Twice as much costs about twice as much: of every function that takes a list, two sizes. Work is counted in the bytes that it
//! asks for, which are the same in each run, so that a busy machine fails no test.

use candle_lens::Result;
use candle_lens::candle::{DType, Device, Tensor};
use candle_lens::hooks::HookQuery;
use candle_lens::prelude::*;
use candle_lens::tasks::Split;

use crate::support::allocations::asked_for;
use crate::support::scratch;

/// What double work may cost at most, as a multiple.
const MOST: f64 = 2.5;

/// Runs `work` at one and at two times `size`, and holds the second against the first.
#[track_caller]
fn grows<T>(what: &str, size: usize, work: impl Fn(usize) -> Result<T>) {
    // Tables that are made once are made before anything is counted.
    let _ = work(2);
    let cost = |size: usize| {
        let (result, bytes) = asked_for(|| work(size));
        result.unwrap_or_else(|error| panic!("{what} of {size}: {error}"));
        bytes as f64
    };
    let (once, twice) = (cost(size), cost(2 * size));
    assert!(once > 1000.0, "{what} asks for {once} bytes only, so nothing is counted");
    assert!(twice / once < MOST, "{what}: {once} bytes for {size}, {twice} for twice as many: {:.2}", twice / once);
}

/// A model so small that what is counted is the lists.
fn model() -> HookedTransformer {
    let cfg =
        HookedTransformerConfig { n_layers: 2, d_model: 8, n_heads: 2, d_vocab: 30, n_ctx: 12, ..Default::default() };
    HookedTransformer::trainable(cfg, 3, &Device::Cpu).expect("a config of a model").0
}

fn rows(count: usize, shift: u32) -> Vec<Vec<u32>> {
    (0..count as u32)
        .map(|b| (0..6).map(|i| (b * 7 + i * 5 + if i == 2 { shift } else { 0 }) % 29 + 1).collect())
        .collect()
}

fn metric(model: &HookedTransformer, count: usize) -> Result<Metric> {
    Ok(Metric::logit_diff(&model.answers((0..count as u32).map(|b| (b % 28 + 1, b % 27 + 2)))?))
}

#[test]
fn lists_of_prompts() {
    let model = model();
    let site = || PatchSite::new(&model, ("z", 1));
    for (name, ablation) in [
        ("zero", (|_| Baseline::Zero) as fn(usize) -> Baseline),
        ("mean", |_| Baseline::mean(MeanOver::Batch)),
        ("mean of two groups", |n| Baseline::MeanByGroup((0..n).map(|i| i % 2).collect())),
        ("mean of many groups", |n| Baseline::MeanByGroup((0..n).map(|i| i / 2).collect())),
        ("resample", |_| Baseline::Resample(0)),
    ] {
        grows(&format!("ablation by {name}"), 60, |n| {
            Experiment::new(&model, rows(n, 0), ablation(n), metric(&model, n)?)?.sites(&[site()?])
        });
    }
    grows("patching", 60, |n| {
        let file = scratch("growth_sweep").join("sweep.safetensors");
        Experiment::new(&model, rows(n, 0), rows(n, 9), metric(&model, n)?)?.save_to(file).sites(&[site()?])
    });
    grows("paths", 30, |n| {
        let patching = Experiment::new(&model, rows(n, 0), rows(n, 9), metric(&model, n)?)?;
        patching.path_patch(&[Sender::Head(0, 1)], &[Receiver::Final], Mlps::Frozen)
    });
    grows("attribution", 30, |n| Experiment::new(&model, rows(n, 0), rows(n, 9), metric(&model, n)?)?.attribution("z"));
    grows("integrated gradients", 20, |n| {
        let options = IgOptions { steps: 2, ..Default::default() };
        Experiment::new(&model, rows(n, 0), Baseline::Zero, metric(&model, n)?)?.integrated_gradients(["z"], options)
    });
    grows("edges", 20, |n| {
        let edges = Experiment::new(&model, rows(n, 0), rows(n, 9), metric(&model, n)?)?.edges()?;
        edges.attribute(EdgeMethod::Eap)
    });
    grows("a run", 60, |n| model.run_with_cache(rows(n, 0)));
    grows("an analysis", 60, |n| {
        let (_, cache) = model.run_with_cache(rows(n, 0))?;
        let heads = cache.stack_head_results(&model, Stack::heads())?;
        heads.project(&Tensor::ones(8, DType::F32, &Device::Cpu)?)?.mean_over("prompt")
    });
    grows("the lens", 30, |n| {
        let (_, cache) = model.run_with_cache(rows(n, 0))?;
        logit_lens(&model, &cache, LensOptions::default())
    });
    grows("generation", 30, |n| {
        model.generate(rows(n, 0), GenerateOptions { max_new_tokens: 3, ..Default::default() })
    });
    grows("padding", 400, |n| Tokens::padded(rows(n, 0), 0, PaddingSide::Left));
    grows("scores of heads", 20, |n| induction_scores(&model, RepeatOptions { seq_len: 5, batch: n, seed: 0 }));
}

#[test]
fn lists_of_sites_senders_and_edits() {
    let model = model();
    let metric = || metric(&model, 1);
    let patching =
        Experiment::new(&model, rows(1, 0), rows(1, 9), metric().expect("answers")).expect("prompts that differ");
    grows("sites", 100, |n| {
        let site = |i: usize| Ok(PatchSite::new(&model, ("z", i % 2))?.pos(2 + i % 4));
        patching.sites(&(0..n).map(site).collect::<Result<Vec<_>>>()?)
    });
    grows("senders", 20, |n| {
        let senders: Vec<Sender> = (0..n as isize).map(|i| Sender::Head(0, i % 2)).collect();
        patching.path_patch(&senders, &[Receiver::Final], Mlps::Recomputed)
    });
    grows("receivers", 20, |n| {
        let receivers: Vec<Receiver> = (0..n as isize).map(|i| Receiver::Q(1, i % 2)).collect();
        patching.path_patch(&[Sender::Head(0, 0)], &receivers, Mlps::Recomputed)
    });
    grows("plans", 20, |n| {
        let plans: Vec<HookPlan> = (0..n).map(|i| HookPlan::new().edit(("z", i % 2), Edit::zero())).collect();
        patching.plans(plans.iter().enumerate().map(|(i, plan)| (i.to_string(), plan.clone())))
    });
    grows("captures", 200, |n| {
        let plan = (0..n).fold(HookPlan::new(), |plan, i| plan.capture(("z", i % 2)));
        plan.memory(&model.dims(), 2, 5, DType::F32)
    });
    grows("edits", 100, |n| {
        let plan = (0..n).fold(HookPlan::new(), |plan, i| plan.edit(("z", i % 2), Edit::scale(0.5).pos(i % 6)));
        model.run_with_hooks(rows(1, 0), &plan)
    });
    grows("positions", 2000, |n| {
        Slice::from((0..n).map(|i| (i % 7) as i32).collect::<Vec<_>>()).indices(7, "position")
    });
}

#[test]
fn lists_of_edges_and_circuits() {
    let model = model();
    let metric = metric(&model, 1).expect("answers");
    let edges = Experiment::new(&model, rows(1, 0), rows(1, 9), metric)
        .and_then(|experiment| experiment.edges())
        .expect("prompts that differ");
    let scores = edges.attribute(EdgeMethod::Eap).expect("it runs");
    grows("sizes of circuits", 20, |n| scores.topn_each(&vec![5; n], RankBy::Magnitude));
    grows("circuits grown", 20, |n| scores.greedy_each(&vec![5; n], RankBy::Magnitude));
    grows("a curve", 5, |n| edges.curve(&scores.topn_each(&vec![5; n], RankBy::Magnitude)?));
    grows("sets left out", 3, |n| {
        edges.completeness(&scores.topn(20, RankBy::Magnitude)?, &vec![vec![Node::Mlp(0)]; n])
    });
    grows("nodes left out", 40, |n| scores.without_nodes(&vec![Node::Mlp(0); n]));
}

#[test]
fn lists_of_texts_and_names() {
    let tiny = HookedTransformer::from_pretrained("tiny").expect("it is embedded");
    let prompt = "When John and Mary went to the shops, John gave the bag to";
    grows("texts", 40, |n| tiny.to_tokens(vec![prompt; n]));
    grows("ids", 400, |n| tiny.to_string(vec![50; n]));
    grows("answers", 100, |n| tiny.answers(vec![(" Mary", " John"); n]));
    grows("directions", 100, |n| tiny.tokens_to_residual_directions(vec![" Mary"; n]));
    for task in [Task::Ioi, Task::GreaterThan, Task::Sva] {
        grows(&format!("{task}"), 60, |n| task.prompts(Split::Train, n, 0));
        grows(&format!("batches of {task}"), 30, |n| task.prompts(Split::Train, n, 0)?.batches(&tiny, 8));
    }
    grows("a data set", 60, |n| {
        let path = scratch("growth_data").join("years.csv");
        let line = "From 1741 to 17,From 1701 to 17,41\n";
        std::fs::write(&path, format!("clean,corrupted,correct_idx\n{}", line.repeat(n))).expect("a scratch file");
        TaskDataset::read(Task::GreaterThan, path)?.shuffle(1).head(n).batches(&tiny, 64)
    });
    // However long a wrong name is, it is compared with others by its beginning.
    for size in [10_000, 100_000] {
        let name = "q".repeat(size);
        let (_, bytes) = asked_for(|| HookQuery::from(name.as_str()).resolve(&tiny.dims()));
        let (_, more) = asked_for(|| HookedTransformer::from_pretrained(format!("{name} ")));
        assert!(bytes + more < 2_000_000 + 20 * size as u64, "{bytes} and {more} bytes for {size} letters");
    }
}

#[test]
fn prompts_that_there_are_not() {
    for (task, most) in [(Task::GenderBias, "280"), (Task::Ioi, "at most 1000000")] {
        for count in [100_000, usize::MAX] {
            if (task, count) == (Task::Ioi, 100_000) {
                continue;
            }
            let (result, bytes) = asked_for(|| task.prompts(Split::Train, count, 0));
            let error = result.expect_err("there are not so many").to_string();
            assert!(error.contains(most), "{error}");
            assert!(bytes < 200_000_000, "{task}: {bytes} bytes for {count}");
        }
    }
    let all = Task::GenderBias.prompts(Split::Train, 280, 0).expect("all that there are");
    assert_eq!(all.len(), 280);
}

#[test]
fn lists_of_results() {
    let scores = |n: usize| Labelled::new("scores", vec![Axis::numbered("head", n)], vec![0.5; n]);
    grows("largest", 500, |n| Ok(scores(n)?.top(n)));
    grows("concatenation", 40, |n| Labelled::concat("head", &vec![scores(5)?; n]));
    grows("split", 200, |n| scores(2 * n)?.split("head", vec![Axis::numbered("a", n), Axis::numbered("b", 2)]));
    grows("a result saved", 500, |n| {
        let path = scratch("growth_result").join("result.safetensors");
        scores(n)?.save(&path)?;
        Labelled::load(&path)
    });
    grows("a histogram", 2000, |n| hist(vec![0.5f32; n]).bins(10).to_json());
    grows("a picture", 40, |n| {
        imshow(scores(n)?.split("head", vec![Axis::numbered("a", n), Axis::numbered("b", 1)])?).to_json()
    });
    grows("bars", 100, |n| bar(scores(n)?).to_json());
    // Rendered, with the still picture, for which a line of many points once took the square of their count.
    grows("a line", 2000, |n| line((0..n).map(|i| (i as f32).sin()).collect::<Vec<_>>()).render());
    let maps = |n: usize| Tensor::zeros((n, 3, 3), DType::F32, &Device::Cpu);
    grows("facets", 20, |n| imshow_facets(maps(n)?).render());
}
