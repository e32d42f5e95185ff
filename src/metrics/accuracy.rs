//! How often the most likely token is the right one.

use candle_core::{D, Tensor};

use super::metric::{Direction, Measure, Metric, Read, Slope, as_numbers};
use super::positions::Positions;
use super::targets::Targets;
use crate::error::Result;
use crate::model::HookedTransformer;
use crate::tokens::TokenRef;

struct Accuracy(Targets);

impl Metric {
    /// 1 where no token is likelier than the given one, else 0, with one token for each prompt; at several positions, the share
    /// of them where this is so. More is better. It has no gradient.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// assert_eq!(Metric::accuracy(&model, [" Mary"])?.measure(&model, prompt)?.scalar()?, 1.);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A text that is not one token.
    pub fn accuracy<T: Into<TokenRef>>(model: &HookedTransformer, tokens: impl IntoIterator<Item = T>) -> Result<Self> {
        Ok(Self::of(Accuracy(Targets::given(model, tokens)?)))
    }

    /// The share of the tokens of each prompt, all but the first, that the model predicts as the most likely. More is better.
    ///
    /// In an experiment the tokens to predict are those of the clean prompts in every run, the corrupted one included.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let share = Metric::mean_accuracy().measure(&model, "When John and Mary went to the shops")?.scalar()?;
    /// assert!((0. ..=1.).contains(&share));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn mean_accuracy() -> Self {
        Self::of(Accuracy(Targets::Next))
    }
}

impl Measure for Accuracy {
    fn name(&self) -> &str {
        if self.0.are_next() { "mean accuracy" } else { "accuracy" }
    }

    fn direction(&self) -> Option<Direction> {
        Some(Direction::More)
    }

    fn positions(&self) -> Positions {
        self.0.positions()
    }

    fn compares_with_next(&self) -> bool {
        self.0.are_next()
    }

    fn slope(&self) -> Slope {
        Slope::Nowhere
    }

    fn answers(&self) -> Option<usize> {
        self.0.count()
    }

    fn largest_token(&self) -> Option<u32> {
        self.0.largest()
    }

    fn values(&self, read: &Read) -> Result<Tensor> {
        let best = read.logits.detach().max(D::Minus1)?;
        as_numbers(&read.pick(read.logits, &self.0.of(read.rows))?.detach().ge(&best)?)
    }
}
