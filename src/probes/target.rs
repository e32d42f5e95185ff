//! What a probe reads: a label or a number for each example.

use crate::error::{Error, Result};

/// A label or a number for each example. Made by `into()` from lists of `bool`, `f32` or `f64`.
///
/// ```
/// use candle_lens::probes::ProbeTarget;
/// assert_eq!(ProbeTarget::from([true, false]).len(), 2);
/// assert!(matches!(ProbeTarget::from(vec![0.5, 1.5]), ProbeTarget::Numbers(_)));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum ProbeTarget {
    /// Labels of two kinds.
    Labels(Vec<bool>),
    /// Numbers.
    Numbers(Vec<f64>),
}

macro_rules! targets {
    ($kind:ty, $variant:ident, $of:expr) => {
        impl From<&[$kind]> for ProbeTarget {
            fn from(target: &[$kind]) -> Self {
                Self::$variant(target.iter().map($of).collect())
            }
        }

        impl From<Vec<$kind>> for ProbeTarget {
            fn from(target: Vec<$kind>) -> Self {
                Self::from(&target[..])
            }
        }

        impl From<&Vec<$kind>> for ProbeTarget {
            fn from(target: &Vec<$kind>) -> Self {
                Self::from(&target[..])
            }
        }

        impl<const N: usize> From<[$kind; N]> for ProbeTarget {
            fn from(target: [$kind; N]) -> Self {
                Self::from(&target[..])
            }
        }

        impl<const N: usize> From<&[$kind; N]> for ProbeTarget {
            fn from(target: &[$kind; N]) -> Self {
                Self::from(&target[..])
            }
        }
    };
}

targets!(bool, Labels, |label| *label);
targets!(f32, Numbers, |number| f64::from(*number));
targets!(f64, Numbers, |number| *number);

impl From<&Self> for ProbeTarget {
    fn from(target: &Self) -> Self {
        target.clone()
    }
}

impl ProbeTarget {
    /// For how many examples it is.
    pub fn len(&self) -> usize {
        match self {
            Self::Labels(labels) => labels.len(),
            Self::Numbers(numbers) => numbers.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those of these examples.
    pub(super) fn of(&self, examples: &[usize]) -> Self {
        match self {
            Self::Labels(labels) => Self::Labels(examples.iter().map(|&at| labels[at]).collect()),
            Self::Numbers(numbers) => Self::Numbers(examples.iter().map(|&at| numbers[at]).collect()),
        }
    }

    /// # Errors
    /// Labels that are all alike, numbers that are not finite.
    pub(super) fn check(&self) -> Result<()> {
        match self {
            Self::Labels(labels) if labels.iter().all(|label| *label) || !labels.contains(&true) => {
                Err(Error::argument(format!(
                    "all {} labels are the same, so there is nothing to tell apart: give examples of both kinds.",
                    labels.len()
                )))
            }
            Self::Numbers(numbers) => match numbers.iter().position(|y| !y.is_finite()) {
                Some(at) => Err(Error::argument(format!(
                    "number {at} of the targets is {}: leave that example out.",
                    numbers[at]
                ))),
                None => Ok(()),
            },
            Self::Labels(_) => Ok(()),
        }
    }
}
