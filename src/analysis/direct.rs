//! Direct logit attribution: what each component added to a logit, or to a logit difference, by itself.
//!
//! With the final norm's scale held at its value in the run, a logit is linear in the residual stream and so the sum of one share
//! for each component that wrote into it (Elhage et al. 2021): component `c` adds `LN(c) . W_U[:, token]`. The norm's own weights
//! go into the direction, so this is exact for models with and without `fold_ln`. Over the accumulated residual stream the same
//! projection shows how the logit grows.
//!
//! Limits: direct effects only, not what a component does through later ones; `b_U`, and the final norm's bias where it is not
//! folded, belong to no component ([`Target::bias`] is their share). Where the model has a soft cap on its logits (Gemma 2), shares
//! are of the logit before it, which alone is linear in the residual stream, and the title says so.

use crate::cache::{ActivationCache, ResidualStack, Stack, Target};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::slice::Slice;
use crate::tokens::{Input, PaddingSide, Tokens};

/// The components into which the residual stream is decomposed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// The embeddings, and each layer's attention and MLP.
    #[default]
    Component,
    /// Not shares, but the accumulated residual stream after each of them.
    Layer,
    /// Each head; everything else in one `remainder`.
    Head,
    /// Each head, each neuron, the embeddings, and all biases in one component.
    Neuron,
}

/// What an attribution reads: a cached run, or prompts that it runs. Built by `into()` from a cache, or from
/// whatever a model reads.
#[derive(Clone, Debug)]
pub enum RunOrInput {
    /// A run.
    Run(Box<ActivationCache>),
    /// Prompts to run.
    Input(Input),
}

impl From<&ActivationCache> for RunOrInput {
    fn from(cache: &ActivationCache) -> Self {
        Self::Run(cache.clone().into())
    }
}

impl From<ActivationCache> for RunOrInput {
    fn from(cache: ActivationCache) -> Self {
        Self::Run(cache.into())
    }
}

impl<I: Into<Input>> From<I> for RunOrInput {
    fn from(input: I) -> Self {
        Self::Input(input.into())
    }
}

/// The share of each component in a logit, or in a logit difference, at each prompt's last token.
///
/// # Shapes
/// `[component, prompt]`; except for [`Unit::Layer`] the components and [`Target::bias`] sum to the logit, or to the difference.
///
/// # Errors
/// A cache of another model (see [`ActivationCache::without_model_check`]), without its batch axis or without the activations; a
/// target for another number of prompts; and as [`HookedTransformer::run`] for prompts.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// // Which heads make the model prefer Mary to John?
/// let prompt = "When John and Mary went to the shops, John gave the bag to";
/// let shares = direct_logit_attribution(&model, prompt, (" Mary", " John"), Unit::Head)?;
/// let (head, share) = shares.top_heads(1)?[0];
/// println!("{head} adds {share:.2}");
/// // The same for a cached run, and for single tokens.
/// let (_, cache) = model.run_with_cache(prompt)?;
/// let mary = direct_logit_attribution(&model, &cache, " Mary", Unit::Head)?;
/// let john = direct_logit_attribution(&model, &cache, " John", Unit::Head)?;
/// assert!((mary.values().sum() - john.values().sum() - shares.values().sum()).abs() < 1e-3);
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn direct_logit_attribution(
    model: &HookedTransformer,
    run: impl Into<RunOrInput>,
    target: impl Into<Target>,
    unit: Unit,
) -> Result<Labelled> {
    let (target, cache) = (
        target.into(),
        match run.into() {
            RunOrInput::Run(cache) => *cache,
            RunOrInput::Input(input) => model.run_with_cache(input)?.1,
        },
    );
    check_count(&cache, &target)?;
    cache.check_model(model)?;
    let _work = Progress::opaque("attributing the logits");
    let directions = target.directions(model)?;
    let pos = last_positions(&cache);
    let along = |stack: ResidualStack| cache.onto_unembedding(&stack, &directions);
    let shares = match unit {
        Unit::Component => along(cache.decompose_resid(Stack::components().pos(pos))?)?,
        Unit::Layer => along(cache.accumulated_resid(every_stream(&cache).pos(pos))?)?,
        Unit::Head => along(cache.stack_head_results(model, Stack::heads().with_remainder().pos(pos))?)?,
        Unit::Neuron => {
            cache.project_full_resid_decomposition(model, &directions, Stack::everything().pos(pos).normed())?
        }
    };
    Ok(at_last(shares, &cache)?.titled(cache.logit_title("direct logit attribution")))
}

