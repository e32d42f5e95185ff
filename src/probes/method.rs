//! How a probe is fitted.

use std::fmt;

use crate::error::{Error, Result};

/// How a probe is fitted. The first three read labels, the last reads numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ProbeMethod {
    /// From the mean of the false examples to that of the true ones; the bias puts the boundary halfway. It has nothing to fit, and
    /// its logits have no scale, so its loss means little.
    MeanDifference,
    /// Logistic regression with the penalty `strength |w|^2 / 2` on the sum of the losses.
    Logistic {
        /// The penalty, above 0: labels that can be separated have no least loss without one.
        strength: f64,
    },
    /// As [`ProbeMethod::Logistic`], on the `k` coordinates whose means differ most between the labels of the examples that are fitted.
    Sparse {
        /// How many coordinates.
        k: usize,
        /// The penalty, above 0.
        strength: f64,
    },
    /// Least squares with the penalty `strength |w|^2` on the sum of the squares; 0 is linear regression.
    Ridge {
        /// The penalty, at least 0.
        strength: f64,
    },
}

impl Default for ProbeMethod {
    /// Logistic, with a penalty of 1.
    fn default() -> Self {
        Self::Logistic { strength: 1. }
    }
}

impl ProbeMethod {
    /// Whether it reads labels, not numbers.
    pub(super) fn reads_labels(self) -> bool {
        !matches!(self, Self::Ridge { .. })
    }

    /// # Errors
    /// A penalty that is not valid, no coordinate or more than there are.
    pub(super) fn check(self, width: usize) -> Result<()> {
        match self {
            Self::Logistic { strength } | Self::Sparse { strength, .. } if !(strength.is_finite() && strength > 0.) => {
                return Err(Error::argument(format!(
                    "a logistic probe with the penalty {strength} was asked for: give one above 0, such as 1."
                )));
            }
            Self::Ridge { strength } if !(strength.is_finite() && strength >= 0.) => {
                return Err(Error::argument(format!(
                    "a ridge probe with the penalty {strength} was asked for: give one of at least 0."
                )));
            }
            _ => {}
        }
        match self {
            Self::Sparse { k, .. } if k == 0 || k > width => Err(Error::argument(format!(
                "a sparse probe of {k} coordinates was asked for, but the examples have {width}: give at least 1 and at most that."
            ))),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for ProbeMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MeanDifference => f.write_str("difference of means"),
            Self::Logistic { strength } => write!(f, "logistic, penalty {strength}"),
            Self::Sparse { k, strength } => write!(f, "{k}-sparse logistic, penalty {strength}"),
            Self::Ridge { strength } => write!(f, "ridge, penalty {strength}"),
        }
    }
}
