//! What statistics are computed, and with which random numbers.

use std::fmt;

use super::percent;
use super::sign_flip::EXACT;
use crate::error::{Error, Result};

/// What is estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Center {
    /// The mean.
    #[default]
    Mean,
    /// The median; of an even number, the mean of the two in the middle.
    Median,
}

/// Which means count as far from 0 in a sign-flip test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Alternative {
    /// Those of either sign.
    #[default]
    TwoSided,
    /// Those above 0.
    Greater,
    /// Those below 0.
    Less,
}

/// Options of statistics over prompts. A [`Center`] and an [`Alternative`] convert into them.
///
/// ```
/// use candle_lens::prelude::*;
/// let of_prompts = Labelled::new("effect", vec![Axis::numbered("prompt", 3)], vec![1.0, 2.0, 9.0])?;
/// let options = StatisticsOptions { center: Center::Median, level: 0.9, ..Default::default() };
/// assert_eq!(of_prompts.statistics_over("prompt", options)?.estimate.scalar()?, 2.0);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StatisticsOptions {
    /// What is estimated; the mean by default. Standard errors and sign flips are of the mean in any case.
    pub center: Center,
    /// How often such intervals hold the truth: 0.95 by default.
    pub level: f64,
    /// Bootstrap draws: 1000 by default.
    pub draws: usize,
    /// Random patterns of signs, where there are too many to try all: 10,000 by default.
    pub patterns: usize,
    /// Which means count as far from 0; those of either sign by default.
    pub alternative: Alternative,
    /// The seed of draws and signs.
    pub seed: u64,
}

impl Default for StatisticsOptions {
    fn default() -> Self {
        Self {
            center: Center::Mean,
            level: 0.95,
            draws: 1000,
            patterns: 10_000,
            alternative: Alternative::TwoSided,
            seed: 0,
        }
    }
}

impl From<Center> for StatisticsOptions {
    fn from(center: Center) -> Self {
        Self { center, ..Self::default() }
    }
}

impl From<Alternative> for StatisticsOptions {
    fn from(alternative: Alternative) -> Self {
        Self { alternative, ..Self::default() }
    }
}

impl Center {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Median => "median",
        }
    }

    /// Of these numbers, whose order may change; NaN of none.
    pub(super) fn of(self, values: &mut [f64]) -> f64 {
        let count = values.len();
        match self {
            _ if count == 0 => f64::NAN,
            Self::Mean => values.iter().sum::<f64>() / count as f64,
            Self::Median => {
                let (below, &mut upper, _) = values.select_nth_unstable_by(count / 2, f64::total_cmp);
                match count % 2 {
                    1 => upper,
                    _ => (below.iter().copied().fold(f64::NEG_INFINITY, f64::max) + upper) / 2.,
                }
            }
        }
    }
}

impl StatisticsOptions {
    pub(super) fn check(&self) -> Result<()> {
        check_level(self.level)?;
        for (what, count) in [("bootstrap draws", self.draws), ("patterns of signs", self.patterns)] {
            if count == 0 {
                return Err(Error::argument(format!("0 {what} say nothing: give at least one, 1000 as a rule.")));
            }
            if count > MOST_DRAWS {
                return Err(Error::argument(format!(
                    "{count} {what} are more than the {MOST_DRAWS} that are drawn at most: 1000 are enough as a rule."
                )));
            }
        }
        Ok(())
    }
}

pub(super) fn check_level(level: f64) -> Result<()> {
    match level > 0. && level < 1. {
        true => Ok(()),
        false => Err(Error::argument(format!(
            "intervals at the level {level} do not exist: give a probability between 0 and 1, such as 0.95."
        ))),
    }
}

/// More say nothing more, and would not fit in memory.
const MOST_DRAWS: usize = 1 << 22;

impl fmt::Display for StatisticsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { level, draws, patterns, seed, .. } = self;
        write!(
            f,
            "{} intervals by {draws} bootstrap draws; p by sign flips, {}, exact up to {EXACT} prompts and of {patterns} \
             random patterns above; seed {seed}",
            percent(*level),
            match self.alternative {
                Alternative::TwoSided => "two-sided",
                Alternative::Greater => "one-sided (above 0)",
                Alternative::Less => "one-sided (below 0)",
            }
        )
    }
}
