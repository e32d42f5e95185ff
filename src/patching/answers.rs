//! Answers of several tokens, one experiment for each token.

use crate::error::{Error, Result};
use crate::experiment::Experiment;
use crate::metrics::Metric;
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::tokens::Tokens;

impl Experiment {
    /// An experiment for each token of two answers of the same length: the prompts go on with the tokens before it, each
    /// with those of its own answer, and the metric is the logit difference between the two tokens.
    ///
    /// # Errors
    /// Answers of different token counts, or with the same token in one place, which distinguishes nothing; and
    /// as [`Experiment::new`].
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let clean = "When John and Mary went to the shops, John gave the bag to";
    /// let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
    /// let steps = Experiment::for_each_answer_token(&model, clean, corrupted, " Mary John", " John Mary")?;
    /// assert_eq!(steps.len(), 2);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn for_each_answer_token(
        model: &HookedTransformer,
        clean: &str,
        corrupted: &str,
        clean_answer: &str,
        corrupted_answer: &str,
    ) -> Result<Vec<Self>> {
        let tokenizer = model.tokenizer()?;
        let (right, wrong) = (tokenizer.continuation(clean_answer)?, tokenizer.continuation(corrupted_answer)?);
        if right.len() != wrong.len() {
            return Err(Error::tokens(format!(
                "the answer {clean_answer:?} has {} tokens and {corrupted_answer:?} has {}: give answers of one \
                 length.",
                right.len(),
                wrong.len()
            )));
        }
        if let Some(same) = right.iter().zip(&wrong).position(|(a, b)| a == b) {
            return Err(Error::tokens(format!(
                "token {same} is the same in {clean_answer:?} and {corrupted_answer:?}, so it cannot tell the prompts \
                 apart: give answers that differ at every token."
            )));
        }
        let ids = |text: &str| -> Result<Vec<u32>> { Ok(model.to_tokens(text)?.row(0).to_vec()) };
        let (clean, corrupted) = (ids(clean)?, ids(corrupted)?);
        let grown = |prompt: &[u32], answer: &[u32]| Tokens::from_rows(vec![[prompt, answer].concat()]);
        let step = |i: usize| {
            let metric = Metric::logit_diff(&model.answers([(right[i], wrong[i])])?);
            Self::new(model, grown(&clean, &right[..i])?, grown(&corrupted, &wrong[..i])?, metric)
        };
        let _runs = Progress::opaque("running the prompts");
        (0..right.len()).map(step).collect()
    }
}
