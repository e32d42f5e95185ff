//! What holds of every spliced dictionary, whatever its weights are.

use candle_lens::Result;
use candle_lens::prelude::*;

use super::{D_MODEL, FEATURES, apart, autoencoder, logits, model, padded, random, tokens, transcoder};
use crate::support::assert_close;
use crate::support::tolerance::{CLEAR, REORDERED};

/// Every kind of dictionary, each with the point that it writes.
fn dictionaries() -> Vec<Dictionary> {
    let at = |point: &str, change: fn(DictionaryParts) -> DictionaryParts| {
        random((5, D_MODEL, D_MODEL), Expects::at(point.parse().unwrap()), change)
    };
    let vector = |seed: u64| (Random::new(seed).normal(FEATURES).unwrap() * 0.2).unwrap();
    let mut all = vec![
        autoencoder(3, "blocks.1.hook_resid_post"),
        autoencoder(4, "blocks.2.attn.hook_z"),
        autoencoder(4, "hook_embed"),
        transcoder(6, 1, false),
        transcoder(7, 2, true),
        at("blocks.0.hook_attn_out", |parts| DictionaryParts { input_norm: InputNorm::LayerNorm, ..parts }),
        at("blocks.1.hook_mlp_out", |parts| DictionaryParts { input_norm: InputNorm::ConstantNorm, ..parts }),
        at("blocks.0.hook_resid_pre", |parts| DictionaryParts { activation: Activation::TopK { k: 4 }, ..parts }),
        at("blocks.2.hook_resid_post", |parts| DictionaryParts {
            activation: Activation::AbsTopK { k: 4 },
            scaled_by_decoder_norm: true,
            ..parts
        }),
    ];
    let threshold = Activation::JumpRelu { threshold: vector(8) };
    all.push(random((9, D_MODEL, D_MODEL), Expects::at("resid_mid1".parse().unwrap()), |parts| DictionaryParts {
        activation: threshold.clone(),
        ..parts
    }));
    let gated = Activation::Gated { b_gate: vector(10), b_mag: vector(11), r_mag: vector(12) };
    all.push(random((13, D_MODEL, D_MODEL), Expects::at("resid_post0".parse().unwrap()), |parts| DictionaryParts {
        activation: gated.clone(),
        ..parts
    }));
    // One head alone.
    let head = Expects { head: Some(1), ..Expects::at("z1".parse().unwrap()) };
    all.push(random((14, D_MODEL / 2, D_MODEL / 2), head, |parts| parts));
    all
}

#[test]
fn with_its_error_term_an_unedited_splice_changes_nothing() -> Result<()> {
    let model = model();
    for tokens in [tokens(), padded()] {
        let plain = model.forward(tokens.clone())?;
        for dictionary in dictionaries() {
            for error in [ErrorTerm::Recomputed, ErrorTerm::frozen(&tokens)] {
                let plan = model.splice(&dictionary, error)?;
                assert_close(&logits(&model, &tokens, &plan)?, &plain, REORDERED, &format!("{plan}"));
            }
            let plan = model.splice(&dictionary, ErrorTerm::None)?;
            assert!(apart(&logits(&model, &tokens, &plan)?, &plain)? > CLEAR, "{plan} changes what goes through it");
        }
    }
    Ok(())
}
