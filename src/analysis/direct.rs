//! Direct logit attribution: what each component added to the logit difference by itself.
//!
//! With the final norm's scale held at its value in the run, the logit difference is linear in the residual stream and
//! so the sum of one share for each component that wrote into it (Elhage et al. 2021). The norm's own weights go into the
//! direction, so this is exact for models with and without `fold_ln`.
//!
//! Limits: direct effects only; `b_U`, and the final norm's bias where it is not folded, belong to no component.

use super::answers::Answers;
use crate::cache::{
    AccumulatedOptions, ActivationCache, DecomposeOptions, FullOptions, HeadOptions, LnOptions, ResidualStack,
};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::slice::Slice;
use crate::tokens::PaddingSide;

/// Into what the residual stream is taken apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// The embeddings, and each layer's attention and MLP.
    #[default]
    Component,
    /// Not shares but the stream after each of them, which grows into the whole.
    Layer,
    /// Each head; the rest in one `remainder`.
    Head,
    /// Each head, each neuron, the embeddings, and all biases in one.
    Neuron,
}

/// The share of each component in the logit difference of each prompt's answers, at its last token.
///
/// # Shapes
/// `[component, prompt]`; except for [`Unit::Layer`] the components sum to the logit difference without its biases.
///
/// # Errors
/// A cache of another model or without the activations; answers for another number of prompts.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let answers = model.answers([(" Mary", " John")])?;
/// let (_, cache) = model.run_with_cache("When John and Mary went to the shops, John gave the bag to")?;
/// let shares = direct_logit_attribution(&model, &cache, &answers, Unit::Head)?;
/// println!("{} adds {:.2}", shares.top(1)[0].labels[0], shares.top(1)[0].value);
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn direct_logit_attribution(
    model: &HookedTransformer,
    cache: &ActivationCache,
    answers: &Answers,
    unit: Unit,
) -> Result<Labelled> {
    check_count(cache, answers)?;
    let _work = Progress::opaque("attributing the logits");
    let directions = cache.final_norm().through_weights(&answers.directions(model)?)?;
    let pos = last_positions(cache);
    let along = |stack: ResidualStack| cache.apply_ln_to_stack(&stack, &LnOptions::default())?.project(&directions);
    let shares = match unit {
        Unit::Component => along(cache.decompose_resid(&DecomposeOptions { pos, ..Default::default() })?)?,
        Unit::Layer => along(cache.accumulated_resid(&AccumulatedOptions {
            pos,
            incl_mid: has_middle(cache),
            ..Default::default()
        })?)?,
        Unit::Head => {
            let options = HeadOptions { pos, incl_remainder: true, ..Default::default() };
            along(cache.stack_head_results(model, &options)?)?
        }
        Unit::Neuron => {
            let options = FullOptions { pos, apply_ln: true, ..Default::default() };
            cache.project_full_resid_decomposition(model, &directions, &options)?
        }
    };
    Ok(at_last(shares, cache)?.titled("direct logit attribution"))
}

/// The logit difference that the model would give if it stopped after each sublayer: each slice of the stream goes
/// through the final norm by itself and is read by the unembedding, `b_U` included (nostalgebraist 2020). The last one is
/// the model's own.
///
/// [`super::residual_stack_to_logit_diff`] of the accumulated stream holds the norm's scale at its final value instead, so
/// that its steps are the shares of [`direct_logit_attribution`].
///
/// # Shapes
/// `[component, prompt]`, at each prompt's last token.
///
/// # Errors
/// As [`direct_logit_attribution`].
pub fn logit_lens_to_logit_diff(
    model: &HookedTransformer,
    cache: &ActivationCache,
    answers: &Answers,
) -> Result<Labelled> {
    check_count(cache, answers)?;
    let _work = Progress::opaque("attributing the logits");
    if model.cfg().output_logits_soft_cap.is_some() {
        return Err(Error::argument(
            "this model squeezes its logits (output_logits_soft_cap), so a logit difference is no projection of the \
             stream: read the tokens with logit_lens instead.",
        ));
    }
    let options = AccumulatedOptions {
        pos: last_positions(cache),
        incl_mid: has_middle(cache),
        apply_ln: true,
        ..Default::default()
    };
    let lens = cache.accumulated_resid(&options)?.project(&answers.directions(model)?)?;
    let mut lens = at_last(lens, cache)?.titled("logit difference by the logit lens");
    let b_u = model.b_U().to_dtype(candle_core::DType::F32)?.to_vec1::<f32>()?;
    let biases = answers.correct().iter().zip(answers.incorrect()).map(|(&c, &i)| b_u[c as usize] - b_u[i as usize]);
    for (prompt, bias) in biases.enumerate() {
        lens.values.index_axis_mut(ndarray::Axis(1), prompt).map_inplace(|value| *value += bias);
    }
    Ok(lens)
}

fn check_count(cache: &ActivationCache, answers: &Answers) -> Result<()> {
    if !cache.has_batch_dim() {
        return Err(Error::argument("answers are for each prompt, so the cache must keep its batch axis."));
    }
    if answers.len() != cache.tokens().batch() {
        return Err(Error::argument(format!(
            "there are answers for {} prompts, but the cache has {}: give one pair for each prompt.",
            answers.len(),
            cache.tokens().batch()
        )));
    }
    Ok(())
}

/// Whether blocks have a stream between attention and MLP.
pub(super) fn has_middle(cache: &ActivationCache) -> bool {
    !cache.dims().attn_only && !cache.dims().parallel_attn_mlp
}

/// The last position, or all where the last token stands elsewhere in each prompt.
fn last_positions(cache: &ActivationCache) -> Slice {
    let tokens = cache.tokens();
    match tokens.is_padded() && tokens.padding_side() == PaddingSide::Right {
        true => Slice::All,
        false => (-1).into(),
    }
}

/// Each prompt's last token of `[component, prompt, (position)]`.
fn at_last(result: Labelled, cache: &ActivationCache) -> Result<Labelled> {
    if result.axes.len() == 2 {
        return Ok(result);
    }
    let last = cache.tokens().last_positions();
    let values: Vec<f32> = (0..result.shape()[0])
        .flat_map(|component| last.iter().enumerate().map(move |(prompt, &at)| [component, prompt, at]))
        .map(|place| result.values[place])
        .collect();
    Labelled::new(result.title, result.axes[..2].to_vec(), values)
}
