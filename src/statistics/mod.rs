//! How sure a mean over prompts is: standard errors, bootstrap intervals, sign-flip tests and intervals of success rates.
//!
//! Of `n` effects `x`, one for each prompt:
//! - standard error `s / sqrt(n)`, with the unbiased standard deviation `s`;
//! - percentile bootstrap (Efron and Tibshirani 1993, chapter 13): prompts are drawn with replacement, `n` at a time; the
//!   interval is between quantiles, interpolated linearly, of the draws' means or medians;
//! - sign-flip test (Fisher 1935): if patching changed nothing, each effect could as well have the other sign. `p` is the share
//!   of sign patterns whose mean is at least as far from 0 as the one found: of all `2^n` up to 12 prompts, of random ones above,
//!   where it is `(hits + 1) / (patterns + 1)`. Means within 100 machine epsilons of each other count as equal;
//! - success rates have the interval of Clopper and Pearson (1934), which is exact.
//!
//! Prompts are taken for independent draws of one distribution, as those of a generator are. The bootstrap knows no more than
//! the sample: equal effects have an interval of one point, and of fewer than about ten prompts it is too narrow. The smallest `p`
//! of `n` prompts is `2 / 2^n`; among many sites some have a small one by chance, so `p` is not corrected here for their number.
//!
//! The numbers are those of TransformerLens 4.3's `utilities.statistics`, but for its random draws and its median, which of
//! an even number is the lower of the two in the middle.

mod binomial;
mod bootstrap;
mod options;
mod samples;
mod sign_flip;

use std::fmt;

use ndarray::ArrayD;

use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::progress::Progress;
use crate::variables::holds;
use crate::visible::visible;

pub use options::{Alternative, Center, StatisticsOptions};
use samples::Samples;

/// Means or medians over one axis, as a rule `prompt`, and how sure they are. Made by [`Labelled::statistics_over`],
/// [`Labelled::success_rate_over`] and the `statistics` of results.
///
/// Heat maps of it ([`imshow`](crate::views::imshow())) grey the cells whose interval holds 0; lines and bars have the intervals as
/// whiskers.
///
/// ```
/// use candle_lens::prelude::*;
/// let axes = vec![Axis::numbered("head", 2), Axis::numbered("prompt", 4)];
/// let effects = Labelled::new("effect", axes, vec![1.0, 1.0, 1.0, 1.0, -2.0, 1.0, 0.5, 1.0])?;
/// let found = effects.statistics_over("prompt", StatisticsOptions::default())?;
/// // Of the 16 patterns of signs only all positive and all negative are as far from 0.
/// assert_eq!(found.p()?.at(&[0])?, 0.125);
/// assert_eq!((found.low.at(&[0])?, found.high.at(&[0])?), (1.0, 1.0));
/// assert_eq!(found.holds_zero().into_raw_vec_and_offset().0, [false, true]);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct Statistics {
    /// The mean or median.
    pub estimate: Labelled,
    /// The standard error of the mean.
    pub standard_error: Labelled,
    /// The lower end of the interval.
    pub low: Labelled,
    /// The upper end of the interval.
    pub high: Labelled,
    /// How many entries of the axis each number is of: fewer than all where prompts are padded, or where a share has no
    /// denominator.
    pub count: Labelled,
    /// The p-values of sign flips; success rates have none.
    p: Option<Labelled>,
    /// How the intervals and p-values were computed.
    about: String,
}

holds! {
    Statistics { estimate, standard_error, low, high, count, p, about }
}

impl Labelled {
    /// The mean (or median) over one axis, which is removed, with its standard error, bootstrap interval and sign-flip p-value: of
    /// a result by prompt, `statistics_over("prompt", StatisticsOptions::default())`.
    ///
    /// # Errors
    /// An axis that does not exist or has fewer than two entries; numbers that are not finite; options outside their range.
    pub fn statistics_over(&self, axis: &str, options: impl Into<StatisticsOptions>) -> Result<Statistics> {
        Statistics::of(self, axis, None, &options.into())
    }

