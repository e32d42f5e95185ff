//! Heads by what they attend to, and by what they copy.
//!
//! A detection pattern says where a head of a given kind would attend: to the previous token, to an earlier occurrence of the same
//! token, after such an occurrence (Olsson et al. 2022, "In-context Learning and Induction Heads"). The score is the share
//! of a head's attention that goes there, or how far its pattern is from that one (TransformerLens: `detect_head`).
//!
//! Limits: a score says what a head attends to, not what it does with it: ablate or patch the head to find out.

use candle_core::{DType, Tensor};
use ndarray::Array2;

use super::repeated::{RepeatOptions, repeated_tokens};
use crate::cache::{ActivationCache, Sink};
use crate::error::{Error, Result};
use crate::hooks::{HookPlan, HookPoint, Site};
use crate::labelled::{Axis, Labelled};
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::tokens::{TokenRef, Tokens};

/// Where a head of a given kind attends.
#[derive(Clone, Debug, PartialEq)]
pub enum DetectionPattern {
    /// To the token itself.
    CurrentToken,
    /// To the previous token.
    PreviousToken,
    /// To the first token.
    FirstToken,
    /// To earlier occurrences of the same token.
    DuplicateToken,
    /// To tokens that follow earlier occurrences of the same token.
    Induction,
    /// Your own weights, `[destination, source]`, 0 for later sources; for prompts of that length.
    Custom(Array2<f32>),
}

/// How a head's attention pattern is compared with the detection pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorMeasure {
    /// The share of its attention that lies on the detection pattern: `sum(attention * pattern) / sum(attention)`.
    #[default]
    Mul,
    /// 1 minus the mean over destinations of `sum |pattern - attention|`: 1 for the same, and below 0 for the opposite.
    Abs,
}

/// Options of [`detect_head`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DetectOptions {
    /// Attention to the token itself does not count.
    pub exclude_current_token: bool,
    /// How patterns are compared.
    pub error_measure: ErrorMeasure,
}

impl DetectionPattern {
    /// The pattern for these tokens, `[destination, source]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for weights of another length, [`Error::Argument`] for weights on later sources.
    pub fn of(&self, tokens: &[u32]) -> Result<Array2<f32>> {
        let size = tokens.len();
        let looks = |hit: &dyn Fn(usize, usize) -> bool| {
            Array2::from_shape_fn((size, size), |(to, from)| f32::from(u8::from(from <= to && hit(to, from))))
        };
        let same = |to: usize, from: usize| from < to && tokens[from] == tokens[to];
        Ok(match self {
            Self::CurrentToken => looks(&|to, from| to == from),
            Self::PreviousToken => looks(&|to, from| from + 1 == to),
            Self::FirstToken => looks(&|_, from| from == 0),
            Self::DuplicateToken => looks(&same),
            Self::Induction => looks(&|to, from| from > 0 && same(to, from - 1)),
            Self::Custom(weights) if weights.dim() != (size, size) => {
                return Err(Error::shape(
                    "the detection pattern",
                    format!("[{size}, {size}], one row and column for each token of the prompt"),
                    weights.shape(),
                ));
            }
            Self::Custom(weights) => {
                if weights.indexed_iter().any(|((to, from), &weight)| from > to && weight != 0.) {
                    return Err(Error::argument(
                        "the detection pattern has weights on sources after their destination, where no head can \
                         attend: make it lower triangular.",
                    ));
                }
                weights.clone()
            }
        })
    }
}

