//! A token's probability.

use candle_core::Tensor;

use super::metric::{Direction, Measure, Metric, Read};
use super::targets::Targets;
use crate::error::Result;
use crate::model::{HookedTransformer, ops};
use crate::tokens::TokenRef;

struct Prob(Targets);

impl Metric {
    /// The token's probability, one token for each prompt. More is better.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let metric = Metric::prob(&model, [" Mary"])?;
    /// assert!(metric.measure(&model, prompt)?.scalar()? > 0.6);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A text that is not one token.
    pub fn prob<T: Into<TokenRef>>(model: &HookedTransformer, tokens: impl IntoIterator<Item = T>) -> Result<Self> {
        Ok(Self::of(Prob(Targets::given(model, tokens)?)))
    }
}

impl Measure for Prob {
    fn name(&self) -> &str {
        "probability"
    }

    fn direction(&self) -> Option<Direction> {
        Some(Direction::More)
    }

    fn answers(&self) -> Option<usize> {
        self.0.count()
    }

    fn largest_token(&self) -> Option<u32> {
        self.0.largest()
    }

    fn values(&self, read: &Read) -> Result<Tensor> {
        read.pick(&ops::softmax(read.logits)?, &self.0.of(read.rows))
    }
}
