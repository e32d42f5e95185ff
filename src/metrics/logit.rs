//! The logit of a token.

use candle_core::Tensor;

use super::metric::{Columns, Direction, Measure, Metric, Read};
use super::targets::Targets;
use crate::error::Result;
use crate::model::HookedTransformer;
use crate::tokens::TokenRef;

struct Logit(Targets);

impl Metric {
    /// The logit of a token, one token for each prompt. More is better.
    ///
    /// Adding a constant to all logits changes it, but not the predictions: to measure those, use [`Metric::logit_diff`] or
    /// [`Metric::log_prob`].
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let mary = Metric::logit(&model, [" Mary"])?.measure(&model, prompt)?.scalar()?;
    /// let john = Metric::logit(&model, [" John"])?.measure(&model, prompt)?.scalar()?;
    /// let difference = Metric::logit_diff(&model.answers([(" Mary", " John")])?).measure(&model, prompt)?.scalar()?;
    /// assert!((mary - john - difference).abs() < 1e-4);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A text that is not one token.
    pub fn logit<T: Into<TokenRef>>(model: &HookedTransformer, tokens: impl IntoIterator<Item = T>) -> Result<Self> {
        Ok(Self::of(Logit(Targets::given(model, tokens)?)))
    }
}

impl Measure for Logit {
    fn name(&self) -> &str {
        "logit"
    }

    fn direction(&self) -> Option<Direction> {
        Some(Direction::More)
    }

    fn columns(&self) -> Columns {
        Columns::of(self.0.tokens().iter().copied())
    }

    fn answers(&self) -> Option<usize> {
        self.0.count()
    }

    fn largest_token(&self) -> Option<u32> {
        self.0.largest()
    }

    fn values(&self, read: &Read) -> Result<Tensor> {
        read.pick(read.logits, &self.0.of(read.rows))
    }
}
