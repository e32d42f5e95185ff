//! A subspace found from pairs at one place.

use std::collections::{BTreeMap, BTreeSet};

use super::das;
use super::options::AlignBy;
use super::place::Place;
use super::subspace::Subspace;
use crate::error::{Error, Result};
use crate::probes::{Probe, largest_mean_differences};
use crate::tokens::Tokens;

/// The subspace for these targets, and where it is learnt the mean loss of each epoch.
///
/// # Errors
/// Targets that are all alike or more than two for a probe or neurons; and whatever a fit returns.
pub(super) fn aligned(place: &Place, targets: &[u32], align: &AlignBy) -> Result<(Subspace, Vec<f64>)> {
    // One target for each row of the sources.
    let of_rows = || place.pairs.source_at.iter().zip(targets).flat_map(|(at, &target)| at.iter().map(move |_| target));
    Ok(match align {
        AlignBy::Given(subspace) => (subspace.clone(), Vec::new()),
        AlignBy::Means => (Subspace::means(&place.source, of_rows())?, Vec::new()),
        AlignBy::Probe { strength } => {
            let labels = two_kinds(of_rows(), "a probe")?;
            (Subspace::probe(&Probe::logistic(&place.source, labels, *strength)?)?, Vec::new())
        }
        AlignBy::Neurons { count } => {
            let labels = two_kinds(of_rows(), "neurons")?;
            let chosen = largest_mean_differences(&place.source, labels, *count)?;
            let chosen: Vec<isize> = chosen.into_iter().map(|neuron| neuron as isize).collect();
            (Subspace::neurons(place.width, chosen)?, Vec::new())
        }
        AlignBy::Das(options) => das::learn(place, targets, options)?,
    })
}

/// Whether each target is the larger of two.
fn two_kinds(targets: impl Iterator<Item = u32>, what: &str) -> Result<Vec<bool>> {
    let targets: Vec<u32> = targets.collect();
    let kinds: BTreeSet<u32> = targets.iter().copied().collect();
    match kinds.len() {
        2 => Ok(targets.iter().map(|target| Some(target) == kinds.last()).collect()),
        count => Err(Error::argument(format!(
            "{what} of two kinds of answers cannot be found from pairs with {count}: give pairs that predict two, or use AlignBy::Means or \
             AlignBy::Das."
        ))),
    }
}

/// Arbitrary targets for fitted and held-out pairs, among those of the fitted ones: the distinct sources in the order of a hash of their
/// tokens and the seed, the fitted ones first, get one after the other, so that equal sources have the same and each target is as frequent
/// as any other.
///
/// # Errors
/// One source of fitted pairs only.
pub(super) fn arbitrary(sources: [&Tokens; 2], targets: &[u32], seed: u64) -> Result<[Vec<u32>; 2]> {
    let rows = |tokens: &Tokens| (0..tokens.batch()).map(|row| tokens.real_row(row)).collect::<Vec<_>>();
    let rows = sources.map(rows);
    let kinds: Vec<u32> = targets.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let mut numbers: BTreeMap<&Vec<u32>, u32> = BTreeMap::new();
    for of_set in &rows {
        let distinct: BTreeSet<(u64, &Vec<u32>)> = of_set.iter().map(|row| (hash(row, seed), row)).collect();
        for (_, row) in distinct {
            let next = kinds[numbers.len() % kinds.len()];
            numbers.entry(row).or_insert(next);
        }
        if numbers.len() < 2 {
            return Err(Error::argument(
                "all fitted sources are the same prompt, so that labels cannot be shuffled among them: give pairs of several sources.",
            ));
        }
    }
    Ok(rows.each_ref().map(|rows| rows.iter().map(|row| numbers[row]).collect()))
}

/// FNV-1a over 32-bit words, then SplitMix64's finish (Steele et al. 2014).
fn hash(row: &[u32], seed: u64) -> u64 {
    let word = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    let mut z = row.iter().fold(word(0xcbf2_9ce4_8422_2325, seed), |hash, id| word(hash, u64::from(*id)));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
