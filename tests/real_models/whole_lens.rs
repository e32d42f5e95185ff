//! Lenses on SmolLM2: 30 layers and 49,152 tokens.

use candle_lens::Result;
use candle_lens::prelude::*;

use super::checks::{assert_near, flat, processed, unprocessed};
use crate::support::allocations::held_at_most;

/// 64 tokens of it.
const TEXT: &str = "When John and Mary went to the shops, John gave the bag to Mary. The capital of France is Paris, and the capital of Italy is \
                    Rome. The keys on the cabinet are old, but the key on the table is new. In the year 1741 the war began, and it lasted until the \
                    year 1748, when the two kings signed a treaty of peace in the old town hall of the city by the sea.";

/// Logits reach 38, and the lens' are made of rows in other numbers than the run's.
const LOG_PROBS: f64 = 1e-3;

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn a_reading_of_all_layers_fits_in_200_mb_and_ends_at_the_model() -> Result<()> {
    const MOST: usize = 200_000_000;
    for model in [unprocessed(), processed()] {
        let tokens = Tokens::from_rows(vec![model.to_tokens(TEXT)?.row(0)[..64].to_vec()])?;
        let (logits, cache) = model.run_with_cache(&tokens)?;
        let options = LensOptions { target: LensTarget::NextToken, ..Default::default() };
        let (reading, most) = held_at_most(|| logit_lens(model, &cache, options));
        let reading = reading?;
        println!("{most} bytes were held at once");
        assert!(most < MOST, "{most}");
        assert_eq!(reading.entropy.shape(), [31, 1, 64]);
        let kl = reading.kl()?;
        assert!(kl.select("component", -1)?.values().iter().all(|kl| *kl == 0.));
        let of_last = reading.target()?.log_prob.select("component", -1)?.to_tensor()?.narrow(1, 0, 63)?;
        assert_near(&flat(&of_last)?, &flat(&log_probs_of(&logits, &tokens)?)?, LOG_PROBS, "the last entry");
        // What the embedding says is far from the prediction, what enters the last block is near.
        let mean = |component| -> Result<f64> { Ok(kl.select("component", component)?.mean()) };
        assert!(mean(-2)? < 0.3 * mean(0)?, "{} {}", mean(-2)?, mean(0)?);
    }
    Ok(())
}
