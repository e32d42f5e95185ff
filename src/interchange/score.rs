//! How often an interchange has the answer that a causal model predicts.

use std::fmt;

use candle_core::{DType, Tensor};

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
        let loss = cross_entropy(&logits, targets)?.to_dtype(DType::F64)?.mean_all()?.to_scalar::<f64>()?;
        let is_largest = |(row, target): (Vec<f32>, &u32)| {
            let target = *target as usize;
            row.iter().enumerate().all(|(answer, logit)| answer == target || row[target] > *logit)
        };
        Ok(Self { right: logits.to_vec2::<f32>()?.into_iter().zip(targets).map(is_largest).collect(), loss })
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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn equal_logits_and_those_that_are_no_numbers_are_right_for_none() -> Result<()> {
        let logits = Tensor::new(&[[1f32, 1., 0.], [2., 1., 0.], [f32::NAN, f32::NAN, f32::NAN]], &Device::Cpu)?;
        assert_eq!(InterchangeScore::new(&logits, &[0, 0, 0])?.right, [false, true, false]);
        Ok(())
    }
}
