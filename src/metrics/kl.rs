//! The Kullback-Leibler divergence of a run's predictions from the clean run's.

use candle_core::{D, DType, Tensor};

use super::metric::{Direction, Measure, Metric, Read, Slope, log_softmax};
use crate::error::{Error, Result};

struct Kl;

impl Metric {
    /// The Kullback-Leibler divergence, in nats, of the run's next-token distribution from the clean run's,
    /// `sum p_clean ln(p_clean / p)`. Less is better; the clean run itself has 0.
    ///
    /// It needs a clean run, so it is a metric of experiments only.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// assert_eq!(Metric::kl().direction(), Some(Direction::Less));
    /// ```
    pub fn kl() -> Self {
        Self::of(Kl)
    }
}

impl Measure for Kl {
    fn name(&self) -> &str {
        "KL divergence"
    }

    fn direction(&self) -> Option<Direction> {
        Some(Direction::Less)
    }

    fn needs_clean(&self) -> bool {
        true
    }

    fn slope(&self) -> Slope {
        Slope::NotAtClean
    }

    fn values(&self, read: &Read) -> Result<Tensor> {
        let clean = read.clean.ok_or_else(|| Error::argument("KL divergence needs the clean run's logits."))?;
        let p = log_softmax(&clean.detach().to_dtype(DType::F32)?)?.repeat((read.copies()?, 1))?;
        let difference = (&p - log_softmax(read.logits)?)?;
        // A clean probability of 0 adds nothing, whatever it is multiplied with.
        Ok((p.exp()? * difference)?.sum(D::Minus1)?)
    }
}
