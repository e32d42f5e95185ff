//! Correct and incorrect answers to prompts, and the logit difference between them.
//!
//! `logit difference = logit(correct) - logit(incorrect)` at each prompt's last token (Wang et al. 2022,
//! "Interpretability in the Wild"). It is linear in the final residual stream once the norm is fixed, which is why
//! attribution uses it; log-probability is not.

use std::borrow::Borrow;

use candle_core::Tensor;

use super::metric::Metric;
use super::pairs::check_some_differ;
use crate::error::{Error, Result};
use crate::labelled::{Axis, Labelled};
use crate::model::HookedTransformer;
use crate::tokens::{TokenRef, Tokens};
use crate::variables::holds;

/// A correct and an incorrect token for each prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    correct: Vec<u32>,
    incorrect: Vec<u32>,
    /// How each pair is shown: as its texts, or as its ids where the model has no tokenizer.
    texts: Vec<(String, String)>,
}

holds! {
    Answers { correct, incorrect, texts }
}

impl HookedTransformer {
    /// Reads pairs of a correct and an incorrect answer, one pair for each prompt. A text must be one token, for most
    /// words with its leading space.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let answers = model.answers([(" Mary", " John"), (" John", " Mary")])?;
    /// assert_eq!(answers.len(), 2);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A text of several tokens (the error shows them), an id outside the vocabulary, an empty list, pairs that all consist of
    /// the same token twice. One such pair among others is allowed: its logit difference is 0.
    pub fn answers<T: Into<TokenRef>, W: Into<TokenRef>>(
        &self,
        pairs: impl IntoIterator<Item = (T, W)>,
    ) -> Result<Answers> {
        let (correct, incorrect): (Vec<T>, Vec<W>) = pairs.into_iter().unzip();
        let (correct, incorrect) = (self.token_ids(correct)?, self.token_ids(incorrect)?);
        let texts = correct.iter().zip(&incorrect).map(|(&c, &i)| (self.piece(c), self.piece(i))).collect();
        let answers = Answers { texts, correct, incorrect };
        check_some_differ(
            answers.correct.iter().zip(&answers.incorrect).map(|(correct, incorrect)| correct == incorrect),
        )?;
        Ok(answers)
    }
}

impl Answers {
    /// The number of prompts that they answer.
    pub fn len(&self) -> usize {
        self.correct.len()
    }

    /// Whether there are none, which is never so for answers that [`HookedTransformer::answers`] made.
    pub fn is_empty(&self) -> bool {
        self.correct.is_empty()
    }

    /// The correct token of each prompt.
    pub fn correct(&self) -> Vec<u32> {
        self.correct.clone()
    }

    /// The incorrect token of each prompt.
    pub fn incorrect(&self) -> Vec<u32> {
        self.incorrect.clone()
    }

    /// Both answers of each prompt as text, or as ids where the model has no tokenizer.
    pub fn texts(&self) -> impl Iterator<Item = (String, String)> {
        self.texts.iter().cloned()
    }

    /// The direction of the residual stream along which each prompt's logit difference grows:
    /// `W_U[:, correct] - W_U[:, incorrect]`.
    ///
    /// # Shapes
    /// `[prompt, d_model]`.
    ///
    /// # Errors
    /// Tokens that the model does not have.
    pub fn directions(&self, model: &HookedTransformer) -> Result<Tensor> {
        let correct = model.tokens_to_residual_directions(self.correct.iter().copied())?;
        Ok((correct - model.tokens_to_residual_directions(self.incorrect.iter().copied())?)?)
    }

    /// What the biases alone contribute to each prompt's logit difference: `b_U`, and the final norm's bias through the
    /// unembedding where it is not folded. No component of the residual stream writes them, so the shares of all components and
    /// these sum to the logit difference.
    ///
    /// # Shapes
    /// `[prompt]`.
    ///
    /// # Errors
    /// Tokens that the model does not have.
    pub fn bias(&self, model: &HookedTransformer) -> Result<Labelled> {
        let (correct, incorrect) = (model.logit_biases(&self.correct)?, model.logit_biases(&self.incorrect)?);
        let differences = correct.into_iter().zip(incorrect).map(|(correct, incorrect)| correct - incorrect).collect();
        Labelled::new("bias of the logit difference", vec![Axis::numbered("prompt", self.len())], differences)
    }

    /// The logit difference of each prompt at its last real token.
    ///
    /// # Shapes
    /// `logits [batch, pos, d_vocab_out]`; the result is `[prompt]`.
    ///
    /// # Errors
    /// [`Error::Shape`] when logits, tokens and answers do not belong to the same prompts.
    pub fn logit_diff(&self, logits: &Tensor, tokens: impl Borrow<Tokens>) -> Result<Labelled> {
        let tokens = tokens.borrow();
        let expected = format!("[{}, {}, d_vocab] (answers, positions)", self.len(), tokens.pos());
        let fits = logits.rank() == 3 && logits.dim(0)? == self.len() && logits.dim(1)? == tokens.pos();
        if !fits || tokens.batch() != self.len() {
            return Err(Error::shape("the logits to take a logit difference of", expected, logits.dims()));
        }
        let metric = Metric::logit_diff(self).bind(tokens, logits.dim(2)?)?;
        let differences = metric.of_logits(logits, None)?;
        Labelled::new("logit difference", vec![Axis::numbered("prompt", self.len())], differences)
    }
}
