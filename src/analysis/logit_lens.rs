//! What each part of the residual stream says about the answer: logit lens and direct logit attribution.
//!
//! A stack's component `c` is read as the model would read the whole stream: `LN(c) . (W_U[:, correct] - W_U[:, incorrect])`,
//! with the final norm's scale held at the value it had in the run. Over the accumulated stream this is the logit lens
//! (nostalgebraist 2020), over what each component wrote it is direct logit attribution (Elhage et al. 2021).
//!
//! Limits: it sees direct effects only, not what a component does through later ones, and `b_U` is in no component.

use candle_core::Tensor;

use crate::cache::{ActivationCache, LnOptions, ResidualStack};
use crate::error::Result;
use crate::labelled::Labelled;

/// The logit difference that each component of a stack gives by itself, averaged over prompts.
///
/// # Shapes
/// `directions [prompt, d_model]` (see [`super::Answers::directions`]); the result is `[component]`, or
/// `[component, position]` for a stack of several positions.
///
/// # Errors
/// Directions of another width or count than the stack's prompts; a final scale that is not cached.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let tokens = model.to_tokens(["When John and Mary went to the shops, John gave the bag to"])?;
/// let answers = model.answers([(" Mary", " John")])?;
/// let (logits, cache) = model.run_with_cache(&tokens)?;
/// let parts = cache.decompose_resid(&DecomposeOptions { pos: (-1).into(), ..Default::default() })?;
/// let shares = residual_stack_to_logit_diff(&parts, &cache, &answers.directions(&model)?)?;
/// // The shares and the bias of the logits sum to the whole.
/// let b_u = model.b_U().to_vec1::<f32>()?;
/// let bias = b_u[answers.correct()[0] as usize] - b_u[answers.incorrect()[0] as usize];
/// let whole = answers.logit_diff(&logits, &tokens)?.scalar()?;
/// assert!((shares.values.sum() + bias - whole).abs() < 1e-3);
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn residual_stack_to_logit_diff(
    stack: &ResidualStack,
    cache: &ActivationCache,
    directions: &Tensor,
) -> Result<Labelled> {
    let scaled = cache.apply_ln_to_stack(stack, &LnOptions::default())?;
    let along = scaled.project(directions)?.titled("logit difference");
    if cache.has_batch_dim() { along.mean_over("prompt") } else { Ok(along) }
}
