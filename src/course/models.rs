//! The models that exercises run, read once for all checks.

use std::sync::OnceLock;

use candle_core::Device;

use crate::error::Result;
use crate::model::{HookedTransformer, HookedTransformerConfig};
use crate::random::Random;

/// The embedded model.
pub(super) fn tiny() -> Result<HookedTransformer> {
    static TINY: OnceLock<HookedTransformer> = OnceLock::new();
    if let Some(model) = TINY.get() {
        return Ok(model.clone());
    }
    let model = HookedTransformer::from_pretrained("tiny")?;
    Ok(TINY.get_or_init(|| model).clone())
}

/// A small random model of other sizes than the embedded one, whose biases and norm weights all count.
pub(super) fn other() -> Result<HookedTransformer> {
    static OTHER: OnceLock<HookedTransformer> = OnceLock::new();
    if let Some(model) = OTHER.get() {
        return Ok(model.clone());
    }
    let cfg = HookedTransformerConfig {
        n_layers: 3,
        d_model: 12,
        n_heads: 2,
        d_head: Some(5),
        d_vocab: 29,
        n_ctx: 20,
        ..Default::default()
    };
    let (model, vars) = HookedTransformer::trainable(cfg, 11, &Device::Cpu)?;
    let mut random = Random::new(12);
    for var in &vars {
        var.set(&(var.as_tensor() + (random.normal(var.shape())? * 0.3)?)?)?;
    }
    let model = model.without_weight_gradients();
    Ok(OTHER.get_or_init(|| model).clone())
}
