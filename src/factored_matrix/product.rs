//! Products of stacks of matrices; a matrix that is shared by all is not copied for each.

use candle_core::Tensor;

use crate::error::Result;
use crate::wide::matmul;

/// `x y` for each matrix of the leading axes; axes of size 1 are broadcast.
///
/// # Shapes
/// `x [.., l, m]` and `y [.., m, r]` with the same number of leading axes give `[.., l, r]`.
pub(super) fn product(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let (x, y) = (x.contiguous()?, y.contiguous()?);
    let front = x.rank() - 2;
    let (l, m, r) = (x.dim(front)?, x.dim(front + 1)?, y.dim(front + 1)?);
    let lead: Vec<usize> = x.dims()[..front].iter().zip(y.dims()).map(|(&x, &y)| x.max(y)).collect();
    let shape = [&lead[..], &[l, r]].concat();
    let count = |t: &Tensor| t.dims()[..front].iter().product::<usize>();
    let all = if count(&y) == 1 {
        matmul(&x.reshape(((), m))?, &y.reshape((m, r))?)?
    } else if count(&x) == 1 {
        let side_by_side = y.reshape(((), m, r))?.transpose(0, 1)?.contiguous()?.reshape((m, ()))?;
        let all = matmul(&x.reshape((l, m))?, &side_by_side)?.reshape((l, (), r))?;
        all.transpose(0, 1)?.contiguous()?
    } else {
        let each = |t: &Tensor, rows, columns| -> Result<Tensor> {
            let spread = t.broadcast_as([&lead[..], &[rows, columns]].concat())?.contiguous()?;
            Ok(spread.reshape(((), rows, columns))?)
        };
        matmul(&each(&x, l, m)?, &each(&y, m, r)?)?
    };
    Ok(all.reshape(shape)?)
}

/// `x` with axes of size 1 in front until it has `rank` axes.
pub(super) fn with_rank(x: &Tensor, rank: usize) -> Result<Tensor> {
    let mut shape = vec![1; rank.saturating_sub(x.rank())];
    shape.extend(x.dims());
    Ok(x.reshape(shape)?)
}

/// `x` with its last two axes swapped.
pub(super) fn transposed(x: &Tensor) -> Result<Tensor> {
    Ok(x.transpose(x.rank() - 2, x.rank() - 1)?)
}
