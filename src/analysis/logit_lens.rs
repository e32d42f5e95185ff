//! What each part of the residual stream says about the answer: logit lens and direct logit attribution.
//!
//! A stack's component `c` is read as the model would read the whole stream: `LN(c) . (W_U[:, correct] - W_U[:, incorrect])`,
//! with the final norm's scale held at the value it had in the run, and with its weights where they are not folded. Over the
//! accumulated stream this is the logit lens (nostalgebraist 2020), over what each component wrote it is direct logit
//! attribution (Elhage et al. 2021).
//!
//! Limits: it sees direct effects only, not what a component does through later ones; the biases ([`crate::metrics::Answers::bias`])
//! are in no component; where the model squeezes its logits (Gemma 2), shares are of the logits before that, and titles say so.

use candle_core::Tensor;

use crate::cache::{ActivationCache, ResidualStack};
use crate::error::Result;
use crate::labelled::Labelled;
use crate::tokens::Tokens;

/// The logit difference that each component of a stack gives by itself, averaged over prompts; at each position over those
/// that have a token there.
///
/// # Shapes
/// `directions [prompt, d_model]` of the unembedding (see [`crate::metrics::Answers::directions`]), from the model that made the cache;
/// the result is `[component]`, or `[component, position]` for a stack of several positions.
///
/// # Errors
/// Directions of another width or count than the stack's prompts; and as [`ActivationCache::apply_ln_to_stack`].
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let tokens = model.to_tokens(["When John and Mary went to the shops, John gave the bag to"])?;
/// let answers = model.answers([(" Mary", " John")])?;
/// let (logits, cache) = model.run_with_cache(&tokens)?;
/// let parts = cache.decompose_resid(&DecomposeOptions { pos: (-1).into(), ..Default::default() })?;
/// let shares = residual_stack_to_logit_diff(&parts, &cache, &answers.directions(&model)?)?;
/// // The shares and the biases sum to the whole.
/// let whole = answers.logit_diff(&logits, &tokens)?.scalar()?;
/// assert!((shares.values.sum() + answers.bias(&model)?.scalar()? - whole).abs() < 1e-3);
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn residual_stack_to_logit_diff(
    stack: &ResidualStack,
    cache: &ActivationCache,
    directions: &Tensor,
) -> Result<Labelled> {
    let along = cache.onto_unembedding(stack, directions)?.titled(cache.logit_title("logit difference"));
    if !cache.has_batch_dim() {
        return Ok(along);
    }
    mean_over_present(&along, stack.positions(), cache.tokens())
}

/// The mean over prompts of `[component, prompt, (position)]`, at each of these positions over those that have a token there.
fn mean_over_present(along: &Labelled, positions: &[usize], tokens: &Tokens) -> Result<Labelled> {
    let mut mean = along.mean_over("prompt")?;
    if !tokens.is_padded() {
        return Ok(mean);
    }
    for (place, value) in mean.values.indexed_iter_mut() {
        let component = place[0];
        let position = if along.axes.len() == 3 { place[1] } else { 0 };
        let there = (0..tokens.batch()).filter(|&prompt| tokens.is_real(prompt, positions[position]));
        let of_prompts: Vec<f64> = there
            .map(|prompt| match along.axes.len() {
                3 => f64::from(along.values[[component, prompt, position]]),
                _ => f64::from(along.values[[component, prompt]]),
            })
            .collect();
        *value = (of_prompts.iter().sum::<f64>() / of_prompts.len().max(1) as f64) as f32;
    }
    Ok(mean)
}
