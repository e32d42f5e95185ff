//! Pairs of a base and a source, and the answer that a causal model predicts.

use std::fmt;

use super::place::{Move, Place};
use super::score::InterchangeScore;
use super::subspace::Subspace;
use crate::error::{Error, Result};
use crate::hooks::HookQuery;
use crate::labelled::{Axis, Labelled};
use crate::metrics::Positions;
use crate::model::HookedTransformer;
use crate::tokens::{Input, TokenRef, Tokens};
use crate::variables::holds;

/// Pairs of a base and a source prompt, and of each the answer that a causal model of the task predicts for the base if one variable has the
/// value that it has in the source.
///
/// An answer is the token with the largest logit after the base's last token, among the answers that are compared: those that some pair
/// predicts, or [`among`](Interchange::among) more.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// // The number of the subject, from prompts whose second noun is in either.
/// let base = ["The key on the cabinet", "The keys on the cabinet", "The child near the keys", "The children near the key"];
/// let source = ["The authors near the keys", "The author near the key", "The authors on the key", "The author on the keys"];
/// let pairs = Interchange::new(&model, base, source, [" are", " is", " are", " is"])?.at(2)?;
/// // All of the subject's activation after block 1, and the direction of a difference of means.
/// let whole = pairs.score(("resid_post", 1), &Subspace::whole(model.cfg().d_model)?)?;
/// assert!(whole.accuracy() > pairs.untouched()?.accuracy());
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct Interchange {
    pub(super) model: HookedTransformer,
    pub(super) base: Tokens,
    pub(super) source: Tokens,
    /// The positions of each base, and those of its source.
    pub(super) base_at: Vec<Vec<usize>>,
    pub(super) source_at: Vec<Vec<usize>>,
    /// The answers that are compared.
    pub(super) answers: Vec<u32>,
    /// The predicted answer of each pair, by its number among them.
    pub(super) targets: Vec<u32>,
    /// How far a base is moved: 1 is all the way.
    pub(super) strength: f64,
}

holds! {
    Interchange { model, base, source, base_at, source_at, answers, targets }
}

impl Interchange {
    /// Pairs whose activations are exchanged at the last token of each prompt.
    ///
    /// # Errors
    /// Another count of sources or answers than bases, a text that is several tokens as an answer, and whatever
    /// [`HookedTransformer::to_tokens`] refuses.
    pub fn new<T: Into<TokenRef>>(
        model: &HookedTransformer,
        base: impl Into<Input>,
        source: impl Into<Input>,
        predicted: impl IntoIterator<Item = T>,
    ) -> Result<Self> {
        let (base, source) = (model.to_tokens(base)?, model.to_tokens(source)?);
        let predicted = model.token_ids(predicted)?;
        if base.batch() != source.batch() || base.batch() != predicted.len() {
            return Err(Error::argument(format!(
                "{} bases, {} sources and {} predicted answers do not pair up: give one source and one answer for each base.",
                base.batch(),
                source.batch(),
                predicted.len()
            )));
        }
        for tokens in [&base, &source] {
            tokens.check(model.cfg().d_vocab, model.cfg().n_ctx)?;
        }
        let mut answers: Vec<u32> = Vec::new();
        predicted.iter().for_each(|token| {
            if !answers.contains(token) {
                answers.push(*token);
            }
        });
        let number = |token: &u32| answers.iter().position(|answer| answer == token).unwrap_or(0) as u32;
        let targets = predicted.iter().map(number).collect();
        let [base_at, source_at] =
            [&base, &source].map(|tokens| tokens.last_positions().into_iter().map(|at| vec![at]).collect());
        let model = model.without_weight_gradients();
        Ok(Self { model, base, source, base_at, source_at, answers, targets, strength: 1. })
    }

    /// Exchanges activations at these positions of both prompts.
    ///
    /// # Errors
    /// As [`Interchange::between`].
    pub fn at(self, positions: impl Into<Positions>) -> Result<Self> {
        let positions = positions.into();
        self.between(positions.clone(), positions)
    }

