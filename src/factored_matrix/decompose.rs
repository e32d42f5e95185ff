//! Singular values and vectors, eigenvalues and norms, from the factors.

use candle_core::{DType, Device, Tensor};
use nalgebra::linalg::Schur;
use nalgebra::{Complex, DMatrix, DVector};
use rayon::prelude::*;

use super::matrix::FactoredMatrix;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::variables::holds;
use crate::wide::widened;

/// An iteration that has not converged after this many rounds never will.
const ROUNDS: usize = 10_000;

/// `U diag(S) V^T`.
#[derive(Clone, Debug)]
pub struct Svd {
    /// Left singular vectors, the columns of `[.., ldim, k]`.
    pub u: Tensor,
    /// Singular values in descending order, `[.., k]` with `k` the smallest of `ldim`, `mdim`, `rdim`.
    pub s: Tensor,
    /// Right singular vectors, the columns of `[.., rdim, k]`: V, not its transpose.
    pub v: Tensor,
}

holds! {
    Svd { u, s, v }
    Eigenvalues { re, im }
}

/// Complex eigenvalues, in no particular order.
#[derive(Clone, Debug)]
pub struct Eigenvalues {
    /// Real parts, `[.., mdim]`.
    pub re: Tensor,
    /// Imaginary parts, `[.., mdim]`.
    pub im: Tensor,
}

impl Eigenvalues {
    /// How much the matrix copies rather than inverts: `sum(lambda) / sum(|lambda|)`, from -1 to 1. Of `W_E OV W_U` it
    /// is the copying score of a head (Elhage et al. 2021).
    ///
    /// # Shapes
    /// `[..]`, the leading axes.
    ///
    /// # Errors
    /// candle's.
    pub fn positivity(&self) -> Result<Tensor> {
        let last = self.re.rank() - 1;
        let (re, im) = (widened(&self.re)?, widened(&self.im)?);
        let sizes = (re.sqr()? + im.sqr()?)?.sqrt()?.sum(last)?;
        Ok((re.sum(last)? / sizes)?.to_dtype(self.re.dtype())?)
    }
}

impl FactoredMatrix {
    /// The singular value decomposition, by QR of both factors and the SVD of the small matrix between them.
    ///
    /// # Errors
    /// [`Error::Argument`] for NaN or infinite numbers.
    pub fn svd(&self) -> Result<Svd> {
        let parts = self.each(|a, b| product_svd(a, b.transpose()))?;
        let k = self.ldim().min(self.mdim()).min(self.rdim());
        let shape = |last: &[usize]| [&self.lead()[..], last].concat();
        let (mut us, mut ss, mut vs) = (Vec::new(), Vec::new(), Vec::new());
        for (u, s, v) in parts {
            us.extend(row_major(&u));
            ss.extend_from_slice(s.as_slice());
            vs.extend(row_major(&v));
        }
        Ok(Svd {
            u: self.tensor(us, shape(&[self.ldim(), k]))?,
            s: self.tensor(ss, shape(&[k]))?,
            v: self.tensor(vs, shape(&[self.rdim(), k]))?,
        })
    }

    /// The eigenvalues that are not 0 by construction: those of `B A`.
    ///
    /// # Errors
    /// [`Error::Shape`] unless the matrix is square; [`Error::Argument`] for NaN or infinite numbers.
    pub fn eigenvalues(&self) -> Result<Eigenvalues> {
        self.check_square()?;
        let parts = self.each(|a, b| {
            let schur = Schur::try_new(b * a, f64::EPSILON, ROUNDS).ok_or_else(not_converged)?;
            Ok(schur.complex_eigenvalues())
        })?;
        let shape = [&self.lead()[..], &[self.mdim()]].concat();
        let stack = |part: fn(&Complex<f64>) -> f64| {
            self.tensor(parts.iter().flat_map(|values| values.iter().map(part)).collect(), shape.clone())
        };
        Ok(Eigenvalues { re: stack(|value| value.re)?, im: stack(|value| value.im)? })
    }

    /// The Frobenius norm, `[..]`, the leading axes.
    ///
    /// # Errors
    /// [`Error::Argument`] for NaN or infinite numbers.
    pub fn norm(&self) -> Result<Tensor> {
        let norms = self.each(|a, b| Ok((triangle(a) * triangle(b.transpose()).transpose()).norm()))?;
        self.tensor(norms, self.lead())
    }

    /// The same matrix with `A = U sqrt(S)` and `B = sqrt(S) V^T`.
    ///
    /// # Errors
    /// As [`FactoredMatrix::svd`].
    pub fn make_even(&self) -> Result<Self> {
        let Svd { u, s, v } = self.svd()?;
        let root = s.sqrt()?.unsqueeze(s.rank() - 1)?;
        Self::new(&u.broadcast_mul(&root)?, &v.broadcast_mul(&root)?.transpose(v.rank() - 2, v.rank() - 1)?)
    }

