//! The engine on GPT-2 small's shapes with random weights: the same work as the peer's side, case by case by name.
//!
//! `cargo bench --bench engine`; `benches/compare.py` puts a peer's times beside these.

use std::time::Duration;

use candle_lens::prelude::*;
use candle_lens::random::Random;
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};

const VOCABULARY: usize = 50257;

fn gpt2_shapes() -> HookedTransformer {
    let (model, _) =
        HookedTransformer::trainable(HookedTransformerConfig::default(), 0, &Device::Cpu).expect("a model");
    model.without_weight_gradients()
}

fn rows(random: &mut Random, count: usize, length: usize) -> Vec<Vec<u32>> {
    (0..count).map(|_| (0..length).map(|_| random.below(VOCABULARY) as u32).collect()).collect()
}

fn patching(model: &HookedTransformer, (prompts, length): (usize, usize), first_difference: usize) -> Experiment {
    let mut random = Random::new(1);
    let (clean, other) = (rows(&mut random, prompts, length), rows(&mut random, prompts, length));
    let mix =
        |(clean, other): (&Vec<u32>, &Vec<u32>)| [&clean[..first_difference], &other[first_difference..]].concat();
    let corrupted: Vec<Vec<u32>> = clean.iter().zip(&other).map(mix).collect();
    let mut token = || random.below(VOCABULARY) as u32;
    let answers = model.answers((0..prompts).map(|_| (token(), token()))).expect("two tokens each");
    Experiment::new(model, clean, corrupted, Metric::logit_diff(&answers)).expect("an experiment")
}

fn forward(c: &mut Criterion) {
    let model = gpt2_shapes();
    let mut random = Random::new(0);
    for (name, prompts, length) in [("8x15", 8, 15), ("1x15", 1, 15), ("1x1024", 1, 1024)] {
        let tokens = Tokens::from_rows(rows(&mut random, prompts, length)).expect("rows");
        c.bench_function(&format!("forward_{name}"), |b| b.iter(|| model.forward(&tokens).expect("logits")));
        if prompts * length != 15 {
            let cached = format!("run_with_cache_{name}");
            c.bench_function(&cached, |b| b.iter(|| model.run_with_cache(&tokens).expect("a cache")));
        }
    }
}

fn sweeps(c: &mut Criterion) {
    let model = gpt2_shapes();
    let whole = patching(&model, (8, 15), 0);
    let late = patching(&model, (8, 15), 10);
    c.bench_function("patch_resid_pre_12x15_b8", |b| b.iter(|| whole.get_act_patch_resid_pre().expect("a sweep")));
    c.bench_function("patch_resid_pre_12x15_b8_from_10", |b| {
        b.iter(|| late.get_act_patch_resid_pre().expect("a sweep"));
    });
    c.bench_function("patch_head_out_all_pos_144_b8", |b| {
        b.iter(|| whole.get_act_patch_attn_head_out_all_pos().expect("a sweep"));
    });
}

/// All 32,491 edges by attribution patching, both runs included, beside one forward and backward pass.
fn edges(c: &mut Criterion) {
    let model = gpt2_shapes();
    let mut random = Random::new(2);
    let (clean, corrupted) = (rows(&mut random, 8, 15), rows(&mut random, 8, 15));
    let metric = Metric::logit_diff(&model.answers((0..8u32).map(|b| (b, b + 9))).expect("two tokens each"));
    c.bench_function("forward_backward_8x15", |b| {
        b.iter(|| model.run_with_grads(clean.clone(), &metric, [("resid_pre", 0)]).expect("gradients"));
    });
    c.bench_function("eap_all_edges_8x15", |b| {
        b.iter(|| {
            let edges = Experiment::new(&model, clean.clone(), corrupted.clone(), metric.clone())
                .and_then(|experiment| experiment.edges())
                .expect("two runs");
            edges.attribute(EdgeMethod::Eap).expect("scores")
        });
    });
}

/// Gradients of a metric at 132 points: eleven in each of twelve layers.
fn gradients(c: &mut Criterion) {
    const POINTS: [&str; 11] =
        ["q", "k", "v", "z", "pattern", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "mlp_post"];
    let model = gpt2_shapes();
    let mut random = Random::new(0);
    let tokens = Tokens::from_rows(rows(&mut random, 8, 15)).expect("rows");
    let mut token = || random.below(VOCABULARY) as u32;
    let metric = Metric::logit_diff(&model.answers((0..8).map(|_| (token(), token()))).expect("two tokens each"));
    c.bench_function("forward_backward_132_points_8x15", |b| {
        b.iter(|| model.run_with_grads(&tokens, &metric, POINTS).expect("gradients"));
    });
}

/// How the cost of a sweep grows with prompts and with tokens: the outputs of the twelve MLPs, each at all positions.
fn growth(c: &mut Criterion) {
    let model = gpt2_shapes();
    let mut group = c.benchmark_group("growth");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for (prompts, length) in [(1, 15), (4, 15), (16, 15), (64, 15), (1, 30), (1, 60), (1, 120)] {
        let layers = patching(&model, (prompts, length), 0);
        group.throughput(Throughput::Elements((prompts * length) as u64));
        group.bench_function(BenchmarkId::new("mlp_out", format!("{prompts}x{length}")), |b| {
            b.iter(|| layers.sweep("mlp_out", &[AxisName::Layer]).expect("a sweep"));
        });
    }
}

fn few() -> Criterion {
    set_progress(false);
    Criterion::default().sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5))
}

criterion_group! { name = engine; config = few(); targets = forward, sweeps, gradients, edges, growth }
criterion_main!(engine);
