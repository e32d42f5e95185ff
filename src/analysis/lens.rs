//! The logit lens: what the model would predict after each sublayer (nostalgebraist 2020, "interpreting GPT: the logit lens").
//!
//! Each slice of the residual stream goes through the final norm by itself and through the unembedding,
//! `softmax(LN_final(x) W_U + b_U)`; the last slice gives the model's own prediction.
//!
//! Limits: early layers need not use the basis of the last one, so what they "say" may mean little.

use candle_core::{D, DType, Tensor};
use ndarray::Axis as NdAxis;

use super::direct::{at_last, check_count, every_stream, last_positions};
use crate::cache::{ActivationCache, Stack, Target};
use crate::error::{Error, Result};
use crate::labelled::{Axis, Labelled};
use crate::model::HookedTransformer;
use crate::model::ops::softmax;
use crate::progress::Progress;
use crate::slice::Slice;
use crate::tokens::TokenRef;

/// Options of [`logit_lens`].
#[derive(Clone, Debug)]
pub struct LensOptions {
    /// Which positions.
    pub pos: Slice,
    /// The residual stream between attention and MLP as well, where blocks have one.
    pub incl_mid: bool,
    /// How many of the most likely tokens are kept.
    pub k: usize,
}

impl Default for LensOptions {
    fn default() -> Self {
        Self { pos: Slice::All, incl_mid: false, k: 5 }
    }
}

/// The most likely next tokens after each sublayer.
#[derive(Clone, Debug)]
pub struct LogitLens {
    /// `[component, prompt, position, rank]`, the most likely first.
    pub probabilities: Labelled,
    /// The tokens of these probabilities, in the same order.
    pub tokens: Vec<u32>,
    /// Their texts, or their ids if the model has no tokenizer.
    pub texts: Vec<String>,
    /// The text of each position of each prompt that was read.
    pub inputs: Vec<Vec<String>>,
}

impl LogitLens {
    /// The most likely tokens of a slice with their probabilities, the most likely first.
    ///
    /// # Errors
    /// A component, prompt or position that was not read.
    pub fn at(&self, component: &str, prompt: usize, position: usize) -> Result<Vec<(String, f32)>> {
        let ranks = self.probabilities.labels("rank")?.to_vec();
        let (prompt, position) = (prompt.to_string(), position.to_string());
        let value = |rank: &String| self.probabilities.get(&[component, &prompt, &position, rank]);
        let first = self.offset(component, &prompt, &position)?;
        ranks.iter().enumerate().map(|(i, rank)| Ok((self.texts[first + i].clone(), value(rank)?))).collect()
    }

    /// Where the tokens of a slice start.
    fn offset(&self, component: &str, prompt: &str, position: &str) -> Result<usize> {
        let mut offset = 0;
        for (axis, label) in self.probabilities.axes().iter().zip([component, prompt, position]) {
            let place = axis.labels.iter().position(|l| l == label).ok_or_else(|| {
                Error::argument(format!("the lens has no {} {label:?}: it has {:?}.", axis.name, axis.labels))
            })?;
            offset = offset * axis.labels.len() + place;
        }
        Ok(offset * self.probabilities.shape()[3])
    }
}

/// The most likely next tokens after each sublayer, at each position.
///
/// # Errors
/// A cache of another model, without the residual stream or without its batch axis; `k` of 0 or more than the vocabulary.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let (_, cache) = model.run_with_cache("When John and Mary went to the shops, John gave the bag to")?;
/// let lens = logit_lens(&model, &cache, LensOptions { pos: (-1).into(), ..Default::default() })?;
/// let last = lens.probabilities.labels("position")?[0].parse::<usize>().unwrap();
/// assert_eq!(lens.at("final_post", 0, last)?[0].0, " Mary");
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn logit_lens(
    model: &HookedTransformer,
    cache: &ActivationCache,
    options: impl Into<LensOptions>,
) -> Result<LogitLens> {
    let options = options.into();
    let vocabulary = model.cfg().d_vocab_out();
    if options.k == 0 || options.k > vocabulary {
        return Err(Error::argument(format!(
            "k is {}: give 1 to {vocabulary}, the size of the vocabulary.",
            options.k
        )));
    }
    if !cache.has_batch_dim() {
        return Err(Error::argument("the logit lens needs a cache with a batch axis: leave remove_batch_dim out."));
    }
    cache.check_model(model)?;
    let _work = Progress::opaque("applying the logit lens");
    let query = if options.incl_mid { every_stream(cache) } else { Stack::accumulated() };
    let stack = cache.accumulated_resid(query.pos(options.pos))?;
    let (mut tokens, mut values) = (Vec::new(), Vec::new());
    let mut progress = Progress::of("applying the logit lens", stack.len() as u64, "components");
    for slice in 0..stack.len() {
        let normed = cache.final_norm().apply(&stack.tensor().get(slice)?)?;
        let (ids, best) = likeliest(&model.logits_of(&normed)?, options.k)?;
        tokens.extend(ids);
        values.extend(best);
        progress.step(1);
    }
    let positions = stack.positions();
    let axes = vec![
        Axis::new("component", stack.labels().iter().cloned()),
        Axis::numbered("prompt", cache.tokens().batch()),
        Axis::new("position", positions.iter().map(usize::to_string)),
        Axis::new("rank", (1..=options.k).map(|rank| rank.to_string())),
    ];
    let inputs = (0..cache.tokens().batch())
        .map(|prompt| positions.iter().map(|&position| model.piece(cache.tokens().row(prompt)[position])).collect());
    Ok(LogitLens {
        probabilities: Labelled::new("probability", axes, values)?,
        texts: tokens.iter().map(|&id| model.piece(id)).collect(),
        inputs: inputs.collect(),
        tokens,
    })
}

