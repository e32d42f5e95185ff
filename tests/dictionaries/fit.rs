//! Dictionaries for a model processed otherwise: what is converted gives the same features, and what cannot be is refused.

use candle_lens::Result;
use candle_lens::prelude::*;

use crate::support::assert_close;

/// Products of some 128 numbers of size 1, in another order.
const ROUNDING: f32 = 2e-5;

/// Every way to fold norms and value biases.
const FOLDINGS: [(bool, bool); 4] = [(true, true), (true, false), (false, true), (false, false)];

fn tiny(processing: Processing) -> Result<HookedTransformer> {
    // Its weights have norms with shifts, and values with biases.
    HookedTransformer::from_pretrained_with("tiny", processing)
}

fn folding((fold_ln, fold_value_biases): (bool, bool)) -> Processing {
    Processing { fold_ln, fold_value_biases, ..Processing::NONE }
}

/// A random autoencoder of width 128 with ReLU, about half of whose features are active.
fn random(expects: Expects) -> Result<Dictionary> {
    let mut random = Random::new(3);
    let w_dec = (random.normal((48, 128))? * 0.1)?;
    Dictionary::new(DictionaryParts {
        name: "random".into(),
        w_enc: w_dec.t()?.contiguous()?,
        b_enc: (random.normal(48)? * 0.1)?,
        w_dec,
        b_dec: (random.normal(128)? * 0.1)?,
        b_in: None,
        w_skip: None,
        activation: Activation::Relu,
        input_norm: InputNorm::None,
        scaled_by_decoder_norm: false,
        expects,
    })
}

fn activation(model: &HookedTransformer, name: &str) -> Result<Tensor> {
    let prompt = "When John and Mary went to the shops, John gave the bag to";
    let (_, cache) = model.run_with_cache(prompt)?;
    cache.get(name)
}

/// Its features on a model are the same after conversion, however norms and value biases are folded, and what it writes differs by
/// what z differs.
#[test]
fn value_biases_are_put_back_exactly() -> Result<()> {
    const NAME: &str = "blocks.1.attn.hook_z";
    let mut converted = 0;
    for (norms, biases) in FOLDINGS {
        let expects =
            Expects { norms_folded: Some(norms), value_biases_folded: Some(biases), ..Expects::at(NAME.parse()?) };
        let dictionary = random(expects)?;
        let own = activation(&tiny(folding((norms, biases)))?, NAME)?;
        for other in FOLDINGS {
            let model = tiny(folding(other))?;
            let z = activation(&model, NAME)?;
            let fitted = match dictionary.for_model(&model) {
                Ok(fitted) => fitted,
                Err(error) => {
                    assert!(error.to_string().contains("fold_value_biases"), "{error}");
                    // Only biases that are gone are a reason.
                    assert!(other.1 && !biases || other.0 && !norms, "{other:?} for {norms} {biases}");
                    continue;
                }
            };
            converted += 1;
            let what = format!("trained with {norms} {biases}, on {other:?}");
            assert_close(&fitted.encode_dense(&z)?, &dictionary.encode_dense(&own)?, ROUNDING, &what);
            let change = (fitted.reconstruct(&z)? - dictionary.reconstruct(&own)?)?;
            assert_close(&change, &(z - &own)?, ROUNDING, &what);
        }
    }
    assert!(converted > FOLDINGS.len(), "{converted} of 16 pairs are converted");
    Ok(())
}

