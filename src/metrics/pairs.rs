//! Right and wrong tokens of each row, each side with a weight.

use candle_core::Tensor;

use super::metric::Read;
use crate::error::{Error, Result};

/// Lists of right and of wrong tokens, one of each for every prompt, or for every row.
#[derive(Clone)]
pub(super) struct Pairs {
    lists: Vec<[Vec<u32>; 2]>,
}

impl Pairs {
    /// # Errors
    /// Different numbers of right and wrong lists; lists that are the same on both sides in every prompt.
    pub fn new(right: Vec<Vec<u32>>, wrong: Vec<Vec<u32>>) -> Result<Self> {
        if right.len() != wrong.len() {
            return Err(Error::argument(format!(
                "right tokens were given for {} prompts and wrong ones for {}: give a list of each for every prompt.",
                right.len(),
                wrong.len()
            )));
        }
        let Self { lists } = Self::of_lists(right, wrong);
        let same = |[right, wrong]: &[Vec<u32>; 2]| {
            let [mut right, mut wrong] = [right.clone(), wrong.clone()];
            right.sort_unstable();
            wrong.sort_unstable();
            right == wrong
        };
        check_some_differ(lists.iter().map(same))?;
        Ok(Self { lists })
    }

    /// The same number of lists on each side.
    pub fn of_lists(right: Vec<Vec<u32>>, wrong: Vec<Vec<u32>>) -> Self {
        Self { lists: right.into_iter().zip(wrong).map(<[Vec<u32>; 2]>::from).collect() }
    }

    /// One right and one wrong token for each prompt.
    pub fn of_answers(right: &[u32], wrong: &[u32]) -> Self {
        Self { lists: right.iter().zip(wrong).map(|(&right, &wrong)| [vec![right], vec![wrong]]).collect() }
    }

    pub fn len(&self) -> usize {
        self.lists.len()
    }

    pub fn tokens(&self) -> impl Iterator<Item = u32> {
        self.lists.iter().flatten().flatten().copied()
    }

    /// The sum of `x` at the right tokens of each row minus the sum at its wrong ones, or the difference of the means.
    ///
    /// # Shapes
    /// `x [copy * row, column]`; the result is `[copy * row]`.
    pub fn difference(&self, read: &Read, x: &Tensor, means: bool) -> Result<Tensor> {
        let lists = read.rows.spread(&self.lists).expect("answers were counted when the metric was bound");
        let longest = lists.iter().map(|[right, wrong]| right.len() + wrong.len()).max().unwrap_or(0);
        let (mut tokens, mut weights) = (Vec::new(), Vec::new());
        for [right, wrong] in &lists {
            let weight = |list: &[u32]| if means { 1. / list.len() as f32 } else { 1. };
            let mut of_row = [right.clone(), wrong.clone()].concat();
            weights.extend(right.iter().map(|_| weight(right)).chain(wrong.iter().map(|_| -weight(wrong))));
            weights.extend(std::iter::repeat_n(0., longest - of_row.len()));
            // Shorter lists are filled up with one of their tokens, whose weight is 0.
            of_row.resize(longest, right.first().or(wrong.first()).copied().unwrap_or(0));
            tokens.push(of_row);
        }
        let weights = Tensor::from_vec(weights, (lists.len(), longest), x.device())?.repeat((read.copies()?, 1))?;
        Ok((read.gather(x, &tokens)? * weights)?.sum(1)?)
    }
}

impl Pairs {
    /// The largest of `x` at the right tokens of each row, and at the wrong ones.
    ///
    /// # Shapes
    /// `x [copy * row, column]`; the results are `[copy * row]`.
    pub fn largest(&self, read: &Read, x: &Tensor) -> Result<[Tensor; 2]> {
        let lists = read.rows.spread(&self.lists).expect("answers were counted when the metric was bound");
        let side = |side: usize| -> Result<Tensor> {
            let longest = lists.iter().map(|lists| lists[side].len()).max().unwrap_or(0);
            // Shorter lists are filled up with their own tokens, which leaves the largest as it is.
            let tokens = lists.iter().map(|lists| lists[side].iter().copied().cycle().take(longest).collect());
            Ok(read.gather(x, &tokens.collect::<Vec<_>>())?.max(1)?)
        };
        Ok([side(0)?, side(1)?])
    }
}

/// One pair of equal answers has the difference 0 and does no harm; if all pairs are equal, nothing is measured.
///
/// # Errors
/// No pair of different answers.
pub(super) fn check_some_differ(mut same: impl ExactSizeIterator<Item = bool>) -> Result<()> {
    let count = same.len();
    match count > 0 && same.all(|same| same) {
        true => Err(Error::argument(format!(
            "each of the {count} pairs has the same correct and incorrect answer, so every difference is 0 whatever \
             the model does: give at least one pair of different answers."
        ))),
        false => Ok(()),
    }
}