    /// How often something succeeded along one axis, which is removed: the share of ones among zeros and ones, with the
    /// Clopper-Pearson interval that holds the true rate with this probability at least (`0.95`, say).
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let answered = Labelled::new("accuracy", vec![Axis::numbered("prompt", 6)], vec![0.0; 6])?;
    /// let rate = answered.success_rate_over("prompt", 0.95)?;
    /// // No success of six leaves rates of up to 46 % possible.
    /// assert_eq!(rate.low.scalar()?, 0.0);
    /// assert!((rate.high.scalar()? - 0.4593).abs() < 1e-4);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// An axis that does not exist or is empty, numbers other than 0 and 1, a probability that is not between 0 and 1.
    pub fn success_rate_over(&self, axis: &str, level: f64) -> Result<Statistics> {
        options::check_level(level)?;
        let samples = Samples::of(self, axis, None, 1)?;
        if let Some(odd) = self.values().iter().find(|value| ![0., 1.].contains(*value)) {
            return Err(Error::argument(format!(
                "a success rate is of zeros and ones, but {:?} has {odd}: take statistics_over for other numbers.",
                self.title
            )));
        }
        let about = format!("{} intervals by Clopper and Pearson", percent(level));
        let (mut found, mut ends) = (samples.found("rate"), Vec::new());
        for values in samples.cells() {
            let (successes, count) = (values.iter().sum::<f64>(), values.len());
            let rate = successes / count as f64;
            let error = (rate * (1. - rate) / count as f64).sqrt();
            let (low, high) = binomial::interval(successes as usize, count, level);
            ends.push([rate, error, low, high, f64::NAN]);
        }
        found.fill(&ends);
        found.statistics(self, about, false)
    }
}

impl Statistics {
    /// As [`Labelled::statistics_over`], of those entries only that are `there`.
    pub(crate) fn of(
        values: &Labelled,
        axis: &str,
        there: Option<&ArrayD<bool>>,
        options: &StatisticsOptions,
    ) -> Result<Self> {
        options.check()?;
        let _work = Progress::opaque("statistics over prompts");
        let samples = Samples::of(values, axis, there, 2)?;
        let mut found = samples.found(options.center.name());
        let errors = samples.cells().iter().map(|values| standard_error(values));
        let estimates = samples.cells().iter().map(|values| options.center.of(&mut values.clone()));
        let intervals = bootstrap::intervals(samples.cells(), options)?;
        let p = sign_flip::p_values(samples.cells(), options)?;
        let rows = estimates.zip(errors).zip(intervals).zip(p);
        let rows: Vec<[f64; 5]> =
            rows.map(|(((estimate, error), (low, high)), p)| [estimate, error, low, high, p]).collect();
        found.fill(&rows);
        found.statistics(values, options.to_string(), true)
    }

    /// The p-values of sign flips: how likely a mean as far from 0 would be if each effect could as well have the other sign.
    ///
    /// # Errors
    /// [`Error::Argument`] for success rates, which are no effects.
    pub fn p(&self) -> Result<Labelled> {
        self.p.clone().ok_or_else(|| {
            Error::argument(
                "success rates have no sign to flip, so they have no p-value: read the interval, or take statistics_over \
                 of the difference of two runs.",
            )
        })
    }

    /// Where the interval holds 0, in the shape of the numbers; also where there is no interval, of fewer than two entries.
    pub fn holds_zero(&self) -> ArrayD<bool> {
        let (low, high) = (self.low.values(), self.high.values());
        let flags = low.iter().zip(high.iter()).map(|(&low, &high)| !(low > 0. || high < 0.)).collect();
        ArrayD::from_shape_vec(low.raw_dim(), flags).expect("one flag for each number")
    }

    /// How intervals and p-values were computed, in words.
    pub fn about(&self) -> String {
        self.about.clone()
    }

    /// One index of one axis, which is removed, such as one metric of several; negative indices count from the end.
    ///
    /// # Errors
    /// An axis or index that does not exist.
    pub fn select(&self, axis: &str, index: isize) -> Result<Self> {
        let of = |part: &Labelled| part.select(axis, index);
        Ok(Self {
            estimate: of(&self.estimate)?,
            standard_error: of(&self.standard_error)?,
            low: of(&self.low)?,
            high: of(&self.high)?,
            count: of(&self.count)?,
            p: self.p.as_ref().map(of).transpose()?,
            about: self.about.clone(),
        })
    }
}

/// `s / sqrt(n)`; NaN of fewer than two.
fn standard_error(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    if values.len() < 2 { f64::NAN } else { (squares / (count - 1.) / count).sqrt() }
}

/// `95 %`.
fn percent(level: f64) -> String {
    format!("{} %", (level * 1e6).round() / 1e4)
}

impl fmt::Debug for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Statistics({:?}; {})", self.estimate, visible(&self.about))
    }
}
