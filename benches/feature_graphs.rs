//! Attribution graphs at GPT-2 small's size: random weights, twelve random transcoders of 24,576 features of which about 60 are active
//! at a position, prompts of 20 tokens.
//!
//! `cargo bench --bench feature_graphs`; `benches/compare_graphs.py` puts circuit-tracer's time and memory beside ours. With
//! `CANDLE_LENS_BENCH_CASES=FOLDER` nothing is timed: model, dictionaries (2.4 GB together) and prompts are written there. With
//! `CANDLE_LENS_BENCH_GRAPHS=FOLDER` the graphs of these prompts are made, and their times and some edges written.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use candle_lens::prelude::*;
use criterion::{Criterion, SamplingMode, criterion_group};
use serde_json::{Value, json};

const LAYERS: usize = 12;
const D_MODEL: usize = 768;
const FEATURES: usize = 24_576;
/// Of pre-activations with a standard deviation of 1.1, 0.25 % are above it: 60 at each position.
const THRESHOLD: f32 = 3.1;
const PROMPTS: usize = 8;
const LENGTH: usize = 20;
/// Below the words of the embedded model's tokenizer, with which the peer decodes; the last of them is a BOS.
const WORDS: usize = 2826;
/// Of the edges of a graph that are written, one of so many.
const APART: usize = 997;

fn measured() -> HookedTransformer {
    let (model, _) =
        HookedTransformer::trainable(HookedTransformerConfig::default(), 0, &Device::Cpu).expect("a model");
    model.without_weight_gradients()
}

fn transcoder(layer: usize) -> Result<Dictionary> {
    let mut random = Random::new(layer as u64);
    Dictionary::new(DictionaryParts {
        name: format!("random {layer}"),
        w_enc: (random.normal((D_MODEL, FEATURES))? * 0.04)?,
        b_enc: Tensor::zeros(FEATURES, DType::F32, &Device::Cpu)?,
        w_dec: (random.normal((FEATURES, D_MODEL))? * 0.01)?,
        b_dec: (random.normal(D_MODEL)? * 0.01)?,
        b_in: None,
        w_skip: None,
        activation: Activation::JumpRelu { threshold: Tensor::full(THRESHOLD, FEATURES, &Device::Cpu)? },
        input_norm: InputNorm::None,
        scaled_by_decoder_norm: false,
        expects: Expects::between(
            format!("blocks.{layer}.ln2.hook_normalized").parse()?,
            format!("blocks.{layer}.hook_mlp_out").parse()?,
        ),
    })
}

/// Each begins with the tokenizer's BOS, which both sides leave alone.
fn prompts() -> Vec<Vec<u32>> {
    let mut random = Random::new(5);
    let mut prompt = || {
        let words = (1..LENGTH).map(|_| random.below(WORDS) as u32);
        std::iter::once(WORDS as u32).chain(words).collect()
    };
    (0..PROMPTS).map(|_| prompt()).collect()
}

/// Three logits of each prompt are explained.
fn targets() -> GraphTargets {
    GraphTargets::tokens([11u32, 222, 2222])
}

fn graph(model: &HookedTransformer, set: &DictionarySet, prompt: &[u32], most: Option<usize>) -> AttributionGraph {
    let options = GraphOptions { most_features: most, first_position: Some(1), ..Default::default() };
    let tokens = Tokens::from_rows(vec![prompt.to_vec()]).expect("a prompt");
    model.attribution_graph_with(set, tokens, targets(), options).expect("a graph")
}

/// Writes `inputs.json`, `model/` and `dictionaries/` into the folder.
fn write(folder: &Path) -> Result<()> {
    measured().save_pretrained(folder.join("model"))?;
    let all = (0..LAYERS).map(transcoder).collect::<Result<Vec<_>>>()?;
    Dictionary::save_transcoder_set(folder.join("dictionaries"), &all)?;
    let inputs = json!({ "prompts": prompts(), "targets": [11, 222, 2222] });
    save(&folder.join("inputs.json"), &inputs)
}

fn save(file: &Path, content: &Value) -> Result<()> {
    fs::write(file, content.to_string())
        .map_err(|error| candle_lens::Error::file(file, format!("cannot be written ({error}).")))
}

