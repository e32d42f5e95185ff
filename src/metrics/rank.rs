//! The rank of a token: how many tokens are likelier.

use candle_core::{D, Tensor};

use super::metric::{Direction, Measure, Metric, Read, Slope, as_numbers};
use super::targets::Targets;
use crate::error::Result;
use crate::model::HookedTransformer;
use crate::tokens::TokenRef;

struct Rank(Targets);

impl Metric {
    /// How many tokens are likelier than the given one, one for each prompt: 0 is the best. It has no gradient.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// assert_eq!(Metric::rank(&model, [" Mary"])?.measure(&model, prompt)?.scalar()?, 0.);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A text that is not one token.
    pub fn rank<T: Into<TokenRef>>(model: &HookedTransformer, tokens: impl IntoIterator<Item = T>) -> Result<Self> {
        Ok(Self::of(Rank(Targets::given(model, tokens)?)))
    }
}

impl Measure for Rank {
    fn name(&self) -> &str {
        "rank"
    }

    fn direction(&self) -> Option<Direction> {
        Some(Direction::Less)
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
        let own = read.pick(read.logits, &self.0.of(read.rows))?.unsqueeze(1)?;
        Ok(as_numbers(&read.logits.detach().broadcast_gt(&own.detach())?)?.sum(D::Minus1)?)
    }
}
