//! How often a feature is active, and how much.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How many positions a feature was active at, by the size of its activation.
///
/// The edges of the bins are `2^e (1 + m/4)` for `m` from 0 to 3: four bins for each doubling, so that they are about the same width
/// on a logarithmic axis whatever the scale of the dictionary. Activations are counted by their absolute value.
///
/// ```
/// use candle_lens::prelude::*;
/// let mut histogram = FeatureHistogram::default();
/// for activation in [0.0, 1.0, 1.2, 3.0] {
///     histogram.add(activation);
/// }
/// assert_eq!((histogram.positions, histogram.active), (4, 3));
/// assert_eq!(histogram.bins(), [(1.0, 1.25, 2), (1.25, 1.5, 0), (1.5, 1.75, 0), (1.75, 2.0, 0), (2.0, 2.5, 0), (2.5, 3.0, 0), (3.0, 3.5, 1)]);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FeatureHistogram {
    /// How many positions were read.
    pub positions: u64,
    /// At how many of them the feature was active.
    pub active: u64,
    /// At how many of them its activation was negative, which only `abstopk` dictionaries have.
    pub negative: u64,
    /// The sum of its activations.
    pub sum: f64,
    /// Its largest activation, by absolute value.
    pub max: f32,
    /// The numbers of the bins that have any, by the exponent and the quarter of their lower edge.
    counts: BTreeMap<u16, u64>,
}

/// How many bits of an `f32` are below those that say its bin: of the 23 of its fraction two count.
const BELOW: u32 = 21;

impl FeatureHistogram {
    /// Counts one position.
    pub fn add(&mut self, activation: f32) {
        self.positions += 1;
        self.add_active(activation);
    }

    /// Counts an activation at a position that is counted elsewhere.
    pub(super) fn add_active(&mut self, activation: f32) {
        if activation == 0.0 {
            return;
        }
        self.active += 1;
        self.negative += u64::from(activation < 0.0);
        self.sum += f64::from(activation);
        if activation.abs() > self.max.abs() {
            self.max = activation;
        }
        *self.counts.entry((activation.abs().to_bits() >> BELOW) as u16).or_default() += 1;
    }

    /// The share of positions at which the feature was active, from 0 to 1.
    pub fn density(&self) -> f64 {
        self.active as f64 / self.positions.max(1) as f64
    }

    /// The mean of its activations over the positions at which it was active.
    pub fn mean(&self) -> f64 {
        self.sum / self.active.max(1) as f64
    }

    /// The bins from the smallest to the largest activation: the lower edge, the upper edge, which is not in the bin, and the number
    /// of positions. Empty where the feature was never active.
    pub fn bins(&self) -> Vec<(f32, f32, u64)> {
        let (Some(first), Some(last)) = (self.counts.keys().next(), self.counts.keys().next_back()) else {
            return Vec::new();
        };
        let edge = |bin: u32| f32::from_bits(bin << BELOW);
        let bin = |bin: u16| {
            let count = self.counts.get(&bin).copied().unwrap_or(0);
            (edge(bin.into()), edge(u32::from(bin) + 1), count)
        };
        (*first..=*last).map(bin).collect()
    }

    /// In a few words.
    pub(super) fn summary(&self) -> String {
        if self.active == 0 {
            return format!("never active at {} positions", self.positions);
        }
        format!(
            "active at {} of {} positions ({:.3} %), mean {:.3}, largest {:.3}",
            self.active,
            self.positions,
            100.0 * self.density(),
            self.mean(),
            self.max
        )
    }
}

impl fmt::Display for FeatureHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WIDEST: u64 = 40;
        f.write_str(&self.summary())?;
        let bins = self.bins();
        let most = bins.iter().map(|bin| bin.2).max().unwrap_or(1);
        for (from, to, count) in bins {
            let bar = "█".repeat((count * WIDEST).div_ceil(most) as usize);
            write!(f, "\n{from:>9.3} to {to:>9.3} {count:>8} {bar}")?;
        }
        Ok(())
    }
}
