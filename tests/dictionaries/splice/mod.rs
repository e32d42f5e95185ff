//! Dictionaries spliced into models.

mod bos;
mod cross_layer;
mod experiments;
mod families;
mod identities;
mod refused;
mod saelens;

use candle_lens::Result;
use candle_lens::prelude::*;

pub const D_MODEL: usize = 8;
pub const FEATURES: usize = 32;

/// A random model of three layers, without a tokenizer and so without a BOS.
pub fn model() -> HookedTransformer {
    let cfg = HookedTransformerConfig {
        n_layers: 3,
        d_model: D_MODEL,
        n_heads: 2,
        d_vocab: 20,
        n_ctx: 12,
        ..Default::default()
    };
    HookedTransformer::trainable(cfg, 1, &Device::Cpu).unwrap().0.without_weight_gradients()
}

pub fn tokens() -> Tokens {
    Tokens::from_rows(vec![vec![1, 2, 3, 4, 5, 6], vec![7, 8, 9, 10, 11, 12]]).unwrap()
}

pub fn padded() -> Tokens {
    Tokens::padded(vec![vec![1, 2, 3, 4, 5, 6], vec![7, 8, 9]], 0, PaddingSide::Left).unwrap()
}

/// A random dictionary of these widths, about half of whose features are active, with a change of its parts.
pub fn random(
    (seed, d_in, d_out): (u64, usize, usize),
    expects: Expects,
    change: impl Fn(DictionaryParts) -> DictionaryParts,
) -> Dictionary {
    let mut random = Random::new(seed);
    let mut normal = |shape: &[usize], size: f64| (random.normal(shape.to_vec()).unwrap() * size).unwrap();
    Dictionary::new(change(DictionaryParts {
        name: format!("random {seed}"),
        w_enc: normal(&[d_in, FEATURES], 0.4),
        b_enc: normal(&[FEATURES], 0.1),
        w_dec: normal(&[FEATURES, d_out], 0.4),
        b_dec: normal(&[d_out], 0.1),
        b_in: Some(normal(&[d_in], 0.1)),
        w_skip: None,
        activation: Activation::Relu,
        input_norm: InputNorm::None,
        scaled_by_decoder_norm: false,
        expects,
    }))
    .unwrap()
}

/// An autoencoder of all of a point of [`model`].
pub fn autoencoder(seed: u64, point: &str) -> Dictionary {
    random((seed, D_MODEL, D_MODEL), Expects::at(point.parse().unwrap()), |parts| parts)
}

/// A transcoder of layer `layer` of [`model`].
pub fn transcoder(seed: u64, layer: usize, skip: bool) -> Dictionary {
    let of = |name: &str| format!("blocks.{layer}.{name}").parse().unwrap();
    random((seed, D_MODEL, D_MODEL), Expects::between(of("ln2.hook_normalized"), of("hook_mlp_out")), |parts| {
        let w_skip = skip.then(|| (Random::new(seed + 1).normal((D_MODEL, D_MODEL)).unwrap() * 0.3).unwrap());
        DictionaryParts { w_skip, ..parts }
    })
}

pub fn logits(model: &HookedTransformer, tokens: &Tokens, plan: &HookPlan) -> Result<Tensor> {
    Ok(model.run_with_hooks(tokens, plan)?.0)
}

pub fn captured(model: &HookedTransformer, tokens: &Tokens, point: HookPoint) -> Result<Tensor> {
    model.run_with_hooks(tokens, HookPlan::new().capture(point))?.1.get(point)
}

pub fn apart(a: &Tensor, b: &Tensor) -> Result<f32> {
    Ok((a - b)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?)
}
