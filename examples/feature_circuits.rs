//! How much of the embedded model graphs of features are, on two tasks: the figures of docs/dictionaries.md.
//!
//! `cargo run --release --example feature_circuits`

use std::time::Instant;

use candle_lens::Result;
use candle_lens::prelude::*;
use candle_lens::tasks::Split;

/// How many prompts of each task, of one length.
const PROMPTS: usize = 4;

/// Nodes for each prompt.
const SIZES: [usize; 5] = [10, 20, 40, 80, 160];

/// Edges between heads and MLPs.
const EDGES: [usize; 5] = [20, 40, 80, 160, 320];

fn main() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let set = DictionarySet::open("tiny")?;
    let names = ["z0", "z1", "z2", "z3", "mlp0", "mlp1", "mlp2", "mlp3"];
    let all = set.only(names)?;
    let transcoders = set.transcoders()?;
    for task in [Task::Ioi, Task::GreaterThan] {
        of_task(&model, task, &all, &transcoders)?;
    }
    Ok(())
}

/// Curves of one task.
fn of_task(model: &HookedTransformer, task: Task, all: &DictionarySet, transcoders: &DictionarySet) -> Result<()> {
    let began = Instant::now();
    let prompts = task.prompts(Split::Combinations, 40, 0)?.aligned(model)?;
    let batches = prompts.batches(model, PROMPTS)?;
    let batch = batches.iter().find(|batch| batch.clean.batch() == PROMPTS).expect("four prompts of one length");
    let experiment = batch.experiment(model)?;
    println!("\n{task}: {PROMPTS} prompts, clean {:.3}, corrupted {:.3}", experiment.clean(), experiment.corrupted());

    let (chained, linear) = graphs(model, (&prompts, batch), all, transcoders)?;
    let (chained, linear) = (chained.top_each(&SIZES)?, linear.top_each(&SIZES)?);
    println!("graphs: {:.1} s", began.elapsed().as_secs_f64());
    let edges = experiment.edges()?;
    let scores = edges.attribute(EdgeMethod::EapIgInputs { steps: 5 })?;
    let of_edges = edges.curve(&scores.greedy_each(&EDGES, RankBy::Magnitude)?)?;
    let mut replaced = None;
    for errors in [ErrorsOutside::Replaced, ErrorsOutside::Held, ErrorsOutside::Live] {
        let circuits = experiment.feature_circuits(all, errors)?;
        let left = (circuits.empty() - experiment.corrupted()) / (experiment.clean() - experiment.corrupted());
        let curve = circuits.curve(&chained)?;
        println!("{errors}: the empty circuit keeps {left:.3}; chained of {}: {:.3?}", curve.of, curve.faithfulness);
        if errors == ErrorsOutside::Replaced {
            let random = circuits.random_curve(&chained, 0)?;
            println!("  at random: {:.3?}", random.faithfulness);
            replaced = Some((curve, random));
        }
    }
    for (what, baseline) in [("zero", Baseline::Zero), ("mean", Baseline::mean(MeanOver::BatchAndPos))] {
        let ablation = Experiment::new(model, &batch.clean, baseline, batch.metric.clone())?;
        let circuits = ablation.feature_circuits(all, ErrorsOutside::Replaced)?;
        println!("{what}: empty {:.3}, chained {:.3?}", circuits.empty(), circuits.curve(&chained)?.faithfulness);
    }
    let circuits = experiment.feature_circuits(transcoders, ErrorsOutside::Replaced)?;
    let of_mlps = circuits.curve(&linear)?;
    println!("MLPs alone: empty {:.3}, linear of {}: {:.3?}", circuits.empty(), of_mlps.of, of_mlps.faithfulness);
    println!("  at random: {:.3?}", circuits.random_curve(&linear, 0)?.faithfulness);
    if let Some((curve, random)) = replaced {
        println!("edges of {}: {:.3?}", of_edges.of, of_edges.faithfulness);
        let curves = FaithfulnessCurves::new()
            .add("edges between heads", &of_edges)
            .add("features, chained", &curve)
            .add("MLP features, linear", &of_mlps)
            .add("features at random", &random);
        println!("{curves}");
        curves.show()?;
    }
    println!("{:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// Nodes of the chained and the linear graph of each prompt.
fn graphs(
    model: &HookedTransformer,
    (prompts, batch): (&TaskDataset, &TaskBatch),
    all: &DictionarySet,
    transcoders: &DictionarySet,
) -> Result<(NodeRanking, NodeRanking)> {
    let alone = prompts.batches(model, 1)?;
    let of = |prompt: &usize| alone.iter().find(|one| one.prompts[0] == *prompt).expect("each prompt alone");
    let (mut chained, mut linear) = (Vec::new(), Vec::new());
    for one in batch.prompts.iter().map(of) {
        chained.push(model.chained_graph(all, &one.clean, &one.corrupted, one.metric.clone())?.ranking());
        linear.push(model.attribution_graph(transcoders, &one.clean, GraphTargets::top())?.ranking());
    }
    Ok((NodeRanking::per_prompt(chained)?, NodeRanking::per_prompt(linear)?))
}
