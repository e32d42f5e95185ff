//! Directions, and what is done with them, against loops by hand and identities.

mod contrasts;
mod function;
mod generated;
mod parity;
mod refused;
mod runs;
mod sweeps;
mod transplants;

use candle_lens::Result;
use candle_lens::candle::Tensor;
use candle_lens::model::{HookedTransformer, Processing};
use candle_lens::random::Random;
use candle_lens::steering::SteeringVector;
use candle_lens::tokens::{PaddingSide, Tokens};

use crate::support::fixture::path;
use crate::support::models::pretrained;

/// GPT-2's kind, parallel blocks, grouped queries with gates, and norms after the sublayers.
const FOLDERS: [&str; 4] = ["tiny_gpt2", "families/gpt_neox", "families/llama3", "families/gemma2"];

/// A model of each kind, raw and processed.
fn kinds() -> Result<Vec<(String, HookedTransformer)>> {
    let mut models = Vec::new();
    for folder in FOLDERS {
        for processing in [Some(Processing::NONE), None] {
            let model = pretrained(path(folder).to_str().expect("the path is UTF-8"), processing)?;
            models.push((format!("{folder}, {processing:?}"), model));
        }
    }
    Ok(models)
}

/// Three prompts of one length, or of several with padding on this side.
fn prompts(seed: u32, side: Option<PaddingSide>) -> Result<Tokens> {
    let lengths = if side.is_some() { [6, 4, 5] } else { [6; 3] };
    let row = |(number, length): (u32, u32)| (0..length).map(|i| (seed + number * 7 + i * 5) % 29 + 1).collect();
    Tokens::padded((1..).zip(lengths).map(row).collect(), 0, side.unwrap_or_default())
}

/// No padding, and padding on both sides.
const SIDES: [Option<PaddingSide>; 3] = [None, Some(PaddingSide::Left), Some(PaddingSide::Right)];

/// Random numbers as long as a residual stream.
fn random(model: &HookedTransformer, seed: u64) -> Result<Tensor> {
    Random::new(seed).normal(model.cfg().d_model)
}

/// A random direction behind a layer.
fn direction(model: &HookedTransformer, layer: usize, seed: u64) -> Result<SteeringVector> {
    SteeringVector::new(model, ("resid_post", layer), &random(model, seed)?)
}
