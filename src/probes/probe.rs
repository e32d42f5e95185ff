//! One fit: what it reads off activations, and along which direction.
//!
//! All are `x w + b`. Difference of means: `w` is the mean of the true examples minus that of the false ones, and `b` puts 0 halfway. Logistic:
//! `w` and `b` minimise `sum_i log(1 + exp(-s_i (x_i w + b))) + strength |w|^2 / 2` with `s_i` 1 or -1, by Newton's method in f64. Sparse: the
//! same on the coordinates whose means differ most. Ridge: they minimise `sum_i (x_i w + b - y_i)^2 + strength |w|^2`, by the normal equations
//! in f64. The bias has no penalty. So scikit-learn's `LogisticRegression` (`C = 1 / strength`) and `Ridge` (`alpha`).

use std::fmt;

use candle_core::{Device, Tensor};
use nalgebra::DVector;

use super::examples::examples;
use super::fit::{Fit, Fitter, of_another_kind};
use super::method::ProbeMethod;
use super::newton::sigmoid;
use super::score::ProbeScore;
use super::target::ProbeTarget;
use crate::error::{Error, Result};
use crate::variables::holds;

/// A linear probe that was fitted.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let singular = ["The key", "The cabinet", "The author", "The child"];
/// let plural = ["The keys", "The cabinets", "The authors", "The children"];
/// let texts = [singular, plural].concat();
/// let at_noun = model.collect_activations(&texts, ("resid_post", 1), 2)?;
/// let labels = [[false; 4], [true; 4]].concat();
/// let probe = Probe::logistic(&at_noun, &labels, 1.0)?;
/// assert_eq!(probe.score_labels(&at_noun, &labels)?.accuracy, Some(1.0));
/// assert_eq!(probe.direction()?.dims(), [model.cfg().d_model]);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    method: ProbeMethod,
    weights: Vec<f64>,
    bias: f64,
    coordinates: Option<Vec<usize>>,
}

holds! {
    Probe { weights, coordinates }
}

impl Probe {
    /// The direction from the mean of the false examples to that of the true ones.
    ///
    /// # Shapes
    /// `x [example, width]` with a label for each example.
    ///
    /// # Errors
    /// Sizes that do not fit together, labels of one kind only, numbers that are not finite.
    pub fn mean_difference(x: &Tensor, labels: impl AsRef<[bool]>) -> Result<Self> {
        Self::fitted(x, labels.as_ref().into(), ProbeMethod::MeanDifference)
    }

    /// A logistic probe of labels.
    ///
    /// # Shapes
    /// `x [example, width]` with a label for each example.
    ///
    /// # Errors
    /// As [`Probe::mean_difference`]; a strength that is not above 0: labels that can be separated have no least loss without a penalty. Inputs
    /// on which Newton's method does not converge.
    pub fn logistic(x: &Tensor, labels: impl AsRef<[bool]>, strength: f64) -> Result<Self> {
        Self::fitted(x, labels.as_ref().into(), ProbeMethod::Logistic { strength })
    }

    /// A logistic probe on the `k` coordinates in which the means of true and false examples differ most. Give it the examples that are
    /// fitted only: coordinates chosen with those that it is scored on would be chosen by their answers.
    ///
    /// # Shapes
    /// `x [example, width]` with a label for each example.
    ///
    /// # Errors
    /// As [`Probe::logistic`]; no coordinate, or more than there are.
    pub fn sparse(x: &Tensor, labels: impl AsRef<[bool]>, k: usize, strength: f64) -> Result<Self> {
        Self::fitted(x, labels.as_ref().into(), ProbeMethod::Sparse { k, strength })
    }

    /// A ridge probe of numbers; a strength of 0 is linear regression.
    ///
    /// # Shapes
    /// `x [example, width]` with a number for each example.
    ///
    /// # Errors
    /// Sizes that do not fit together, numbers that are not finite, a negative strength, and without a penalty, too few examples for the
    /// width.
    pub fn ridge(x: &Tensor, targets: impl AsRef<[f32]>, strength: f64) -> Result<Self> {
        Self::fitted(x, targets.as_ref().into(), ProbeMethod::Ridge { strength })
    }

    fn fitted(x: &Tensor, target: ProbeTarget, method: ProbeMethod) -> Result<Self> {
        target.check()?;
        let fitter = Fitter::new(examples(x, target.len())?);
        method.check(fitter.width())?;
        Ok(Self::of(method, fitter.fit(method, &target)?))
    }

    pub(super) fn of(method: ProbeMethod, fit: Fit) -> Self {
        Self { method, weights: fit.weights, bias: fit.bias, coordinates: fit.coordinates }
    }

    /// How it was fitted.
    pub fn method(&self) -> ProbeMethod {
        self.method
    }

    /// The weights; `x w + b` is the logit of a label, or the number that is predicted.
    ///
    /// # Shapes
    /// `[width]` in f32.
    ///
    /// # Errors
    /// candle's.
    pub fn weights(&self) -> Result<Tensor> {
        let weights: Vec<f32> = self.weights.iter().map(|w| *w as f32).collect();
        Ok(Tensor::new(weights, &Device::Cpu)?)
    }

