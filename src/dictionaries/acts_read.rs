//! What is read of the activations of features: those of a position, of a feature, the strongest; and parts and unions of them.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;

use super::acts::FeatureActs;
use crate::error::{Error, Result};
use crate::slice::absolute;

/// One feature that is active somewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureAct {
    /// Where: an index for each axis before that of features, such as `[prompt, pos]`.
    pub index: Vec<usize>,
    /// Which feature.
    pub feature: usize,
    /// How much.
    pub value: f32,
}

impl fmt::Display for FeatureAct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "feature {} at {:?}: {:.4}", self.feature, self.index, self.value)
    }
}

impl FeatureActs {
    /// The features that are active at one position, the strongest first. The position has an index for each axis before that of
    /// features; negative ones count from the end.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let rows = [vec![(3, 0.5)], vec![(0, 0.1), (7, 2.0)]];
    /// let acts = FeatureActs::from_rows(&[1, 2], 8, &rows)?;
    /// let last = acts.at([0, -1])?;
    /// assert_eq!((last[0].feature, last[0].value), (7, 2.0));
    /// assert_eq!(acts.feature(3)?[0].index, [0, 0]);
    /// assert_eq!(acts.top(1)[0].feature, 7);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// Another count of indices than there are axes, or one outside its axis.
    pub fn at(&self, position: impl AsRef<[isize]>) -> Result<Vec<FeatureAct>> {
        let (position, shape) = (position.as_ref(), self.shape());
        if position.len() != shape.len() {
            return Err(Error::argument(format!(
                "the position {position:?} has {} indices, but the activations have the axes {shape:?} before that of features: \
                 give one for each.",
                position.len()
            )));
        }
        let mut place = 0;
        for (&index, &size) in position.iter().zip(&shape) {
            place = place * size + absolute(index, size, "position")?;
        }
        let mut active = self.of_row(place);
        active.sort_by(|a, b| b.value.abs().total_cmp(&a.value.abs()));
        Ok(active)
    }

    /// Every position at which a feature is active, in order.
    ///
    /// # Errors
    /// [`Error::IndexOutOfRange`] for a feature that does not exist.
    pub fn feature(&self, feature: usize) -> Result<Vec<FeatureAct>> {
        self.check_feature(feature)?;
        let at = |place: usize| {
            let (features, values) = self.row(place);
            let found = features.binary_search(&(feature as u32)).ok()?;
            Some(FeatureAct { index: self.index_of(place), feature, value: values[found] })
        };
        Ok((0..self.positions()).filter_map(at).collect())
    }

    /// The `k` strongest activations of all, the strongest first.
    pub fn top(&self, k: usize) -> Vec<FeatureAct> {
        let mut all: Vec<(usize, usize)> =
            (0..self.positions()).flat_map(|place| (0..self.row(place).0.len()).map(move |n| (place, n))).collect();
        let strength = |(place, n): &(usize, usize)| Reverse(Ordered(self.row(*place).1[*n].abs()));
        if k < all.len() {
            all.select_nth_unstable_by_key(k, |at| (strength(at), *at));
            all.truncate(k);
        }
        all.sort_unstable_by_key(|at| (strength(at), *at));
        let of = |(place, n): (usize, usize)| {
            let (features, values) = self.row(place);
            FeatureAct { index: self.index_of(place), feature: features[n] as usize, value: values[n] }
        };
        all.into_iter().map(of).collect()
    }

    /// The active features of each position in turn, in order of feature.
    pub fn rows(&self) -> impl Iterator<Item = Vec<FeatureAct>> + use<> {
        let acts = self.clone();
        (0..self.positions()).map(move |place| acts.of_row(place))
    }