/// The share of each component of a stack in the target, averaged over prompts; at each position over the prompts that have a token
/// there.
///
/// # Shapes
/// `[component]`, or `[component, position]` for a stack of several positions.
///
/// # Errors
/// A model that did not make the cache; a target for another number of prompts than the stack's; and as
/// [`ActivationCache::apply_ln_to_stack`].
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let answers = model.answers([(" Mary", " John")])?;
/// let (logits, cache) = model.run_with_cache("When John and Mary went to the shops, John gave the bag to")?;
/// let parts = cache.stack(&model, Stack::components().pos(-1))?;
/// let shares = residual_stack_to_logit_diff(&model, &cache, &parts, &answers)?;
/// // The shares and the biases sum to the whole.
/// let whole = answers.logit_diff(&logits, &cache.tokens())?.scalar()?;
/// assert!((shares.values().sum() + answers.bias(&model)?.scalar()? - whole).abs() < 1e-3);
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn residual_stack_to_logit_diff(
    model: &HookedTransformer,
    cache: &ActivationCache,
    stack: &ResidualStack,
    target: impl Into<Target>,
) -> Result<Labelled> {
    let along = cache.logit_attrs(model, stack, target)?.titled(cache.logit_title("logit difference"));
    if !cache.has_batch_dim() {
        return Ok(along);
    }
    mean_over_present(&along, stack, &cache.tokens())
}

/// The mean over prompts of `[component, prompt, (position)]`, at each position over those that have a token there.
fn mean_over_present(along: &Labelled, stack: &ResidualStack, tokens: &Tokens) -> Result<Labelled> {
    let positions = stack.positions();
    let mut mean = along.mean_over("prompt")?;
    if !tokens.is_padded() {
        return Ok(mean);
    }
    for (place, value) in mean.values_mut().indexed_iter_mut() {
        let component = place[0];
        let position = if along.axes().len() == 3 { place[1] } else { 0 };
        let there = (0..tokens.batch()).filter(|&prompt| tokens.is_real(prompt, positions[position]));
        let of_prompts: Vec<f64> = there
            .map(|prompt| match along.axes().len() {
                3 => f64::from(along.values()[[component, prompt, position]]),
                _ => f64::from(along.values()[[component, prompt]]),
            })
            .collect();
        *value = (of_prompts.iter().sum::<f64>() / of_prompts.len().max(1) as f64) as f32;
    }
    Ok(mean)
}

/// Checks that a target is for as many prompts as the cache has.
pub(crate) fn check_count(cache: &ActivationCache, target: &Target) -> Result<()> {
    if !cache.has_batch_dim() {
        return Err(Error::argument("answers are for each prompt, so the cache must keep its batch axis."));
    }
    let prompts = cache.tokens().batch();
    match target.prompts() {
        Some(count) if count != prompts => Err(Error::argument(format!(
            "there are answers for {count} prompts, but the cache has {prompts}: give one for each prompt, or one for \
             all."
        ))),
        _ => Ok(()),
    }
}

/// The residual stream after each sublayer.
fn every_stream(cache: &ActivationCache) -> Stack<crate::cache::Accumulated> {
    let stack = Stack::accumulated();
    if cache.dims().attn_only || cache.dims().parallel_attn_mlp { stack } else { stack.with_mid() }
}

/// The last position, or all where the last token is elsewhere in each prompt.
pub(crate) fn last_positions(cache: &ActivationCache) -> Slice {
    let tokens = cache.tokens();
    match tokens.is_padded() && tokens.padding_side() == PaddingSide::Right {
        true => Slice::All,
        false => (-1).into(),
    }
}

/// Each prompt's last token of `[component, prompt, (position)]`.
fn at_last(result: Labelled, cache: &ActivationCache) -> Result<Labelled> {
    if result.axes().len() == 2 {
        return Ok(result);
    }
    let last = cache.tokens().last_positions();
    let all = result.values();
    let values: Vec<f32> = (0..result.shape()[0])
        .flat_map(|component| last.iter().enumerate().map(move |(prompt, &at)| [component, prompt, at]))
        .map(|place| all[place])
        .collect();
    Labelled::new(result.title.clone(), &result.axes()[..2], values)
}
