//! What features write and read in words, against loops in f64 over the weights.

use candle_lens::Result;
use candle_lens::prelude::*;

use super::made::{
    FEATURES, at, every_kind, logits_of, made, row, rows, times, tiny, transcoder, unprocessed, written,
};
use crate::support::sentence::sentence;
use crate::support::tolerance::{IN_F64, REORDERED};

/// Sums of 128 products in f32, twice in a row.
const PRODUCTS: f64 = 1e-5;

/// Fourth powers of such sums, averaged.
const MOMENTS: f64 = 1e-3;

/// bf16 holds eight bits: weights and dictionary are rounded to them before anything is summed, the same on both sides.
const SAME_NUMBERS: f64 = 1e-4;

/// The tokens with the largest numbers.
fn best(values: &[f64], k: usize, largest: bool) -> Vec<u32> {
    let mut ids: Vec<u32> = (0..values.len() as u32).collect();
    ids.sort_by(|a, b| values[*b as usize].total_cmp(&values[*a as usize]));
    if !largest {
        ids.reverse();
    }
    ids.truncate(k);
    ids
}

#[track_caller]
fn same_tokens(found: &[TokenValue], expected: &[f64], largest: bool, what: &str) {
    for (token, id) in found.iter().zip(best(expected, found.len(), largest)) {
        let (value, there) = (f64::from(token.value), expected[token.token as usize]);
        assert!((value - there).abs() < PRODUCTS * there.abs().max(1.), "{what}: {token} is {there}");
        // Two tokens whose numbers are the same in f32 may change places.
        assert!((expected[id as usize] - there).abs() < PRODUCTS, "{what}: {token} is not {id}");
    }
}