/// A node as the peer finds it: the kind, the layer, the position, the index.
fn place(node: GraphNode) -> Option<Value> {
    match node {
        GraphNode::Feature { layer, pos, feature } => Some(json!(["feature", layer, pos, feature])),
        GraphNode::Error { layer, pos } => Some(json!(["error", layer, pos, 0])),
        GraphNode::Token { pos } => Some(json!(["token", 0, pos, 0])),
        GraphNode::Target { number } => Some(json!(["target", 0, 0, number])),
        _ => None,
    }
}

/// Some edges into some nodes, by their sources and targets.
fn some_edges(graph: &AttributionGraph) -> Vec<Value> {
    let targets = (0..graph.targets().len()).map(|number| GraphNode::Target { number });
    let features = graph.sources().into_iter().filter(|node| matches!(node, GraphNode::Feature { .. })).step_by(APART);
    let of = |node| graph.edges_into(node).expect("it has edges").into_iter().step_by(7);
    let edge = |edge: GraphEdge| Some(json!([place(edge.source)?, place(edge.target)?, edge.weight]));
    targets.chain(features).flat_map(of).filter_map(edge).collect()
}

/// The graphs of the prompts one after the other, dictionaries read anew for each; with `CANDLE_LENS_BENCH_PROMPTS` only so many.
fn work(folder: &Path) -> Result<()> {
    let count = std::env::var("CANDLE_LENS_BENCH_PROMPTS").ok().and_then(|count| count.parse().ok());
    let start = Instant::now();
    let model = HookedTransformer::from_pretrained_no_processing(folder.join("model").to_string_lossy())?;
    let set = DictionarySet::open(folder.join("dictionaries").to_string_lossy())?;
    let loaded = start.elapsed().as_secs_f64();
    let mut all = Vec::new();
    for prompt in prompts().iter().take(count.unwrap_or(PROMPTS)) {
        let start = Instant::now();
        let graph = graph(&model, &set, prompt, None);
        let seconds = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let pruned = graph.without_biases().prune(0.8, 0.98)?;
        let pruning = start.elapsed().as_secs_f64();
        println!("{graph}: {seconds:.1} s; pruned to {} features in {pruning:.1} s", pruned.features());
        all.push(json!({
            "seconds": seconds,
            "pruning": pruning,
            "features": graph.features(),
            "pruned": pruned.features(),
            "residual": graph.residual(),
            "edges": some_edges(&graph),
        }));
    }
    save(&folder.join("ours.json"), &json!({ "load": loaded, "prompts": all }))
}

/// A folder that is written once and kept for the next run.
fn cases() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/compare_graphs");
    if !folder.join("inputs.json").exists() {
        fs::create_dir_all(&folder).expect("a folder for the cases");
        write(&folder).expect("model and dictionaries");
    }
    folder
}

fn graphs(c: &mut Criterion) {
    let (folder, prompts) = (cases(), prompts());
    let model = HookedTransformer::from_pretrained_no_processing(folder.join("model").to_string_lossy()).expect("it");
    let set = DictionarySet::open(folder.join("dictionaries").to_string_lossy()).expect("the dictionaries");
    let mut group = c.benchmark_group("attribution graph, 20 tokens, 12 x 24,576 features");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.bench_function("64 features explained", |b| b.iter(|| graph(&model, &set, &prompts[0], Some(64))));
    group.bench_function("1,024 features explained", |b| b.iter(|| graph(&model, &set, &prompts[0], Some(1024))));
    let graph = graph(&model, &set, &prompts[0], Some(1024));
    group.bench_function("influence of these", |b| b.iter(|| graph.influence()));
    group.bench_function("pruning of these", |b| b.iter(|| graph.prune(0.8, 0.98)));
    group.finish();
}

fn quick() -> Criterion {
    set_progress(false);
    Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(10))
}

criterion_group! { name = benches; config = quick(); targets = graphs }

fn main() -> Result<()> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from);
    if let Some(folder) = folder("CANDLE_LENS_BENCH_CASES") {
        fs::create_dir_all(&folder).map_err(|error| candle_lens::Error::file(&folder, error.to_string()))?;
        return write(&folder);
    }
    if let Some(folder) = folder("CANDLE_LENS_BENCH_GRAPHS") {
        return work(&folder);
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
    Ok(())
}
