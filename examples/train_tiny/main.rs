//! Trains the embedded model `"tiny"` from nothing: its tokenizer, its weights, its config.
//!
//! `RAYON_NUM_THREADS=1 cargo run --release --example train_tiny [FOLDER]` writes a folder in Hugging Face's GPT-2 layout
//! (default: `src/storage/tiny`, what the crate embeds) and prints what the model card says about it. It has its own
//! two threads; the variable keeps candle from starting another pool, whose threads would wait busily for each other.

mod batches;
mod tiny;
mod tokenizer;
mod trainer;

use std::path::{Path, PathBuf};
use std::time::Instant;

use batches::Batches;
use candle_lens::model::{HookedTransformer, HookedTransformerConfig};
use candle_lens::tokens::Tokenizer;
use candle_lens::{Error, Result};
use tiny::scorecard::scorecard;
use trainer::Trainer;

const SEED: u64 = 0;
const STEPS: usize = 3000;
/// Sentences of each step.
const SENTENCES: usize = 80;
/// Tokens of repeated sequences of each step, about.
const REPEATED_TOKENS: usize = 1280;
/// The loss of repeated sequences counts this much against that of sentences, which counts 1.
const REPEATED_WEIGHT: f32 = 1.0;
const LOG_EVERY: usize = 50;
const CHECKPOINT_EVERY: usize = 500;

fn main() -> Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "src/storage/tiny".into()));
    let tokenizer = write_tokenizer(&folder)?;
    train(tokenizer, &folder)?;
    println!("the model in {}:", folder.display());
    println!("{}", scorecard(&HookedTransformer::from_pretrained_no_processing(folder.to_string_lossy())?)?);
    Ok(())
}

/// Builds the tokenizer, writes it, and reads it back as users will.
fn write_tokenizer(folder: &Path) -> Result<Tokenizer> {
    let path = folder.join("tokenizer.json");
    let failed = |error: String| Error::file(&path, format!("could not be written ({error})."));
    std::fs::create_dir_all(folder).map_err(|error| failed(error.to_string()))?;
    let tokenizer = tokenizer::build().map_err(|error| failed(error.to_string()))?;
    tokenizer.save(&path, false).map_err(|error| failed(error.to_string()))?;
    Tokenizer::from_file(&path)
}

fn config(tokenizer: &Tokenizer) -> HookedTransformerConfig {
    HookedTransformerConfig {
        model_name: "tiny".into(),
        n_layers: 4,
        d_model: 128,
        n_heads: 8,
        n_ctx: 128,
        d_vocab: tokenizer.vocab_size(),
        initializer_range: Some(0.02),
        ..Default::default()
    }
}

/// Trains for all steps and saves the model into `folder`, on the way as a checkpoint each few hundred steps.
fn train(tokenizer: Tokenizer, folder: &Path) -> Result<()> {
    let cfg = config(&tokenizer);
    let d_vocab = cfg.d_vocab;
    let end_of_text = tokenizer.eos_id().ok_or_else(|| Error::tokens("the tokenizer has no end-of-text token."))?;
    let mut batches = Batches::new(&tokenizer, end_of_text, SEED);
    let mut trainer = Trainer::new(cfg, tokenizer.clone(), SEED, STEPS)?;
    let start = Instant::now();
    for step in 0..STEPS {
        let sentences = batches.sentences(SENTENCES)?;
        let repeated = vec![batches.repeated(REPEATED_TOKENS, d_vocab, REPEATED_WEIGHT)?];
        let loss = trainer.step(step, [sentences, repeated])?;
        if step % LOG_EVERY == 0 || step + 1 == STEPS {
            println!("step {step}: loss {loss:.4}, {} s", start.elapsed().as_secs());
        }
        if (step + 1) % CHECKPOINT_EVERY == 0 {
            trainer.model.save_pretrained(folder)?;
            println!("{}", scorecard(&trainer.model)?);
        }
    }
    trainer.model.save_pretrained(folder)
}
