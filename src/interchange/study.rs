//! A subspace found on some pairs, its accuracy on others, and three controls.

use std::fmt;

use super::align::{aligned, arbitrary};
use super::options::{AlignBy, InterchangeOptions};
use super::pairs::Interchange;
use super::place::{Move, Place};
use super::score::InterchangeScore;
use super::subspace::Subspace;
use crate::error::{Error, Result};
use crate::hooks::{HookPoint, HookQuery};
use crate::progress::Progress;

/// A score on the pairs from which a subspace was found, and one on others.
#[derive(Clone, Debug, PartialEq)]
pub struct FittedAndHeldOut {
    /// On the pairs from which it was found.
    pub fitted: InterchangeScore,
    /// On other pairs.
    pub held_out: InterchangeScore,
}

/// A subspace that was found on some pairs, its interchange accuracy on others, and the controls. Made by [`Interchange::study`].
#[derive(Clone, Debug)]
pub struct InterchangeStudy {
    /// Where activations are exchanged.
    pub point: HookPoint,
    /// How the subspace was found.
    pub align: AlignBy,
    /// The subspace.
    pub subspace: Subspace,
    /// The mean loss of each epoch, where it was learnt.
    pub losses: Vec<f64>,
    /// The interchange of the subspace.
    pub aligned: FittedAndHeldOut,
    /// No interchange: how often the base answers what was predicted anyway.
    pub untouched: FittedAndHeldOut,
    /// The whole activation is the source's: what any subspace can hope for.
    pub whole: FittedAndHeldOut,
    /// Random subspaces in which each base is moved as far as in the aligned one.
    pub moved_as_far: Vec<FittedAndHeldOut>,
    /// The same search for answers that are a hash of the source, scored by these: what the method finds where there is nothing.
    pub arbitrary: FittedAndHeldOut,
    /// The same search in an untrained copy of the model.
    pub untrained: FittedAndHeldOut,
}

/// What is kept of one place in both sets of pairs.
struct Both<'a> {
    fitted: Place<'a>,
    held_out: Place<'a>,
}

/// The targets of both sets.
type Targets = [Vec<u32>; 2];

impl Both<'_> {
    fn scored(&self, to: &Move, [fitted, held_out]: &Targets) -> Result<FittedAndHeldOut> {
        Ok(FittedAndHeldOut { fitted: self.fitted.score(to, fitted)?, held_out: self.held_out.score(to, held_out)? })
    }

    /// A subspace found for these targets, its losses, and its scores by them.
    fn search(&self, targets: &Targets, align: &AlignBy) -> Result<(Subspace, Vec<f64>, FittedAndHeldOut)> {
        let (subspace, losses) = aligned(&self.fitted, &targets[0], align)?;
        let scores = self.scored(&self.along(&subspace)?, targets)?;
        Ok((subspace, losses, scores))
    }

    fn along(&self, subspace: &Subspace) -> Result<Move> {
        Move::along(subspace, self.fitted.pairs.strength, &self.fitted)
    }
}

impl Interchange {
    /// Finds a subspace at a point from these pairs, by default by DAS, and scores its interchange on them and on `held_out`, beside three
    /// controls, no interchange and that of the whole activation.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let pairs = |nouns: [&str; 4]| {
    ///     let texts: Vec<String> = nouns.iter().flat_map(|noun| [format!("The {noun} near the door"), format!("The {noun}s near the door")]).collect();
    ///     let (mut base, mut source, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    ///     for (at, text) in texts.iter().enumerate() {
    ///         for (other, from) in texts.iter().enumerate().filter(|(other, _)| *other != at) {
    ///             base.push(text.clone());
    ///             source.push(from.clone());
    ///             answers.push(if other % 2 == 0 { " is" } else { " are" });
    ///         }
    ///     }
    ///     Interchange::new(&model, &base, &source, answers)?.at(2)
    /// };
    /// let (train, test) = (pairs(["key", "author", "cabinet", "doctor"])?, pairs(["teacher", "table", "letter", "garden"])?);
    /// let study = train.study(&test, ("resid_post", 0), AlignBy::Means)?;
    /// assert!(study.aligned.held_out.accuracy() > study.moved_as_far[0].held_out.accuracy());
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// Pairs of two models or of two strengths, fewer than two answers, options that do not fit the point; a half-precision model where a basis
    /// is learnt; as [`Interchange::logits`].
    pub fn study(
        &self,
        held_out: &Self,
        point: impl Into<HookQuery>,
        options: impl Into<InterchangeOptions>,
    ) -> Result<InterchangeStudy> {
        self.studied(held_out, self.model.point_of(&point.into())?, &options.into())
    }

