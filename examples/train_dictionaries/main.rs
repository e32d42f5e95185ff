//! Trains the dictionaries of the embedded model: `"tiny/z0"` to `"tiny/z3"`, `"tiny/mlp0"` to `"tiny/mlp3"`, `"tiny/resid1"`.
//!
//! `cargo run --release --example train_dictionaries [FOLDER [STEPS]]` writes a folder for each, and the card of all (default:
//! `src/storage/tiny/dictionaries`, what the crate embeds; another number of steps is for trying things).

#[path = "../train_tiny/batches.rs"]
#[allow(dead_code, reason = "it makes batches for the model's training as well")]
mod batches;
mod card;
mod sites;
mod texts;
#[path = "../train_tiny/tiny/mod.rs"]
mod tiny;

use std::path::PathBuf;
use std::time::Instant;

use candle_lens::model::HookedTransformer;
use candle_lens::train::{ActivationBatch, ActivationStore, DictionaryTrainer, Recipe, StepReport};
use candle_lens::{Error, Result};
use rayon::prelude::*;
use sites::{SITES, Site};
use texts::Rows;

const SEED: u64 = 1;
const STEPS: usize = 2000;
const LOG_EVERY: usize = 100;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "src/storage/tiny/dictionaries".into()));
    let steps = arguments.next().map_or(Ok(STEPS), |steps| {
        steps.parse().map_err(|_| Error::argument(format!("the number of steps is {steps:?}, which is none.")))
    })?;
    let model = HookedTransformer::from_pretrained("tiny")?;
    let mut dictionaries = Vec::new();
    for (site, trainer) in SITES.iter().zip(train(&model, steps)?) {
        dictionaries.push(card::halved(trainer.dictionary(site.name, site.expects(&model)?)?)?);
    }
    let (dictionaries, card) = card::measured(&model, &dictionaries)?;
    println!("{card}");
    for dictionary in dictionaries {
        dictionary.save_pretrained(folder.join(dictionary.name()))?;
    }
    let readme = folder.join("README.md");
    std::fs::write(&readme, card).map_err(|error| Error::file(&readme, format!("could not be written ({error}).")))
}

/// All of them on the same activations, each step of a dictionary on one thread.
fn train(model: &HookedTransformer, steps: usize) -> Result<Vec<DictionaryTrainer>> {
    let start = Instant::now();
    let points: Vec<&str> = SITES.iter().flat_map(|site| [Some(site.reads), site.writes]).flatten().collect();
    let mut store = ActivationStore::new(model, &points[..], Rows::new(model, SEED)?, texts::options(SEED))?;
    let mut trainers: Vec<DictionaryTrainer> = Vec::new();
    for step in 0..steps {
        let batch = store.next_batch()?.expect("the texts never end");
        if trainers.is_empty() {
            let new = |(i, site): (usize, &Site)| {
                begin(site, Recipe { steps, seed: SEED + i as u64, ..site.recipe() }, &batch)
            };
            trainers = SITES.iter().enumerate().map(new).collect::<Result<_>>()?;
        }
        let one = |(trainer, site): (&mut DictionaryTrainer, &Site)| {
            let x = batch.get(site.reads)?;
            let y = site.writes.map(|writes| batch.get(writes)).transpose()?;
            trainer.step(&x, y.as_ref().unwrap_or(&x))
        };
        let reports: Vec<StepReport> = trainers.par_iter_mut().zip(&SITES).map(one).collect::<Result<_>>()?;
        if step % LOG_EVERY == 0 || step + 1 == steps {
            println!("{} s", start.elapsed().as_secs());
            SITES.iter().zip(&reports).for_each(|(site, report)| println!("  {}: {report}", site.name));
        }
    }
    Ok(trainers)
}

fn begin(site: &Site, recipe: Recipe, batch: &ActivationBatch) -> Result<DictionaryTrainer> {
    let x = batch.get(site.reads)?;
    match site.writes {
        Some(writes) => DictionaryTrainer::transcoder(recipe, &x, &batch.get(writes)?),
        None => DictionaryTrainer::autoencoder(recipe, &x),
    }
}
