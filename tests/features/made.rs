//! Dictionaries of random numbers for the embedded model, and arithmetic in f64 to compare with.

use candle_lens::Result;
use candle_lens::prelude::*;

pub const FEATURES: usize = 40;

pub const PROMPT: &str = "When John and Mary went to the shops, John gave the bag to";

pub fn tiny() -> HookedTransformer {
    HookedTransformer::from_pretrained("tiny").expect("it is in this binary")
}

pub fn unprocessed() -> HookedTransformer {
    HookedTransformer::from_pretrained_no_processing("tiny").expect("it is in this binary")
}

/// A random dictionary of width 128 whose features are active at some positions, with a change of its parts.
pub fn made(seed: u64, expects: Expects, change: impl Fn(DictionaryParts) -> DictionaryParts) -> Dictionary {
    wide((seed, 128, FEATURES), expects, change)
}

pub fn wide(
    (seed, width, features): (u64, usize, usize),
    expects: Expects,
    change: impl Fn(DictionaryParts) -> DictionaryParts,
) -> Dictionary {
    let mut random = Random::new(seed);
    let mut normal = |shape: &[usize], size: f64| (random.normal(shape.to_vec()).unwrap() * size).unwrap();
    Dictionary::new(change(DictionaryParts {
        name: format!("random {seed}"),
        w_enc: normal(&[width, features], 0.1),
        b_enc: (normal(&[features], 0.1) - 0.3).unwrap(),
        w_dec: normal(&[features, width], 0.1),
        b_dec: normal(&[width], 0.1),
        b_in: Some(normal(&[width], 0.1)),
        w_skip: None,
        activation: Activation::Relu,
        input_norm: InputNorm::None,
        scaled_by_decoder_norm: false,
        expects,
    }))
    .unwrap()
}

pub fn at(point: &str) -> Expects {
    Expects::at(point.parse().unwrap())
}

pub fn transcoder(layer: usize) -> Expects {
    let of = |name: &str| format!("blocks.{layer}.{name}").parse().unwrap();
    Expects::between(of("ln2.hook_normalized"), of("hook_mlp_out"))
}

/// A dictionary of every kind of point, by a name.
pub fn every_kind() -> Vec<Dictionary> {
    vec![
        made(1, at("resid_post1"), |parts| parts),
        made(2, at("z2"), |parts| parts),
        made(3, transcoder(1), |parts| parts),
        made(4, transcoder(3), |parts| DictionaryParts { w_skip: Some(random(&[128, 128], 5)), ..parts }),
        made(6, at("mlp_out3"), |parts| DictionaryParts { scaled_by_decoder_norm: true, ..parts }),
        made(7, at("attn_out2"), |parts| DictionaryParts { input_norm: InputNorm::LayerNorm, ..parts }),
        wide((8, 16, FEATURES), Expects { head: Some(3), ..at("z1") }, |parts| parts),
        wide((9, 512, FEATURES), at("post3"), |parts| parts),
    ]
}

pub fn random(shape: &[usize], seed: u64) -> Tensor {
    (Random::new(seed).normal(shape.to_vec()).unwrap() * 0.05).unwrap()
}

pub fn rows(x: &Tensor) -> Vec<Vec<f64>> {
    let rows = x.to_dtype(DType::F64).unwrap().reshape(((), x.dims()[x.rank() - 1])).unwrap();
    rows.to_vec2().unwrap()
}

pub fn row(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `a W` of a row.
pub fn times(a: &[f64], w: &[Vec<f64>]) -> Vec<f64> {
    (0..w[0].len()).map(|column| a.iter().zip(w).map(|(a, row)| a * row[column]).sum()).collect()
}

pub fn less_mean(a: &[f64]) -> Vec<f64> {
    let mean = a.iter().sum::<f64>() / a.len() as f64;
    a.iter().map(|a| a - mean).collect()
}

/// What a feature adds to the residual stream of a model for one unit, by loops over the weights.
pub fn written(dictionary: &Dictionary, model: &HookedTransformer, feature: usize) -> Result<Vec<f64>> {
    let mut row = rows(&dictionary.w_dec())[feature].clone();
    if dictionary.parts().scaled_by_decoder_norm {
        let norm = dot(&row, &row).sqrt();
        row.iter_mut().for_each(|x| *x /= norm);
    }
    let expects = dictionary.expects();
    let writes = expects.writes().expect("it has a point").to_string();
    let layer = writes.split('.').nth(1).unwrap_or("").to_string();
    let weight = |name: &str| model.weight(&format!("blocks.{layer}.{name}"));
    if writes.ends_with("hook_z") {
        let w_o = weight("attn.W_O")?;
        let w_o = if let Some(head) = expects.head { w_o.get(head)? } else { w_o.flatten(0, 1)? };
        return Ok(times(&row, &rows(&w_o)));
    }
    Ok(if writes.ends_with("hook_post") { times(&row, &rows(&weight("mlp.W_out")?)) } else { row })
}

/// Along each logit, through the final norm's centring and its weights where they are there, without its scale.
pub fn logits_of(stream: &[f64], model: &HookedTransformer) -> Vec<f64> {
    let mut stream = less_mean(stream);
    if let Ok(w) = model.weight("ln_final.w") {
        stream = stream.iter().zip(row(&w)).map(|(x, w)| x * w).collect();
    }
    times(&stream, &rows(&model.W_U()))
}
