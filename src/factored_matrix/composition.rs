//! How much of what one matrix writes another reads.

use candle_core::{DType, Tensor};

use super::matrix::FactoredMatrix;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// `|left right| / (|left| |right|)` in Frobenius norms, for each matrix of `left` with each of `right`
/// (Elhage et al. 2021): 0 where nothing that is written is read. Random matrices do not score 0: compare with them.
///
/// # Shapes
/// `left [.., l, d]`, `right [.., d, r]` give `[leading axes of left.., leading axes of right..]`.
///
/// # Errors
/// [`Error::Shape`] when rows and columns do not fit; [`Error::Argument`] for NaN or infinite numbers.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let ov = model.OV()?;
/// let scores = composition_scores(&ov.get(&[0])?, &model.QK()?.get(&[1])?)?;
/// assert_eq!(scores.dims(), [model.cfg().n_heads, model.cfg().n_heads]);
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn composition_scores(left: &FactoredMatrix, right: &FactoredMatrix) -> Result<Tensor> {
    if left.rdim() != right.ldim() {
        return Err(Error::shape(
            "the right matrix of a composition",
            format!("[.., {}, columns], as the left one has columns", left.rdim()),
            &right.shape(),
        ));
    }
    let mut whole = Progress::of("composition scores", 4, "steps");
    // A norm is the same in any basis, so only the small cores of both sides are multiplied.
    let width = left.rdim();
    let writers = left.right_core()?.to_dtype(DType::F32)?.reshape(((), left.mdim().min(left.ldim()), width))?;
    whole.step(1)?;
    let core = right.T()?.right_core()?.to_dtype(DType::F32)?;
    let (readers, thin) = (core.elem_count() / core.dim(core.rank() - 2)? / width, core.dim(core.rank() - 2)?);
    let readers_by_column = core.reshape((readers * thin, width))?.t()?.contiguous()?;
    whole.step(1)?;
    let count = writers.dim(0)?;
    let mut progress = Progress::of("composition scores", count as u64, "matrices");
    let mut rows = Vec::with_capacity(count);
    for writer in 0..count {
        let together = writers.get(writer)?.matmul(&readers_by_column)?;
        rows.push(together.sqr()?.sum(0)?.reshape((readers, thin))?.sum(1)?.sqrt()?);
        progress.step(1)?;
    }
    whole.step(1)?;
    let norms = (left.norm()?.flatten_all()?.reshape((count, 1))?, right.norm()?.flatten_all()?.reshape((1, readers))?);
    let sizes = norms.0.to_dtype(DType::F32)?.broadcast_mul(&norms.1.to_dtype(DType::F32)?)?;
    let scores = (Tensor::stack(&rows, 0)? / sizes)?;
    Ok(scores.reshape([left.lead(), right.lead()].concat())?)
}
