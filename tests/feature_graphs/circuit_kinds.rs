//! Everything in a circuit is the clean run and nothing in it the corrupted one, in every architecture and for every kind of
//! dictionary.

use candle_lens::Result;
use candle_lens::candle::DType;
use candle_lens::prelude::*;

use super::sums::{Kind, transcoder};
use crate::support::fixture;

/// The same metric by two runs in f32.
const SAME: f32 = 2e-4;

/// The same in bf16, of logits of about 10.
const HALF: f32 = 0.1;

/// A random autoencoder of a layer's attention outputs.
fn attention(model: &HookedTransformer, layer: usize) -> Result<Dictionary> {
    let (width, d_sae) = (model.cfg().n_heads * model.cfg().d_head(), 24);
    let mut random = Random::new(layer as u64 + 31);
    let scale = 0.5 / (width as f64).sqrt();
    Dictionary::new(DictionaryParts {
        name: format!("random attention {layer}"),
        w_enc: (random.normal((width, d_sae))? * (2.0 * scale))?,
        b_enc: (random.normal(d_sae)? * 0.1)?,
        w_dec: (random.normal((d_sae, width))? * scale)?,
        b_dec: (random.normal(width)? * scale)?,
        b_in: None,
        w_skip: None,
        activation: Activation::Relu,
        input_norm: InputNorm::None,
        scaled_by_decoder_norm: false,
        expects: Expects::at(format!("blocks.{layer}.attn.hook_z").parse()?),
    })
}

fn check(model: &HookedTransformer, kind: Kind, near: f32, what: &str) -> Result<()> {
    let layers = 0..model.cfg().n_layers;
    let mut dictionaries = layers.clone().map(|layer| attention(model, layer)).collect::<Result<Vec<_>>>()?;
    for layer in layers {
        dictionaries.push(transcoder(model, layer, "mlp.hook_in", kind)?);
    }
    let clean = Tokens::from_rows(vec![vec![5, 3, 9, 1, 4], vec![2, 8, 9, 1, 4]])?;
    let corrupted = Tokens::from_rows(vec![vec![5, 7, 2, 1, 4], vec![6, 8, 3, 1, 4]])?;
    let metric = || -> Result<Metric> { Ok(Metric::logit_diff(&model.answers([(3u32, 9u32), (9u32, 4u32)])?)) };
    for (number, errors) in [ErrorsOutside::Replaced, ErrorsOutside::Held, ErrorsOutside::Live].into_iter().enumerate()
    {
        for is_zero in [false, true] {
            if is_zero && number > 0 {
                continue;
            }
            let baseline: Baseline = if is_zero { Baseline::Zero } else { (&corrupted).into() };
            let experiment = Experiment::new(model, &clean, baseline, metric()?)?;
            let circuits = experiment.feature_circuits(&dictionaries, errors)?;
            let full = circuits.evaluate(&FeatureCircuit::full())?;
            assert!((full.metric - experiment.clean()).abs() < near, "{what}, {errors}: {full:?}, {circuits}");
            if errors == ErrorsOutside::Replaced && !is_zero {
                assert!((circuits.empty() - experiment.corrupted()).abs() < near, "{what}: {circuits}");
            }
            assert!(full.of > 20, "{what}: {} nodes", full.of);
            // All of the nodes by name are what is meant by everything, where no others become active.
            if errors == ErrorsOutside::Replaced && !is_zero {
                let all = circuits.random_like(&FeatureCircuit::full(), 0)?;
                let named = circuits.evaluate(&all)?;
                assert!((named.metric - experiment.clean()).abs() < near, "{what}: {named:?}");
                assert_eq!(named.size, named.of);
            }
        }
    }
    Ok(())
}

#[test]
fn circuits_run_in_every_family() -> Result<()> {
    let families = std::fs::read_dir(fixture::path("families")).expect("the families");
    let mut checked = 0;
    for family in families.map(|entry| entry.expect("a folder").path()).filter(|path| path.is_dir()) {
        let model = HookedTransformer::from_pretrained_no_processing(family.to_string_lossy())?;
        check(&model, Kind::Plain, SAME, &family.display().to_string())?;
        checked += 1;
    }
    assert!(checked > 20, "{checked} families");
    Ok(())
}

#[test]
fn circuits_run_with_every_kind_of_transcoder() -> Result<()> {
    for processing in [Processing::NONE, Processing::default()] {
        let model = HookedTransformer::from_pretrained_with("tiny", processing)?;
        for kind in [Kind::Plain, Kind::Skip, Kind::Centred, Kind::Gated, Kind::CrossLayer] {
            check(&model, kind, SAME, &format!("{kind:?}, {processing:?}"))?;
        }
    }
    Ok(())
}

#[test]
fn circuits_run_in_half_precision() -> Result<()> {
    let options = LoadOptions { dtype: DType::BF16, ..Default::default() };
    let model = HookedTransformer::from_pretrained_with("tiny", options)?;
    check(&model, Kind::Plain, HALF, "bf16")
}
