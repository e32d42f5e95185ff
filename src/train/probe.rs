//! Linear probes: whether a label or a number can be read off an activation, and along which direction.
//!
//! Logistic, for labels of two kinds: `w` and `b` minimise `sum_i log(1 + exp(-s_i (x_i w + b))) + strength |w|^2 / 2` with `s_i` 1
//! or -1, by Newton's method in f64. Ridge, for numbers: they minimise `sum_i (x_i w + b - y_i)^2 + strength |w|^2`, by the normal
//! equations in f64. The bias has no penalty. So scikit-learn's `LogisticRegression` (`C = 1 / strength`) and `Ridge` (`alpha`).
//!
//! References: Alain and Bengio 2016 (arXiv 1610.01644), Belinkov 2022 (2102.12452).
//!
//! Limits: that something can be read off an activation does not show that the model reads it: ablate or patch along the direction.
//! Inputs are not standardised, so the penalty weighs on small axes more than on large ones. Two kinds of labels, not more.

use std::fmt;

use candle_core::{DType, Device, Tensor};
use nalgebra::{DMatrix, DVector};

use crate::error::{Error, Result};
use crate::hooks::check_free;

/// The most steps of Newton's method; it takes about ten.
const STEPS: usize = 100;

/// The gradient at which it stops, as a part of the number of examples.
const SMALL: f64 = 1e-10;

/// What a probe reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    Label,
    Number,
}

/// A linear probe that was fitted.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let singular = ["The key", "The cabinet", "The author", "The child"];
/// let plural = ["The keys", "The cabinets", "The authors", "The children"];
/// let texts = [singular, plural].concat();
/// let (_, cache) = model.run_with_hooks(&texts, HookPlan::new().capture(("resid_post", 1)))?;
/// let at_noun = cache.get(("resid_post", 1))?.i((.., 2))?;
/// let labels = [[false; 4], [true; 4]].concat();
/// let probe = Probe::logistic(&at_noun, &labels, 1.0)?;
/// assert_eq!(probe.score_labels(&at_noun, &labels)?.accuracy, Some(1.0));
/// assert_eq!(probe.direction()?.dims(), [model.cfg().d_model]);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct Probe {
    reads: Reads,
    weights: Vec<f64>,
    bias: f64,
    strength: f64,
}

impl Probe {
    /// A logistic probe of labels.
    ///
    /// # Shapes
    /// `x [example, width]` with a label for each example.
    ///
    /// # Errors
    /// Sizes that do not fit together, labels of one kind only, numbers that are not finite, a strength that is not above 0: labels
    /// that can be separated have no least loss without a penalty.
    pub fn logistic(x: &Tensor, labels: impl AsRef<[bool]>, strength: f64) -> Result<Self> {
        let labels = labels.as_ref();
        if !(strength.is_finite() && strength > 0.) {
            return Err(Error::argument(format!(
                "a logistic probe with the penalty {strength} was asked for: give one above 0, such as 1."
            )));
        }
        if labels.iter().all(|label| *label) || !labels.contains(&true) {
            return Err(Error::argument(format!(
                "all {} labels are the same, so there is nothing to tell apart: give examples of both kinds.",
                labels.len()
            )));
        }
        let x = with_ones(x, labels.len())?;
        let targets = DVector::from_iterator(labels.len(), labels.iter().map(|label| f64::from(u8::from(*label))));
        let w = newton(&x, &targets, strength)?;
        Ok(Self::of(Reads::Label, &w, strength))
    }

    /// A ridge probe of numbers.
    ///
    /// # Shapes
    /// `x [example, width]` with a number for each example.
    ///
    /// # Errors
    /// Sizes that do not fit together, numbers that are not finite, a negative strength, and without a penalty, too few examples for the
    /// width.
    pub fn ridge(x: &Tensor, targets: impl AsRef<[f32]>, strength: f64) -> Result<Self> {
        let targets = targets.as_ref();
        if !(strength.is_finite() && strength >= 0.) {
            return Err(Error::argument(format!(
                "a ridge probe with the penalty {strength} was asked for: give one of at least 0."
            )));
        }
        let x = with_ones(x, targets.len())?;
        let y = numbers(targets)?;
        let normal = penalised(x.tr_mul(&x), strength);
        let w =
            normal.cholesky().map(|factors| factors.solve(&x.tr_mul(&y))).filter(|w| w.iter().all(|w| w.is_finite()));
        let w = w.ok_or_else(|| {
            Error::argument(format!(
                "{} examples of {} numbers do not decide what a probe without a penalty is: give more examples, or a strength above 0.",
                x.nrows(),
                x.ncols() - 1
            ))
        })?;
        Ok(Self::of(Reads::Number, &w, strength))
    }