    /// Exchanges activations at these positions of the base, which take those of these positions of the source in their order.
    ///
    /// # Errors
    /// Positions outside the prompts or of their padding; another number of positions in a source than in its base.
    pub fn between(self, base: impl Into<Positions>, source: impl Into<Positions>) -> Result<Self> {
        let base_at = base.into().rows(&self.base, false)?.positions().to_vec();
        let source_at = source.into().rows(&self.source, false)?.positions().to_vec();
        let odd = base_at.iter().zip(&source_at).position(|(base, source)| base.len() != source.len());
        match odd {
            Some(pair) => Err(Error::argument(format!(
                "{} positions of base {pair} cannot take the activations of {} of its source: give both the same number.",
                base_at[pair].len(),
                source_at[pair].len()
            ))),
            None => Ok(Self { base_at, source_at, ..self }),
        }
    }

    /// Compares these answers as well, such as those that no pair predicts.
    ///
    /// # Errors
    /// A text that is several tokens, an id outside the vocabulary.
    pub fn among<T: Into<TokenRef>>(mut self, answers: impl IntoIterator<Item = T>) -> Result<Self> {
        for token in self.model.token_ids(answers)? {
            if !self.answers.contains(&token) {
                self.answers.push(token);
            }
        }
        Ok(self)
    }

    /// Moves each base this far towards its source: 1, the default, is all the way, and 0 changes nothing.
    ///
    /// # Errors
    /// A strength that is not finite.
    pub fn strength(self, strength: f64) -> Result<Self> {
        match strength.is_finite() {
            true => Ok(Self { strength, ..self }),
            false => Err(Error::argument(format!("the strength is {strength}: give a finite number, such as 1."))),
        }
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there is none, which is never so for pairs that were made.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// The logits of the answers under the interchange of a subspace at a point.
    ///
    /// # Shapes
    /// `[pair, answer]`.
    ///
    /// # Errors
    /// A point outside the blocks or without a vector for each position, a subspace of another width or model; and as [`HookedTransformer::run`].
    pub fn logits(&self, point: impl Into<HookQuery>, subspace: &Subspace) -> Result<Labelled> {
        let place = Place::new(self, &point.into())?;
        subspace.check(&self.model, place.width)?;
        self.labelled(place.logits(&Move::along(subspace, self.strength, &place)?, None)?, &subspace.to_string())
    }

    /// How often the interchange of a subspace at a point has the predicted answer. [`Interchange::study`] has the controls as well.
    ///
    /// # Errors
    /// As [`Interchange::logits`]; fewer than two answers to compare.
    pub fn score(&self, point: impl Into<HookQuery>, subspace: &Subspace) -> Result<InterchangeScore> {
        self.check_answers()?;
        let place = Place::new(self, &point.into())?;
        subspace.check(&self.model, place.width)?;
        place.score(&Move::along(subspace, self.strength, &place)?, &self.targets)
    }

    /// How often the base has the predicted answer without an interchange.
    ///
    /// # Errors
    /// Fewer than two answers to compare; and as [`HookedTransformer::run`].
    pub fn untouched(&self) -> Result<InterchangeScore> {
        self.check_answers()?;
        Place::new(self, &("resid_pre", 0).into())?.score(&Move::Nowhere, &self.targets)
    }

    /// # Errors
    /// Fewer than two answers.
    pub(super) fn check_answers(&self) -> Result<()> {
        match self.answers.len() {
            0 | 1 => Err(Error::argument(
                "all pairs have the same predicted answer and none is compared with it, so that every subspace would be right: give pairs \
                 of several answers, or more answers (among).",
            )),
            _ => Ok(()),
        }
    }

    fn labelled(&self, logits: candle_core::Tensor, of: &str) -> Result<Labelled> {
        let answers = self.answers.iter().map(|token| self.model.piece(*token));
        let axes = vec![Axis::numbered("pair", self.len()), Axis::new("answer", answers)];
        Labelled::from_tensor(format!("logits under an interchange of the {of}"), axes, &logits)
    }
}

impl fmt::Display for Interchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answers: Vec<String> =
            self.answers.iter().take(8).map(|token| format!("{:?}", self.model.piece(*token))).collect();
        let more = if self.answers.len() > answers.len() { ", .." } else { "" };
        write!(f, "{} pairs of a base and a source; answers {}{more}", self.len(), answers.join(", "))
    }
}

impl fmt::Debug for Interchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
