//! Sums of half-precision numbers, added up in f32.
//!
//! On the CPU candle adds numbers up in their own dtype, where a sum stops growing early: in bf16 256 ones and any larger
//! count of them sum to 256, because 257 does not fit into eight bits; in f16 the sum stops at 2048, and squares above
//! 65,504 are infinite. So whatever adds up numbers that may be half does it through this file. f32 and f64 go through
//! unchanged.

use candle_core::shape::Dims;
use candle_core::{DType, Result, Tensor};

/// The dtype in which numbers of this dtype are summed: f32 for half precision, otherwise their own.
pub(crate) fn wide_type(dtype: DType) -> DType {
    if matches!(dtype, DType::BF16 | DType::F16) { DType::F32 } else { dtype }
}

/// The numbers in the dtype in which they are summed.
pub(crate) fn widened(x: &Tensor) -> Result<Tensor> {
    x.to_dtype(wide_type(x.dtype()))
}

/// The sum over these axes, which are removed, in the dtype of `x`.
pub(crate) fn sum(x: &Tensor, axes: impl Dims) -> Result<Tensor> {
    widened(x)?.sum(axes)?.to_dtype(x.dtype())
}

/// The mean over these axes, which are kept with size 1, in the dtype of `x`.
pub(crate) fn mean_keepdim(x: &Tensor, axes: impl Dims) -> Result<Tensor> {
    widened(x)?.mean_keepdim(axes)?.to_dtype(x.dtype())
}

/// `x` broadcast to a larger shape; its gradient, which is a sum over the copies, is summed in the wide dtype.
pub(crate) fn spread(x: &Tensor, shape: &[usize]) -> Result<Tensor> {
    widened(x)?.broadcast_as(shape)?.to_dtype(x.dtype())
}

/// The product of two matrices, or of two stacks of matrices.
///
/// # Shapes
/// `a [.., m, k]`, `b [.., k, n]` give `[.., m, n]`.
pub(crate) fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    as_matrices(a, b, Tensor::matmul)
}

/// Multiplies so that half precision is summed in the wide dtype. candle does so for matrices, but its CPU routine for a single row
/// or column of f16 sums in f16: such a row or column is doubled, and the copy left out of the result.
pub(crate) fn as_matrices(
    a: &Tensor,
    b: &Tensor,
    multiply: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let rank = a.rank();
    if a.dtype() != DType::F16 || !a.device().is_cpu() || rank < 2 || b.rank() != rank {
        return multiply(a, b);
    }
    let (one_row, one_column) = (a.dim(rank - 2)? == 1, b.dim(rank - 1)? == 1);
    let twice = |x: &Tensor, axis, is_one| if is_one { Tensor::cat(&[x, x], axis) } else { Ok(x.clone()) };
    let mut product = multiply(&twice(a, rank - 2, one_row)?, &twice(b, rank - 1, one_column)?)?;
    if one_row {
        product = product.narrow(rank - 2, 0, 1)?;
    }
    if one_column {
        product = product.narrow(rank - 1, 0, 1)?;
    }
    product.contiguous()
}

#[cfg(test)]
mod tests {
    use candle_core::{D, Device};

    use super::*;

    const HALF: [DType; 2] = [DType::BF16, DType::F16];

    fn number(x: &Tensor) -> Result<f32> {
        x.to_dtype(DType::F32)?.flatten_all()?.get(0)?.to_scalar()
    }

    /// 4096 ones are 4096, which both types hold; candle's own sums stop at 256 and 2048.
    #[test]
    fn many_ones_are_as_many() -> Result<()> {
        for dtype in HALF {
            let ones = Tensor::ones((3, 4096), dtype, &Device::Cpu)?;
            assert_eq!(number(&sum(&ones, D::Minus1)?)?, 4096., "{dtype:?}");
            assert_eq!(number(&mean_keepdim(&ones, 1)?)?, 1., "{dtype:?}");
            assert_eq!(sum(&ones, 0)?.dtype(), dtype);
        }
        Ok(())
    }

    #[test]
    fn products_of_rows_columns_and_matrices() -> Result<()> {
        for dtype in HALF {
            for (rows, columns) in [(1, 1), (1, 5), (5, 1), (5, 5)] {
                for batch in [&[][..], &[2], &[2, 3]] {
                    let ones = |shape: &[usize]| Tensor::ones([batch, shape].concat(), dtype, &Device::Cpu);
                    let (a, b) = (ones(&[rows, 4096])?, ones(&[4096, columns])?);
                    let product = matmul(&a, &b)?;
                    assert_eq!(product.dims(), [batch, &[rows, columns]].concat());
                    assert_eq!(number(&product)?, 4096., "{dtype:?} {rows} {columns} {batch:?}");
                    // A column of a transposed matrix goes another way.
                    let transposed = ones(&[4096, rows])?.transpose(batch.len(), batch.len() + 1)?;
                    assert_eq!(number(&matmul(&transposed, &b)?)?, 4096., "{dtype:?} {rows} {columns} {batch:?}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn the_gradient_of_what_is_spread_is_added_up_wide() -> Result<()> {
        for dtype in HALF {
            let x = candle_core::Var::ones((1, 2), dtype, &Device::Cpu)?;
            let gradients = widened(&spread(&x, &[4096, 2])?)?.sum_all()?.backward()?;
            assert_eq!(number(gradients.get(&x).expect("a gradient"))?, 4096., "{dtype:?}");
        }
        Ok(())
    }
}
