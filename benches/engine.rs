//! The engine on GPT-2 small's shapes with random weights, or on the model that `CANDLE_LENS_BENCH_MODEL` names: the same work
//! as the peer's side, case by case by name.
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

/// The folder or file of the real model that is measured, if one is.
fn real_model() -> Option<String> {
    std::env::var("CANDLE_LENS_BENCH_MODEL").ok()
}

/// The model that is measured: a real one, its weights as they are, or GPT-2 small's shapes.
fn measured() -> HookedTransformer {
    match real_model() {
        Some(name) => HookedTransformer::from_pretrained_no_processing(name).expect("a model"),
        None => {
            let (model, _) =
                HookedTransformer::trainable(HookedTransformerConfig::default(), 0, &Device::Cpu).expect("a model");
            model.without_weight_gradients()
        }
    }
}

/// Rows of random tokens.
fn rows(model: &HookedTransformer, random: &mut Random, count: usize, length: usize) -> Vec<Vec<u32>> {
    let d_vocab = model.cfg().d_vocab;
    (0..count).map(|_| (0..length).map(|_| random.below(d_vocab) as u32).collect()).collect()
}

/// A clean and a corrupted batch with two answers for each prompt.
struct Pair {
    clean: Vec<Vec<u32>>,
    corrupted: Vec<Vec<u32>>,
    answers: Vec<(u32, u32)>,
}

impl Pair {
    /// Random prompts that first differ at a position.
    fn new(model: &HookedTransformer, (prompts, length): (usize, usize), first_difference: usize) -> Self {
        let mut random = Random::new(1);
        let (clean, other) = (rows(model, &mut random, prompts, length), rows(model, &mut random, prompts, length));
        let mix =
            |(clean, other): (&Vec<u32>, &Vec<u32>)| [&clean[..first_difference], &other[first_difference..]].concat();
        let corrupted = clean.iter().zip(&other).map(mix).collect();
        Self { clean, corrupted, answers: answers(model, &mut random, prompts) }
    }

    /// What edges are scored on.
    fn of_edges(model: &HookedTransformer) -> Self {
        let mut random = Random::new(2);
        let (clean, corrupted) = (rows(model, &mut random, 8, 15), rows(model, &mut random, 8, 15));
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

fn answers(model: &HookedTransformer, random: &mut Random, prompts: usize) -> Vec<(u32, u32)> {
    let mut token = || random.below(model.cfg().d_vocab_out()) as u32;
    (0..prompts).map(|_| (token(), token())).collect()
}

/// The batches of the forward passes, by their shapes.
const FORWARDS: [&str; 3] = ["8x15", "1x15", "1x1024"];

fn forward_tokens(model: &HookedTransformer) -> [Vec<Vec<u32>>; 3] {
    let mut random = Random::new(0);
    [(8, 15), (1, 15), (1, 1024)].map(|(prompts, length)| rows(model, &mut random, prompts, length))
}

/// From the files of a real model.
fn load(c: &mut Criterion) {
    if real_model().is_some() {
        c.bench_function("load", |b| b.iter(measured));
    }
}

fn forward(c: &mut Criterion) {
    let model = measured();
    for (name, rows) in FORWARDS.into_iter().zip(forward_tokens(&model)) {
        let tokens = Tokens::from_rows(rows).expect("rows");
        c.bench_function(&format!("forward_{name}"), |b| b.iter(|| model.forward(&tokens).expect("logits")));
        if name != "1x15" {
            let cached = format!("run_with_cache_{name}");
            c.bench_function(&cached, |b| b.iter(|| model.run_with_cache(&tokens).expect("a cache")));
        }
    }
}

fn sweeps(c: &mut Criterion) {
    let model = measured();
    let whole = Pair::new(&model, (8, 15), 0).experiment(&model);
    let late = Pair::new(&model, (8, 15), 10).experiment(&model);
    let (layers, heads) = (model.cfg().n_layers, model.cfg().n_layers * model.cfg().n_heads);
    let stream = format!("patch_resid_pre_{layers}x15_b8");
    c.bench_function(&stream, |b| b.iter(|| whole.get_act_patch_resid_pre().expect("a sweep")));
    c.bench_function(&format!("{stream}_from_10"), |b| {
        b.iter(|| late.get_act_patch_resid_pre().expect("a sweep"));
    });
    c.bench_function(&format!("patch_head_out_all_pos_{heads}_b8"), |b| {
        b.iter(|| whole.get_act_patch_attn_head_out_all_pos().expect("a sweep"));
    });
}

const EDGES: EdgeMethod = EdgeMethod::Eap;

/// All edges (GPT-2's shapes have 32,491) by attribution patching, both runs included, beside one forward and backward pass.
fn edges(c: &mut Criterion) {
    let model = measured();
    let pair = Pair::of_edges(&model);
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

fn gradient_case(model: &HookedTransformer) -> (Vec<Vec<u32>>, Vec<(u32, u32)>) {
    let mut random = Random::new(0);
    (rows(model, &mut random, 8, 15), answers(model, &mut random, 8))
}

/// Gradients of a metric at these points: 132 in GPT-2's shapes.
fn gradients(c: &mut Criterion) {
    let model = measured();
    let (rows, answers) = gradient_case(&model);
    let tokens = Tokens::from_rows(rows).expect("rows");
    let metric = Metric::logit_diff(&model.answers(answers).expect("two tokens each"));
    let points = POINTS.len() * model.cfg().n_layers;
    c.bench_function(&format!("forward_backward_{points}_points_8x15"), |b| {
        b.iter(|| model.run_with_grads(&tokens, &metric, POINTS).expect("gradients"));
    });
}

/// How the cost of a sweep grows with prompts and with tokens: the outputs of the twelve MLPs, each at all positions.
fn growth(c: &mut Criterion) {
    let model = measured();
    let mut group = c.benchmark_group("growth");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for (prompts, length) in [(1, 15), (4, 15), (16, 15), (64, 15), (1, 30), (1, 60), (1, 120)] {
        let layers = Pair::new(&model, (prompts, length), 0).experiment(&model);
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

criterion_group! { name = engine; config = few(); targets = load, forward, sweeps, gradients, edges, growth }

fn main() {
    if let Some(folder) = std::env::var_os("CANDLE_LENS_BENCH_CASES").map(PathBuf::from) {
        set_progress(false);
        std::fs::create_dir_all(&folder).expect("a folder for the cases");
        return cases::write(&folder).expect("the cases run");
    }
    engine();
    Criterion::default().configure_from_args().final_summary();
}