    /// `S V^T`, `[.., k, rdim]`: the matrix without the rotation on its left, so that distances between columns are the same.
    ///
    /// # Errors
    /// As [`FactoredMatrix::svd`].
    pub fn collapse_l(&self) -> Result<Tensor> {
        let Svd { s, v, .. } = self.svd()?;
        let scaled = v.broadcast_mul(&s.unsqueeze(s.rank() - 1)?)?;
        Ok(scaled.transpose(v.rank() - 2, v.rank() - 1)?.contiguous()?)
    }

    /// `U S`, `[.., ldim, k]`: the matrix without the rotation on its right.
    ///
    /// # Errors
    /// As [`FactoredMatrix::svd`].
    pub fn collapse_r(&self) -> Result<Tensor> {
        let Svd { u, s, .. } = self.svd()?;
        Ok(u.broadcast_mul(&s.unsqueeze(s.rank() - 1)?)?)
    }

    /// The matrix without the rotation of `A = Q R`, that is `R B`: it has the same width, at most `mdim` rows, and the same
    /// norm after any product on its right.
    pub(super) fn right_core(&self) -> Result<Tensor> {
        let cores = self.each(|a, b| Ok(triangle(a) * b))?;
        let rows = self.ldim().min(self.mdim());
        self.tensor(cores.iter().flat_map(row_major).collect(), [&self.lead()[..], &[rows, self.rdim()]].concat())
    }

    /// Evaluates a function of each matrix of the stack, several at a time.
    fn each<T: Send>(&self, one: impl Fn(DMatrix<f64>, DMatrix<f64>) -> Result<T> + Sync) -> Result<Vec<T>> {
        let _work = Progress::opaque("decomposing matrices");
        let lead = self.lead();
        let stack = |x: &Tensor| -> Result<Vec<DMatrix<f64>>> {
            let (rows, columns) = (x.dim(x.rank() - 2)?, x.dim(x.rank() - 1)?);
            let all = x.broadcast_as([&lead[..], &[rows, columns]].concat())?.reshape(((), rows, columns))?;
            (0..all.dim(0)?).map(|i| to_matrix(&all.get(i)?)).collect()
        };
        let pairs = stack(&self.A())?.into_iter().zip(stack(&self.B())?);
        let (mut pairs, mut done) = (pairs.collect::<Vec<_>>().into_iter(), Vec::new());
        let mut progress = Progress::of("decomposing matrices", pairs.len() as u64, "matrices");
        // Each step has enough work to keep all threads busy.
        let together = 4 * rayon::current_num_threads();
        while pairs.len() > 0 {
            let now: Vec<_> = pairs.by_ref().take(together).collect();
            let count = now.len() as u64;
            done.extend(now.into_par_iter().map(|(a, b)| one(a, b)).collect::<Result<Vec<_>>>()?);
            progress.step(count)?;
        }
        Ok(done)
    }

    fn tensor(&self, values: Vec<f64>, shape: Vec<usize>) -> Result<Tensor> {
        let a = self.A();
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(a.dtype())?.to_device(a.device())?)
    }
}

/// The triangular factor of a QR decomposition.
fn triangle(x: DMatrix<f64>) -> DMatrix<f64> {
    x.qr().r()
}

/// `A B^T = U S V^T` with `A [l, m]`, `B [r, m]`: by QR of both and an SVD of the small matrix between, so the product
/// is never formed. Singular values are in descending order.
pub(crate) fn product_svd(a: DMatrix<f64>, b: DMatrix<f64>) -> Result<(DMatrix<f64>, DVector<f64>, DMatrix<f64>)> {
    let (qa, qb) = (a.qr(), b.qr());
    let middle = (qa.r() * qb.r().transpose()).try_svd(true, true, f64::EPSILON, ROUNDS).ok_or_else(not_converged)?;
    match (middle.u, middle.v_t) {
        (Some(u), Some(v_t)) => Ok((qa.q() * u, middle.singular_values, qb.q() * v_t.transpose())),
        _ => Err(not_converged()),
    }
}

fn not_converged() -> Error {
    Error::argument("the decomposition of a matrix did not converge: check its numbers, some may be extreme.")
}

/// A tensor as a matrix.
///
/// # Errors
/// [`Error::Argument`] for NaN or infinite numbers, which have no decomposition.
pub(crate) fn to_matrix(x: &Tensor) -> Result<DMatrix<f64>> {
    let (rows, columns) = x.dims2()?;
    let values = x.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    if values.iter().any(|value| !value.is_finite()) {
        return Err(Error::argument(
            "a matrix has NaN or infinite numbers, so it has no singular values or eigenvalues: check the weights.",
        ));
    }
    Ok(DMatrix::from_row_slice(rows, columns, &values))
}

/// The matrix as a tensor with the dtype and device of `like`.
pub(crate) fn from_matrix(m: &DMatrix<f64>, like: &Tensor) -> Result<Tensor> {
    Ok(Tensor::from_vec(row_major(m), (m.nrows(), m.ncols()), &Device::Cpu)?
        .to_dtype(like.dtype())?
        .to_device(like.device())?)
}

fn row_major(m: &DMatrix<f64>) -> Vec<f64> {
    m.transpose().as_slice().to_vec()
}
