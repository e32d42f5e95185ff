//! A probe with its scores on held-out examples, and both controls.

use std::fmt;

use candle_core::Tensor;
use nalgebra::DVector;

use super::examples::examples;
use super::fit::{Fit, Fitter, of_another_kind};
use super::method::ProbeMethod;
use super::probe::Probe;
use super::score::ProbeScore;
use super::split::ProbeSplit;
use super::target::ProbeTarget;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::random::Random;

/// How probes are fitted, and how often their controls are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProbeOptions {
    /// How probes are fitted; logistic with a penalty of 1 by default.
    pub method: ProbeMethod,
    /// How many fits each control takes, 10 by default; at least one.
    pub repeats: usize,
    /// The seed of the controls.
    pub seed: u64,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self { method: ProbeMethod::default(), repeats: 10, seed: 0 }
    }
}

impl From<ProbeMethod> for ProbeOptions {
    fn from(method: ProbeMethod) -> Self {
        Self { method, ..Self::default() }
    }
}

/// A probe with its scores on held-out examples, and both controls: fits to shuffled labels, and to random coordinates (of a probe that uses
/// all of them, along random directions). Controls are scored on the same held-out examples with their own labels.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let prompts = Task::Sva.prompts(tasks::Split::Train, 120, 0)?.prompts;
/// let texts: Vec<&str> = prompts.iter().map(|prompt| prompt.clean.as_str()).collect();
/// let plural: Vec<bool> = prompts.iter().map(|prompt| prompt.plural == Some(true)).collect();
/// let at_end = model.collect_activations(&texts, ("resid_post", 2), Positions::Last)?;
/// // Nouns that are held out are not among those that are fitted.
/// let nouns = prompts.iter().map(|prompt| prompt.words[0].1.trim_end_matches('s'));
/// let split = ProbeSplit::grouped(&plural, nouns, 0.3, 0)?;
/// let study = ProbeStudy::new(&at_end, &plural, &split, ProbeMethod::default())?;
/// let largest = study.shuffled.iter().filter_map(|score| score.accuracy).fold(0.0, f64::max);
/// assert!(study.test.accuracy.unwrap() > largest);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeStudy {
    /// The probe, fitted to the training part.
    pub probe: Probe,
    /// Which examples were fitted, and which were held out.
    pub split: ProbeSplit,
    /// Its score on the examples that it was fitted to. With more coordinates than examples any labels can be fitted.
    pub train: ProbeScore,
    /// Its score on the examples that were held out.
    pub test: ProbeScore,
    /// The scores of fits to shuffled training labels, on the same held-out examples.
    pub shuffled: Vec<ProbeScore>,
    /// The scores of fits on random coordinates, or along random directions, on the same held-out examples.
    pub random: Vec<ProbeScore>,
    /// How many controls could not be fitted, because Newton's method did not converge or the examples do not decide, and are not among them.
    pub not_fitted: usize,
}

impl ProbeStudy {
    /// Fits a probe to the training part, scores it on the held-out part, and does the same for its controls.
    ///
    /// # Shapes
    /// `x [example, width]` with a label or number for each example.
    ///
    /// # Errors
    /// Sizes that do not fit together, a training part with labels of one kind only, numbers that are not finite, targets of another kind than
    /// the method reads, no repeats, and no convergence.
    pub fn new(
        x: &Tensor,
        target: impl Into<ProbeTarget>,
        split: &ProbeSplit,
        options: impl Into<ProbeOptions>,
    ) -> Result<Self> {
        let (target, options) = (target.into(), options.into());
        let mut progress = Progress::of("fitting probes", 1 + 2 * options.repeats as u64, "probes");
        let x = examples(x, target.len())?;
        options.check(&target, split, x.ncols())?;
        let [(train, fitted), (test, held_out)] =
            [&split.train, &split.test].map(|rows| (x.select_rows(rows), target.of(rows)));
        let (method, fitter) = (options.method, Fitter::new(train));
        let probe = Probe::of(method, fitter.fit(method, &fitted)?);
        progress.step(1)?;
        let (mut shuffled, mut random, mut not_fitted) = (Vec::new(), Vec::new(), 0);
        let mut draws = Random::new(options.seed);
        for _ in 0..options.repeats {
            for (scores, fit) in [
                (&mut shuffled, fitter.fit(method, &shuffled_target(&fitted, &mut draws))),
                (&mut random, fitter.on_random(method, &fitted, &mut draws)),
            ] {
                match fit {
                    Ok(fit) => scores.push(Probe::of(method, fit).score(&test, &held_out)?),
                    Err(_) => not_fitted += 1,
                }
                progress.step(1)?;
            }
        }
        let (train, test) = (probe.score(fitter.examples(), &fitted)?, probe.score(&test, &held_out)?);
        Ok(Self { probe, split: split.clone(), train, test, shuffled, random, not_fitted })
    }

