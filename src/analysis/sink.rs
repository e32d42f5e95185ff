//! How much attention each head sinks into the first token.
//!
//! The sink mass of a head is its mean attention to a prompt's first token, over the query positions after it and over prompts
//! (Xiao et al. 2023, <https://arxiv.org/abs/2309.17453>; Gu et al. 2024, <https://arxiv.org/abs/2410.10781>). Near 1, the head has
//! nothing to do on these prompts.
//!
//! Limits: a head may also attend to the first token for what is there, as at a BOS that has its own value.

use candle_core::DType;

use crate::cache::ActivationCache;
use crate::error::{Error, Result};
use crate::hooks::{HookPoint, Site};
use crate::labelled::{Axis, Labelled};
use crate::progress::Progress;

/// The mean attention of each head to the first token of each prompt, from the later positions; padding is ignored, and it does not
/// matter whether the cache leaves that attention out of views ([`Sink`](crate::cache::Sink)).
///
/// # Shapes
/// `[layer, head, prompt]`; `mean_over("prompt")` gives the table by head.
///
/// # Errors
/// Patterns that are not cached or only at some positions, a cache without batch axis, a prompt of one token.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let (_, cache) = model.run_with_cache("When John and Mary went to the shops, John gave the bag to")?;
/// let mass = sink_mass(&cache)?.mean_over("prompt")?;
/// mass.show()?;
/// assert!(mass.values().iter().all(|mass| (0.0..=1.0).contains(mass)));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn sink_mass(cache: &ActivationCache) -> Result<Labelled> {
    let (dims, tokens) = (cache.dims(), cache.tokens());
    if !cache.has_batch_dim() {
        return Err(Error::argument("sink_mass needs a cache with a batch axis: leave remove_batch_dim out."));
    }
    let (firsts, lengths) = (tokens.first_positions(), tokens.lengths());
    if let Some(prompt) = lengths.iter().position(|&length| length < 2) {
        return Err(Error::argument(format!(
            "prompt {prompt} has one token, which can attend only to itself: give prompts of two tokens or more."
        )));
    }
    let mut masses = Vec::with_capacity(dims.n_layers * dims.n_heads * tokens.batch());
    let mut progress = Progress::of("adding up attention", dims.n_layers as u64, "layers");
    for layer in 0..dims.n_layers {
        let pattern = cache.get(HookPoint::Block(layer, Site::Pattern))?.to_dtype(DType::F32)?;
        if pattern.rank() != 4 || pattern.dim(2)? != tokens.pos() {
            return Err(Error::argument("sink_mass needs whole attention patterns: capture all positions."));
        }
        let by_prompt = firsts.iter().zip(&lengths).enumerate().map(|(prompt, (&first, &length))| {
            let later = pattern.get(prompt)?.narrow(1, first + 1, length - 1)?.narrow(2, first, 1)?;
            later.mean((1, 2))?.to_vec1::<f32>()
        });
        let by_prompt = by_prompt.collect::<candle_core::Result<Vec<_>>>()?;
        masses.extend((0..dims.n_heads).flat_map(|head| by_prompt.iter().map(move |masses| masses[head])));
        progress.step(1)?;
    }
    let axes = vec![
        Axis::numbered("layer", dims.n_layers),
        Axis::numbered("head", dims.n_heads),
        Axis::numbered("prompt", tokens.batch()),
    ];
    Labelled::new("attention to the first token", axes, masses)
}