/// The logit, or the logit difference, that the model would give if it stopped after each sublayer: each slice of the residual
/// stream goes through the final norm by itself and through the unembedding, `b_U` and a soft cap included (nostalgebraist 2020).
/// The last one is the model's own.
///
/// [`super::residual_stack_to_logit_diff`] of the accumulated residual stream holds the norm's scale at its final value instead, so
/// that its steps are the shares of [`super::direct_logit_attribution`].
///
/// # Shapes
/// `[component, prompt]`, at each prompt's last token.
///
/// # Errors
/// As [`super::direct_logit_attribution`]; a target given as directions.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let answers = model.answers([(" Mary", " John")])?;
/// let (logits, cache) = model.run_with_cache("When John and Mary went to the shops, John gave the bag to")?;
/// let lens = logit_lens_to_logit_diff(&model, &cache, &answers)?;
/// let whole = answers.logit_diff(&logits, &cache.tokens())?.scalar()?;
/// assert!((lens.at(&[-1, 0])? - whole).abs() < 1e-3);
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn logit_lens_to_logit_diff(
    model: &HookedTransformer,
    cache: &ActivationCache,
    target: impl Into<Target>,
) -> Result<Labelled> {
    let target = target.into();
    check_count(cache, &target)?;
    cache.check_model(model)?;
    let _work = Progress::opaque("attributing the logits");
    let lens = cache.accumulated_resid(every_stream(cache).pos(last_positions(cache)).normed())?;
    let biases = model.b_U().to_dtype(DType::F32)?.to_vec1::<f32>()?;
    let logits = |tokens: Vec<TokenRef>| -> Result<Labelled> {
        let mut ids = model.token_ids(tokens)?;
        let mut logits = at_last(lens.project(&model.tokens_to_residual_directions(ids.iter().copied())?)?, cache)?;
        ids.resize(cache.tokens().batch(), ids[0]);
        for (prompt, &id) in ids.iter().enumerate() {
            let capped = |logit: f32| model.cfg().output_logits_soft_cap.map_or(logit, |cap| soft_capped(logit, cap));
            let of_prompt = logits.values_mut().index_axis_mut(NdAxis(1), prompt);
            of_prompt.into_iter().for_each(|logit| *logit = capped(*logit + biases[id as usize]));
        }
        Ok(logits)
    };
    match target {
        Target::Token(tokens) => Ok(logits(tokens)?.titled("logit by the logit lens")),
        Target::Difference(pairs) => {
            let (correct, incorrect) = pairs.into_iter().unzip();
            let mut lens = logits(correct)?.titled("logit difference by the logit lens");
            *lens.values_mut() -= &logits(incorrect)?.values();
            Ok(lens)
        }
        Target::Directions(_) => Err(Error::argument(
            "the logit lens reads logits with their biases, so its target is a token or a pair of tokens, not \
             directions.",
        )),
    }
}

/// A logit under a soft cap.
fn soft_capped(logit: f32, cap: f64) -> f32 {
    (cap * (f64::from(logit) / cap).tanh()) as f32
}

/// The `k` most likely ids of each row, and their probabilities.
fn likeliest(logits: &Tensor, k: usize) -> Result<(Vec<u32>, Vec<f32>)> {
    let probabilities = softmax(&logits.to_dtype(DType::F32)?.contiguous()?)?;
    let rows = probabilities.reshape(((), probabilities.dim(D::Minus1)?))?.to_vec2::<f32>()?;
    let (mut ids, mut best) = (Vec::new(), Vec::new());
    for row in rows {
        let mut order: Vec<u32> = (0..row.len() as u32).collect();
        let falling = |a: &u32, b: &u32| row[*b as usize].total_cmp(&row[*a as usize]).then(a.cmp(b));
        if k < order.len() {
            order.select_nth_unstable_by(k - 1, falling);
            order.truncate(k);
        }
        order.sort_by(falling);
        best.extend(order.iter().map(|&id| row[id as usize]));
        ids.extend(order);
    }
    Ok((ids, best))
}
