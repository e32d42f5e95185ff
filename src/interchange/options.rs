//! How a subspace is found, and how its controls are.

use std::fmt;

use super::subspace::Subspace;
use crate::error::{Error, Result};
use crate::model::HookedTransformer;

/// How a basis is learnt (distributed alignment search).
#[derive(Clone, Debug)]
pub struct DasOptions {
    /// The dimension of the subspace, 1 by default.
    pub rank: usize,
    /// How often all pairs are seen, 20 by default.
    pub epochs: usize,
    /// How many pairs a step takes, 128 by default.
    pub batch_size: usize,
    /// The rate of Adam, 0.01 by default.
    pub learning_rate: f64,
    /// The seed of the basis that it begins with and of the order of the pairs.
    pub seed: u64,
    /// What it begins with in place of a random subspace.
    pub start: Option<Subspace>,
}

impl Default for DasOptions {
    fn default() -> Self {
        Self { rank: 1, epochs: 20, batch_size: 128, learning_rate: 1e-2, seed: 0, start: None }
    }
}

/// How a subspace is found from pairs of prompts.
#[derive(Clone, Debug)]
pub enum AlignBy {
    /// It is given, and not found.
    Given(Subspace),
    /// The differences of the means of the sources by their predicted answer.
    Means,
    /// A logistic probe of the predicted answer at the sources, where there are two answers.
    Probe {
        /// Its penalty, above 0.
        strength: f64,
    },
    /// The neurons, or any coordinates, in which the means of the sources differ most, where there are two answers.
    Neurons {
        /// How many.
        count: usize,
    },
    /// The basis with which the interchange has the predicted answers with the least cross-entropy.
    Das(DasOptions),
}

impl From<Subspace> for AlignBy {
    fn from(subspace: Subspace) -> Self {
        Self::Given(subspace)
    }
}

impl From<DasOptions> for AlignBy {
    fn from(options: DasOptions) -> Self {
        Self::Das(options)
    }
}

impl fmt::Display for AlignBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(subspace) => write!(f, "{subspace}"),
            Self::Means => f.write_str("differences of means"),
            Self::Probe { strength } => write!(f, "logistic probe, penalty {strength}"),
            Self::Neurons { count } => write!(f, "the {count} neurons whose means differ most"),
            Self::Das(DasOptions { rank, epochs, batch_size, learning_rate, .. }) => {
                write!(f, "DAS, rank {rank}: {epochs} epochs in batches of {batch_size}, rate {learning_rate}")
            }
        }
    }
}

/// How a subspace is found, and how often its controls are drawn.
#[derive(Clone, Debug)]
pub struct InterchangeOptions {
    /// How it is found; DAS by default.
    pub align: AlignBy,
    /// How many random subspaces are drawn as placebo, 5 by default; at least one.
    pub repeats: usize,
    /// The seed of the controls.
    pub seed: u64,
}

impl Default for InterchangeOptions {
    fn default() -> Self {
        Self { align: AlignBy::Das(DasOptions::default()), repeats: 5, seed: 0 }
    }
}

impl<A: Into<AlignBy>> From<A> for InterchangeOptions {
    fn from(align: A) -> Self {
        Self { align: align.into(), ..Self::default() }
    }
}

impl InterchangeOptions {
    /// # Errors
    /// No repeats, a rank that the activation does not have, no epoch or batch, a rate that is not above 0, a subspace of another shape or model.
    pub(super) fn check(&self, model: &HookedTransformer, width: usize) -> Result<()> {
        if self.repeats == 0 {
            return Err(Error::argument(
                "a study of no repeats has no placebo, without which its accuracy says nothing: give at least 1.",
            ));
        }
        match &self.align {
            AlignBy::Given(subspace) => subspace.check(model, width),
            AlignBy::Neurons { count } if *count == 0 || *count > width => Err(Error::argument(format!(
                "{count} neurons were to be chosen of {width}: give at least 1 and at most that."
            ))),
            AlignBy::Das(options) => options.check(model, width),
            _ => Ok(()),
        }
    }
}

impl DasOptions {
    fn check(&self, model: &HookedTransformer, width: usize) -> Result<()> {
        if self.rank == 0 || self.rank > width {
            return Err(Error::argument(format!(
                "a subspace of {} dimensions was to be learnt where activations have {width}: give at least 1 and at most that.",
                self.rank
            )));
        }
        if self.epochs == 0 || self.batch_size == 0 {
            return Err(Error::argument(format!(
                "{} epochs in batches of {} pairs learn nothing: give at least 1 of each.",
                self.epochs, self.batch_size
            )));
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.) {
            return Err(Error::argument(format!(
                "the learning rate is {}: give one above 0, such as 0.01.",
                self.learning_rate
            )));
        }
        let Some(start) = &self.start else { return Ok(()) };
        start.check(model, width)?;
        match start.rank() == self.rank {
            true => Ok(()),
            false => Err(Error::argument(format!(
                "a subspace of {} dimensions was to be learnt from one of {}: give both the same.",
                self.rank,
                start.rank()
            ))),
        }
    }
}
