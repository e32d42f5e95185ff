//! What is attributed: the logit of a token, or the difference between two.

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::labelled::{Axis, Labelled};
use crate::metrics::Answers;
use crate::model::HookedTransformer;
use crate::tokens::TokenRef;

/// The logit, or the logit difference, that an attribution decomposes. Built by `into()` from a token (`" Mary"`, an id), a pair of
/// tokens (`(" Mary", " John")`: correct, incorrect), [`Answers`] (a pair for each prompt), or a tensor
/// of directions.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let pair = Target::from((" Mary", " John")).directions(&model)?;
/// let apart = (Target::from(" Mary").directions(&model)? - Target::from(" John").directions(&model)?)?;
/// assert_eq!(pair.to_vec1::<f32>()?, apart.to_vec1::<f32>()?);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Debug)]
pub enum Target {
    /// The logit of one token for all prompts, or of one for each.
    Token(Vec<TokenRef>),
    /// The logit of the first minus that of the second: one pair for all prompts, or one for each.
    Difference(Vec<(TokenRef, TokenRef)>),
    /// Directions of the unembedding, `[d_model]` or `[prompt, d_model]`.
    Directions(Tensor),
}

impl Target {
    /// The logit of one token for each prompt.
    pub fn tokens<T: Into<TokenRef>>(tokens: impl IntoIterator<Item = T>) -> Self {
        Self::Token(tokens.into_iter().map(Into::into).collect())
    }

    /// The logit difference of one pair, correct and incorrect, for each prompt.
    pub fn differences<T: Into<TokenRef>, W: Into<TokenRef>>(pairs: impl IntoIterator<Item = (T, W)>) -> Self {
        Self::Difference(pairs.into_iter().map(|(correct, incorrect)| (correct.into(), incorrect.into())).collect())
    }

    /// The directions of the residual stream along which the logit, or the logit difference, grows: columns of `W_U`, or their
    /// differences.
    ///
    /// # Shapes
    /// `[d_model]` for all prompts, or `[prompt, d_model]`.
    ///
    /// # Errors
    /// A text that is not one token, an id outside the vocabulary, no token at all.
    pub fn directions(&self, model: &HookedTransformer) -> Result<Tensor> {
        let of = |tokens: Vec<TokenRef>| model.tokens_to_residual_directions(tokens);
        let directions = match self {
            Self::Token(tokens) => of(tokens.clone())?,
            Self::Difference(pairs) => {
                let (correct, incorrect) = pairs.iter().cloned().unzip();
                (of(correct)? - of(incorrect)?)?
            }
            Self::Directions(directions) => return Ok(directions.clone()),
        };
        Ok(if directions.dim(0)? == 1 { directions.squeeze(0)? } else { directions })
    }

    /// The share of the biases alone: `b_U`, and the final norm's bias through the unembedding where it is not folded. No component
    /// of the residual stream writes them, so the shares of all components and this sum to the logit, or to the difference.
    ///
    /// # Shapes
    /// `[prompt]`, of size 1 where all prompts have the same target.
    ///
    /// # Errors
    /// As [`Target::directions`]; a target given as directions, whose biases are not known.
    pub fn bias(&self, model: &HookedTransformer) -> Result<Labelled> {
        let of = |tokens: Vec<TokenRef>| model.logit_biases(&model.token_ids(tokens)?);
        let (title, biases) = match self {
            Self::Token(tokens) => ("bias of the logit", of(tokens.clone())?),
            Self::Difference(pairs) => {
                let (correct, incorrect) = pairs.iter().cloned().unzip();
                let differences = of(correct)?.into_iter().zip(of(incorrect)?).map(|(c, i)| c - i).collect();
                ("bias of the logit difference", differences)
            }
            Self::Directions(_) => {
                return Err(Error::argument(
                    "the target was given as directions of the unembedding, which have no biases: give tokens.",
                ));
            }
        };
        Labelled::new(title, vec![Axis::numbered("prompt", biases.len())], biases)
    }

    /// How many prompts it is for; none where it is for all.
    pub(crate) fn prompts(&self) -> Option<usize> {
        let count = match self {
            Self::Token(tokens) => tokens.len(),
            Self::Difference(pairs) => pairs.len(),
            Self::Directions(directions) if directions.rank() == 2 => directions.dims()[0],
            Self::Directions(_) => 1,
        };
        (count != 1).then_some(count)
    }
}

macro_rules! from_tokens {
    ($($token:ty),+) => {$(
        impl From<$token> for Target {
            fn from(token: $token) -> Self {
                Self::tokens([token])
            }
        }
    )+};
}
from_tokens!(&str, String, &String, u32, TokenRef);

impl<T: Into<TokenRef>, W: Into<TokenRef>> From<(T, W)> for Target {
    fn from(pair: (T, W)) -> Self {
        Self::differences([pair])
    }
}

impl From<&Answers> for Target {
    fn from(answers: &Answers) -> Self {
        Self::differences(answers.correct().iter().copied().zip(answers.incorrect().iter().copied()))
    }
}

impl From<&Tensor> for Target {
    fn from(directions: &Tensor) -> Self {
        Self::Directions(directions.clone())
    }
}

impl From<Tensor> for Target {
    fn from(directions: Tensor) -> Self {
        Self::Directions(directions)
    }
}

impl From<&Self> for Target {
    fn from(target: &Self) -> Self {
        target.clone()
    }
}
