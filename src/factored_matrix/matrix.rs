//! The pair of factors, its parts and its products.

use std::fmt;

use candle_core::Tensor;

use super::product::{product, transposed, with_rank};
use crate::error::{Error, Result};
use crate::slice::{Slice, absolute};
use crate::variables::holds;

/// The matrix `A B`, or a stack of such, kept as its factors. Cheap to clone.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let ov = model.OV()?;
/// assert_eq!(ov.shape()[2..], [model.cfg().d_model, model.cfg().d_model]);
/// // What head 1 of layer 0 would write into the logits for each token it attends to, without writing it out.
/// let circuit = ov.get(&[0, 1])?.left_matmul(&model.W_E())?.right_matmul(&model.W_U())?;
/// assert_eq!(circuit.get_corner(2)?.dims(), [2, 2]);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct FactoredMatrix {
    /// Both factors have the same number of axes; a leading axis of one may be 1 where the other's is not.
    a: Tensor,
    b: Tensor,
}

holds! {
    FactoredMatrix { a, b } = |matrix| format!("{:?}", matrix.shape());
}

#[allow(non_snake_case)]
impl FactoredMatrix {
    /// The product of `a` and `b`, not computed.
    ///
    /// # Shapes
    /// `a [.., l, m]`, `b [.., m, r]`; leading axes are broadcast.
    ///
    /// # Errors
    /// [`Error::Shape`] for factors that do not fit; [`Error::Argument`] for different dtypes.
    pub fn new(a: &Tensor, b: &Tensor) -> Result<Self> {
        if a.rank() < 2 || b.rank() < 2 || a.elem_count() == 0 || b.elem_count() == 0 {
            let wrong = if a.rank() < 2 || a.elem_count() == 0 { a } else { b };
            return Err(Error::shape("a factor", "[.., rows, columns], none of them 0", wrong.dims()));
        }
        if a.dtype() != b.dtype() || !a.dtype().is_float() {
            return Err(Error::argument(format!(
                "the factors have the dtypes {:?} and {:?}: give both the same floating-point dtype \
                 (Tensor::to_dtype).",
                a.dtype(),
                b.dtype()
            )));
        }
        let rank = a.rank().max(b.rank());
        let (a, b) = (with_rank(a, rank)?, with_rank(b, rank)?);
        let inner = a.dim(rank - 1)?;
        let fits = a.dims()[..rank - 2].iter().zip(b.dims()).all(|(&x, &y)| x == y || x == 1 || y == 1);
        if b.dim(rank - 2)? != inner || !fits {
            let front = &a.dims()[..rank - 2];
            return Err(Error::shape(
                "the right factor",
                format!(
                    "[.., {inner}, columns] with the leading axes {front:?}, to match the left factor {:?}",
                    a.dims()
                ),
                b.dims(),
            ));
        }
        Ok(Self { a, b })
    }

