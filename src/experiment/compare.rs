//! How well one result estimates another: correlations and the largest errors.

use super::effect::Effect;
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::variables::holds;

/// How many of the worst misses are listed.
const WORST: usize = 10;

/// Results that [`Comparison`] compares: an [`Effect`], whatever has one, and plain numbers.
pub trait Compare {
    /// The numbers as they are.
    fn numbers(&self) -> Labelled;

    /// The effect, by which the numbers are converted; none of plain numbers, which are compared as they are.
    fn as_effect(&self) -> Option<Effect> {
        None
    }
}

impl Compare for Labelled {
    fn numbers(&self) -> Labelled {
        self.clone()
    }
}

impl Compare for Effect {
    fn numbers(&self) -> Labelled {
        self.values.clone()
    }

    fn as_effect(&self) -> Option<Effect> {
        Some(self.clone())
    }
}

/// Two results for the same sites, one as an estimate of the other.
///
/// Effects in different conventions are both compared as what is lost ([`Effect::as_lost`]).
///
/// ```
/// use candle_lens::prelude::*;
/// let axis = || vec![Axis::numbered("head", 4)];
/// let patched = Labelled::new("patched", axis(), vec![0.0, 0.1, 0.5, 1.0])?;
/// let estimated = Labelled::new("estimated", axis(), vec![0.0, 0.2, 0.4, 0.8])?;
/// let comparison = Comparison::new(&patched, &estimated)?;
/// assert!(comparison.pearson > 0.97 && comparison.spearman > 0.99);
/// assert_eq!(comparison.worst[0].labels, ["3"]);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What is taken as the truth.
    pub truth: Labelled,
    /// What is compared with it.
    pub estimate: Labelled,
    /// Pearson's correlation: 1 where the estimate is the truth up to scale and shift.
    pub pearson: f64,
    /// Spearman's rank correlation: 1 where both have the same order; ties share their mean rank.
    pub spearman: f64,
    /// The mean absolute value of `estimate - truth`.
    pub mean_miss: f64,
    /// The sites with the largest misses, largest first.
    pub worst: Vec<Miss>,
}

holds! {
    Comparison { truth, estimate }
}

/// One site of a [`Comparison`].
#[derive(Clone, Debug, PartialEq)]
pub struct Miss {
    /// The label along each axis.
    pub labels: Vec<String>,
    /// The number taken as the truth.
    pub truth: f32,
    /// The estimate of it.
    pub estimate: f32,
}

impl Comparison {
    /// Compares site by site.
    ///
    /// # Errors
    /// An effect and plain numbers, whose convention is not known; results whose axes or labels differ, fewer than three sites,
    /// numbers that are not finite, or all alike, which correlate with nothing.
    pub fn new(truth: &impl Compare, estimate: &impl Compare) -> Result<Self> {
        let (truth, estimate) = &alike(truth, estimate)?;
        if truth.axes() != estimate.axes() {
            return Err(Error::argument(format!(
                "{truth:?} and {estimate:?} cannot be compared: their axes must have the same names and labels."
            )));
        }
        let (x, y): (Vec<f32>, Vec<f32>) =
            (truth.values().iter().copied().collect(), estimate.values().iter().copied().collect());
        if x.len() < 3 {
            return Err(Error::argument(format!("{} sites have no correlation: compare at least three.", x.len())));
        }
        for (result, values) in [(truth, &x), (estimate, &y)] {
            if values.iter().any(|value| !value.is_finite()) {
                return Err(Error::argument(format!(
                    "{:?} has numbers that are not finite: compare finite ones.",
                    result.title
                )));
            }
            if values.iter().all(|value| *value == values[0]) {
                return Err(Error::argument(format!(
                    "every number of {:?} is {}, so it correlates with nothing: compare results that differ.",
                    result.title, values[0]
                )));
            }
        }
        let misses = x.iter().zip(&y).map(|(x, y)| f64::from((y - x).abs()));
        let mean_miss = misses.sum::<f64>() / x.len() as f64;
        let of = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<f64>>();
        Ok(Self {
            pearson: pearson(&of(&x), &of(&y)),
            spearman: pearson(&ranks(&x), &ranks(&y)),
            mean_miss,
            worst: worst(truth, estimate),
            truth: truth.clone(),
            estimate: estimate.clone(),
        })
    }
}

/// The numbers of both in one convention.
fn alike(truth: &impl Compare, estimate: &impl Compare) -> Result<(Labelled, Labelled)> {
    match (truth.as_effect(), estimate.as_effect()) {
        (None, None) => Ok((truth.numbers(), estimate.numbers())),
        (Some(truth), Some(estimate)) if truth.scale == estimate.scale => Ok((truth.values, estimate.values)),
        (Some(truth), Some(estimate)) => Ok((truth.as_lost().values, estimate.as_lost().values)),
        (effect, _) => {
            let (plain, effect) = match effect {
                Some(effect) => (estimate.numbers(), effect.values),
                None => (truth.numbers(), estimate.numbers()),
            };
            Err(Error::argument(format!(
                "{:?} is an effect and {:?} are plain numbers, whose convention is not known: compare two effects \
                 (Effect::new makes one of numbers), or the numbers of both (Effect::values).",
                effect.title, plain.title
            )))
        }
    }
}

fn worst(truth: &Labelled, estimate: &Labelled) -> Vec<Miss> {
    let mut misses: Vec<Miss> = truth
        .values()
        .indexed_iter()
        .zip(&estimate.values())
        .map(|((at, &truth_value), &estimate)| {
            let labels = truth.axes().iter().enumerate().map(|(axis, names)| names.labels[at[axis]].clone()).collect();
            Miss { labels, truth: truth_value, estimate }
        })
        .collect();
    let size = |miss: &Miss| (miss.estimate - miss.truth).abs();
    misses.sort_by(|a, b| size(b).total_cmp(&size(a)));
    misses.truncate(WORST);
    misses
}

fn pearson(x: &[f64], y: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mx, my) = (mean(x), mean(y));
    let sum = |f: &dyn Fn(f64, f64) -> f64| x.iter().zip(y).map(|(x, y)| f(x - mx, y - my)).sum::<f64>();
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}

/// The rank of each number; equal ones share the mean of theirs.
fn ranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.; values.len()];
    let mut start = 0;
    while start < order.len() {
        let same = order[start..].iter().take_while(|&&at| values[at] == values[order[start]]).count();
        let mean = start as f64 + (same - 1) as f64 / 2.;
        order[start..start + same].iter().for_each(|&at| ranks[at] = mean);
        start += same;
    }
    ranks
}
