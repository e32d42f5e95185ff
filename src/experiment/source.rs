//! Where the activations that are patched in come from.

use std::collections::BTreeMap;
use std::fmt;

use candle_core::{DType, Device, Tensor};

use super::baseline::Baseline;
use crate::error::{Error, Result};
use crate::hooks::{AxisName, HookPlan, HookPoint, MeanOver};
use crate::model::{HookedTransformer, RunOptions};
use crate::random::Random;
use crate::tokens::{Input, Tokens};
use crate::variables::{Held, Holds};
use crate::wide::mean_keepdim;

/// A [`Baseline`] checked against the prompts.
#[derive(Clone)]
pub(crate) enum Source {
    /// A run of these tokens.
    Run(Tokens),
    Zero,
    /// The mean over prompts and positions of these tokens, or of the clean ones.
    Everywhere(Option<Tokens>),
    /// The mean over these prompts, position by position.
    ByPosition(Tokens),
    /// For each prompt the number of its group, and for each group the prompts whose mean they get.
    Groups(Vec<u32>, Vec<Vec<u32>>),
    /// For each prompt the one whose activation it gets.
    Others(Vec<u32>),
}

impl Holds for Source {
    fn holds(&self, held: &mut Held) {
        match self {
            Self::Run(tokens) | Self::Everywhere(Some(tokens)) | Self::ByPosition(tokens) => held.add(tokens),
            Self::Groups(groups, members) => {
                held.add(groups);
                held.add(members);
            }
            Self::Others(others) => held.add(others),
            Self::Zero | Self::Everywhere(None) => {}
        }
    }
}

impl fmt::Display for Source {
    /// All that decides what is patched in, by which the file of a sweep is recognised.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = |what: &str, tokens: &Tokens| {
            (0..tokens.batch()).try_for_each(|row| write!(f, " {what} {:?}", tokens.real_row(row)))
        };
        match self {
            Self::Run(tokens) => (0..tokens.batch()).try_for_each(|row| write!(f, " run {:?}", tokens.row(row))),
            Self::Everywhere(Some(tokens)) => rows("mean of", tokens),
            Self::ByPosition(tokens) => rows("positional mean of", tokens),
            Self::Zero => f.write_str(" zero"),
            Self::Everywhere(None) => f.write_str(" mean over positions"),
            Self::Groups(group, _) => write!(f, " mean {group:?}"),
            Self::Others(others) => write!(f, " of {others:?}"),
        }
    }
}

impl Source {
    /// # Errors
    /// Prompts that are not the counterparts of the clean ones; a mean that is some prompt's own activation; a mean or another
    /// prompt by position where prompts have several lengths; groups that are not one number for each prompt.
    pub(super) fn of(model: &HookedTransformer, baseline: Baseline, clean: &Tokens) -> Result<Self> {
        Ok(match baseline {
            Baseline::Prompts(prompts) => {
                let corrupted = model.to_tokens(prompts)?;
                check_alike(clean, &corrupted)?;
                Self::Run(corrupted)
            }
            Baseline::Zero => Self::Zero,
            Baseline::Mean { over, of: Some(prompts) } => Self::mean_of(model, over, prompts, clean)?,
            Baseline::Mean { over: MeanOver::BatchAndPos, of: None } => {
                if clean.lengths().iter().sum::<usize>() < 2 {
                    return Err(Error::argument(
                        "the mean over one token is its own activation, so nothing would be ablated: give more prompts \
                         or longer ones, or ablate with zeros.",
                    ));
                }
                Self::Everywhere(None)
            }
            Baseline::Mean { over: MeanOver::Batch, of: None } => {
                check_unpadded(clean)?;
                if clean.batch() < 2 {
                    return Err(Error::argument(
                        "the mean over one prompt is its own activation, so nothing would be ablated: give at least \
                         two prompts, or ablate with zeros.",
                    ));
                }
                let prompts = clean.batch();
                Self::Groups(vec![0; prompts], vec![(0..prompts as u32).collect()])
            }
            Baseline::MeanByGroup(groups) => Self::groups(&groups, clean)?,
            Baseline::Resample(seed) => {
                check_unpadded(clean)?;
                if clean.batch() < 2 {
                    return Err(Error::argument("one prompt has no other to be resampled from: give at least two."));
                }
                Self::Others(others(clean.batch(), seed))
            }
        })
    }

