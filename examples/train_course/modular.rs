//! `modular`: addition modulo 53, first learnt by heart and then understood ("grokked").
//!
//! Reference: Nanda et al. 2023 (arXiv 2301.05217), with a smaller prime and a smaller model, which is there within 1500 epochs.

use candle_lens::course::{MODULUS, modular_pairs};
use candle_lens::prelude::*;

use crate::words::plain_tokenizer;

const SEED: u64 = 3;
pub const EPOCHS: u64 = 1500;
const RATE: f64 = 5e-3;
/// The share of the epochs in which the learning rate falls.
const DECAY: f64 = 0.3;

/// The model after so many epochs of a training of [`EPOCHS`].
pub fn train(epochs: u64) -> Result<HookedTransformer> {
    let numbers: Vec<String> = (0..MODULUS).map(|number| number.to_string()).collect();
    let tokenizer = plain_tokenizer(numbers.iter().map(String::as_str).chain(["="]), "=")?;
    let cfg = HookedTransformerConfig {
        model_name: "modular".into(),
        n_layers: 1,
        d_model: 32,
        n_heads: 4,
        d_mlp: Some(128),
        n_ctx: 3,
        d_vocab: MODULUS + 1,
        d_vocab_out: Some(MODULUS),
        act_fn: ActFn::Relu,
        normalization_type: NormalizationType::None,
        default_prepend_bos: false,
        ..Default::default()
    };
    let (model, vars) = HookedTransformer::trainable(cfg, SEED, &Device::Cpu)?;
    let pairs = modular_pairs().0;
    let rows = pairs.iter().map(|(a, b)| vec![*a as u32, *b as u32, MODULUS as u32]).collect();
    let (tokens, sums) = (Tokens::from_rows(rows)?, pairs.iter().map(|(a, b)| ((a + b) % MODULUS) as u32));
    let sums: Vec<u32> = sums.collect();
    let mut adam = AdamW::new(AdamWOptions { beta2: 0.98, weight_decay: 1.0, ..Default::default() });
    for epoch in 0..epochs {
        let logits = model.forward(&tokens)?.narrow(1, 2, 1)?.squeeze(1)?;
        let loss = cross_entropy(&logits, &sums)?.mean_all()?;
        if epoch % 50 == 0 {
            println!("epoch {epoch}: loss {:.5}", loss.item()?);
        }
        let warm_up = ((epoch + 1) as f64 / 10.).min(1.);
        let decay = ((EPOCHS - epoch) as f64 / (DECAY * EPOCHS as f64)).clamp(0.02, 1.);
        adam.step_vars(RATE * warm_up * decay, &vars, &loss.backward()?)?;
    }
    Ok(model.with_tokenizer(tokenizer.with_default_prepend_bos(false)))
}
