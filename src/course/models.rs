//! The models that exercises run, read once for all checks.

use std::sync::OnceLock;

use candle_core::Device;

use super::seed::{seed, seeded};
use crate::error::Result;
use crate::model::{ActFn, AttentionDir, HookedTransformer, HookedTransformerConfig, NormalizationType};

/// The embedded model.
pub(super) fn tiny() -> Result<HookedTransformer> {
    static MODEL: OnceLock<HookedTransformer> = OnceLock::new();
    once(&MODEL, || HookedTransformer::from_pretrained("tiny"))
}

/// Translation by example.
pub(super) fn icl() -> Result<HookedTransformer> {
    static MODEL: OnceLock<HookedTransformer> = OnceLock::new();
    once(&MODEL, || HookedTransformer::from_pretrained("icl"))
}

/// The embedded model with its weights as they were trained: norms are not folded.
pub(super) fn tiny_as_loaded() -> Result<HookedTransformer> {
    static MODEL: OnceLock<HookedTransformer> = OnceLock::new();
    once(&MODEL, || HookedTransformer::from_pretrained_no_processing("tiny"))
}

/// Two layers of attention alone, in which induction can be read off the weights.
pub(super) fn induction() -> Result<HookedTransformer> {
    static MODEL: OnceLock<HookedTransformer> = OnceLock::new();
    once(&MODEL, || HookedTransformer::from_pretrained("induction"))
}

/// Three layers that look in both directions and say whether brackets are balanced.
pub(super) fn brackets() -> Result<HookedTransformer> {
    static MODEL: OnceLock<HookedTransformer> = OnceLock::new();
    once(&MODEL, || HookedTransformer::from_pretrained("brackets"))
}

/// A small random model of another depth, number of heads and width than the embedded ones, without a tokenizer: what was written into
/// the code for one model fails on it.
pub(super) fn other() -> Result<HookedTransformer> {
    static MODEL: OnceLock<HookedTransformer> = OnceLock::new();
    let cfg = HookedTransformerConfig {
        model_name: "other".into(),
        n_layers: 3,
        d_model: 20,
        n_heads: 5,
        d_head: Some(6),
        d_mlp: Some(28),
        d_vocab: 31,
        n_ctx: 40,
        eps: 0.1,
        initializer_range: Some(0.3),
        ..Default::default()
    };
    once(&MODEL, || random_model(cfg, 5))
}

/// The same beside [`brackets`]: it reads what that model reads.
pub(super) fn classifier() -> Result<HookedTransformer> {
    static MODEL: OnceLock<HookedTransformer> = OnceLock::new();
    let cfg = HookedTransformerConfig {
        model_name: "classifier".into(),
        n_layers: 2,
        d_model: 12,
        n_heads: 3,
        d_head: Some(5),
        d_mlp: Some(9),
        n_ctx: 30,
        d_vocab: 4,
        d_vocab_out: Some(2),
        act_fn: ActFn::Relu,
        normalization_type: NormalizationType::LNPre,
        eps: 0.1,
        attention_dir: AttentionDir::Bidirectional,
        initializer_range: Some(0.4),
        ..Default::default()
    };
    once(&MODEL, || Ok(random_model(cfg, 7)?.with_tokenizer(brackets()?.tokenizer()?)))
}

/// A random model in which no bias is 0, no weight of a norm is 1, and `eps` is large enough to be seen.
fn random_model(cfg: HookedTransformerConfig, number: u64) -> Result<HookedTransformer> {
    let (mut model, vars) = HookedTransformer::trainable(cfg, seed(number), &Device::Cpu)?;
    let mut random = seeded(number + 1);
    let mut noise = |size: usize| -> Result<_> { Ok((random.normal(size)? * 0.3)?) };
    // Biases and norms are vectors.
    for var in vars.iter().filter(|var| var.rank() == 1) {
        var.set(&(var.as_tensor() + noise(var.elem_count())?)?)?;
    }
    model.weights.b_u = noise(model.dims().d_vocab_out)?;
    Ok(model.without_weight_gradients())
}

/// The model of `read`, which is called once.
pub(super) fn once(
    kept: &OnceLock<HookedTransformer>,
    read: impl FnOnce() -> Result<HookedTransformer>,
) -> Result<HookedTransformer> {
    if let Some(model) = kept.get() {
        return Ok(model.clone());
    }
    let model = read()?;
    Ok(kept.get_or_init(|| model).clone())
}
