//! Logits of all layers, positions and tokens at once never exist.

use candle_lens::Result;
use candle_lens::prelude::*;

use crate::support::allocations::held_at_most;

/// SmolLM2's layers and vocabulary, in a narrow model.
fn deep_and_wordy() -> Result<HookedTransformer> {
    let (model, _) = HookedTransformer::trainable(
        HookedTransformerConfig {
            n_layers: 30,
            d_model: 8,
            n_heads: 1,
            d_head: Some(8),
            d_mlp: Some(8),
            d_vocab: 49_152,
            n_ctx: 64,
            ..Default::default()
        },
        3,
        &Device::Cpu,
    )?;
    Ok(model)
}

#[test]
fn a_lens_of_thirty_layers_takes_less_than_200_mb() -> Result<()> {
    const MOST: usize = 200_000_000;
    let model = deep_and_wordy()?;
    let ids: Vec<u32> = (0..64).map(|at| at * 700 + 1).collect();
    let options = LensOptions { target: LensTarget::NextToken, ..Default::default() };
    let (reading, most) = held_at_most(|| logit_lens(&model, vec![ids], options));
    let reading = reading?;
    assert_eq!(reading.entropy.shape(), [31, 1, 64]);
    let whole = 31 * 64 * 49_152 * size_of::<f32>();
    assert!(most < MOST && most < whole / 3, "{most} bytes were held at once, of {whole} for all logits");
    Ok(())
}
