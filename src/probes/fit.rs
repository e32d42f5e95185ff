//! Fits: from examples and their labels or numbers to a direction and a bias.
//!
//! With a penalty the weights lie in the span of the examples. So where there are fewer examples than coordinates, the fit is done in an
//! orthonormal basis of that span (`x^T = q r`, in which the examples are `r^T`), which several fits to the same examples share.

use std::cell::OnceCell;
use std::cmp::Ordering;

use nalgebra::{DMatrix, DVector};

use candle_core::Tensor;

use super::examples::{examples, with_ones};
use super::method::ProbeMethod;
use super::newton::{newton, penalised};
use super::target::ProbeTarget;
use crate::error::{Error, Result};

/// What a fit leaves.
pub(super) struct Fit {
    pub weights: Vec<f64>,
    pub bias: f64,
    /// The coordinates that a sparse probe reads, those that differ most first.
    pub coordinates: Option<Vec<usize>>,
}

/// Examples to which probes are fitted.
pub(super) struct Fitter {
    x: DMatrix<f64>,
    /// The examples in a basis of their span, with ones, and the basis; none where that is not smaller.
    span: OnceCell<Option<(DMatrix<f64>, DMatrix<f64>)>>,
}

impl Fitter {
    pub fn new(x: DMatrix<f64>) -> Self {
        Self { x, span: OnceCell::new() }
    }

    /// The examples, one a row.
    pub fn examples(&self) -> &DMatrix<f64> {
        &self.x
    }

    /// How many numbers an example has.
    pub fn width(&self) -> usize {
        self.x.ncols()
    }

    /// Fits to targets that are checked, one for each example.
    ///
    /// # Errors
    /// A target of another kind than the method reads, and no convergence.
    pub fn fit(&self, method: ProbeMethod, target: &ProbeTarget) -> Result<Fit> {
        match (method, target) {
            (ProbeMethod::MeanDifference, ProbeTarget::Labels(labels)) => Ok(self.mean_difference(labels)),
            (ProbeMethod::Logistic { strength }, ProbeTarget::Labels(labels)) => self.logistic(labels, strength),
            (ProbeMethod::Sparse { k, strength }, ProbeTarget::Labels(labels)) => {
                self.on(largest_differences(&self.means(labels), k), labels, strength)
            }
            (ProbeMethod::Ridge { strength }, ProbeTarget::Numbers(numbers)) => self.ridge(numbers, strength),
            _ => Err(of_another_kind(method)),
        }
    }

    /// A logistic fit on these coordinates only.
    pub fn on(&self, coordinates: Vec<usize>, labels: &[bool], strength: f64) -> Result<Fit> {
        let fit = Self::new(self.x.select_columns(&coordinates)).logistic(labels, strength)?;
        let mut weights = vec![0.; self.width()];
        coordinates.iter().zip(fit.weights).for_each(|(&at, weight)| weights[at] = weight);
        Ok(Fit { weights, bias: fit.bias, coordinates: Some(coordinates) })
    }

    /// The fit along one direction only.
    pub fn along(&self, direction: &DVector<f64>, method: ProbeMethod, target: &ProbeTarget) -> Result<Fit> {
        let projected = &self.x * direction;
        let fit =
            Self::new(DMatrix::from_column_slice(projected.len(), 1, projected.as_slice())).fit(method, target)?;
        Ok(Fit { weights: direction.iter().map(|at| at * fit.weights[0]).collect(), ..fit })
    }

    /// The means of the false and of the true examples.
    fn means(&self, labels: &[bool]) -> [DVector<f64>; 2] {
        [false, true].map(|kind| {
            let rows: Vec<usize> = (0..labels.len()).filter(|&row| labels[row] == kind).collect();
            self.x.select_rows(&rows).row_mean().transpose()
        })
    }

    fn mean_difference(&self, labels: &[bool]) -> Fit {
        let [negative, positive] = self.means(labels);
        let weights = &positive - &negative;
        let bias = -weights.dot(&(positive + negative)) / 2.;
        Fit { weights: weights.as_slice().to_vec(), bias, coordinates: None }
    }

    fn logistic(&self, labels: &[bool], strength: f64) -> Result<Fit> {
        let targets = DVector::from_iterator(labels.len(), labels.iter().map(|label| f64::from(u8::from(*label))));
        self.penalised_fit(|x| newton(x, &targets, strength))
    }

    fn ridge(&self, numbers: &[f64], strength: f64) -> Result<Fit> {
        let y = DVector::from_column_slice(numbers);
        let undecided = || {
            Error::argument(format!(
                "{} examples of {} numbers do not decide what a probe without a penalty is: give more examples than numbers, or a \
                 strength above 0.",
                self.x.nrows(),
                self.width()
            ))
        };
        if strength == 0. && self.x.nrows() <= self.width() {
            return Err(undecided());
        }
        self.penalised_fit(|x| {
            let factors = penalised(x.tr_mul(x), strength).cholesky();
            let w = factors.map(|factors| factors.solve(&x.tr_mul(&y)));
            w.filter(|w| w.iter().all(|w| w.is_finite())).ok_or_else(undecided)
        })
    }

    /// A fit whose weights, but for the bias, lie in the span of the examples.
    fn penalised_fit(&self, solve: impl FnOnce(&DMatrix<f64>) -> Result<DVector<f64>>) -> Result<Fit> {
        let (rows, width) = self.x.shape();
        let span = self.span.get_or_init(|| {
            (rows < width).then(|| {
                let factors = self.x.transpose().qr();
                (with_ones(&factors.r().transpose()), factors.q())
            })
        });
        let split = |w: DVector<f64>| (w.rows(0, w.len() - 1).into_owned(), w[w.len() - 1]);
        let (weights, bias) = match span {
            Some((x, basis)) => {
                let (w, bias) = split(solve(x)?);
                (basis * w, bias)
            }
            None => split(solve(&with_ones(&self.x))?),
        };
        Ok(Fit { weights: weights.as_slice().to_vec(), bias, coordinates: None })
    }
}

/// The `k` coordinates in which the means of examples of two kinds differ most.
///
/// # Shapes
/// `x [example, width]`.
///
/// # Errors
/// Another number of labels than of examples, labels of one kind, numbers that are not finite.
pub(crate) fn largest_mean_differences(x: &Tensor, labels: Vec<bool>, k: usize) -> Result<Vec<usize>> {
    let target = ProbeTarget::Labels(labels);
    target.check()?;
    let x = examples(x, target.len())?;
    let ProbeTarget::Labels(labels) = &target else { return Ok(Vec::new()) };
    Ok(largest_differences(&Fitter::new(x).means(labels), k))
}

/// The `k` coordinates in which the two means differ most, the first of equal ones first.
fn largest_differences([negative, positive]: &[DVector<f64>; 2], k: usize) -> Vec<usize> {
    let size = |at: usize| (positive[at] - negative[at]).abs();
    let mut order: Vec<usize> = (0..positive.len()).collect();
    order.sort_by(|&a, &b| size(b).partial_cmp(&size(a)).unwrap_or(Ordering::Equal));
    order.truncate(k);
    order
}

/// Why a method does not fit to a target.
pub(super) fn of_another_kind(method: ProbeMethod) -> Error {
    Error::argument(match method.reads_labels() {
        true => {
            format!("numbers were given to a probe of labels ({method}): give `bool`s, or take ProbeMethod::Ridge.")
        }
        false => {
            format!("labels were given to a probe of numbers ({method}): give numbers, or take ProbeMethod::Logistic.")
        }
    })
}