#[test]
fn what_a_transcoder_writes_is_centred() -> Result<()> {
    let between = || -> Result<Expects> {
        Ok(Expects::between("blocks.1.ln2.hook_normalized".parse()?, "blocks.1.hook_mlp_out".parse()?))
    };
    let raw = random(Expects { centred: Some(false), ..between()? })?;
    let model = tiny(Processing::default())?;
    let x = activation(&model, "blocks.1.ln2.hook_normalized")?;
    let written = raw.for_model(&model)?.reconstruct(&x)?;
    let expected = raw.reconstruct(&x)?;
    assert_close(&written, &expected.broadcast_sub(&expected.mean_keepdim(D::Minus1)?)?, ROUNDING, "centred");

    let centred = random(Expects { centred: Some(true), ..between()? })?;
    let error = centred.for_model(&tiny(Processing::NONE)?).unwrap_err().to_string();
    assert!(error.contains("center_writing_weights: true"), "{error}");
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused_with_the_way_out() -> Result<()> {
    let model = tiny(Processing::default())?;
    let at = |name: &str| -> Result<Expects> { Ok(Expects::at(name.parse()?)) };
    let resid = at("blocks.1.hook_resid_post")?;
    let cases = [
        (Expects { centred: Some(false), ..resid.clone() }, "center_writing_weights: false"),
        (Expects { model: Some("gpt2-small".into()), ..resid.clone() }, "was trained on gpt2-small"),
        (Expects { weights: Some("00000000".into()), ..resid.clone() }, "checksum 00000000"),
        (at("blocks.9.hook_resid_post")?, "belongs at a point that this model does not have"),
        (at("blocks.1.mlp.hook_post")?, "reads activations of width 128, and those at blocks.1.mlp.hook_post have 512"),
        (Expects::default(), "does not say which point it reads"),
        (
            Expects { norms_folded: Some(false), ..at("blocks.1.mlp.hook_in")? },
            "load the model with Processing { fold_ln: false, .. }",
        ),
    ];
    for (expects, words) in cases {
        let error = random(expects)?.for_model(&model).unwrap_err().to_string();
        assert!(error.contains(words), "{error} does not say {words}");
    }
    let one_head = Dictionary::new(DictionaryParts {
        w_enc: Tensor::zeros((16, 4), DType::F32, &Device::Cpu)?,
        b_enc: Tensor::zeros(4, DType::F32, &Device::Cpu)?,
        w_dec: Tensor::zeros((4, 16), DType::F32, &Device::Cpu)?,
        b_dec: Tensor::zeros(16, DType::F32, &Device::Cpu)?,
        expects: Expects { head: Some(8), ..at("blocks.1.attn.hook_z")? },
        ..random(Expects::default())?.parts()
    })?;
    let error = one_head.for_model(&model).unwrap_err().to_string();
    assert!(error.contains("reads head 8 at blocks.1.attn.hook_z, and there are 8 (0 to 7)"), "{error}");

    let between = Expects::between("blocks.1.ln2.hook_normalized".parse()?, "blocks.1.hook_mlp_out".parse()?);
    let scaled = DictionaryParts {
        scaled_by_decoder_norm: true,
        expects: Expects { centred: Some(false), ..between },
        ..random(Expects::default())?.parts()
    };
    let error = Dictionary::new(scaled)?.for_model(&model).unwrap_err().to_string();
    assert!(error.contains("multiplies pre-activations by the norms"), "{error}");

    let fits = Expects { model: Some("tiny".into()), weights: model.provenance().crc32, centred: Some(true), ..resid };
    assert!(random(fits)?.for_model(&model).is_ok());
    Ok(())
}

/// A row of zeros, as of a feature that died, has a norm that nothing can be divided by.
#[test]
fn a_decoder_row_of_zeros_writes_nothing_in_every_way_of_decoding() -> Result<()> {
    let parts = random(Expects::default())?.parts();
    let zeros = Tensor::zeros((1, 128), DType::F32, &Device::Cpu)?;
    let w_dec = Tensor::cat(&[&zeros, &parts.w_dec.narrow(0, 1, 47)?], 0)?;
    let dictionary = Dictionary::new(DictionaryParts { w_dec, scaled_by_decoder_norm: true, ..parts })?;
    let x = Random::new(5).normal((3, 128))?;
    let sparse = dictionary.reconstruct(&x)?;
    let watched = Var::from_tensor(&x)?;
    assert_close(&dictionary.reconstruct(watched.as_tensor())?, &sparse, ROUNDING, "with gradients");
    let alone = FeatureActs::from_rows(&[1], 48, &[vec![(0, 2.0)]])?;
    assert_close(&dictionary.decode(&alone)?.squeeze(0)?, &dictionary.parts().b_dec, ROUNDING, "the feature alone");
    Ok(())
}

/// A feature is switched off by a threshold that nothing reaches; the sum of many of them is infinite, and they are not.
#[test]
fn large_finite_numbers_are_finite() -> Result<()> {
    let parts = random(Expects::default())?.parts();
    let with = |number: f32| -> Result<Dictionary> {
        let threshold = Tensor::full(number, 48, &Device::Cpu)?;
        Dictionary::new(DictionaryParts { activation: Activation::JumpRelu { threshold }, ..parts.clone() })
    };
    assert_eq!(with(f32::MAX)?.encode(&Random::new(5).normal((3, 128))?)?.active(), 0);
    for number in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        let error = with(number).unwrap_err().to_string();
        assert!(error.contains("numbers in threshold that are not finite"), "{error}");
    }
    Ok(())
}
