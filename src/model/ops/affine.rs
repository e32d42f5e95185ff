//! Sums along the residual stream, gates of neurons and the weights of norms, each in one threaded pass, where candle makes one or two on a
//! single thread.

use std::mem::MaybeUninit;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Storage, Tensor};

use super::kernels::{inlined, map_pairs, numbers, width, written};

fn is_ours(x: &Tensor) -> bool {
    x.dtype() == DType::F32 && x.device().is_cpu() && x.elem_count() > 0
}

/// `a + b`, of tensors of one shape.
pub(super) fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    match is_ours(a) && is_ours(b) && a.shape() == b.shape() {
        true => a.contiguous()?.apply_op2(&b.contiguous()?, Sum),
        false => a + b,
    }
}

/// `x w + b` along the last axis; without a gradient for weights that are not trained.
///
/// # Shapes
/// `x [.., d]`, `w` and `b` `[d]`.
pub(super) fn scaled(x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    let fits = |w: &Tensor| is_ours(w) && !w.track_op() && x.dims().last() == Some(&w.elem_count()) && w.rank() == 1;
    if is_ours(x) && fits(w) && b.is_none_or(fits) {
        let b = b.map(Tensor::contiguous).transpose()?;
        return x.contiguous()?.apply_op1(Scaled { w: w.contiguous()?, b });
    }
    let scaled = x.broadcast_mul(w)?;
    match b {
        Some(b) => scaled.broadcast_add(b),
        None => Ok(scaled),
    }
}

/// `a b + c` along the last axis, of tensors `a` and `b` of one shape.
///
/// # Shapes
/// `a` and `b` `[.., d]`, `c [d]`.
pub(super) fn products(a: &Tensor, b: &Tensor, c: &Tensor) -> Result<Tensor> {
    let fits = is_ours(c) && !c.track_op() && a.dims().last() == Some(&c.elem_count()) && c.rank() == 1;
    match fits && is_ours(a) && is_ours(b) && a.shape() == b.shape() {
        true => a.contiguous()?.apply_op2(&b.contiguous()?, Products { c: c.contiguous()? }),
        false => (a * b)?.broadcast_add(c),
    }
}

struct Products {
    c: Tensor,
}

impl CustomOp2 for Products {
    fn name(&self) -> &'static str {
        "products"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (a, b, width) = (numbers(s1, l1, self.name())?, numbers(s2, l2, self.name())?, width(l1));
        let y = read(&self.c, |c| {
            let work = inlined!(|first: usize, places: &mut [MaybeUninit<f32>]| {
                let rows = a[first..].chunks_exact(width).zip(b[first..].chunks_exact(width));
                for (places, (a, b)) in places.chunks_exact_mut(width).zip(rows) {
                    for (place, ((a, b), c)) in places.iter_mut().zip(a.iter().zip(b).zip(c)) {
                        place.write(a * b + c);
                    }
                }
            });
            written(a.len(), width, work)
        })?;
        Ok((CpuStorage::F32(y), l1.shape().clone()))
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let of = |x: &Tensor, other: &Tensor| x.track_op().then(|| grad * other).transpose();
        Ok((of(a, b)?, of(b, a)?))
    }
}

struct Sum;

impl CustomOp2 for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (a, b) = (numbers(s1, l1, self.name())?, numbers(s2, l2, self.name())?);
        Ok((CpuStorage::F32(map_pairs(a, b, inlined!(|a, b| a + b))), l1.shape().clone()))
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let of = |x: &Tensor| x.track_op().then(|| grad.clone());
        Ok((of(a), of(b)))
    }
}

struct Scaled {
    w: Tensor,
    b: Option<Tensor>,
}

/// Gives the numbers of a weight to `read`.
fn read<T>(weight: &Tensor, read: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let (storage, layout) = weight.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(read(numbers(storage, layout, "scaled")?)),
        _ => candle_core::bail!("the weights are on another device than the activation"),
    }
}

impl CustomOp1 for Scaled {
    fn name(&self) -> &'static str {
        "scaled"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, width) = (numbers(storage, layout, self.name())?, width(layout));
        let made = |w: &[f32], b: Option<&[f32]>| {
            let work = inlined!(|first: usize, places: &mut [MaybeUninit<f32>]| {
                let rows = places.chunks_exact_mut(width).zip(x[first..].chunks_exact(width));
                for (places, x) in rows {
                    let products = places.iter_mut().zip(x.iter().zip(w));
                    match b {
                        Some(b) => {
                            for ((place, (x, w)), b) in products.zip(b) {
                                place.write(x * w + b);
                            }
                        }
                        None => {
                            for (place, (x, w)) in products {
                                place.write(x * w);
                            }
                        }
                    }
                }
            });
            written(x.len(), width, work)
        };
        let y = match &self.b {
            Some(b) => read(&self.w, |w| read(b, |b| made(w, Some(b))))??,
            None => read(&self.w, |w| made(w, None))?,
        };
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(scaled(grad, &self.w, None)?))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    /// Values and gradients are those of candle's own operations to the last digit, in one chunk and in several.
    #[test]
    fn sums_and_weights_are_those_of_candle() -> Result<()> {
        for (rows, width) in [(3, 5), (500, 77)] {
            let wave = |count: usize, salt: usize| -> Vec<f32> {
                (0..count).map(|i| ((i * 7919 + salt * 104_729 + 13) as f32 * 0.618_034).sin()).collect()
            };
            let tensor = |salt| Tensor::from_vec(wave(rows * width, salt), (rows, width), &Device::Cpu);
            let row = |salt| Tensor::from_vec(wave(width, salt), width, &Device::Cpu);
            let (x, y, grad, w, b) = (Var::from_tensor(&tensor(1)?)?, tensor(2)?, tensor(3)?, row(4)?, row(5)?);
            let x = x.as_tensor();
            let all = |x: &Tensor| x.flatten_all()?.to_vec1::<f32>();
            let same = |ours: Tensor, theirs: Tensor| -> Result<()> {
                assert_eq!(all(&ours)?, all(&theirs)?, "{rows} {width}");
                let gradient = |y: &Tensor| -> Result<Vec<f32>> {
                    all((y * &grad)?.sum_all()?.backward()?.get(x).expect("a gradient"))
                };
                assert_eq!(gradient(&ours)?, gradient(&theirs)?, "{rows} {width}");
                Ok(())
            };
            same(sum(x, &y)?, (x + &y)?)?;
            same(products(x, &y, &b)?, (x * &y)?.broadcast_add(&b)?)?;
            same(products(&y, x, &b)?, (&y * x)?.broadcast_add(&b)?)?;
            same(scaled(x, &w, Some(&b))?, x.broadcast_mul(&w)?.broadcast_add(&b)?)?;
            same(scaled(x, &w, None)?, x.broadcast_mul(&w)?)?;
        }
        Ok(())
    }
}