    /// At how many positions each feature is active.
    ///
    /// # Shapes
    /// `[d_sae]`.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.d_sae()];
        for place in 0..self.positions() {
            self.row(place).0.iter().for_each(|feature| counts[*feature as usize] += 1);
        }
        counts
    }

    /// Those at these indices of the first axis, such as some prompts of a batch, in this order.
    ///
    /// # Errors
    /// Activations without axes, and an index outside the first axis.
    pub fn select(&self, indices: impl IntoIterator<Item = usize>) -> Result<Self> {
        let mut shape = self.shape();
        let Some(&size) = shape.first() else {
            return Err(Error::argument(
                "the activations are of one position and have no axis of which some could be selected.",
            ));
        };
        let within: usize = shape[1..].iter().product();
        let (mut rows, mut count) = (Vec::new(), 0);
        for index in indices {
            if index >= size {
                return Err(Error::IndexOutOfRange { axis: "first axis", index: index as isize, size });
            }
            rows.extend((index * within..(index + 1) * within).map(|place| self.pairs(place)));
            count += 1;
        }
        shape[0] = count;
        Self::from_rows(&shape, self.d_sae(), &rows)
    }

    /// Only these features; the others count as not active.
    ///
    /// # Errors
    /// [`Error::IndexOutOfRange`] for a feature that does not exist.
    pub fn only(&self, features: impl IntoIterator<Item = usize>) -> Result<Self> {
        let kept: BTreeSet<usize> = features.into_iter().collect();
        kept.iter().try_for_each(|feature| self.check_feature(*feature))?;
        let keep = |place: usize| {
            let mut row = self.pairs(place);
            row.retain(|(feature, _)| kept.contains(&(*feature as usize)));
            row
        };
        let rows: Vec<_> = (0..self.positions()).map(keep).collect();
        Self::from_rows(&self.shape(), self.d_sae(), &rows)
    }

    /// Several batches as one, along the first axis.
    ///
    /// # Errors
    /// [`Error::Argument`] for no batch at all, and [`Error::Shape`] for batches that differ in anything but the first axis.
    pub fn concat(batches: impl IntoIterator<Item = Self>) -> Result<Self> {
        let batches: Vec<Self> = batches.into_iter().collect();
        let Some(first) = batches.first() else {
            return Err(Error::argument("no activations were given to put together: give at least one batch."));
        };
        let (mut shape, d_sae) = (first.shape(), first.d_sae());
        let mut rows = Vec::new();
        let mut size = 0;
        for batch in &batches {
            let other = batch.shape();
            if other.is_empty() || other[1..] != shape[1..] || batch.d_sae() != d_sae {
                let expected =
                    format!("[.., {:?}] with {d_sae} features, as the first batch", &shape[1.min(shape.len())..]);
                let got: Vec<usize> = other.into_iter().chain([batch.d_sae()]).collect();
                return Err(Error::shape("activations that are put together", expected, &got));
            }
            size += other[0];
            rows.extend((0..batch.positions()).map(|place| batch.pairs(place)));
        }
        shape[0] = size;
        Self::from_rows(&shape, d_sae, &rows)
    }

    /// The index of a position on each axis before that of features.
    fn index_of(&self, mut place: usize) -> Vec<usize> {
        let shape = self.shape();
        let mut index = vec![0; shape.len()];
        for (index, size) in index.iter_mut().zip(shape).rev() {
            (*index, place) = (place % size, place / size);
        }
        index
    }

    fn of_row(&self, place: usize) -> Vec<FeatureAct> {
        let index = self.index_of(place);
        let act = |(feature, value): (u32, f32)| FeatureAct { index: index.clone(), feature: feature as usize, value };
        self.pairs(place).into_iter().map(act).collect()
    }

    fn check_feature(&self, feature: usize) -> Result<()> {
        match feature < self.d_sae() {
            true => Ok(()),
            false => Err(Error::IndexOutOfRange { axis: "feature", index: feature as isize, size: self.d_sae() }),
        }
    }
}

/// A float by its total order.
#[derive(PartialEq)]
struct Ordered(f32);

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}
