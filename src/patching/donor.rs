//! Where the activations that are put in come from.

use std::collections::BTreeMap;
use std::fmt;

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::random::Random;
use crate::tokens::Tokens;
use crate::wide::mean_keepdim;

/// What takes an activation's place when a site is ablated.
#[derive(Clone, Debug, PartialEq)]
pub enum Ablation {
    /// Zeros.
    Zero,
    /// The mean over all prompts, position by position; at least two, for one prompt's mean is what it has.
    Mean,
    /// The mean over the prompts of the same group (the same template, as a rule), position by position: one group number
    /// for each prompt, at least two prompts for each group (Wang et al. 2022).
    MeanByGroup(Vec<usize>),
    /// The activation of another prompt, drawn with this seed; no prompt keeps its own (Chan et al. 2022, "Causal
    /// Scrubbing").
    Resample(u64),
}

/// The other side of a patch.
#[derive(Clone)]
pub(super) enum Donor {
    /// A run of these tokens.
    Run(Tokens),
    Zero,
    /// For each prompt the number of its group, and for each group the prompts whose mean they get.
    Mean(Vec<u32>, Vec<Vec<u32>>),
    /// For each prompt the one whose activation it gets.
    Of(Vec<u32>),
}

impl fmt::Display for Donor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(tokens) => (0..tokens.batch()).try_for_each(|row| write!(f, " run {:?}", tokens.row(row))),
            Self::Zero => f.write_str(" zero"),
            Self::Mean(group, _) => write!(f, " mean {group:?}"),
            Self::Of(others) => write!(f, " of {others:?}"),
        }
    }
}

impl Donor {
    /// # Errors
    /// Groups that are not one number for each prompt; a single prompt, or one that is alone in its group, which has no other;
    /// padded prompts, whose positions mean different things.
    pub(super) fn of(ablation: &Ablation, tokens: &Tokens) -> Result<Self> {
        let prompts = tokens.batch();
        if *ablation != Ablation::Zero && tokens.is_padded() {
            return Err(Error::argument(
                "a mean over prompts, or another prompt's activation, is taken position by position, so the prompts must \
                 have one length: group them by length, or ablate with zeros.",
            ));
        }
        Ok(match ablation {
            Ablation::Zero => Self::Zero,
            Ablation::Mean if prompts < 2 => {
                return Err(Error::argument(
                    "the mean over one prompt is its own activation, so nothing would be ablated: give at least two prompts, \
                     or ablate with zeros.",
                ));
            }
            Ablation::Mean => Self::Mean(vec![0; prompts], vec![(0..prompts as u32).collect()]),
            Ablation::MeanByGroup(groups) if groups.len() != prompts => {
                return Err(Error::argument(format!(
                    "{} group numbers were given for {prompts} prompts: give one for each.",
                    groups.len()
                )));
            }
            Ablation::MeanByGroup(groups) => {
                let mut numbers = BTreeMap::new();
                let mut members: Vec<Vec<u32>> = Vec::new();
                let mut of = Vec::new();
                for (prompt, group) in groups.iter().enumerate() {
                    let number = *numbers.entry(group).or_insert(members.len());
                    if number == members.len() {
                        members.push(Vec::new());
                    }
                    members[number].push(prompt as u32);
                    of.push(number as u32);
                }
                if let Some(alone) = members.iter().find(|members| members.len() < 2) {
                    return Err(Error::argument(format!(
                        "prompt {} is alone in group {}, whose mean is its own activation, so it would not be ablated: \
                         give each group at least two prompts, or take the mean over all (Ablation::Mean).",
                        alone[0], groups[alone[0] as usize]
                    )));
                }
                Self::Mean(of, members)
            }
            Ablation::Resample(_) if prompts < 2 => {
                return Err(Error::argument("one prompt has no other to be resampled from: give at least two."));
            }
            Ablation::Resample(seed) => Self::Of(others(prompts, *seed)),
        })
    }

    /// What is put in where `base` stood.
    pub(super) fn activation(&self, base: &Tensor) -> Result<Tensor> {
        let rows = |rows: &[u32]| -> Result<Tensor> { Ok(base.index_select(&Tensor::new(rows, base.device())?, 0)?) };
        match self {
            Self::Run(_) | Self::Zero => Ok(base.zeros_like()?),
            Self::Of(others) => rows(others),
            Self::Mean(group, members) => {
                // Once for each group, however many prompts it has.
                let means =
                    members.iter().map(|like| Ok(mean_keepdim(&rows(like)?, 0)?)).collect::<Result<Vec<_>>>()?;
                Ok(Tensor::cat(&means, 0)?.index_select(&Tensor::new(&group[..], base.device())?, 0)?)
            }
        }
    }
}

/// For each of `count` another one: a random order in which everyone gets the next one's (Sattolo 1986).
fn others(count: usize, seed: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    let mut random = Random::new(seed);
    for last in (1..count).rev() {
        order.swap(last, random.below(last));
    }
    order
}

#[cfg(test)]
mod tests {
    #[test]
    fn everyone_gets_another_one() {
        for count in [2, 3, 10, 57] {
            for seed in 0..20 {
                let mut others = super::others(count, seed);
                assert!(others.iter().enumerate().all(|(i, &other)| i as u32 != other), "{others:?}");
                others.sort_unstable();
                assert_eq!(others, (0..count as u32).collect::<Vec<_>>());
            }
        }
    }
}
