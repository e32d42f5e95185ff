//! Direct logit attribution: what each component added to the logit difference by itself.
//!
//! With the final norm's scale held at its value in the run, the logit difference is linear in the residual stream and
//! so the sum of one share for each component that wrote into it (Elhage et al. 2021). The norm's own weights go into the
//! direction, so this is exact for models with and without `fold_ln`.
//!
//! Limits: direct effects only; `b_U`, and the final norm's bias where it is not folded, belong to no component
//! ([`crate::metrics::Answers::bias`] is their logit difference). Where the model squeezes its logits (Gemma 2), shares are of the logit
//! difference before that, which alone is linear in the stream, and the title says so.

use candle_core::DType;
use ndarray::Axis;

use crate::cache::{AccumulatedOptions, ActivationCache, DecomposeOptions, FullOptions, HeadOptions, ResidualStack};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::metrics::Answers;
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
/// `[component, prompt]`; except for [`Unit::Layer`] the components and [`Answers::bias`] sum to the logit difference.
///
/// # Errors
/// A cache of another model (see [`ActivationCache::without_model_check`]) or without the activations; answers for another
/// number of prompts.
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
    cache.check_model(model)?;
    let _work = Progress::opaque("attributing the logits");
    let directions = answers.directions(model)?;
    let pos = last_positions(cache);
    let along = |stack: ResidualStack| cache.onto_unembedding(&stack, &directions);
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
    Ok(at_last(shares, cache)?.titled(cache.logit_title("direct logit attribution")))
}

/// The logit difference that the model would give if it stopped after each sublayer: each slice of the stream goes
/// through the final norm by itself and is read by the unembedding, `b_U` and a soft cap included (nostalgebraist 2020). The
/// last one is the model's own.
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
    cache.check_model(model)?;
    let _work = Progress::opaque("attributing the logits");
    let options = AccumulatedOptions {
        pos: last_positions(cache),
        incl_mid: has_middle(cache),
        apply_ln: true,
        ..Default::default()
    };
    let lens = cache.accumulated_resid(&options)?;
    let biases = model.b_U().to_dtype(DType::F32)?.to_vec1::<f32>()?;
    let logits = |ids: &[u32]| -> Result<Labelled> {
        let along = lens.project(&model.tokens_to_residual_directions(ids.iter().copied())?)?;
        let mut logits = at_last(along, cache)?;
        for (prompt, &id) in ids.iter().enumerate() {
            let squeezed = |logit: f32| model.cfg().output_logits_soft_cap.map_or(logit, |cap| squeeze(logit, cap));
            let of_prompt = logits.values.index_axis_mut(Axis(1), prompt);
            of_prompt.into_iter().for_each(|logit| *logit = squeezed(*logit + biases[id as usize]));
        }
        Ok(logits)
    };
    let mut lens = logits(answers.correct())?.titled("logit difference by the logit lens");
    lens.values -= &logits(answers.incorrect())?.values;
    Ok(lens)
}

/// A logit under a soft cap.
fn squeeze(logit: f32, cap: f64) -> f32 {
    (cap * (f64::from(logit) / cap).tanh()) as f32
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
