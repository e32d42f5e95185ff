//! How often an interchange has the answer that a causal model predicts.

use std::fmt;

use candle_core::{D, DType, Tensor};

use crate::error::Result;
use crate::model::ops::cross_entropy;

/// How often the model answers what was predicted, among the answers that are compared.
#[derive(Clone, Debug, PartialEq)]
pub struct InterchangeScore {
    /// Whether each pair has the predicted answer: its logit is larger than those of all other answers.
    pub right: Vec<bool>,
    /// The mean cross-entropy of the predicted answer among the answers that are compared, in nats.
    pub loss: f64,
}

impl InterchangeScore {
    /// # Shapes
    /// `logits [pair, answer]`, the answers by number.
    pub(super) fn new(logits: &Tensor, targets: &[u32]) -> Result<Self> {
        let logits = logits.detach().to_dtype(DType::F32)?;
        let best = logits.argmax(D::Minus1)?.to_vec1::<u32>()?;
        let loss = cross_entropy(&logits, targets)?.to_dtype(DType::F64)?.mean_all()?.to_scalar::<f64>()?;
        let is_best = |(best, target): (&u32, &u32)| best == target;
        Ok(Self { right: best.iter().zip(targets).map(is_best).collect(), loss })
    }

    /// How many pairs there are.
    pub fn count(&self) -> usize {
        self.right.len()
    }

    /// The share of pairs that have the predicted answer.
    pub fn accuracy(&self) -> f64 {
        self.right.iter().filter(|right| **right).count() as f64 / self.count().max(1) as f64
    }
}

impl fmt::Display for InterchangeScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "accuracy {:.4}, loss {:.4} on {} pairs", self.accuracy(), self.loss, self.count())
    }
}
