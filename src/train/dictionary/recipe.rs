//! What is trained and how.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::train::Schedule;

/// What keeps features sparse while a dictionary is trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Sparsity {
    /// The `k` largest pre-activations of each position (Gao et al. 2024, arXiv 2406.04093).
    TopK {
        /// How many features may be active at a position.
        k: usize,
    },
    /// The largest pre-activations of a whole batch, `k` for each position on average (Bussmann et al. 2024, arXiv 2412.06410).
    /// What comes out is a JumpReLU dictionary with one threshold for all features: the running mean of the smallest pre-activation
    /// that was chosen.
    BatchTopK {
        /// How many features are active at a position, on average.
        k: usize,
    },
    /// A threshold for each feature, trained with straight-through gradients, and a price for each active feature (Rajamanoharan et
    /// al. 2024, arXiv 2407.14435).
    JumpRelu {
        /// What an active feature costs, where the loss is the unexplained share of the variance.
        l0_coefficient: f64,
        /// How near a pre-activation must be to its threshold for the threshold to move, on the scale on which inputs have the norm
        /// `sqrt(d_in)`.
        bandwidth: f64,
        /// The thresholds before the first step, on the same scale.
        initial_threshold: f64,
    },
}

/// How a dictionary is trained. `Recipe { .. Recipe::default() }` is what `"tiny"`'s dictionaries were trained with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// How many features it has.
    pub d_sae: usize,
    /// What keeps them sparse.
    pub sparsity: Sparsity,
    /// How many steps there will be: the schedules depend on it.
    pub steps: usize,
    /// The highest learning rate of Adam.
    pub learning_rate: f64,
    /// In how many steps the learning rate rises, at most a tenth of all.
    pub warm_up: usize,
    /// After how many silent steps a feature is dead. Steps are counted, not positions: with batches of twice the size it is half as
    /// many for the same number of positions.
    pub dead_after: usize,
    /// How many dead features at most predict what the others leave unexplained at a position.
    pub revived: usize,
    /// Where random weights begin.
    pub seed: u64,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            d_sae: 1024,
            sparsity: Sparsity::BatchTopK { k: 16 },
            steps: 3000,
            learning_rate: 1e-3,
            warm_up: 100,
            dead_after: 400,
            revived: 64,
            seed: 0,
        }
    }
}

/// The share of steps in which `k` falls from four times its value, and the price of JumpReLU's features rises from 0: features
/// must have been active once to learn anything.
const SPREAD: f64 = 0.1;
/// After this share of the steps the learning rate falls, to [`FLOOR`] at the end.
const PLATEAU: f64 = 0.7;
const FLOOR: f64 = 0.02;
/// After this share dead features stay dead.
const REVIVAL_ENDS: f64 = 0.9;
/// The loss of dead features against that of the others (Gao et al. 2024).
pub(super) const REVIVAL_WEIGHT: f32 = 1.0 / 32.0;

impl Recipe {
    /// # Errors
    /// [`Error::Argument`] for numbers with which nothing can be trained.
    pub(super) fn check(&self) -> Result<()> {
        let refused = |why: String| Err(Error::argument(format!("this recipe cannot train a dictionary: {why}")));
        if self.d_sae == 0 || self.steps == 0 {
            return refused(format!("{} features in {} steps; each is at least 1.", self.d_sae, self.steps));
        }
        if self.dead_after == 0 {
            return refused("every feature would be dead after 0 silent steps; `dead_after` is at least 1.".into());
        }
        self.schedule().check()?;
        match self.sparsity {
            Sparsity::TopK { k } | Sparsity::BatchTopK { k } if k == 0 || k > self.d_sae => {
                refused(format!("k is {k} of {} features: it is from 1 to their number.", self.d_sae))
            }
            Sparsity::JumpRelu { l0_coefficient, bandwidth, initial_threshold }
                if [l0_coefficient, bandwidth, initial_threshold]
                    .iter()
                    .any(|number| !(*number as f32).is_finite())
                    || l0_coefficient < 0.0
                    || bandwidth as f32 <= 0.0
                    || initial_threshold as f32 <= 0.0 =>
            {
                refused(format!(
                    "JumpReLU's coefficient, bandwidth and first threshold are {l0_coefficient}, {bandwidth} and \
                     {initial_threshold}: finite numbers in f32, the last two above 0."
                ))
            }
            _ => Ok(()),
        }
    }

    /// Its floats, in one order; of another sparsity than JumpReLU the last three are 0.
    pub(super) fn floats(&self) -> [f64; 4] {
        match self.sparsity {
            Sparsity::JumpRelu { l0_coefficient, bandwidth, initial_threshold } => {
                [self.learning_rate, l0_coefficient, bandwidth, initial_threshold]
            }
            _ => [self.learning_rate, 0.0, 0.0, 0.0],
        }
    }

    /// The same recipe with these [`Recipe::floats`].
    pub(super) fn with_floats(self, floats: [f64; 4]) -> Self {
        let [learning_rate, l0_coefficient, bandwidth, initial_threshold] = floats;
        let sparsity = match self.sparsity {
            Sparsity::JumpRelu { .. } => Sparsity::JumpRelu { l0_coefficient, bandwidth, initial_threshold },
            other => other,
        };
        Self { learning_rate, sparsity, ..self }
    }

    fn done(&self, step: usize) -> f64 {
        step as f64 / self.steps as f64
    }

    /// The learning rate of each step.
    pub(super) fn schedule(&self) -> Schedule {
        let steps = self.steps as u64;
        let falls = steps - (steps as f64 * PLATEAU) as u64;
        Schedule::new(self.learning_rate, steps)
            .with_warm_up((self.warm_up as u64).min(steps / 10))
            .with_decay(falls, FLOOR)
    }

    /// JumpReLU's thresholds before the first step.
    pub(super) fn first_threshold(&self) -> Option<f32> {
        match self.sparsity {
            Sparsity::JumpRelu { initial_threshold, .. } => Some(initial_threshold as f32),
            _ => None,
        }
    }

    /// How many features of a batch are chosen in a step.
    pub(super) fn k(&self, k: usize, step: usize, positions: usize) -> usize {
        let spread = (1.0 - self.done(step) / SPREAD).max(0.0);
        let per_position = (k as f64 * (1.0 + 3.0 * spread)).min(self.d_sae as f64);
        (per_position * positions as f64).round() as usize
    }

    /// The price of an active feature in a step.
    pub(super) fn price(&self, l0_coefficient: f64, step: usize) -> f32 {
        (l0_coefficient * (self.done(step) / SPREAD).min(1.0)) as f32
    }

    pub(super) fn revives(&self, step: usize) -> bool {
        self.revived > 0 && self.done(step) < REVIVAL_ENDS
    }
}

impl fmt::Display for Sparsity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TopK { k } => write!(f, "top {k}"),
            Self::BatchTopK { k } => write!(f, "top {k} of a position on average over a batch"),
            Self::JumpRelu { l0_coefficient, .. } => write!(f, "JumpReLU, an active feature costs {l0_coefficient}"),
        }
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} features, {}, {} steps of Adam at {}", self.d_sae, self.sparsity, self.steps, self.learning_rate)
    }
}
