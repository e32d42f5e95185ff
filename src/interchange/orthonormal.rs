//! Orthonormal columns: in f64 of numbers, and of a variable so that gradients flow through.

use candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};

/// How far a product of two columns may be from 0 or 1 in an orthonormal basis: several roundings of f32.
pub(super) const MOST_OFF: f64 = 1e-4;

/// A column of which no larger part is left outside the span of those before it depends on them.
const DEPENDENT: f64 = 1e-6;

/// An orthonormal basis of a span.
pub(super) struct Basis {
    pub columns: Vec<Vec<f64>>,
    /// Which of the given columns depend on those before them.
    pub dependent: Vec<usize>,
}

/// The columns of a matrix in f64.
///
/// # Errors
/// Numbers that are not finite.
pub(super) fn columns(x: &Tensor) -> Result<Vec<Vec<f64>>> {
    let columns = x.t()?.to_dtype(DType::F64)?.to_device(&Device::Cpu)?.contiguous()?.to_vec2::<f64>()?;
    match columns.iter().flatten().any(|x| !x.is_finite()) {
        true => Err(Error::argument("a subspace was to be made of numbers that are not finite: leave those out.")),
        false => Ok(columns),
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// By how much a product of two columns is away from 0, or of a column with itself from 1, at most.
pub(super) fn unit_columns_off(columns: &[Vec<f64>]) -> f64 {
    let mut most: f64 = 0.;
    for (i, a) in columns.iter().enumerate() {
        for (j, b) in columns[..=i].iter().enumerate() {
            most = most.max((dot(a, b) - f64::from(u8::from(i == j))).abs());
        }
    }
    most
}

/// An orthonormal basis of the span of these columns, each orthogonalised twice.
pub(super) fn orthonormalised(given: Vec<Vec<f64>>) -> Basis {
    let (mut columns, mut dependent): (Vec<Vec<f64>>, Vec<usize>) = (Vec::new(), Vec::new());
    for (number, mut column) in given.into_iter().enumerate() {
        let whole = dot(&column, &column).sqrt();
        for _ in 0..2 {
            for unit in &columns {
                let along = dot(unit, &column);
                column.iter_mut().zip(unit).for_each(|(x, u)| *x -= along * u);
            }
        }
        let left = dot(&column, &column).sqrt();
        match left > DEPENDENT * whole && left > 0. {
            true => columns.push(column.into_iter().map(|x| x / left).collect()),
            false => dependent.push(number),
        }
    }
    Basis { columns, dependent }
}

impl Basis {
    /// # Shapes
    /// `[width, rank]`, f32 on the CPU.
    pub fn tensor(&self, width: usize) -> Result<Tensor> {
        let rows = (0..width).flat_map(|row| self.columns.iter().map(move |column| column[row] as f32));
        Ok(Tensor::from_vec(rows.collect::<Vec<f32>>(), (width, self.columns.len()), &Device::Cpu)?)
    }
}

/// The orthonormal columns of the decomposition `a = q r` with a positive diagonal of `r` (Gram and Schmidt's, each column orthogonalised
/// twice). Gradients flow through.
///
/// # Shapes
/// `a [width, rank]`, result the same.
pub(super) fn orthonormal(a: &Tensor) -> Result<Tensor> {
    let mut basis: Option<Tensor> = None;
    for column in 0..a.dim(1)? {
        let mut x = a.narrow(1, column, 1)?.contiguous()?;
        if let Some(basis) = &basis {
            for _ in 0..2 {
                x = (&x - basis.matmul(&basis.t()?.matmul(&x)?)?)?;
            }
        }
        let unit = x.broadcast_div(&x.sqr()?.sum_keepdim(0)?.sqrt()?)?;
        basis = Some(match basis {
            Some(before) => Tensor::cat(&[&before, &unit], 1)?,
            None => unit,
        });
    }
    basis.ok_or_else(|| Error::argument("a basis of no columns was to be made orthonormal."))
}
