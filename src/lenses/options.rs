//! What is read through a lens.

use crate::error::{Error, Result};
use crate::metrics::Answers;
use crate::model::HookedTransformer;
use crate::slice::Slice;
use crate::tokens::TokenRef;

/// Options of [`Lens::read`](super::Lens::read).
#[derive(Clone, Debug)]
pub struct LensOptions {
    /// Which positions.
    pub pos: Slice,
    /// The residual stream between attention and MLP as well, where blocks have one.
    pub incl_mid: bool,
    /// How many of the most likely tokens are kept.
    pub k: usize,
    /// The token whose logit, log-probability and rank are read at each position.
    pub target: LensTarget,
    /// A chosen part of the vocabulary, of which logits, log-probabilities and ranks are kept at each position. Log-probabilities and
    /// ranks are among the whole vocabulary.
    pub tokens: Vec<TokenRef>,
}

impl Default for LensOptions {
    fn default() -> Self {
        Self { pos: Slice::All, incl_mid: false, k: 5, target: LensTarget::None, tokens: Vec::new() }
    }
}

impl From<&Self> for LensOptions {
    fn from(options: &Self) -> Self {
        options.clone()
    }
}

impl LensOptions {
    /// The ids of the chosen part of the vocabulary.
    ///
    /// # Errors
    /// Tokens that do not exist; `k` of 0 or more than the vocabulary.
    pub(super) fn check(&self, model: &HookedTransformer) -> Result<Vec<u32>> {
        let vocabulary = model.cfg().d_vocab_out();
        if self.k == 0 || self.k > vocabulary {
            return Err(Error::argument(format!(
                "k is {}: give 1 to {vocabulary}, the size of the vocabulary.",
                self.k
            )));
        }
        if self.tokens.is_empty() { Ok(Vec::new()) } else { model.token_ids(self.tokens.iter().cloned()) }
    }
}

/// The token whose rank and probability a lens reads at each position. Built by `into()` from a token (`" Mary"`, an id) or
/// [`Answers`], whose correct ones it takes.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// // How early does each next token become likely?
/// let options = LensOptions { target: LensTarget::NextToken, ..Default::default() };
/// let reading = logit_lens(&model, "The keys on the cabinet are", options)?;
/// let last = reading.target()?.log_prob.select("component", -1)?;
/// // At the last position nothing follows.
/// assert!(last.at(&[0, -1])?.is_nan() && last.at(&[0, -2])? < 0.0);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LensTarget {
    /// None.
    #[default]
    None,
    /// The token that follows in the text; NaN where none does.
    NextToken,
    /// One token for all prompts, or one for each.
    Tokens(Vec<TokenRef>),
}

impl LensTarget {
    /// One token for each prompt.
    pub fn tokens<T: Into<TokenRef>>(tokens: impl IntoIterator<Item = T>) -> Self {
        Self::Tokens(tokens.into_iter().map(Into::into).collect())
    }

    /// The id for each of `count` prompts; none where no token is fixed.
    ///
    /// # Errors
    /// Tokens that do not exist, or for another number of prompts.
    pub(super) fn ids(&self, model: &HookedTransformer, count: usize, of: &str) -> Result<Option<Vec<u32>>> {
        let Self::Tokens(tokens) = self else { return Ok(None) };
        let ids = model.token_ids(tokens.iter().cloned())?;
        match ids.len() {
            1 => Ok(Some(vec![ids[0]; count])),
            given if given == count => Ok(Some(ids)),
            given => Err(Error::argument(format!(
                "the target of the lens has {given} tokens, but there are {count} {of}: give one for each, or one for all."
            ))),
        }
    }
}

macro_rules! from_tokens {
    ($($token:ty),+) => {$(
        impl From<$token> for LensTarget {
            fn from(token: $token) -> Self {
                Self::tokens([token])
            }
        }
    )+};
}
from_tokens!(&str, String, &String, u32, TokenRef);

impl From<&Answers> for LensTarget {
    fn from(answers: &Answers) -> Self {
        Self::tokens(answers.correct().iter().copied())
    }
}
