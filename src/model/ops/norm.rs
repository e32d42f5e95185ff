//! The three steps of a norm: what is taken out, what is divided by, the division. Each is one threaded pass forward and one
//! back, where candle makes up to six.
//!
//! The mean is added up in f64, so that that of equal numbers is exactly their number: what a rounding leaves of a constant row
//! an eps of 1e-12 would blow up to something that looks like a signal.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, DType, Layout, Result, Shape, Tensor};

use super::kernels::{for_rows, mean, numbers, total, width};

fn is_ours(x: &Tensor) -> bool {
    x.dtype() == DType::F32 && x.device().is_cpu()
}

/// `x` minus its mean over the last axis.
pub(super) fn centred(x: &Tensor) -> Result<Tensor> {
    if is_ours(x) {
        return x.contiguous()?.apply_op1(Centred);
    }
    let nearly = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    // What rounding has left of the mean is small enough for its own mean to be nearly exact.
    nearly.broadcast_sub(&nearly.mean_keepdim(D::Minus1)?)
}

/// `sqrt(mean(x^2) + eps)` over the last axis, which stays with size 1.
pub(super) fn root_mean_square(x: &Tensor, eps: f64) -> Result<Tensor> {
    if is_ours(x) {
        return x.contiguous()?.apply_op1(RootMeanSquare { eps: eps as f32 });
    }
    (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()
}

/// Each row of `x [.., d]` over its number of `scale [.., 1]`.
pub(super) fn rows_over(x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    let (d, front) = x.dims().split_last().unwrap_or((&1, &[]));
    let one_each = scale.dims().split_last().is_some_and(|(one, rows)| *one == 1 && rows == front);
    if is_ours(x) && scale.dtype() == DType::F32 && one_each && *d > 0 {
        return x.contiguous()?.apply_op2(&scale.contiguous()?, RowsOver);
    }
    x.broadcast_div(scale)
}

struct Centred;

impl CustomOp1 for Centred {
    fn name(&self) -> &'static str {
        "centred"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = numbers(storage, layout, self.name())?;
        let width = width(layout);
        let mut y = vec![0f32; x.len()];
        for_rows(&mut y, width, width, |first, chunk| {
            for (y, x) in chunk.chunks_exact_mut(width).zip(x[first..].chunks_exact(width)) {
                let mean = mean(x);
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = x - mean;
                }
            }
        });
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        // It is a projection, so its own transpose.
        Ok(Some(grad.contiguous()?.apply_op1_no_bwd(&Self)?))
    }
}

struct RootMeanSquare {
    eps: f32,
}

impl CustomOp1 for RootMeanSquare {
    fn name(&self) -> &'static str {
        "root_mean_square"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = numbers(storage, layout, self.name())?;
        let width = width(layout);
        let mut y = vec![0f32; x.len() / width];
        for_rows(&mut y, 1, width, |first, chunk| {
            for (y, x) in chunk.iter_mut().zip(x[first * width..].chunks_exact(width)) {
                *y = (total(width, |i| x[i] * x[i]) / width as f32 + self.eps).sqrt();
            }
        });
        let mut shape = layout.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = 1;
        }
        Ok((CpuStorage::F32(y), shape.into()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let share = (grad / (y * x.dim(D::Minus1)? as f64)?)?;
        Ok(Some(x.contiguous()?.apply_op2_no_bwd(&share.contiguous()?, &RowsTimes)?))
    }
}

/// Calls `work(out, x, factor)` for each row of the first tensor with its one number of the second.
fn by_row(
    (s1, l1): (&CpuStorage, &Layout),
    (s2, l2): (&CpuStorage, &Layout),
    op: &'static str,
    work: impl Fn(&mut f32, f32, f32) + Sync,
) -> Result<(CpuStorage, Shape)> {
    let (x, factors) = (numbers(s1, l1, op)?, numbers(s2, l2, op)?);
    let width = width(l1);
    let mut out = vec![0f32; x.len()];
    for_rows(&mut out, width, width, |first, chunk| {
        let rows = x[first..].chunks_exact(width).zip(&factors[first / width..]);
        for (out, (x, &factor)) in chunk.chunks_exact_mut(width).zip(rows) {
            for (out, &x) in out.iter_mut().zip(x) {
                work(out, x, factor);
            }
        }
    });
    Ok((CpuStorage::F32(out), l1.shape().clone()))
}

struct RowsTimes;

impl CustomOp2 for RowsTimes {
    fn name(&self) -> &'static str {
        "rows_times"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        by_row((s1, l1), (s2, l2), self.name(), |out, x, factor| *out = x * factor)
    }
}

struct RowsOver;

impl CustomOp2 for RowsOver {
    fn name(&self) -> &'static str {
        "rows_over"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        by_row((s1, l1), (s2, l2), self.name(), |out, x, scale| *out = x / scale)
    }

    fn bwd(&self, x: &Tensor, scale: &Tensor, y: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        // A scale that is frozen has no gradient to pass on, and what is divided may be new in this run.
        let of_x = x.track_op().then(|| grad.apply_op2_no_bwd(scale, &Self)).transpose()?;
        let of_scale = match scale.track_op() {
            true => Some((grad.apply_op2_no_bwd(&y.contiguous()?, &RowProducts)? / scale)?.neg()?),
            false => None,
        };
        Ok((of_x, of_scale))
    }
}

/// The sum of the products of two rows, `[.., d]` and `[.., d]` give `[.., 1]`.
struct RowProducts;

impl CustomOp2 for RowProducts {
    fn name(&self) -> &'static str {
        "row_products"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (a, b) = (numbers(s1, l1, self.name())?, numbers(s2, l2, self.name())?);
        let width = width(l1);
        let mut out = vec![0f32; a.len() / width];
        for_rows(&mut out, 1, width, |first, chunk| {
            let rows = a[first * width..].chunks_exact(width).zip(b[first * width..].chunks_exact(width));
            for (out, (a, b)) in chunk.iter_mut().zip(rows) {
                *out = total(width, |i| a[i] * b[i]);
            }
        });
        let mut shape = l1.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = 1;
        }
        Ok((CpuStorage::F32(out), shape.into()))
    }
}
