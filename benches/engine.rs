//! The engine on GPT-2 small's shapes with random weights: the same work as the peer's side, case by case by name.
//!
//! `cargo bench --bench engine`; `benches/compare.py` puts a peer's times beside these. With `CANDLE_LENS_BENCH_CASES=FOLDER`
//! nothing is timed: model, inputs and outputs are written into the folder, for the peer to do the same work on.

mod cases;

use std::path::PathBuf;
use std::time::Duration;

use candle_lens::prelude::*;
use candle_lens::random::Random;
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group};
use serde_json::{Value, json};

const VOCABULARY: usize = 50257;

fn gpt2_shapes() -> HookedTransformer {
    let (model, _) =
        HookedTransformer::trainable(HookedTransformerConfig::default(), 0, &Device::Cpu).expect("a model");
    model.without_weight_gradients()
}

fn rows(random: &mut Random, count: usize, length: usize) -> Vec<Vec<u32>> {
    (0..count).map(|_| (0..length).map(|_| random.below(VOCABULARY) as u32).collect()).collect()
}

/// A clean and a corrupted batch with two answers for each prompt.
struct Pair {
    clean: Vec<Vec<u32>>,
    corrupted: Vec<Vec<u32>>,
    answers: Vec<(u32, u32)>,
}

impl Pair {
    /// Random prompts that first differ at a position.
    fn new((prompts, length): (usize, usize), first_difference: usize) -> Self {
        let mut random = Random::new(1);
        let (clean, other) = (rows(&mut random, prompts, length), rows(&mut random, prompts, length));
        let mix =
            |(clean, other): (&Vec<u32>, &Vec<u32>)| [&clean[..first_difference], &other[first_difference..]].concat();
        let corrupted = clean.iter().zip(&other).map(mix).collect();
        Self { clean, corrupted, answers: answers(&mut random, prompts) }
    }

    /// What edges are scored on.
    fn of_edges() -> Self {
        let mut random = Random::new(2);
        let (clean, corrupted) = (rows(&mut random, 8, 15), rows(&mut random, 8, 15));
        Self { clean, corrupted, answers: (0..8).map(|b| (b, b + 9)).collect() }
    }

    fn metric(&self, model: &HookedTransformer) -> Metric {
        Metric::logit_diff(&model.answers(self.answers.clone()).expect("two tokens each"))
    }

    fn experiment(&self, model: &HookedTransformer) -> Experiment {
        Experiment::new(model, self.clean.clone(), self.corrupted.clone(), self.metric(model)).expect("an experiment")
    }

    fn json(&self) -> Value {
        json!({ "clean": self.clean, "corrupted": self.corrupted, "answers": self.answers })
    }
}

fn answers(random: &mut Random, prompts: usize) -> Vec<(u32, u32)> {
    let mut token = || random.below(VOCABULARY) as u32;
    (0..prompts).map(|_| (token(), token())).collect()
}

/// The batches of the forward passes, by their shapes.
const FORWARDS: [&str; 3] = ["8x15", "1x15", "1x1024"];

fn forward_tokens() -> [Vec<Vec<u32>>; 3] {
    let mut random = Random::new(0);
    [(8, 15), (1, 15), (1, 1024)].map(|(prompts, length)| rows(&mut random, prompts, length))
}

fn forward(c: &mut Criterion) {
    let model = gpt2_shapes();
    for (name, rows) in FORWARDS.into_iter().zip(forward_tokens()) {
        let tokens = Tokens::from_rows(rows).expect("rows");
        c.bench_function(&format!("forward_{name}"), |b| b.iter(|| model.forward(&tokens).expect("logits")));
        if name != "1x15" {
            let cached = format!("run_with_cache_{name}");
            c.bench_function(&cached, |b| b.iter(|| model.run_with_cache(&tokens).expect("a cache")));
        }
    }
}

fn sweeps(c: &mut Criterion) {
    let model = gpt2_shapes();
    let whole = Pair::new((8, 15), 0).experiment(&model);
    let late = Pair::new((8, 15), 10).experiment(&model);
    c.bench_function("patch_resid_pre_12x15_b8", |b| b.iter(|| whole.get_act_patch_resid_pre().expect("a sweep")));
    c.bench_function("patch_resid_pre_12x15_b8_from_10", |b| {
        b.iter(|| late.get_act_patch_resid_pre().expect("a sweep"));
    });
    c.bench_function("patch_head_out_all_pos_144_b8", |b| {
        b.iter(|| whole.get_act_patch_attn_head_out_all_pos().expect("a sweep"));
    });
}

const EDGES: EdgeMethod = EdgeMethod::Eap;

/// All 32,491 edges by attribution patching, both runs included, beside one forward and backward pass.
fn edges(c: &mut Criterion) {
    let model = gpt2_shapes();
    let pair = Pair::of_edges();
    let metric = pair.metric(&model);
    c.bench_function("forward_backward_8x15", |b| {
        b.iter(|| model.run_with_grads(pair.clean.clone(), &metric, [("resid_pre", 0)]).expect("gradients"));
    });
    c.bench_function("eap_all_edges_8x15", |b| {
        b.iter(|| pair.experiment(&model).edges().and_then(|edges| edges.attribute(EDGES)).expect("scores"));
    });
}

/// Eleven points in each of twelve layers.
const POINTS: [&str; 11] =
    ["q", "k", "v", "z", "pattern", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "mlp_post"];

fn gradient_case() -> (Vec<Vec<u32>>, Vec<(u32, u32)>) {
    let mut random = Random::new(0);
    (rows(&mut random, 8, 15), answers(&mut random, 8))
}

/// Gradients of a metric at 132 points.
fn gradients(c: &mut Criterion) {
    let model = gpt2_shapes();
    let (rows, answers) = gradient_case();
    let tokens = Tokens::from_rows(rows).expect("rows");
    let metric = Metric::logit_diff(&model.answers(answers).expect("two tokens each"));
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
        let layers = Pair::new((prompts, length), 0).experiment(&model);
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

fn main() {
    if let Some(folder) = std::env::var_os("CANDLE_LENS_BENCH_CASES").map(PathBuf::from) {
        set_progress(false);
        std::fs::create_dir_all(&folder).expect("a folder for the cases");
        return cases::write(&folder).expect("the cases run");
    }
    engine();
    Criterion::default().configure_from_args().final_summary();
}
