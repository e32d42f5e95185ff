//! The three steps of a norm: what is taken out, what is divided by, the division. Each is one threaded pass forward
//! and one back, where candle makes up to six.
//!
//! The mean is added up in f64, so that that of equal numbers is exactly their number: what a rounding leaves of a
//! constant row an eps of 1e-12 would blow up to something that looks like a signal.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, DType, Layout, Result, Shape, Tensor};

use super::kernels::{for_rows, inlined, map_rows, mean, numbers, products, width};

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

/// `sqrt(mean(x^2) + eps)` over the last axis, which is kept with size 1.
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
        let y = map_rows(x, width(layout), inlined!(|_, row| mean(row)), inlined!(|mean, x| x - mean));
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
        let work = inlined!(|first: usize, chunk: &mut [f32]| {
            for (y, x) in chunk.iter_mut().zip(x[first * width..].chunks_exact(width)) {
                *y = (products(x, x) / width as f32 + self.eps).sqrt();
            }
        });
        for_rows(&mut y, 1, width, work);
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

/// `each(factor, x)` for each number of the first tensor with its row's one number of the second.
fn by_row(
    (s1, l1): (&CpuStorage, &Layout),
    (s2, l2): (&CpuStorage, &Layout),
    op: &'static str,
    each: impl Fn(f32, f32) -> f32 + Sync,
) -> Result<(CpuStorage, Shape)> {
    let (x, factors) = (numbers(s1, l1, op)?, numbers(s2, l2, op)?);
    let out = map_rows(x, width(l1), inlined!(|row, _| factors[row]), each);
    Ok((CpuStorage::F32(out), l1.shape().clone()))
}

struct RowsTimes;

impl CustomOp2 for RowsTimes {
    fn name(&self) -> &'static str {
        "rows_times"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        by_row((s1, l1), (s2, l2), self.name(), inlined!(|factor, x| x * factor))
    }
}

struct RowsOver;

impl CustomOp2 for RowsOver {
    fn name(&self) -> &'static str {
        "rows_over"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        by_row((s1, l1), (s2, l2), self.name(), inlined!(|scale, x| x / scale))
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
        let work = inlined!(|first: usize, chunk: &mut [f32]| {
            let rows = a[first * width..].chunks_exact(width).zip(b[first * width..].chunks_exact(width));
            for (out, (a, b)) in chunk.iter_mut().zip(rows) {
                *out = products(a, b);
            }
        });
        for_rows(&mut out, 1, width, work);
        let mut shape = l1.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = 1;
        }
        Ok((CpuStorage::F32(out), shape.into()))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    /// Values and gradients of a norm in both orders of its steps, fused in f32 and of candle's operations in f64, in
    /// rows that fill no whole vector and tensors that fill several threads.
    #[test]
    fn fused_steps_agree_with_composed_ones() -> Result<()> {
        for (rows, width) in [(431, 77), (3, 1), (1, 2049)] {
            let wave = |salt: usize| -> Vec<f64> {
                (0..rows * width).map(|i| ((i * 7919 + salt * 104_729 + 13) as f64 * 0.618_034).sin()).collect()
            };
            let (x, weights) = (wave(1), wave(2));
            for centres in [false, true] {
                for is_frozen in [false, true] {
                    let run = |dtype: DType| -> Result<(Vec<f64>, Vec<f64>)> {
                        let tensor = |numbers: &[f64]| {
                            Tensor::from_vec(numbers.to_vec(), (rows, width), &Device::Cpu)?.to_dtype(dtype)
                        };
                        let x = Var::from_tensor(&tensor(&x)?)?;
                        let divided = if centres { centred(x.as_tensor())? } else { x.as_tensor().clone() };
                        let scale = root_mean_square(&divided, 1e-5)?;
                        let scale = if is_frozen { scale.detach() } else { scale };
                        let y = rows_over(&divided, &scale)?;
                        let gradients = (&y * tensor(&weights)?)?.sum_all()?.backward()?;
                        let all = |x: &Tensor| x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
                        Ok((all(&y)?, all(gradients.get(&x).expect("a gradient"))?))
                    };
                    let ((y, grad), (expected, expected_grad)) = (run(DType::F32)?, run(DType::F64)?);
                    for (got, expected) in y.iter().zip(&expected).chain(grad.iter().zip(&expected_grad)) {
                        assert!(
                            (got - expected).abs() <= 4e-6 * (1.0 + expected.abs()),
                            "{rows} {width} {centres} {is_frozen}: {got} for {expected}"
                        );
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_constant_row_has_nothing_but_its_mean() -> Result<()> {
        for dtype in [DType::F32, DType::F64] {
            for x in [0.1, -37.3, 1e5] {
                let row = (Tensor::ones((2, 1000), dtype, &Device::Cpu)? * x)?;
                let left = centred(&row)?.abs()?.max_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
                let allowed = if dtype == DType::F32 { 0.0 } else { 1e-15 };
                assert!(left <= allowed, "{left} of {x}");
            }
        }
        Ok(())
    }
}