/// How much each head attends where the pattern says, averaged over prompts; padding is ignored. Attention to the first token does
/// not count where the cache leaves it out ([`ActivationCache::with_sink`]).
///
/// # Shapes
/// `[layer, head]`.
///
/// # Errors
/// Patterns that are not cached, a cache without batch axis, weights that do not fit the prompts.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let (_, cache) = model.run_with_cache("When John and Mary went to the shops, John gave the bag to")?;
/// let scores = detect_head(&cache, &DetectionPattern::PreviousToken, DetectOptions::default())?;
/// let (head, score) = scores.top_heads(1)?[0];
/// assert!(score > 0.5, "{head} attends to the previous token");
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn detect_head(
    cache: &ActivationCache,
    pattern: &DetectionPattern,
    options: impl Into<DetectOptions>,
) -> Result<Labelled> {
    let options = options.into();
    if !cache.has_batch_dim() {
        return Err(Error::argument("detect_head needs a cache with a batch axis: leave remove_batch_dim out."));
    }
    let (dims, tokens) = (cache.dims(), cache.tokens());
    let wanted: Vec<Array2<f32>> =
        (0..tokens.batch()).map(|b| pattern.of(&tokens.real_row(b))).collect::<Result<_>>()?;
    let mut scores = Vec::with_capacity(dims.n_layers * dims.n_heads);
    let mut progress = Progress::of("detecting heads", dims.n_layers as u64, "layers");
    for layer in 0..dims.n_layers {
        let attention = cache.get(HookPoint::Block(layer, Site::Pattern))?.to_dtype(DType::F32)?;
        if attention.rank() != 4 || attention.dim(2)? != tokens.pos() {
            return Err(Error::argument("detect_head needs whole attention patterns: capture all positions."));
        }
        for head in 0..dims.n_heads {
            let mut sum = 0.;
            for (b, wanted) in wanted.iter().enumerate() {
                let (from, count) = (tokens.first_positions()[b], tokens.lengths()[b]);
                let own = attention.get(b)?.get(head)?.narrow(0, from, count)?.narrow(1, from, count)?;
                sum += similarity(&own.to_vec2::<f32>()?, wanted, cache.sink(), &options);
            }
            scores.push((sum / wanted.len() as f64) as f32);
        }
        progress.step(1)?;
    }
    let axes = vec![Axis::numbered("layer", dims.n_layers), Axis::numbered("head", dims.n_heads)];
    Labelled::new(format!("{pattern:?} score"), axes, scores)
}

fn similarity(attention: &[Vec<f32>], wanted: &Array2<f32>, sink: Sink, options: &DetectOptions) -> f64 {
    let excluded =
        |to: usize, from: usize| (sink == Sink::LeftOut && from == 0) || (options.exclude_current_token && from == to);
    let size = attention.len();
    let (mut all, mut hit, mut apart) = (0f64, 0f64, 0f64);
    for (to, row) in attention.iter().enumerate() {
        for (from, weight) in row.iter().enumerate().filter(|(from, _)| !excluded(to, *from)) {
            let wanted = f64::from(wanted[[to, from]]);
            all += f64::from(*weight);
            hit += f64::from(*weight) * wanted;
            apart += (f64::from(*weight) - wanted).abs();
        }
    }
    match options.error_measure {
        ErrorMeasure::Mul => hit / all.max(f64::MIN_POSITIVE),
        ErrorMeasure::Abs => 1. - apart / size as f64,
    }
}

/// How much each head attends, on random tokens that repeat, to the token after the earlier occurrence of the current one:
/// near 1 for induction heads (Olsson et al. 2022). [`detect_head`] with [`DetectionPattern::Induction`] gives the share of it in what
/// is left without attention to the first token.
///
/// # Shapes
/// `[layer, head]`, the mean over the rows of [`super::repeated_tokens`].
///
/// # Errors
/// As [`super::repeated_tokens`].
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let scores = induction_scores(&model, RepeatOptions::default())?;
/// assert!(scores.top_heads(1)?[0].1 > 0.3);
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn induction_scores(model: &HookedTransformer, options: impl Into<RepeatOptions>) -> Result<Labelled> {
    let _work = Progress::opaque("scoring induction heads");
    let options = options.into();
    let (tokens, seq_len) = (repeated_tokens(model, options)?, options.seq_len);
    let (_, cache) = model.run_with_hooks(tokens, HookPlan::new().capture("pattern"))?;
    let dims = cache.dims();
    let mut scores = Vec::new();
    for layer in 0..dims.n_layers {
        let pattern = cache.get(HookPoint::Block(layer, Site::Pattern))?.to_dtype(DType::F32)?.mean(0)?;
        for head in pattern.to_vec3::<f32>()? {
            // Each token of the second half, and the token after its first occurrence.
            let places = 1 + seq_len..1 + 2 * seq_len;
            let found: f32 = places.map(|to| head[to][to + 1 - seq_len]).sum();
            scores.push(found / seq_len as f32);
        }
    }
    let axes = vec![Axis::numbered("layer", dims.n_layers), Axis::numbered("head", dims.n_heads)];
    Labelled::new("induction score", axes, scores)
}

