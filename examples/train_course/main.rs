//! Trains the course's small models from nothing: their tokenizers, weights and configs.
//!
//! `RAYON_NUM_THREADS=1 cargo run --release --example train_course -- NAME FOLDER` trains one of them, writes it into a folder as
//! TransformerLens stores models, in half precision as the crate embeds it, and prints what its card says it does.
//! To embed a new one: a file here, one in `claims`, a line in each table, a folder with its card in `src/storage`, and a line in
//! `src/storage/embedded.rs`.

mod brackets;
mod claims;
mod icl;
mod induction;
mod modular;
mod words;

use std::path::Path;

use candle_lens::candle::DType;
use candle_lens::model::{HookedTransformer, LoadOptions, Processing};
use candle_lens::{Error, Result};
use claims::{CLAIMS, table};

/// What trains a model.
type Train = fn() -> Result<HookedTransformer>;

/// Each model with what trains it.
const MODELS: &[(&str, Train)] = &[
    ("brackets", brackets::train),
    ("icl", icl::train),
    ("induction", induction::train),
    ("modular", || modular::train(modular::EPOCHS)),
    ("modular/step50", || modular::train(50)),
    ("modular/step150", || modular::train(150)),
    ("modular/step300", || modular::train(300)),
    ("modular/step500", || modular::train(500)),
    ("modular/step700", || modular::train(700)),
];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let names = MODELS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let [name, folder] = &args[..] else {
        return Err(Error::argument(format!("usage: train_course NAME FOLDER, where NAME is one of {names}.")));
    };
    let train = MODELS.iter().find(|(known, _)| known == name);
    let (_, train) = train.ok_or_else(|| Error::argument(format!("the course has no model {name:?}, but {names}.")))?;
    write(&train()?, Path::new(folder))?;
    let model = HookedTransformer::from_pretrained_no_processing(folder)?;
    println!("{}", model.provenance());
    // A model on its way is measured with the trained one.
    if let Some((_, measure)) = CLAIMS.iter().find(|(known, _)| known == name) {
        println!("{}", table(&measure(&model)?));
    }
    Ok(())
}

/// Writes the model in half precision.
fn write(model: &HookedTransformer, folder: &Path) -> Result<()> {
    let whole = std::env::temp_dir().join(format!("train-course-{}", std::process::id()));
    model.save_transformer_lens(&whole)?;
    let options = LoadOptions { dtype: DType::F16, processing: Some(Processing::NONE), ..Default::default() };
    let weights = whole.join("model.safetensors");
    let half = HookedTransformer::from_transformer_lens_with((*model.cfg()).clone(), weights, options)?;
    // One that reads ids alone has none.
    let half = match model.tokenizer() {
        Ok(tokenizer) => half.with_tokenizer(tokenizer),
        Err(_) => half,
    };
    std::fs::remove_dir_all(&whole).map_err(|error| Error::file(&whole, format!("could not be removed ({error}).")))?;
    half.save_transformer_lens(folder)
}
