//! Whether the best right answer is the best of the whole vocabulary, or better than all wrong answers.

use candle_core::{D, Tensor};

use super::metric::{Columns, Direction, Measure, Metric, Read, Slope, as_numbers};
use super::pairs::Pairs;
use crate::error::Result;

/// What the right answers are compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Best {
    /// All tokens: accuracy.
    OfAll,
    /// The wrong answers: preference.
    OfBoth,
}

struct BestAnswer(Pairs, Best);

impl Metric {
    /// 1 where the likeliest right answer is the likeliest of all tokens, or likelier than every wrong answer; else 0.
    pub(super) fn of_best(answers: Pairs, best: Best) -> Self {
        Self::of(BestAnswer(answers, best))
    }
}

impl Measure for BestAnswer {
    fn name(&self) -> &str {
        match self.1 {
            Best::OfAll => "accuracy",
            Best::OfBoth => "preference",
        }
    }

    fn direction(&self) -> Option<Direction> {
        Some(Direction::More)
    }

    fn columns(&self) -> Columns {
        match self.1 {
            Best::OfAll => Columns::All,
            Best::OfBoth => Columns::of(self.0.tokens()),
        }
    }

    fn slope(&self) -> Slope {
        Slope::Nowhere
    }

    fn answers(&self) -> Option<usize> {
        Some(self.0.len())
    }

    fn largest_token(&self) -> Option<u32> {
        self.0.tokens().max()
    }

    fn values(&self, read: &Read) -> Result<Tensor> {
        let [right, wrong] = self.0.largest(read, read.logits)?;
        as_numbers(&match self.1 {
            Best::OfAll => right.ge(&read.logits.max(D::Minus1)?)?,
            Best::OfBoth => right.gt(&wrong)?,
        })
    }
}
