//! The probability of right tokens minus that of wrong ones (Hanna et al. 2023, <https://arxiv.org/abs/2305.00586>).

use candle_core::Tensor;

use super::metric::{Direction, Measure, Metric, Read};
use super::pairs::Pairs;
use crate::error::Result;
use crate::model::{HookedTransformer, ops};
use crate::tokens::TokenRef;

struct ProbDiff(Pairs);

impl Metric {
    /// The probability of all right tokens minus that of all wrong ones, a list of each for every prompt (Hanna et al.
    /// 2023). More is better.
    ///
    /// A prompt whose right tokens are its wrong ones has the difference 0 and counts in means.
    ///
    /// # Errors
    /// Empty lists, lists of different prompts, a text that is not one token; where right and wrong tokens are the same in
    /// every prompt.
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
