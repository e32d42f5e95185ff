//! Non-negative matching pursuit over the vectors of all tokens, which are never in memory together.
//!
//! From `r = h` on, the token whose vector `v` has the largest `v . r / |v|` is chosen, and the coefficients of all that are chosen
//! are the non-negative ones of least error; it ends when none is positive any more, or after `k`.
//!
//! Source: Pati, Rezaiifar and Krishnaprasad 1993 for the choice; Lawson and Hanson 1974 for the coefficients.

use candle_core::{DType, Tensor};
use nalgebra::{DMatrix, DVector};

use crate::error::{Error, Result};

/// Products below this share of `|h|` are rounding of f32: the square root of its precision.
pub(super) const NOTHING: f64 = 3.5e-4;

/// The same for the coefficients, which are f64.
const ZERO: f64 = 1.5e-8;

/// Coefficients `c >= 0` with the least `|A c - b|`, by Lawson and Hanson's method. The columns of `A` have length 1.
///
/// # Errors
/// [`Error::Argument`] for columns that are too much alike.
pub(super) fn non_negative(a: &DMatrix<f64>, b: &DVector<f64>) -> Result<DVector<f64>> {
    let (gram, products, count) = (a.tr_mul(a), a.tr_mul(b), a.ncols());
    let zero = ZERO * b.norm();
    let mut c = DVector::zeros(count);
    let mut free = vec![false; count];
    // Each round frees a column for good or takes one back at a smaller error; there are finitely many sets of columns.
    for _ in 0..10 * count * count.max(3) {
        let slope = &products - &gram * &c;
        let held = (0..count).filter(|column| !free[*column]);
        let Some(best) = held.max_by(|x, y| slope[*x].total_cmp(&slope[*y])).filter(|best| slope[*best] > zero) else {
            return Ok(c);
        };
        free[best] = true;
        loop {
            let columns: Vec<usize> = (0..count).filter(|column| free[*column]).collect();
            let solved = least_squares(&gram, &products, &columns)?;
            if solved.iter().all(|value| *value > zero) {
                c.fill(0.);
                columns.iter().zip(&solved).for_each(|(column, value)| c[*column] = *value);
                break;
            }
            // As far towards the solution as all stay non-negative.
            let step = |(column, value): (&usize, &f64)| c[*column] / (c[*column] - value);
            let below = columns.iter().zip(&solved).filter(|(_, value)| **value <= zero);
            let step = below.map(step).filter(|step| step.is_finite()).fold(1., f64::min);
            columns.iter().zip(&solved).for_each(|(column, value)| c[*column] += step * (value - c[*column]));
            for column in columns {
                free[column] = c[column] > zero;
                if !free[column] {
                    c[column] = 0.;
                }
            }
        }
    }
    Err(too_alike())
}

/// The coefficients of some columns with the least error, whatever their sign.
fn least_squares(gram: &DMatrix<f64>, products: &DVector<f64>, columns: &[usize]) -> Result<Vec<f64>> {
    let part = DMatrix::from_fn(columns.len(), columns.len(), |i, j| gram[(columns[i], columns[j])]);
    let right = DVector::from_fn(columns.len(), |i, _| products[columns[i]]);
    let factors = part.cholesky().ok_or_else(too_alike)?;
    Ok(factors.solve(&right).as_slice().to_vec())
}

fn too_alike() -> Error {
    Error::argument("the vectors of the tokens that were chosen are too much alike to be told apart: give a smaller k.")
}

/// Numbers as a vector of f64.
pub(super) fn vector(x: &Tensor) -> Result<DVector<f64>> {
    Ok(DVector::from_vec(x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?))
}

/// `b` projected on the span of the columns of `a`, which have length 1.
pub(super) fn projected(a: &DMatrix<f64>, b: &DVector<f64>) -> Result<DVector<f64>> {
    let columns: Vec<usize> = (0..a.ncols()).collect();
    Ok(a * DVector::from_vec(least_squares(&a.tr_mul(a), &a.tr_mul(b), &columns)?))
}