    /// What the second control is called: random coordinates, or random directions.
    pub(crate) fn random_name(&self) -> &'static str {
        match self.probe.method() {
            ProbeMethod::Sparse { .. } => "random coordinates",
            _ => "random directions",
        }
    }

    /// Each fit by name, with its scores.
    pub(crate) fn rows(&self) -> [(&'static str, &[ProbeScore]); 4] {
        [
            ("fitted", std::slice::from_ref(&self.train)),
            ("held out", std::slice::from_ref(&self.test)),
            ("shuffled labels", &self.shuffled),
            (self.random_name(), &self.random),
        ]
    }
}

impl ProbeOptions {
    /// # Errors
    /// What [`ProbeStudy::new`] returns before anything is fitted.
    pub(super) fn check(self, target: &ProbeTarget, split: &ProbeSplit, width: usize) -> Result<()> {
        if self.repeats == 0 {
            return Err(Error::argument(
                "a study of no repeats has no controls, without which its scores say nothing: give at least 1.",
            ));
        }
        self.method.check(width)?;
        if self.method.reads_labels() != matches!(target, ProbeTarget::Labels(_)) {
            return Err(of_another_kind(self.method));
        }
        split.check(target.len())?;
        target.check()?;
        target.of(&split.train).check()
    }
}

/// The training targets in another order.
fn shuffled_target(target: &ProbeTarget, random: &mut Random) -> ProbeTarget {
    let mut target = target.clone();
    match &mut target {
        ProbeTarget::Labels(labels) => random.shuffle(labels),
        ProbeTarget::Numbers(numbers) => random.shuffle(numbers),
    }
    target
}

impl Fitter {
    /// The fit on as many random coordinates as the method chooses, or along a random direction.
    fn on_random(&self, method: ProbeMethod, target: &ProbeTarget, random: &mut Random) -> Result<Fit> {
        match (method, target) {
            (ProbeMethod::Sparse { k, strength }, ProbeTarget::Labels(labels)) => {
                let mut all: Vec<usize> = (0..self.width()).collect();
                random.shuffle(&mut all);
                all.truncate(k);
                self.on(all, labels, strength)
            }
            _ => {
                let normal = random.normal(self.width())?.to_vec1::<f32>()?;
                let direction = DVector::from_iterator(normal.len(), normal.iter().map(|x| f64::from(*x))).normalize();
                self.along(&direction, method, target)
            }
        }
    }
}

/// Rows of scores, as views and sweeps show them: the mean of several.
pub(crate) fn mean_of(scores: &[ProbeScore], measure: &str) -> f64 {
    let values = scores.iter().flat_map(ProbeScore::measures).filter(|(name, _)| *name == measure);
    let (count, sum) = values.fold((0, 0.), |(count, sum), (_, value)| (count + 1, sum + value));
    if count == 0 { f64::NAN } else { sum / f64::from(count) }
}

impl fmt::Display for ProbeStudy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((measure, value)) = self.test.measures().first().copied() else {
            return write!(f, "{}: {}", self.probe.method(), self.test);
        };
        write!(f, "{}: {measure} {value:.4} on {} held-out examples", self.probe.method(), self.test.count)?;
        let [.., shuffled, random] = self.rows();
        write!(f, ", {} {:.4}", shuffled.0, mean_of(shuffled.1, measure))?;
        write!(f, ", {} {:.4}", random.0, mean_of(random.1, measure))
    }
}