    fn mean_of(model: &HookedTransformer, over: MeanOver, prompts: Input, clean: &Tokens) -> Result<Self> {
        let tokens = model.to_tokens(prompts)?;
        let by_position = over == MeanOver::Batch;
        if by_position && (tokens.pos() != clean.pos() || tokens.is_padded()) {
            return Err(Error::tokens(format!(
                "the mean of each position was asked for, but the prompts to take it over have {} positions{}, and \
                 those to be ablated have {}: give prompts of that length, or take MeanOver::BatchAndPos.",
                tokens.pos(),
                if tokens.is_padded() { " with padding" } else { "" },
                clean.pos()
            )));
        }
        check_mean(&tokens, by_position, clean)?;
        Ok(if by_position { Self::ByPosition(tokens) } else { Self::Everywhere(Some(tokens)) })
    }

    fn groups(groups: &[usize], clean: &Tokens) -> Result<Self> {
        check_unpadded(clean)?;
        if groups.len() != clean.batch() {
            return Err(Error::argument(format!(
                "{} group numbers were given for {} prompts: give one for each.",
                groups.len(),
                clean.batch()
            )));
        }
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
                "prompt {} is alone in group {}, whose mean is its own activation, so it would not be ablated: give \
                 each group at least two prompts, or take the mean over all (Baseline::Mean).",
                alone[0], groups[alone[0] as usize]
            )));
        }
        Ok(Self::Groups(of, members))
    }

    /// What is done to edges or activations, for titles.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Run(_) => "patching",
            Self::Zero => "zero ablation",
            Self::Everywhere(_) => "mean ablation",
            Self::ByPosition(_) => "positional mean ablation",
            Self::Groups(_, members) if members.len() == 1 => "positional mean ablation",
            Self::Groups(..) => "mean ablation by group",
            Self::Others(_) => "resampling ablation",
        }
    }

    /// What takes the place of these activations of a run of `tokens`.
    ///
    /// # Errors
    /// A mean over positions at a point whose activations are of pairs of positions; and as [`HookedTransformer::run`].
    pub(crate) fn activations(
        &self,
        model: &HookedTransformer,
        tokens: &Tokens,
        there: &BTreeMap<HookPoint, Tensor>,
    ) -> Result<BTreeMap<HookPoint, Tensor>> {
        if let Self::Everywhere(_) = self {
            check_no_pairs(there.keys())?;
        }
        let elsewhere = match self {
            Self::Run(other) => return captured(model, other, there.keys()),
            Self::Everywhere(Some(other)) | Self::ByPosition(other) => captured(model, other, there.keys())?,
            _ => BTreeMap::new(),
        };
        let instead = |(point, there): (&HookPoint, &Tensor)| {
            Ok((
                *point,
                match self {
                    Self::Everywhere(Some(other)) => mean_of_tokens(&elsewhere[point], other, there)?,
                    Self::Everywhere(None) => mean_of_tokens(there, tokens, there)?,
                    Self::ByPosition(_) => {
                        mean_keepdim(&elsewhere[point], 0)?.broadcast_as(there.shape())?.contiguous()?
                    }
                    Self::Others(others) => rows(there, others)?,
                    Self::Groups(group, members) => {
                        // Once for each group, however many prompts it has.
                        let means = members
                            .iter()
                            .map(|like| Ok(mean_keepdim(&rows(there, like)?, 0)?))
                            .collect::<Result<Vec<_>>>()?;
                        rows(&Tensor::cat(&means, 0)?, group)?
                    }
                    Self::Run(_) | Self::Zero => there.zeros_like()?,
                },
            ))
        };
        there.iter().map(instead).collect()
    }
}

/// The activations of a run at these points.
pub(crate) fn captured<'a>(
    model: &HookedTransformer,
    tokens: &Tokens,
    points: impl IntoIterator<Item = &'a HookPoint>,
) -> Result<BTreeMap<HookPoint, Tensor>> {
    let plan = points.into_iter().fold(HookPlan::new(), |plan, &point| plan.capture(point));
    let options = RunOptions { logits: false, ..Default::default() };
    Ok(model.run(tokens, &plan, &options)?.captured)
}