    fn of(reads: Reads, w: &DVector<f64>, strength: f64) -> Self {
        let (bias, weights) = (w[w.len() - 1], w.as_slice()[..w.len() - 1].to_vec());
        Self { reads, weights, bias, strength }
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

    /// The weights as a direction of norm 1, for steering and ablations.
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

    /// What the probe reads off activations: the probability that the label is true, or the number.
    ///
    /// # Shapes
    /// `x [example, width]` gives a number for each example.
    ///
    /// # Errors
    /// Activations of another width, or that are not finite.
    pub fn predict(&self, x: &Tensor) -> Result<Vec<f32>> {
        let outputs = self.outputs(x)?;
        Ok(match self.reads {
            Reads::Label => outputs.into_iter().map(|logit| sigmoid(logit) as f32).collect(),
            Reads::Number => outputs.into_iter().map(|number| number as f32).collect(),
        })
    }

    fn outputs(&self, x: &Tensor) -> Result<Vec<f64>> {
        let examples = x.dims().first().copied().unwrap_or(0);
        let x = with_ones(x, examples)?;
        if x.ncols() != self.weights.len() + 1 {
            return Err(Error::shape(
                "what a probe reads",
                format!("[example, {}]", self.weights.len()),
                &[examples, x.ncols() - 1],
            ));
        }
        let w = DVector::from_iterator(x.ncols(), self.weights.iter().copied().chain([self.bias]));
        Ok((x * w).as_slice().to_vec())
    }

    /// How well a logistic probe reads labels that it was not fitted to: its accuracy and mean loss.
    ///
    /// # Errors
    /// As [`Probe::predict`]; no example, another count of labels, and a probe of numbers.
    pub fn score_labels(&self, x: &Tensor, labels: impl AsRef<[bool]>) -> Result<ProbeScore> {
        let labels = labels.as_ref();
        let logits = self.scored(Reads::Label, x, labels.len())?;
        let right = logits.iter().zip(labels).filter(|(logit, label)| (**logit > 0.) == **label).count();
        let loss = logits.iter().zip(labels).map(|(logit, label)| softplus(if *label { -logit } else { *logit }));
        let (count, loss) = (labels.len(), loss.sum::<f64>() / labels.len() as f64);
        Ok(ProbeScore { count, loss, accuracy: Some(right as f64 / count as f64), explained: None })
    }

    /// How well a ridge probe reads numbers that it was not fitted to: its mean square error, and the share of variance that it explains.
    ///
    /// # Errors
    /// As [`Probe::score_labels`].
    pub fn score_numbers(&self, x: &Tensor, targets: impl AsRef<[f32]>) -> Result<ProbeScore> {
        let targets = targets.as_ref();
        let outputs = self.scored(Reads::Number, x, targets.len())?;
        let (y, count) = (numbers(targets)?, targets.len());
        let error: f64 = outputs.iter().zip(y.iter()).map(|(output, y)| (output - y).powi(2)).sum();
        let mean = y.mean();
        let variance: f64 = y.iter().map(|y| (y - mean).powi(2)).sum();
        let explained = (variance > 0.).then(|| 1. - error / variance);
        Ok(ProbeScore { count, loss: error / count as f64, accuracy: None, explained })
    }

    fn scored(&self, reads: Reads, x: &Tensor, count: usize) -> Result<Vec<f64>> {
        if self.reads != reads {
            return Err(Error::argument(match self.reads {
                Reads::Label => "a logistic probe reads labels: score it with `score_labels`.",
                Reads::Number => "a ridge probe reads numbers: score it with `score_numbers`.",
            }));
        }
        let outputs = self.outputs(x)?;
        match outputs.len() == count && count > 0 {
            true => Ok(outputs),
            false => {
                Err(Error::shape("what a probe is scored on", format!("[{count}, {}]", self.weights.len()), x.dims()))
            }
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.reads {
            Reads::Label => "logistic",
            Reads::Number => "ridge",
        };
        let norm = self.weights.iter().map(|w| w * w).sum::<f64>().sqrt();
        let (width, strength, bias) = (self.weights.len(), self.strength, self.bias);
        write!(f, "{kind} probe of width {width}, penalty {strength}: weights of norm {norm:.4}, bias {bias:.4}")
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// How well a probe reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProbeScore {
    /// How many examples.
    pub count: usize,
    /// The mean loss: cross-entropy in nats, or square error.
    pub loss: f64,
    /// The share of labels that are read correctly, of a logistic probe.
    pub accuracy: Option<f64>,
    /// The share of variance that is explained, of a ridge probe, where the numbers vary.
    pub explained: Option<f64>,
}

impl fmt::Display for ProbeScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(accuracy) = self.accuracy {
            write!(f, "accuracy {accuracy:.4}, ")?;
        }
        if let Some(explained) = self.explained {
            write!(f, "explained variance {explained:.4}, ")?;
        }
        write!(f, "loss {:.4} on {} examples", self.loss, self.count)
    }
}

fn sigmoid(x: f64) -> f64 {
    1. / (1. + (-x).exp())
}

/// `log(1 + exp(x))`.
fn softplus(x: f64) -> f64 {
    x.max(0.) + (-x.abs()).exp().ln_1p()
}

fn numbers(targets: &[f32]) -> Result<DVector<f64>> {
    match targets.iter().position(|y| !y.is_finite()) {
        Some(at) => {
            Err(Error::argument(format!("number {at} of the targets is {}: leave that example out.", targets[at])))
        }
        None => Ok(DVector::from_iterator(targets.len(), targets.iter().map(|y| f64::from(*y)))),
    }
}

/// Examples with a last column of ones, whose weight is the bias.
///
/// # Errors
/// Another shape or count of examples, numbers that are not finite, and no memory.
fn with_ones(x: &Tensor, examples: usize) -> Result<DMatrix<f64>> {
    let [rows, width] = *x.dims() else {
        return Err(Error::shape("the examples of a probe", "[example, width]", x.dims()));
    };
    if rows != examples || rows == 0 || width == 0 {
        return Err(Error::shape(
            "the examples of a probe",
            format!("[{examples}, width], at least 1 of each"),
            x.dims(),
        ));
    }
    let bytes = 3 * (rows as u64).saturating_add(width as u64).saturating_mul(width as u64 + 1) * 8;
    check_free(bytes, "fitting the probe", "take fewer examples")?;
    let numbers = x.to_dtype(DType::F64)?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f64>()?;
    if let Some(at) = numbers.iter().position(|x| !x.is_finite()) {
        let row = at / width;
        return Err(Error::argument(format!(
            "example {row} of the probe has a number that is not finite: leave it out."
        )));
    }
    Ok(DMatrix::from_fn(rows, width + 1, |row, column| if column < width { numbers[row * width + column] } else { 1. }))
}

/// A penalty on all weights but the bias.
fn penalised(mut square: DMatrix<f64>, strength: f64) -> DMatrix<f64> {
    (0..square.nrows() - 1).for_each(|i| square[(i, i)] += strength);
    square
}

/// The least logistic loss with a penalty: Newton's method, its steps halved until the loss falls.
fn newton(x: &DMatrix<f64>, targets: &DVector<f64>, strength: f64) -> Result<DVector<f64>> {
    let last = x.ncols() - 1;
    let loss = |w: &DVector<f64>| {
        let logits = (x * w).into_iter().zip(targets).map(|(z, y)| softplus(*z) - y * z).sum::<f64>();
        logits + strength / 2. * w.rows(0, last).norm_squared()
    };
    let mut w = DVector::zeros(x.ncols());
    let mut now = loss(&w);
    for _ in 0..STEPS {
        let p = (x * &w).map(sigmoid);
        let mut slope = x.tr_mul(&(&p - targets));
        slope.rows_mut(0, last).axpy(strength, &w.rows(0, last), 1.);
        if slope.amax() <= SMALL * x.nrows() as f64 {
            return Ok(w);
        }
        let weighted = DMatrix::from_fn(x.nrows(), x.ncols(), |i, j| x[(i, j)] * (p[i] * (1. - p[i])));
        let Some(factors) = penalised(x.tr_mul(&weighted), strength).cholesky() else { break };
        let step = factors.solve(&slope);
        let shorter = (0..40).map(|halvings| &w - &step * 0.5_f64.powi(halvings)).map(|next| (loss(&next), next));
        match shorter.into_iter().find(|(next, _)| next.is_finite() && *next <= now) {
            Some((next, better)) => (now, w) = (next, better),
            None => return Ok(w),
        }
    }
    Err(Error::argument(
        "the logistic probe has no least loss that could be found: its inputs are too large or too much alike. Scale them, or give a \
         larger strength.",
    ))
}