    pub(super) fn studied(
        &self,
        held_out: &Self,
        point: HookPoint,
        options: &InterchangeOptions,
    ) -> Result<InterchangeStudy> {
        let (train, test) = self.comparable(held_out)?;
        let mut progress = Progress::of("studying a subspace", 6 + options.repeats as u64, "parts");
        let width = point.shape(&train.model.dims(), 1, 1).iter().product();
        options.check(&train.model, width)?;
        let targets = [train.targets.clone(), test.targets.clone()];
        let arbitrary = arbitrary([&train.source, &test.source], &train.targets, options.seed)?;
        let both =
            Both { fitted: Place::of(&train, &train.model, point)?, held_out: Place::of(&test, &train.model, point)? };
        let (untouched, whole) = (both.scored(&Move::Nowhere, &targets)?, both.scored(&Move::Onto, &targets)?);
        progress.step(2)?;
        let (subspace, losses, aligned) = both.search(&targets, &options.align)?;
        let subspace = match &options.align {
            AlignBy::Given(_) => subspace,
            _ => subspace.found_in(&train.model),
        };
        progress.step(1)?;
        let moved_as_far = (0..options.repeats as u64).map(|repeat| {
            let random = subspace.random_like(options.seed.wrapping_add(repeat))?;
            let to = Move::as_far(&random, both.along(&subspace)?, &both.fitted)?;
            both.scored(&to, &targets).and_then(|found| progress.step(1).map(|()| found))
        });
        let moved_as_far = moved_as_far.collect::<Result<_>>()?;
        let (_, _, arbitrary) = both.search(&arbitrary, &options.align)?;
        progress.step(1)?;
        let random_model = train.model.reinitialized(options.seed)?.without_weight_gradients();
        let both = Both {
            fitted: Place::of(&train, &random_model, point)?,
            held_out: Place::of(&test, &random_model, point)?,
        };
        let (_, _, untrained) = both.search(&targets, &options.align)?;
        progress.step(2)?;
        let align = options.align.clone();
        Ok(InterchangeStudy {
            point,
            align,
            subspace,
            losses,
            aligned,
            untouched,
            whole,
            moved_as_far,
            arbitrary,
            untrained,
        })
    }

    /// Both sets of pairs with the answers of both.
    ///
    /// # Errors
    /// Pairs of two models or strengths, fewer than two answers.
    fn comparable(&self, held_out: &Self) -> Result<(Self, Self)> {
        if self.model.provenance() != held_out.model.provenance() {
            return Err(Error::argument(
                "the held-out pairs are of another model, or of the same one processed otherwise: make both with one model.",
            ));
        }
        if self.strength != held_out.strength {
            return Err(Error::argument(format!(
                "these pairs are moved with strength {} and the held-out ones with {}: give both the same.",
                self.strength, held_out.strength
            )));
        }
        let train = self.clone().among(held_out.answers.iter().copied())?;
        let number = |token: &u32| train.answers.iter().position(|answer| answer == token).unwrap_or(0) as u32;
        let targets = held_out.targets.iter().map(|&target| number(&held_out.answers[target as usize])).collect();
        let test = Self { answers: train.answers.clone(), targets, ..held_out.clone() };
        train.check_answers()?;
        Ok((train, test))
    }
}

impl InterchangeStudy {
    /// Each interchange by name, with its scores.
    pub(crate) fn rows(&self) -> [(&'static str, &[FittedAndHeldOut]); 6] {
        [
            ("aligned subspace", std::slice::from_ref(&self.aligned)),
            ("random, moved as far", &self.moved_as_far),
            ("arbitrary labels", std::slice::from_ref(&self.arbitrary)),
            ("untrained model", std::slice::from_ref(&self.untrained)),
            ("no interchange", std::slice::from_ref(&self.untouched)),
            ("whole activation", std::slice::from_ref(&self.whole)),
        ]
    }
}

impl fmt::Display for InterchangeStudy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { point, align, aligned, .. } = self;
        write!(
            f,
            "{align} at {point}: {:.4} of {} held-out pairs",
            aligned.held_out.accuracy(),
            aligned.held_out.count()
        )?;
        self.rows()[1..].iter().try_for_each(|(name, scores)| {
            let mean = scores.iter().map(|score| score.held_out.accuracy()).sum::<f64>() / scores.len() as f64;
            write!(f, ", {name} {mean:.4}")
        })
    }
}

impl fmt::Display for FittedAndHeldOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fitted: {}; held out: {}", self.fitted, self.held_out)
    }
}
