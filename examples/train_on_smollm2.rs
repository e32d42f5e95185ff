//! A dictionary of a real language model, trained on texts that the model writes itself: what docs/dictionaries.md says of SmolLM2-135M.
//!
//! `cargo run --release --example train_on_smollm2 [TEXTS [STEPS [FOLDER]]]`; `cargo lab fetch smollm2` fetches the model.

use std::time::Instant;

use candle_lens::prelude::*;
use candle_lens::train::{ActivationStore, DictionaryTrainer, Recipe, Sparsity, StoreOptions, Texts};
use candle_lens::{Error, Result};

const POINT: &str = "blocks.15.hook_resid_post";
const TOKENS: usize = 96;
const BATCH: usize = 1024;
/// Texts that nothing is trained on.
const HELD_OUT: usize = 64;

/// How texts begin; the model goes on by itself.
const OPENINGS: &str = "The city|In 1914|My mother|When water|She opened|A recent study|To bake|The law|He ran|\
                        During the war|Plants|The river|Dear Sir|Yesterday|If you|The price|Our school|A number|The doctor|\
                        Once upon a time|Music|The computer|In the north|People often|The first|For example|The king|\
                        Many birds|It was late|The theory|On Monday|Children";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |usual: usize| match arguments.next() {
        Some(given) => given.parse().map_err(|_| Error::argument(format!("{given:?} is not a number."))),
        None => Ok(usual),
    };
    let (count, steps) = (number(256)?, number(800)?);
    let folder = arguments.next();
    // With a BOS, which is left out: the first token of a text has activations that are far larger than all others.
    let with_bos = LoadOptions { default_prepend_bos: Some(true), ..Default::default() };
    let model = HookedTransformer::from_pretrained_with("smollm2", with_bos)?;

    let start = Instant::now();
    let texts = written(&model, count + HELD_OUT)?;
    println!("{count} texts and {HELD_OUT} more in {:.0} s", start.elapsed().as_secs_f64());
    let (held_out, texts) = texts.split_at(HELD_OUT);
    let dictionary = trained(&model, texts, steps)?;

    let scores = model.evaluate_dictionaries(&dictionary, held_out.to_vec(), ScoreOptions::default())?;
    println!("{scores}\n{:?}", scores.scores[0].spliced);
    let examples = ExampleOptions { top: 4, random: 0, ..Default::default() };
    println!("{}", model.feature_examples(&dictionary, a_few(&scores.scores[0].firing), texts.to_vec(), examples)?);
    match folder {
        Some(folder) => dictionary.save_pretrained(folder),
        None => Ok(()),
    }
}

/// An autoencoder of what the texts leave at the point. The model goes over the texts once, the dictionary many times over what it
/// gave: the model is what takes the time.
fn trained(model: &HookedTransformer, texts: &[String], steps: usize) -> Result<Dictionary> {
    let start = Instant::now();
    let options = StoreOptions { batch: BATCH, seed: 1, ..StoreOptions::default() };
    let mut store = ActivationStore::new(model, POINT, Texts::from(texts.to_vec()), options)?;
    let mut batches = Vec::new();
    while let Some(batch) = store.next_batch()? {
        batches.push(batch.get(POINT)?);
    }
    batches.retain(|batch| batch.dims()[0] == BATCH);
    println!("{} positions in {:.0} s", batches.len() * BATCH, start.elapsed().as_secs_f64());
    let first =
        batches.first().ok_or_else(|| Error::argument(format!("give more texts: {BATCH} positions are a step.")))?;

    let start = Instant::now();
    let sparsity = Sparsity::BatchTopK { k: 32 };
    let recipe = Recipe { d_sae: 4096, sparsity, steps, dead_after: 100, seed: 1, ..Recipe::default() };
    let mut trainer = DictionaryTrainer::autoencoder(recipe, first)?;
    for step in 0..steps {
        let x = &batches[step % batches.len()];
        let report = trainer.step(x, x)?;
        if step % 50 == 0 || step + 1 == steps {
            println!("{:.0} s: {report}", start.elapsed().as_secs_f64());
        }
    }
    let provenance = model.provenance();
    let done = model.processing();
    let expects = Expects {
        model: Some(provenance.model),
        weights: provenance.crc32,
        centred: Some(done.center_writing_weights),
        prepend_bos: Some(true),
        excludes_special_tokens: true,
        ..Expects::at(POINT.parse()?)
    };
    trainer.dictionary("smollm2-resid15", expects)
}

/// Texts that the model writes: openings in turn, then tokens drawn from the likeliest that have 0.95 of its probability.
fn written(model: &HookedTransformer, count: usize) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    let openings: Vec<&str> = OPENINGS.split('|').collect();
    for seed in 0..count.div_ceil(openings.len()) as u64 {
        let sampling = Sampling::Random { temperature: 1.0, top_k: None, top_p: Some(0.95), seed };
        let options = GenerateOptions { max_new_tokens: TOKENS, sampling, ..Default::default() };
        texts.extend(model.generate(openings.clone(), options)?.texts());
    }
    texts.truncate(count);
    Ok(texts)
}

/// Six features that fire at 0.2 to 2 % of positions, spread over all of them.
fn a_few(firing: &[f32]) -> Vec<isize> {
    let some: Vec<usize> = (0..firing.len()).filter(|&feature| (0.002..0.02).contains(&firing[feature])).collect();
    some.iter().step_by((some.len() / 6).max(1)).take(6).map(|&feature| feature as isize).collect()
}
