//! The cross-entropy loss of tokens, in nats: minus the natural logarithm of their probability.

use candle_core::Tensor;

use super::metric::{Direction, Measure, Metric, Read, log_softmax};
use super::positions::Positions;
use super::targets::Targets;
use crate::error::Result;
use crate::model::HookedTransformer;
use crate::tokens::TokenRef;

struct Loss(Targets);

impl Metric {
    /// The loss of the token that follows each prompt, in nats: minus the natural logarithm of its probability. Less is
    /// better.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let loss = Metric::loss(&model, [" Mary"])?.measure(&model, prompt)?.scalar()?;
    /// let log_prob = Metric::log_prob(&model, [" Mary"])?.measure(&model, prompt)?.scalar()?;
    /// assert_eq!(loss, -log_prob);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A text that is not one token.
    pub fn loss<T: Into<TokenRef>>(model: &HookedTransformer, tokens: impl IntoIterator<Item = T>) -> Result<Self> {
        Ok(Self::of(Loss(Targets::given(model, tokens)?)))
    }

    /// The mean loss over the tokens of each prompt, all but the first, which the model does not predict. Less is better.
    ///
    /// In an experiment the tokens to predict are those of the clean prompts in every run, the corrupted one included.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to Mary";
    /// let loss = Metric::mean_loss().measure(&model, prompt)?.scalar()?;
    /// let by_the_model = model.loss(prompt)?.to_scalar::<f32>()?;
    /// assert!((loss - by_the_model).abs() < 1e-4);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn mean_loss() -> Self {
        Self::of(Loss(Targets::Next))
    }
}

impl Measure for Loss {
    fn name(&self) -> &str {
        if self.0.are_next() { "mean loss" } else { "loss" }
    }

    fn direction(&self) -> Option<Direction> {
        Some(Direction::Less)
    }

    fn positions(&self) -> Positions {
        self.0.positions()
    }

    fn compares_with_next(&self) -> bool {
        self.0.are_next()
    }

    fn answers(&self) -> Option<usize> {
        self.0.count()
    }

    fn largest_token(&self) -> Option<u32> {
        self.0.largest()
    }

    fn values(&self, read: &Read) -> Result<Tensor> {
        Ok(read.pick(&log_softmax(read.logits)?, &self.0.of(read.rows))?.neg()?)
    }
}