fn rows(x: &Tensor, rows: &[u32]) -> Result<Tensor> {
    Ok(x.index_select(&Tensor::new(rows, x.device())?, 0)?)
}

/// The mean over all prompts and positions that hold a token, spread over prompts and positions of `like`.
///
/// # Shapes
/// `x [batch, pos, ..]`.
fn mean_of_tokens(x: &Tensor, tokens: &Tokens, like: &Tensor) -> Result<Tensor> {
    let (batch, pos) = (tokens.batch(), tokens.pos());
    let real: Vec<f32> = (0..batch * pos).map(|i| f32::from(u8::from(tokens.is_real(i / pos, i % pos)))).collect();
    let count = real.iter().sum::<f32>();
    let real = Tensor::from_vec(real, (1, batch * pos), &Device::Cpu)?.to_device(x.device())?;
    let width = x.elem_count() / (batch * pos);
    // In f32: a sum over many positions may leave the range of half precision.
    let sum = real.matmul(&x.reshape((batch * pos, width))?.to_dtype(DType::F32)?)?;
    let mut shape = like.dims().to_vec();
    (shape[0], shape[1]) = (1, 1);
    let mean = (sum / f64::from(count))?.reshape(shape)?.to_dtype(x.dtype())?;
    Ok(mean.broadcast_as(like.shape())?.contiguous()?)
}

/// Refuses activations that have a number for each pair of positions: a later position has more of them.
fn check_no_pairs<'a>(mut points: impl Iterator<Item = &'a HookPoint>) -> Result<()> {
    match points.find(|point| point.axes().contains(&AxisName::KPos)) {
        Some(point) => Err(Error::argument(format!(
            "{point} has a number for each pair of positions, of which a later position has more, so there is no mean \
             over positions: take MeanOver::Batch."
        ))),
        None => Ok(()),
    }
}

fn check_unpadded(clean: &Tokens) -> Result<()> {
    match clean.is_padded() {
        true => Err(Error::argument(
            "a mean over prompts, or another prompt's activation, is taken position by position, so the prompts must \
             have one length: group them by length, or ablate with zeros.",
        )),
        false => Ok(()),
    }
}

/// Refuses a mean that is some prompt's own activation, so that nothing would be ablated: the mean of that prompt alone, by
/// position, or of a prompt of one token.
fn check_mean(of: &Tokens, by_position: bool, clean: &Tokens) -> Result<()> {
    let first = of.real_row(0);
    let of_one = (0..of.batch()).all(|row| of.real_row(row) == first) && (by_position || first.len() == 1);
    match (0..clean.batch()).find(|&row| of_one && clean.real_row(row) == first) {
        Some(row) => Err(Error::argument(format!(
            "the mean is taken over prompt {row} alone, so it is what that prompt has anyway and nothing of it would \
             be ablated: take it over other prompts as well, or over positions (MeanOver::BatchAndPos)."
        ))),
        None => Ok(()),
    }
}

/// Refuses two batches that cannot be compared prompt by prompt and position by position.
fn check_alike(clean: &Tokens, corrupted: &Tokens) -> Result<()> {
    if clean.batch() != corrupted.batch() {
        return Err(Error::tokens(format!(
            "there are {} clean prompts and {} corrupted ones: each needs its counterpart.",
            clean.batch(),
            corrupted.batch()
        )));
    }
    let lengths = clean.lengths().into_iter().zip(corrupted.lengths());
    if let Some((prompt, (a, b))) = lengths.enumerate().find(|(_, (a, b))| a != b) {
        return Err(Error::tokens(format!(
            "prompt {prompt} has {a} tokens clean and {b} corrupted, but patching goes position by position: make them \
             equally long (to_str_tokens shows the tokens)."
        )));
    }
    if clean.pos() != corrupted.pos() || clean.first_positions() != corrupted.first_positions() {
        return Err(Error::tokens("the two batches are padded differently: pad both on the same side to one length."));
    }
    Ok(())
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
