//! The logit difference, `logit(correct) - logit(incorrect)` (Wang et al. 2022, <https://arxiv.org/abs/2211.00593>); with
//! several answers on a side, the difference of their mean logits.

use candle_core::Tensor;

use super::answers::Answers;
use super::metric::{Columns, Direction, Measure, Metric, Read};
use super::pairs::Pairs;
use crate::error::Result;

struct LogitDiff(Pairs);

impl Metric {
    /// The logit of the correct answer minus that of the incorrect one (Wang et al. 2022). More is better.
    ///
    /// A prompt whose two answers are the same token has the difference 0, and counts in means over prompts.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// assert!(metric.measure(&model, prompt)?.scalar()? > 0.);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn logit_diff(answers: &Answers) -> Self {
        Self::of_mean_logits(Pairs::of_answers(&answers.correct(), &answers.incorrect()))
    }

    /// The mean logit of the right answers minus that of the wrong ones.
    pub(super) fn of_mean_logits(answers: Pairs) -> Self {
        Self::of(LogitDiff(answers))
    }
}

impl Measure for LogitDiff {
    fn name(&self) -> &str {
        "logit difference"
    }

    fn direction(&self) -> Option<Direction> {
        Some(Direction::More)
    }

    fn columns(&self) -> Columns {
        Columns::of(self.0.tokens())
    }

    fn answers(&self) -> Option<usize> {
        Some(self.0.len())
    }

    fn largest_token(&self) -> Option<u32> {
        self.0.tokens().max()
    }

    fn values(&self, read: &Read) -> Result<Tensor> {
        self.0.difference(read, read.logits, true)
    }
}