/// Whether a head writes what it reads: of each token, the head's full output circuit `x OV W_U`, with `x` the token's
/// embedding after the first block's MLP, has the token itself among the `k` largest logits (`copying`) or the `k`
/// smallest (`negative`); the share of the given tokens (Wang et al. 2022, section 3.3).
///
/// # Shapes
/// `[kind, layer, head]`, kinds `copying` and `negative`.
///
/// # Errors
/// A text that is not one token, `k` of 0 or more than the vocabulary, a model without MLPs.
pub fn copying_scores<T: Into<TokenRef>>(
    model: &HookedTransformer,
    tokens: impl IntoIterator<Item = T>,
    k: usize,
) -> Result<Labelled> {
    let vocabulary = model.cfg().d_vocab_out();
    if k == 0 || k > vocabulary {
        return Err(Error::argument(format!("k is {k}: give 1 to {vocabulary}, the size of the vocabulary.")));
    }
    let dims = model.dims();
    let mut progress = Progress::of("scoring copying heads", (dims.n_layers * dims.n_heads) as u64, "heads");
    let ids = model.token_ids(tokens)?;
    // The first block alone, each token by itself at position 0: later heads mostly read this.
    let rows = Tokens::from_rows(ids.iter().map(|&id| vec![id]).collect())?;
    let (_, cache) = model.run_with_hooks(rows, HookPlan::new().capture("embed").capture(("mlp_out", 0)))?;
    let embedded = (cache.get("embed")? + cache.get(("mlp_out", 0))?)?.squeeze(1)?;
    let ov = model.OV()?;
    let (mut copying, mut negative) = (Vec::new(), Vec::new());
    for layer in 0..model.cfg().n_layers as isize {
        for head in 0..model.cfg().n_heads as isize {
            let moved = ov.get(&[layer, head])?.left_matmul(&embedded)?.AB()?;
            let logits = model.logits_of(&cache.final_norm().apply(&moved)?)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
            let ranks = |of: &dyn Fn(f32, f32) -> bool| {
                let among = logits.iter().zip(&ids).filter(|(logits, id)| {
                    let own = logits[**id as usize];
                    logits.iter().filter(|logit| of(**logit, own)).count() < k
                });
                among.count() as f32 / ids.len() as f32
            };
            copying.push(ranks(&|logit, own| logit > own));
            negative.push(ranks(&|logit, own| logit < own));
            progress.step(1)?;
        }
    }
    let axes = vec![
        Axis::new("kind", ["copying", "negative"]),
        Axis::numbered("layer", dims.n_layers),
        Axis::numbered("head", dims.n_heads),
    ];
    Labelled::new("copying score", axes, [copying, negative].concat())
}

/// How much each head's full circuit `W_E OV W_U` copies: the sum of its eigenvalues over the sum of their sizes, from -1
/// to 1 (Elhage et al. 2021).
///
/// # Shapes
/// `[layer, head]`.
///
/// # Errors
/// Weights that are not finite; a model whose outputs are not its inputs' tokens.
pub fn eigenvalue_copying_scores(model: &HookedTransformer) -> Result<Labelled> {
    let (w_e, w_u, ov): (Tensor, Tensor, _) = (model.W_E(), model.W_U(), model.OV()?);
    let dims = model.dims();
    let mut scores = Vec::new();
    let mut progress = Progress::of("scoring copying heads", (dims.n_layers * dims.n_heads) as u64, "heads");
    for layer in 0..dims.n_layers as isize {
        for head in 0..dims.n_heads as isize {
            let circuit = ov.get(&[layer, head])?.left_matmul(&w_e)?.right_matmul(&w_u)?;
            scores.push(circuit.eigenvalues()?.positivity()?.to_dtype(DType::F32)?.to_scalar::<f32>()?);
            progress.step(1)?;
        }
    }
    let axes = vec![Axis::numbered("layer", dims.n_layers), Axis::numbered("head", dims.n_heads)];
    Labelled::new("eigenvalue copying score", axes, scores)
}
