//! The probability of right tokens minus that of wrong ones (Hanna et al. 2023, <https://arxiv.org/abs/2305.00586>).

use candle_core::Tensor;

use super::metric::{Direction, Measure, Metric, Read};
use super::pairs::Pairs;
use crate::error::Result;
use crate::model::{HookedTransformer, ops};
use crate::tokens::TokenRef;

struct ProbDiff(Pairs);

impl Metric {
    /// The total probability of the right tokens minus that of the wrong ones, a list of each for every prompt (Hanna et al.
    /// 2023). More is better.
    ///
    /// A prompt whose right tokens are also its wrong ones has the difference 0, and counts in means over prompts.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let metric = Metric::prob_diff(&model, [[" Mary"]], [[" John", " Tom"]])?;
    /// assert!(metric.measure(&model, prompt)?.scalar()? > 0.5);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// Empty lists, different numbers of right and wrong lists, a text that is not one token, right and wrong tokens that are
    /// the same in every prompt.
    pub fn prob_diff<T: Into<TokenRef>, W: Into<TokenRef>>(
        model: &HookedTransformer,
        right: impl IntoIterator<Item = impl IntoIterator<Item = T>>,
        wrong: impl IntoIterator<Item = impl IntoIterator<Item = W>>,
    ) -> Result<Self> {
        let right = right.into_iter().map(|tokens| model.token_ids(tokens)).collect::<Result<Vec<_>>>()?;
        let wrong = wrong.into_iter().map(|tokens| model.token_ids(tokens)).collect::<Result<Vec<_>>>()?;
        Ok(Self::of_probabilities(Pairs::new(right, wrong)?))
    }

    pub(super) fn of_probabilities(answers: Pairs) -> Self {
        Self::of(ProbDiff(answers))
    }
}

impl Measure for ProbDiff {
    fn name(&self) -> &str {
        "probability difference"
    }

    fn direction(&self) -> Option<Direction> {
        Some(Direction::More)
    }

    fn answers(&self) -> Option<usize> {
        Some(self.0.len())
    }

    fn largest_token(&self) -> Option<u32> {
        self.0.tokens().max()
    }

    fn values(&self, read: &Read) -> Result<Tensor> {
        self.0.difference(read, &ops::softmax(read.logits)?, false)
    }
}