#[test]
fn the_logit_lens_is_the_product_with_the_unembedding() -> Result<()> {
    for model in [tiny(), unprocessed()] {
        for dictionary in every_kind() {
            for feature in [17] {
                let lens = dictionary.logit_lens(&model, feature, 7)?;
                let expected = logits_of(&written(&dictionary.for_model(&model)?, &model, feature)?, &model);
                let what = format!("feature {feature} of {dictionary}");
                same_tokens(&lens.top, &expected, true, &what);
                same_tokens(&lens.bottom, &expected, false, &what);
                assert_eq!((lens.top.len(), lens.bottom.len(), lens.feature), (7, 7, feature));
                assert_eq!(lens.top[0].text, model.piece(lens.top[0].token));
                let n = expected.len() as f64;
                let mean = expected.iter().sum::<f64>() / n;
                let moment = |k: i32| expected.iter().map(|x| (x - mean).powi(k)).sum::<f64>() / n;
                let std = moment(2).sqrt();
                for (name, found, by_hand) in [
                    ("mean", lens.mean, mean),
                    ("std", lens.std, std),
                    ("skew", lens.skew, moment(3) / std.powi(3)),
                    ("kurtosis", lens.kurtosis, moment(4) / std.powi(4)),
                ] {
                    assert!(
                        (found - by_hand).abs() < MOMENTS * by_hand.abs().max(1.),
                        "{what}: {name} {found} {by_hand}"
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn moments_of_all_features_are_those_of_each() -> Result<()> {
    let (model, dictionary) = (tiny(), made(3, transcoder(1), |parts| parts));
    let moments = dictionary.logit_moments(&model)?;
    assert_eq!(moments.shape(), [FEATURES, 4]);
    for feature in [0, 1, FEATURES - 1] {
        let lens = dictionary.logit_lens(&model, feature, 1)?;
        for (at, expected) in [lens.mean, lens.std, lens.skew, lens.kurtosis].into_iter().enumerate() {
            let found = f64::from(moments.values()[[feature, at]]);
            assert!((found - expected).abs() < SAME_NUMBERS, "feature {feature}, moment {at}: {found} {expected}");
        }
    }
    Ok(())
}

/// A layer of a cross-layer transcoder writes to several layers, which are added up in the residual stream.
#[test]
fn rows_of_several_layers_are_summed() -> Result<()> {
    let model = tiny();
    let single = made(3, transcoder(1), |parts| parts);
    let later = super::made::random(&[FEATURES, 128], 11);
    let crossing = made(3, transcoder(1), |parts| DictionaryParts {
        w_dec: Tensor::stack(&[&parts.w_dec, &later], 1).unwrap(),
        ..parts
    });
    let lens = crossing.logit_lens(&model, 5, 4)?;
    let summed = rows(&(single.w_dec() + later)?)[5].clone();
    same_tokens(&lens.top, &logits_of(&summed, &model), true, "two layers");
    Ok(())
}

/// `LN(x)` of an embedding, times weights where there are any.
fn normed(embedding: &[f64], eps: f64, weights: Option<&Vec<f64>>) -> Vec<f64> {
    let centred = super::made::less_mean(embedding);
    let variance = centred.iter().map(|x| x * x).sum::<f64>() / centred.len() as f64;
    let scale = (variance + eps).sqrt();
    centred.iter().enumerate().map(|(at, x)| x / scale * weights.map_or(1., |w| w[at])).collect()
}

#[test]
fn encoders_read_embeddings() -> Result<()> {
    let mlp_in = || Expects::between("blocks.1.mlp.hook_in".parse().unwrap(), "mlp_out1".parse().unwrap());
    for model in [tiny(), unprocessed()] {
        for (point, expects) in
            [("resid", at("resid_post1")), ("norm", transcoder(1)), ("mlp", mlp_in()), ("z", at("z2"))]
        {
            let dictionary = made(12, expects, |parts| parts);
            let reads = dictionary.encoder_tokens(&model, 3, 6)?;
            let column = row(&dictionary.w_enc().narrow(1, 3, 1)?);
            let w_v = rows(&model.weight("blocks.2.attn.W_V")?.transpose(0, 1)?.flatten_from(1)?);
            let weights = |norm: &str| model.weight(&format!("blocks.{norm}.w")).ok().map(|w| row(&w));
            let (ln2, ln1, eps) = (weights("1.ln2"), weights("2.ln1"), model.cfg().eps);
            let read = |embedding: &Vec<f64>| {
                let seen = match point {
                    "resid" => embedding.clone(),
                    "norm" => normed(embedding, eps, None),
                    "mlp" => normed(embedding, eps, ln2.as_ref()),
                    _ => times(&normed(embedding, eps, ln1.as_ref()), &w_v),
                };
                super::made::dot(&seen, &column)
            };
            let expected: Vec<f64> = rows(&model.W_E()).iter().map(read).collect();
            same_tokens(&reads.top, &expected, true, point);
            same_tokens(&reads.bottom, &expected, false, point);
        }
    }
    Ok(())
}

#[test]
fn half_precision_sums_as_f32() -> Result<()> {
    let load = |dtype| {
        let options = LoadOptions { dtype, ..Default::default() };
        HookedTransformer::from_pretrained_with("tiny", options)
    };
    let half = load(DType::BF16)?;
    let dictionary = made(2, at("z2"), |parts| parts);
    let lens = dictionary.logit_lens(&half, 3, 5)?;
    let expected = logits_of(&written(&dictionary, &half, 3)?, &half);
    same_tokens(&lens.top, &expected, true, "bf16");
    let reads = dictionary.encoder_tokens(&half, 3, 5)?;
    assert!(reads.top[0].value >= reads.top[4].value);
    Ok(())
}

#[test]
fn head_shares_are_norms_of_the_parts_of_a_row() -> Result<()> {
    let (model, dictionary) = (tiny(), made(2, at("z2"), |parts| parts));
    let shares = dictionary.head_shares(&model, 9)?;
    let row = rows(&dictionary.w_dec())[9].clone();
    let norms: Vec<f64> = row.chunks(16).map(|part| super::made::dot(part, part).sqrt()).collect();
    let sum: f64 = norms.iter().sum();
    assert_eq!(shares.shape(), [1, 8]);
    for (head, norm) in norms.iter().enumerate() {
        let found = shares.values()[[0, head]];
        assert!((found - (norm / sum) as f32).abs() < REORDERED, "head {head}: {found}");
        assert!((norm / sum).abs() > IN_F64);
    }
    let silent = made(2, at("z2"), |parts| DictionaryParts { w_dec: parts.w_dec.zeros_like().unwrap(), ..parts });
    assert!(silent.head_shares(&model, 9)?.values().iter().all(|share| *share == 0.));
    sentence(made(1, at("resid_post1"), |parts| parts).head_shares(&model, 0), &["resid_post", "by head"]);
    Ok(())
}

#[test]
fn mistakes_are_named() {
    let model = tiny();
    let dictionary = made(1, at("resid_post1"), |parts| parts);
    sentence(dictionary.logit_lens(&model, FEATURES, 5), &["feature", "40"]);
    sentence(dictionary.logit_lens(&model, 0, 0), &["k is 0"]);
    sentence(dictionary.encoder_tokens(&model, 0, 1_000_000), &["k is 1000000"]);
    let queries = made(1, at("q1"), |parts| parts);
    sentence(queries.logit_lens(&model, 0, 5), &["hook_q", "residual stream"]);
    sentence(made(1, at("mlp_out1"), |parts| parts).encoder_tokens(&model, 0, 5), &["hook_mlp_out", "linear"]);
    let narrow = super::made::wide((1, 64, 8), at("resid_post1"), |parts| parts);
    sentence(narrow.logit_lens(&model, 0, 5), &["64", "128"]);
    let elsewhere = made(1, at("resid_post9"), |parts| parts);
    sentence(elsewhere.logit_lens(&model, 0, 5), &["9"]);
}
