//! Which examples a probe is fitted to, and which are held out.

use std::collections::BTreeMap;
use std::fmt;

use super::target::ProbeTarget;
use crate::error::{Error, Result};
use crate::random::Random;

/// How many orders of the groups are tried; the division nearest to the share that was asked for is taken.
const ORDERS: usize = 32;

/// Which examples a probe is fitted to, and which are held out.
///
/// ```
/// use candle_lens::prelude::*;
/// let labels = [true, true, true, true, false, false, false, false];
/// let split = ProbeSplit::stratified(labels, 0.25, 0)?;
/// assert_eq!((split.train.len(), split.test.len()), (6, 2));
/// // All examples of a noun are on one side.
/// let nouns = ["key", "key", "cat", "cat", "key", "key", "cat", "cat"];
/// let split = ProbeSplit::grouped(labels, nouns, 0.5, 0)?;
/// assert!(split.test.iter().all(|&at| nouns[at] == nouns[split.test[0]]));
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeSplit {
    /// The examples that are fitted.
    pub train: Vec<usize>,
    /// The examples that are held out.
    pub test: Vec<usize>,
}

impl ProbeSplit {
    /// Holds out this share of the examples, drawn with a seed; of labels, this share of each kind.
    ///
    /// # Errors
    /// A share that is not between 0 and 1, labels of one kind, fewer than two examples of a kind.
    pub fn stratified(target: impl Into<ProbeTarget>, share: f64, seed: u64) -> Result<Self> {
        let target = target.into();
        let strata = strata(&target, share)?;
        let mut random = Random::new(seed);
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for mut stratum in strata {
            if stratum.len() < 2 {
                return Err(Error::argument(format!(
                    "there are {} examples of a kind, but one is needed on each side of a split: give at least two of each kind.",
                    stratum.len()
                )));
            }
            random.shuffle(&mut stratum);
            let fitted = stratum.split_off(held_out(stratum.len(), share));
            test.extend(stratum);
            train.extend(fitted);
        }
        Ok(Self::sorted(train, test))
    }

    /// Holds out whole groups, drawn with a seed, so that about this share of the examples is held out; of labels, of each kind. What is
    /// read must then hold for groups that were not fitted: other nouns, templates, authors.
    ///
    /// # Errors
    /// As [`ProbeSplit::stratified`]; another count of groups; groups that cannot be divided so that both sides have both labels.
    pub fn grouped<G: Ord>(
        target: impl Into<ProbeTarget>,
        groups: impl IntoIterator<Item = G>,
        share: f64,
        seed: u64,
    ) -> Result<Self> {
        let target = target.into();
        let strata = strata(&target, share)?;
        let mut members: BTreeMap<G, Vec<usize>> = BTreeMap::new();
        let mut count = 0;
        for (at, group) in groups.into_iter().enumerate() {
            members.entry(group).or_default().push(at);
            count += 1;
        }
        if count != target.len() {
            return Err(Error::argument(format!(
                "{count} groups were given for {} examples: give one for each.",
                target.len()
            )));
        }
        let members: Vec<Vec<usize>> = members.into_values().collect();
        let mut kind_of = vec![0; target.len()];
        strata.iter().enumerate().for_each(|(kind, stratum)| stratum.iter().for_each(|&at| kind_of[at] = kind));
        let counts = |group: &Vec<usize>| -> Vec<usize> {
            (0..strata.len()).map(|kind| group.iter().filter(|&&at| kind_of[at] == kind).count()).collect()
        };
        let counts: Vec<Vec<usize>> = members.iter().map(counts).collect();
        let totals: Vec<usize> = strata.iter().map(Vec::len).collect();
        let mut random = Random::new(seed);
        let tried = (0..ORDERS).filter_map(|_| {
            let mut order: Vec<usize> = (0..members.len()).collect();
            random.shuffle(&mut order);
            divided(&order, &counts, &totals, share)
        });
        let best = tried.min_by(|a, b| a.0.total_cmp(&b.0)).ok_or_else(|| {
            Error::argument(format!(
                "{} groups cannot be divided so that every kind of label is on both sides: each kind needs two groups that have it. Give \
                 more groups, or use ProbeSplit::stratified.",
                members.len()
            ))
        })?;
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for (group, is_held_out) in members.into_iter().zip(best.1) {
            if is_held_out { test.extend(group) } else { train.extend(group) }
        }
        Ok(Self::sorted(train, test))
    }

    fn sorted(mut train: Vec<usize>, mut test: Vec<usize>) -> Self {
        train.sort_unstable();
        test.sort_unstable();
        Self { train, test }
    }

    /// # Errors
    /// An empty side, an example that does not exist or is on both sides.
    pub(super) fn check(&self, count: usize) -> Result<()> {
        let mut seen = vec![false; count];
        for &at in self.train.iter().chain(&self.test) {
            let Some(seen) = seen.get_mut(at) else {
                return Err(Error::argument(format!(
                    "the split names example {at}, but there are {count}: split the examples that are given."
                )));
            };
            if std::mem::replace(seen, true) {
                return Err(Error::argument(format!(
                    "the split names example {at} twice: an example is either fitted or held out."
                )));
            }
        }
        match self.train.is_empty() || self.test.is_empty() {
            true => Err(Error::argument(format!(
                "the split has {} examples to fit and {} held out: at least one of each is needed.",
                self.train.len(),
                self.test.len()
            ))),
            false => Ok(()),
        }
    }
}

/// The examples of each label; of numbers, all together.
fn strata(target: &ProbeTarget, share: f64) -> Result<Vec<Vec<usize>>> {
    if !(share > 0. && share < 1.) {
        return Err(Error::argument(format!(
            "a share of {share} of the examples is to be held out: give one between 0 and 1, such as 0.3."
        )));
    }
    target.check()?;
    Ok(match target {
        ProbeTarget::Labels(labels) => {
            [false, true].map(|kind| (0..labels.len()).filter(|&at| labels[at] == kind).collect()).into()
        }
        ProbeTarget::Numbers(numbers) => vec![(0..numbers.len()).collect()],
    })
}

/// How many of `count` examples are held out: at least one, and not all.
fn held_out(count: usize, share: f64) -> usize {
    ((share * count as f64).round() as usize).clamp(1, count.saturating_sub(1).max(1))
}

/// Groups taken in this order while that brings the counts of each kind nearer to their share, or adds a kind that is not held out yet, and
/// leaves each kind to be fitted. How far the counts are from the share, and which groups are held out; none where a kind is missing.
fn divided(order: &[usize], counts: &[Vec<usize>], totals: &[usize], share: f64) -> Option<(f64, Vec<bool>)> {
    let far = |held: &[usize]| -> f64 {
        let of = |(held, total): (&usize, &usize)| ((*held as f64 - share * *total as f64) / *total as f64).powi(2);
        held.iter().zip(totals).map(of).sum()
    };
    let (mut held, mut chosen) = (vec![0; totals.len()], vec![false; counts.len()]);
    for &group in order {
        let next: Vec<usize> = held.iter().zip(&counts[group]).map(|(held, count)| held + count).collect();
        let adds_a_kind = held.iter().zip(&next).any(|(held, next)| *held == 0 && *next > 0);
        let leaves_all = next.iter().zip(totals).all(|(next, total)| next < total);
        if leaves_all && (adds_a_kind || far(&next) < far(&held)) {
            (held, chosen[group]) = (next, true);
        }
    }
    held.iter().all(|held| *held > 0).then(|| (far(&held), chosen))
}

impl fmt::Display for ProbeSplit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} examples to fit, {} held out", self.train.len(), self.test.len())
    }
}
