//! Features of random dictionaries on SmolLM2: its shapes (grouped keys and values, a root-mean-square norm, 30 layers), and
//! identities that hold for any dictionary.

use candle_lens::Result;
use candle_lens::prelude::*;

use super::checks::{IOI, processed, unprocessed};

/// Shares in logits of 10 to 40, each from f32 sums of 576 products.
const SHARES: f32 = 1e-2;

fn random(point: &str, seed: u64) -> Result<Dictionary> {
    let mut random = Random::new(seed);
    let mut normal = |shape: &[usize], size: f64| -> Result<Tensor> { Ok((random.normal(shape.to_vec())? * size)?) };
    Dictionary::new(DictionaryParts {
        name: point.into(),
        w_enc: normal(&[576, 2048], 0.04)?,
        b_enc: normal(&[2048], 0.1)?,
        w_dec: normal(&[2048, 576], 0.04)?,
        b_dec: normal(&[576], 0.1)?,
        b_in: None,
        w_skip: None,
        activation: Activation::TopK { k: 32 },
        input_norm: InputNorm::None,
        scaled_by_decoder_norm: false,
        expects: Expects::at(point.parse()?),
    })
}

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn shares_of_features_sum_to_those_of_components() -> Result<()> {
    for model in [processed(), unprocessed()] {
        let all = [random("z20", 1)?, random("mlp_out25", 2)?];
        let shares = direct_logit_attribution(model, IOI, (" Mary", " John"), Unit::Component)?;
        let found = model.feature_logit_attribution(&all, IOI, (" Mary", " John"))?;
        for (dictionary, component) in all.iter().zip(["20_attn_out", "25_mlp_out"]) {
            let part = |part: &str| found.parts.get(&[&dictionary.name(), part, "0"]);
            let sum = ["features", "bias", "skip", "error"].map(part).into_iter().sum::<Result<f32>>()?;
            let whole = shares.get(&[component, "0"])?;
            assert!((sum - whole).abs() < SHARES, "{component}: {sum} {whole}");
            assert!((part("whole")? - whole).abs() < SHARES, "{component}");
        }
        let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
        let ranked = model.features_by_gradient(&all, IOI, &metric)?;
        assert!(!ranked.is_empty() && ranked.features.iter().all(|active| active.share.is_finite()));
    }
    Ok(())
}

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn a_dashboard_of_a_feature_is_made() -> Result<()> {
    let (model, z) = (processed(), random("z20", 1)?);
    let feature = model.features_of(&z, IOI)?.features[0].feature;
    let dashboard = model.feature_dashboard(&z, feature, [IOI, "The keys on the cabinet", "def f(n):"], IOI)?;
    assert_eq!((dashboard.heads.len(), dashboard.logits.top.len()), (9, 10));
    assert!(dashboard.reads.is_some() && !dashboard.texts.top.is_empty());
    Ok(())
}