    /// The weights as a direction of norm 1, for steering, ablations and interchanges.
    ///
    /// # Shapes
    /// `[width]` in f32.
    ///
    /// # Errors
    /// [`Error::Argument`] for weights that are all 0.
    pub fn direction(&self) -> Result<Tensor> {
        let norm = self.weights.iter().map(|w| w * w).sum::<f64>().sqrt();
        if norm == 0. {
            return Err(Error::argument("the weights of the probe are all 0, so it has no direction."));
        }
        let direction: Vec<f32> = self.weights.iter().map(|w| (w / norm) as f32).collect();
        Ok(Tensor::new(direction, &Device::Cpu)?)
    }

    /// The bias.
    pub fn bias(&self) -> f64 {
        self.bias
    }

    /// The coordinates that a sparse probe reads, those whose means differ most first; none for the others, which read all.
    pub fn coordinates(&self) -> Option<Vec<usize>> {
        self.coordinates.clone()
    }

    /// What the probe reads off activations: the probability that the label is true, or the number. A difference of means has no
    /// scale, so that only the side of 0.5 on which its probabilities are says anything.
    ///
    /// # Shapes
    /// `x [example, width]` gives a number for each example.
    ///
    /// # Errors
    /// Activations of another width, or that are not finite.
    pub fn predict(&self, x: &Tensor) -> Result<Vec<f32>> {
        let outputs = self.outputs(x)?.into_iter();
        Ok(match self.method.reads_labels() {
            true => outputs.map(|logit| sigmoid(logit) as f32).collect(),
            false => outputs.map(|number| number as f32).collect(),
        })
    }

    fn outputs(&self, x: &Tensor) -> Result<Vec<f64>> {
        let count = x.dims().first().copied().unwrap_or(0);
        let x = examples(x, count)?;
        if x.ncols() != self.weights.len() {
            return Err(Error::shape(
                "what a probe reads",
                format!("[example, {}]", self.weights.len()),
                &[count, x.ncols()],
            ));
        }
        let logits = x * DVector::from_column_slice(&self.weights);
        Ok(logits.iter().map(|logit| logit + self.bias).collect())
    }

    /// How well a probe of labels reads those of examples that it was not fitted to. A [`ProbeStudy`](super::ProbeStudy) has the controls
    /// as well.
    ///
    /// # Errors
    /// As [`Probe::predict`]; no example, another count of labels, and a probe of numbers.
    pub fn score_labels(&self, x: &Tensor, labels: impl AsRef<[bool]>) -> Result<ProbeScore> {
        let labels = labels.as_ref();
        match self.method.reads_labels() {
            true => Ok(ProbeScore::of_labels(&self.scored(x, labels.len())?, labels)),
            false => Err(Error::argument("a ridge probe reads numbers: score it with `score_numbers`.")),
        }
    }

    /// How well a ridge probe reads numbers that it was not fitted to: its mean square error, and the share of variance that it explains.
    ///
    /// # Errors
    /// As [`Probe::score_labels`].
    pub fn score_numbers(&self, x: &Tensor, targets: impl AsRef<[f32]>) -> Result<ProbeScore> {
        let target = ProbeTarget::from(targets.as_ref());
        target.check()?;
        match (self.method.reads_labels(), &target) {
            (false, ProbeTarget::Numbers(numbers)) => {
                Ok(ProbeScore::of_numbers(&self.scored(x, numbers.len())?, numbers))
            }
            _ => Err(Error::argument(format!(
                "a probe of labels ({}) does not read numbers: score it with `score_labels`.",
                self.method
            ))),
        }
    }

    /// Its score on rows of a matrix whose width is its own.
    pub(super) fn score(&self, x: &nalgebra::DMatrix<f64>, target: &ProbeTarget) -> Result<ProbeScore> {
        let logits = x * DVector::from_column_slice(&self.weights);
        let outputs: Vec<f64> = logits.iter().map(|logit| logit + self.bias).collect();
        match (self.method.reads_labels(), target) {
            (true, ProbeTarget::Labels(labels)) => Ok(ProbeScore::of_labels(&outputs, labels)),
            (false, ProbeTarget::Numbers(numbers)) => Ok(ProbeScore::of_numbers(&outputs, numbers)),
            _ => Err(of_another_kind(self.method)),
        }
    }

    fn scored(&self, x: &Tensor, count: usize) -> Result<Vec<f64>> {
        match x.dims().first() == Some(&count) && count > 0 {
            true => self.outputs(x),
            false => {
                Err(Error::shape("what a probe is scored on", format!("[{count}, {}]", self.weights.len()), x.dims()))
            }
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let norm = self.weights.iter().map(|w| w * w).sum::<f64>().sqrt();
        write!(f, "probe of width {} ({}): ", self.weights.len(), self.method)?;
        write!(f, "weights of norm {norm:.4}, bias {:.4}", self.bias)?;
        match &self.coordinates {
            Some(coordinates) => write!(f, ", coordinates {coordinates:?}"),
            None => Ok(()),
        }
    }
}
