//! Chained graphs with random dictionaries on SmolLM2: 30 layers, grouped keys and values, rotary embeddings, a root-mean-square norm.

use candle_lens::Result;
use candle_lens::prelude::*;

use super::checks::{IOI, processed, unprocessed};
use crate::feature_graphs::chained::{autoencoder, check};
use crate::feature_graphs::sums::{Kind, transcoder};

/// Gradients and sums through 20 layers of f32, relative to the largest of their kind.
const ROUNDING: f32 = 1e-4;

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn total_gradients_are_candles_and_edges_sum() -> Result<()> {
    for model in [processed(), unprocessed()] {
        let all = [
            autoencoder(model, 10, Activation::TopK { k: 5 })?,
            transcoder(model, 10, "mlp.hook_in", Kind::Centred)?,
            autoencoder(model, 20, Activation::TopK { k: 5 })?,
            transcoder(model, 20, "ln2.hook_normalized", Kind::Centred)?,
            autoencoder(model, 29, Activation::TopK { k: 5 })?,
        ];
        check(model, &all, (&model.to_tokens(IOI)?, ROUNDING), "SmolLM2")?;
    }
    Ok(())
}
