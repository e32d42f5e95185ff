//! Examples as a matrix of f64.

use candle_core::{DType, Device, Tensor};
use nalgebra::DMatrix;

use crate::error::{Error, Result};
use crate::hooks::check_free;

/// The numbers of `count` examples, one a row.
///
/// # Errors
/// Another shape or count of examples, numbers that are not finite, and no memory.
pub(super) fn examples(x: &Tensor, count: usize) -> Result<DMatrix<f64>> {
    let [rows, width] = *x.dims() else {
        return Err(Error::shape("the examples of a probe", "[example, width]", x.dims()));
    };
    if rows != count || rows == 0 || width == 0 {
        return Err(Error::shape("the examples of a probe", format!("[{count}, width], at least 1 of each"), x.dims()));
    }
    // The matrix, its weighted copy and their product, in as many coordinates as a fit takes.
    let least = (rows as u64).min(width as u64);
    let bytes = 8 * (2 * (rows as u64).saturating_mul(width as u64 + 1)).saturating_add(3 * least * least);
    check_free(bytes, "fitting the probe", "take fewer examples")?;
    let numbers = x.to_dtype(DType::F64)?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f64>()?;
    if let Some(at) = numbers.iter().position(|x| !x.is_finite()) {
        return Err(Error::argument(format!(
            "example {} of the probe has a number that is not finite: leave it out.",
            at / width
        )));
    }
    Ok(DMatrix::from_row_slice(rows, width, &numbers))
}

/// The matrix with a last column of ones, whose weight is the bias.
pub(super) fn with_ones(x: &DMatrix<f64>) -> DMatrix<f64> {
    x.clone().insert_column(x.ncols(), 1.)
}
