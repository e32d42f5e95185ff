//! Trains the dictionaries of the embedded model: `"tiny/z0"` to `"tiny/z3"`, `"tiny/mlp0"` to `"tiny/mlp3"`, `"tiny/resid1"`.
//!
//! `cargo run --release --example train_dictionaries [FOLDER [STEPS]]` writes a folder for each (default:
//! `src/storage/tiny/dictionaries`, what the crate embeds; another number of steps is for trying things).

#[path = "../train_tiny/batches.rs"]
mod batches;
mod measure;
mod sites;
mod texts;
#[path = "../train_tiny/tiny/mod.rs"]
mod tiny;

use std::path::PathBuf;
use std::time::Instant;

use candle_lens::model::HookedTransformer;
use candle_lens::train::{DictionaryTrainer, Recipe, StepReport};
use candle_lens::{Error, Result};
use rayon::prelude::*;
use sites::{SITES, Site};
use texts::Texts;

const SEED: u64 = 1;
const STEPS: usize = 3000;
/// How many batches of new texts the cards are made from.
const FRESH: usize = 20;
const LOG_EVERY: usize = 100;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "src/storage/tiny/dictionaries".into()));
    let steps = arguments.next().map_or(Ok(STEPS), |steps| {
        steps.parse().map_err(|_| Error::argument(format!("the number of steps is {steps:?}, which is none.")))
    })?;
    let model = HookedTransformer::from_pretrained("tiny")?;
    let tokenizer = model.tokenizer()?;
    let trainers = train(Texts::new(&model, &tokenizer, SEED)?, steps)?;
    let mut texts = Texts::new(&model, &tokenizer, SEED + 1000)?;
    let fresh = (0..FRESH).map(|_| texts.next()).collect::<Result<Vec<_>>>()?;
    for (site, trainer) in SITES.iter().zip(trainers) {
        let expects = site.expects(&model)?;
        let dictionary = measure::with_card(trainer.dictionary(site.name, expects)?, site, &fresh)?;
        println!("{dictionary}: {:?}", dictionary.expects().card);
        dictionary.save_pretrained(folder.join(site.name))?;
    }
    Ok(())
}

/// All of them on the same activations, each step of a dictionary on one thread.
fn train(mut texts: Texts, steps: usize) -> Result<Vec<DictionaryTrainer>> {
    let start = Instant::now();
    let first = texts.next()?;
    let new = |(i, site): (usize, &Site)| {
        let recipe = Recipe { steps, seed: SEED + i as u64, dead_after: 400.min(steps / 4), ..site.recipe() };
        match first.of(site) {
            (x, None) => DictionaryTrainer::autoencoder(recipe, x),
            (x, Some(y)) => DictionaryTrainer::transcoder(recipe, x, y),
        }
    };
    let mut trainers = SITES.iter().enumerate().map(new).collect::<Result<Vec<_>>>()?;
    for step in 0..steps {
        let batch = texts.next()?;
        let one = |(trainer, site): (&mut DictionaryTrainer, &Site)| {
            let (x, y) = batch.of(site);
            trainer.step(x, y.unwrap_or(x))
        };
        let reports: Vec<StepReport> = trainers.par_iter_mut().zip(&SITES).map(one).collect::<Result<_>>()?;
        if step % LOG_EVERY == 0 || step + 1 == steps {
            println!("{} s", start.elapsed().as_secs());
            SITES.iter().zip(&reports).for_each(|(site, report)| println!("  {}: {report}", site.name));
        }
    }
    Ok(trainers)
}
