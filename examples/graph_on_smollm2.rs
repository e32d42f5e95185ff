//! An attribution graph of a real language model with transcoders trained here: what docs/dictionaries.md says of SmolLM2-135M.
//!
//! `cargo run --release --example graph_on_smollm2 [TEXTS [STEPS]]`; `cargo lab fetch smollm2` fetches the model. The model writes the
//! texts itself, three transcoders are trained on them, and the MLPs of all other layers are errors as a whole.

use std::time::Instant;

use candle_lens::prelude::*;
use candle_lens::train::{ActivationStore, DictionaryTrainer, Recipe, Sparsity, StoreOptions, Texts};
use candle_lens::{Error, Result};

const LAYERS: [usize; 3] = [10, 15, 20];
const TOKENS: usize = 96;
const BATCH: usize = 1024;
/// Texts that nothing is trained on.
const HELD_OUT: usize = 32;
const OPENINGS: [&str; 8] = [
    "The city",
    "In 1914",
    "When water",
    "A recent study",
    "The law",
    "During the war",
    "The capital of",
    "Once upon a time",
];
const PROMPT: &str = "The capital of France is Paris, and the capital of Germany is";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |usual: usize| match arguments.next() {
        Some(given) => given.parse().map_err(|_| Error::argument(format!("{given:?} is not a number."))),
        None => Ok(usual),
    };
    let (count, steps) = (number(256)?, number(800)?);
    let with_bos = LoadOptions { default_prepend_bos: Some(true), ..Default::default() };
    let model = HookedTransformer::from_pretrained_with("smollm2", with_bos)?;
    let texts = written(&model, count + HELD_OUT)?;
    let (held_out, texts) = texts.split_at(HELD_OUT);

    let start = Instant::now();
    let transcoders = trained(&model, texts, steps)?;
    println!("{} transcoders of {count} texts in {:.0} s", transcoders.len(), start.elapsed().as_secs_f64());
    println!("{}", model.evaluate_dictionaries(&transcoders, held_out.to_vec(), ScoreOptions::default())?);

    let start = Instant::now();
    let graph = model.attribution_graph(&transcoders, PROMPT, GraphTargets::top())?;
    println!(
        "{graph}: {:.1} s, the edges into a node miss its value by at most {:.1e}",
        start.elapsed().as_secs_f64(),
        graph.residual()
    );
    let pruned = graph.prune(0.8, 0.98)?;
    let influence = graph.influence();
    let share = |is: &dyn Fn(&GraphNode) -> bool| -> f64 {
        influence.ranked().iter().filter(|(node, _)| is(node)).map(|(_, value)| value).sum::<f64>()
            / influence.of_leaves()
    };
    let of_layers = |node: &GraphNode| matches!(node, GraphNode::Error { layer, .. } if LAYERS.contains(layer));
    println!(
        "replacement score {:.3}; of the influence {:.3} comes from errors, {:.3} from those of the layers with a transcoder; pruned to {} features",
        graph.replacement_score(),
        share(&|node| matches!(node, GraphNode::Error { .. })),
        share(&of_layers),
        pruned.features()
    );
    println!("{}", pruned.render()?.text());
    Ok(())
}

/// A transcoder of each layer, from what its norm gives to what the MLP writes. The model goes over the texts once for all of them.
fn trained(model: &HookedTransformer, texts: &[String], steps: usize) -> Result<Vec<Dictionary>> {
    let points =
        LAYERS.map(|layer| [format!("blocks.{layer}.ln2.hook_normalized"), format!("blocks.{layer}.hook_mlp_out")]);
    let options = StoreOptions { batch: BATCH, seed: 1, ..StoreOptions::default() };
    let mut store = ActivationStore::new(model, points.concat(), Texts::from(texts.to_vec()), options)?;
    let mut batches = Vec::new();
    while let Some(batch) = store.next_batch()? {
        batches.push(batch);
    }
    let mut all = Vec::new();
    for ([reads, writes], layer) in points.iter().zip(LAYERS) {
        let pairs = batches.iter().map(|batch| Ok((batch.get(reads)?, batch.get(writes)?)));
        let mut pairs: Vec<(Tensor, Tensor)> = pairs.collect::<Result<_>>()?;
        pairs.retain(|(x, _)| x.dims()[0] == BATCH);
        let Some((x, y)) = pairs.first() else {
            return Err(Error::argument(format!("give more texts: {BATCH} positions are a step.")));
        };
        let sparsity = Sparsity::BatchTopK { k: 32 };
        let recipe = Recipe { d_sae: 2304, sparsity, steps, dead_after: 100, seed: 1, ..Recipe::default() };
        let mut trainer = DictionaryTrainer::transcoder(recipe, x, y)?;
        for step in 0..steps {
            let (x, y) = &pairs[step % pairs.len()];
            let report = trainer.step(x, y)?;
            if step + 1 == steps {
                println!("layer {layer}: {report}");
            }
        }
        let provenance = model.provenance();
        let expects = Expects {
            model: Some(provenance.model),
            weights: provenance.crc32,
            centred: Some(model.processing().center_writing_weights),
            prepend_bos: Some(true),
            excludes_special_tokens: true,
            ..Expects::between(reads.parse()?, writes.parse()?)
        };
        all.push(trainer.dictionary(format!("smollm2-mlp{layer}"), expects)?);
    }
    Ok(all)
}

/// Texts that the model writes: openings in turn, then tokens drawn from the likeliest that have 0.95 of its probability.
fn written(model: &HookedTransformer, count: usize) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for seed in 0..count.div_ceil(OPENINGS.len()) as u64 {
        let sampling = Sampling::Random { temperature: 1.0, top_k: None, top_p: Some(0.95), seed };
        let options = GenerateOptions { max_new_tokens: TOKENS, sampling, ..Default::default() };
        texts.extend(model.generate(OPENINGS.to_vec(), options)?.texts());
    }
    texts.truncate(count);
    Ok(texts)
}