    /// A matrix as a factored one: itself times the identity, so that its decompositions are the matrix's own.
    ///
    /// # Shapes
    /// `[.., rows, columns]`.
    ///
    /// # Errors
    /// As [`FactoredMatrix::new`].
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let matrix = Tensor::new(&[[3f32, 0.], [0., -4.]], &Device::Cpu)?;
    /// let singular = FactoredMatrix::from_matrix(&matrix)?.svd()?.s.to_vec1::<f32>()?;
    /// assert!((singular[0] - 4.0).abs() < 1e-5 && (singular[1] - 3.0).abs() < 1e-5);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn from_matrix(matrix: &Tensor) -> Result<Self> {
        let columns = matrix.dims().last().copied().unwrap_or(0);
        Self::new(matrix, &Tensor::eye(columns, matrix.dtype(), matrix.device())?)
    }

    /// The left factor, `[.., ldim, mdim]`.
    pub fn A(&self) -> Tensor {
        self.a.clone()
    }

    /// The right factor, `[.., mdim, rdim]`.
    pub fn B(&self) -> Tensor {
        self.b.clone()
    }

    /// Both factors.
    pub fn pair(&self) -> (Tensor, Tensor) {
        (self.A(), self.B())
    }

    /// The product itself, `[.., ldim, rdim]`.
    ///
    /// # Errors
    /// candle's, if the product does not fit in memory.
    pub fn AB(&self) -> Result<Tensor> {
        product(&self.a, &self.b)
    }

    /// The factors in the other order, `[.., mdim, mdim]`: the same non-zero eigenvalues in a small matrix.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `ldim` is `rdim`.
    pub fn BA(&self) -> Result<Tensor> {
        self.check_square()?;
        product(&self.b, &self.a)
    }

    /// The transposed matrix.
    ///
    /// # Errors
    /// candle's.
    pub fn T(&self) -> Result<Self> {
        Ok(Self { a: transposed(&self.b)?, b: transposed(&self.a)? })
    }

    /// The leading axes.
    pub fn lead(&self) -> Vec<usize> {
        let front = self.ndim() - 2;
        self.a.dims()[..front].iter().zip(self.b.dims()).map(|(&x, &y)| x.max(y)).collect()
    }

    /// The shape of the product.
    pub fn shape(&self) -> Vec<usize> {
        let mut shape = self.lead();
        shape.extend([self.ldim(), self.rdim()]);
        shape
    }

    /// How many axes the product has.
    pub fn ndim(&self) -> usize {
        self.a.rank()
    }

    /// Rows of the product.
    pub fn ldim(&self) -> usize {
        self.a.dims()[self.ndim() - 2]
    }

    /// The size that the factors share: the largest rank that the product can have.
    pub fn mdim(&self) -> usize {
        self.a.dims()[self.ndim() - 1]
    }

    /// Columns of the product.
    pub fn rdim(&self) -> usize {
        self.b.dims()[self.ndim() - 1]
    }

    /// The matrix times a number.
    ///
    /// # Errors
    /// candle's.
    pub fn scale(&self, factor: f64) -> Result<Self> {
        Ok(Self { a: (&self.a * factor)?, b: self.b.clone() })
    }

    /// The product with another factored matrix, kept as the thinner of the two possible pairs of factors.
    ///
    /// # Shapes
    /// `[.., l, r]` times `[.., r, s]` gives `[.., l, s]`; leading axes are broadcast.
    ///
    /// # Errors
    /// [`Error::Shape`] if the sizes do not match.
    pub fn matmul(&self, other: &Self) -> Result<Self> {
        if self.rdim() != other.ldim() || Self::new(&self.b, &other.a).is_err() {
            return Err(Error::shape(
                "the right matrix",
                format!("[.., {}, columns] for a left one of {:?}", self.rdim(), self.shape()),
                &other.shape(),
            ));
        }
        let rank = self.ndim().max(other.ndim());
        let [a, b, c, d] = [&self.a, &self.b, &other.a, &other.b].map(|factor| with_rank(factor, rank));
        let (a, b, c, d) = (a?, b?, c?, d?);
        let middle = product(&b, &c)?;
        if self.mdim() > other.mdim() {
            Ok(Self { a: product(&a, &middle)?, b: d })
        } else {
            Ok(Self { a, b: product(&middle, &d)? })
        }
    }

    /// `A B M`, still factored.
    ///
    /// # Shapes
    /// `M [.., rdim, s]`; leading axes are broadcast.
    ///
    /// # Errors
    /// [`Error::Shape`] if the sizes do not match.
    pub fn right_matmul(&self, matrix: &Tensor) -> Result<Self> {
        let right = Self::new(&self.b, matrix)?;
        // Whichever is thinner: A with (B M), or (A B) with M.
        if self.mdim() <= self.rdim() { Self::new(&self.a, &right.AB()?) } else { Self::new(&self.AB()?, matrix) }
    }

    /// `M A B`, still factored.
    ///
    /// # Shapes
    /// `M [.., s, ldim]`; leading axes are broadcast.
    ///
    /// # Errors
    /// [`Error::Shape`] if the sizes do not match.
    pub fn left_matmul(&self, matrix: &Tensor) -> Result<Self> {
        let left = Self::new(matrix, &self.a)?;
        if self.mdim() <= self.ldim() { Self::new(&left.AB()?, &self.b) } else { Self::new(matrix, &self.AB()?) }
    }

    /// `A B v` for one vector.
    ///
    /// # Shapes
    /// `v [rdim]` gives `[.., ldim]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for a vector of another length.
    pub fn apply(&self, vector: &Tensor) -> Result<Tensor> {
        if vector.dims() != [self.rdim()] {
            return Err(Error::shape(
                "the vector",
                format!("[{}], one number for each column of the matrix", self.rdim()),
                vector.dims(),
            ));
        }
        let column = with_rank(&vector.unsqueeze(1)?, self.ndim())?;
        let through = product(&self.a, &product(&self.b, &column)?)?;
        Ok(through.squeeze(self.ndim() - 1)?)
    }

    /// The matrix at these indices of the leading axes; fewer indices leave the later axes. Negative indices count from the
    /// end.
    ///
    /// # Errors
    /// More indices than leading axes, or one outside its axis.
    pub fn get(&self, indices: &[isize]) -> Result<Self> {
        let lead = self.lead();
        if indices.len() > lead.len() {
            return Err(Error::argument(format!(
                "{} indices were given for a matrix of {:?}, which has {} leading axes: rows() and cols() select parts \
                 of the matrix itself.",
                indices.len(),
                self.shape(),
                lead.len()
            )));
        }
        let (mut a, mut b) = self.pair();
        for (&index, &size) in indices.iter().zip(&lead) {
            let index = absolute(index, size, "index")?;
            let at = |x: &Tensor| x.get(if x.dims()[0] == 1 { 0 } else { index });
            (a, b) = (at(&a)?, at(&b)?);
        }
        Ok(Self { a, b })
    }

    /// These rows; one index leaves one row.
    ///
    /// # Errors
    /// An index outside the matrix.
    pub fn rows(&self, rows: impl Into<Slice>) -> Result<Self> {
        let rows = kept(rows.into());
        Ok(Self { a: rows.apply(&self.a, self.ndim() - 2, "row")?, b: self.B() })
    }

    /// These columns; one index leaves one column.
    ///
    /// # Errors
    /// An index outside the matrix.
    pub fn cols(&self, columns: impl Into<Slice>) -> Result<Self> {
        let columns = kept(columns.into());
        Ok(Self { a: self.A(), b: columns.apply(&self.b, self.ndim() - 1, "column")? })
    }

    /// The first `k` rows and columns of the product, `[.., k, k]`, or all if there are fewer.
    ///
    /// # Errors
    /// `k` of 0.
    pub fn get_corner(&self, k: usize) -> Result<Tensor> {
        let (rows, columns) = (k.min(self.ldim()) as isize, k.min(self.rdim()) as isize);
        self.rows(0..rows)?.cols(0..columns)?.AB()
    }

    /// One more axis of size 1, at `dim` of the leading axes.
    ///
    /// # Errors
    /// [`Error::Argument`] for a `dim` beyond them.
    pub fn unsqueeze(&self, dim: usize) -> Result<Self> {
        if dim > self.ndim() - 2 {
            return Err(Error::argument(format!(
                "an axis cannot be put at {dim} of a matrix of {:?}: give 0 to {}.",
                self.shape(),
                self.ndim() - 2
            )));
        }
        Ok(Self { a: self.a.unsqueeze(dim)?, b: self.b.unsqueeze(dim)? })
    }

    /// Checks that there are as many rows as columns.
    pub(super) fn check_square(&self) -> Result<()> {
        if self.ldim() == self.rdim() {
            return Ok(());
        }
        Err(Error::shape("the matrix", "as many rows as columns, or it has no eigenvalues", &self.shape()))
    }
}

/// A single index as a list of one, which keeps the axis.
fn kept(slice: Slice) -> Slice {
    match slice {
        Slice::At(index) => Slice::List(vec![index]),
        other => other,
    }
}

impl fmt::Debug for FactoredMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FactoredMatrix({:?}, through {})", self.shape(), self.mdim())
    }
}
