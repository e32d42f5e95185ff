//! The rotation of rotary position embeddings, in one threaded pass forward and one back, where candle makes ten on one thread.

use std::mem::MaybeUninit;

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Storage, Tensor};

use super::kernels::{inlined, numbers, width, written};

/// Pairs of the first `r` dimensions, each turned by its angle: dimension `i` with `i + r / 2`, or with its neighbour.
///
/// # Shapes
/// `x [batch, pos, head, d_head]`, `cos` and `sin` `[batch, pos, 1, r / 2]`, or of one batch; result that of `x`.
pub(super) fn turned(x: &Tensor, (cos, sin): (&Tensor, &Tensor), adjacent: bool) -> Result<Tensor> {
    let (batch, pos, heads, d_head) = x.dims4()?;
    let (of_batch, of_pos, _, half) = cos.dims4()?;
    let is_ours = x.dtype() == DType::F32 && x.device().is_cpu() && x.elem_count() > 0;
    if !is_ours || half == 0 || 2 * half > d_head || of_pos != pos || (of_batch != batch && of_batch != 1) {
        return composed(x, (cos, sin), adjacent);
    }
    let of = |angles: &Tensor| angles.to_dtype(DType::F32)?.contiguous();
    x.contiguous()?.apply_op1(Turn { cos: of(cos)?, sin: of(sin)?, heads, adjacent })
}

/// The same in candle's operations.
fn composed(x: &Tensor, (cos, sin): (&Tensor, &Tensor), adjacent: bool) -> Result<Tensor> {
    let half = cos.dim(3)?;
    let rest = x.dim(3)? - 2 * half;
    let (cos, sin) = (cos.to_dtype(x.dtype())?, sin.to_dtype(x.dtype())?);
    let (a, b) = match adjacent {
        true => {
            let (batch, pos, heads, _) = x.dims4()?;
            let pairs = x.narrow(3, 0, 2 * half)?.reshape((batch, pos, heads, half, 2))?;
            (pairs.narrow(4, 0, 1)?.squeeze(4)?, pairs.narrow(4, 1, 1)?.squeeze(4)?)
        }
        false => (x.narrow(3, 0, half)?, x.narrow(3, half, half)?),
    };
    let turned_a = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let turned_b = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    let mut parts = match adjacent {
        true => vec![Tensor::stack(&[turned_a, turned_b], 4)?.flatten_from(3)?],
        false => vec![turned_a, turned_b],
    };
    if rest > 0 {
        parts.push(x.narrow(3, 2 * half, rest)?);
    }
    Tensor::cat(&parts, 3)
}

struct Turn {
    cos: Tensor,
    sin: Tensor,
    heads: usize,
    adjacent: bool,
}

impl Turn {
    fn of(&self, x: &[f32], d_head: usize, (cos, sin): (&[f32], &[f32])) -> Vec<f32> {
        let half = self.cos.dims()[3];
        let angles = cos.len() / half;
        let work = inlined!(|first: usize, places: &mut [MaybeUninit<f32>]| {
            let rows = places.chunks_exact_mut(d_head).zip(x[first..].chunks_exact(d_head));
            for (index, (to, x)) in rows.enumerate() {
                let at = (first / d_head + index) / self.heads % angles * half;
                let angles = || cos[at..at + half].iter().zip(&sin[at..at + half]);
                let (x, rest) = x.split_at(2 * half);
                let (to, to_rest) = to.split_at_mut(2 * half);
                if self.adjacent {
                    let pairs = to.as_chunks_mut::<2>().0.iter_mut().zip(x.as_chunks::<2>().0);
                    for (([to_a, to_b], [a, b]), (cos, sin)) in pairs.zip(angles()) {
                        to_a.write(a * cos - b * sin);
                        to_b.write(b * cos + a * sin);
                    }
                } else {
                    let (a, b) = x.split_at(half);
                    let (to_a, to_b) = to.split_at_mut(half);
                    for ((to, (a, b)), (cos, sin)) in to_a.iter_mut().zip(a.iter().zip(b)).zip(angles()) {
                        to.write(a * cos - b * sin);
                    }
                    for ((to, (a, b)), (cos, sin)) in to_b.iter_mut().zip(a.iter().zip(b)).zip(angles()) {
                        to.write(b * cos + a * sin);
                    }
                }
                for (to, &x) in to_rest.iter_mut().zip(rest) {
                    to.write(x);
                }
            }
        });
        written(x.len(), d_head, work)
    }
}

impl CustomOp1 for Turn {
    fn name(&self) -> &'static str {
        "turned"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = numbers(storage, layout, self.name())?;
        let ((cos, of_cos), (sin, of_sin)) = (self.cos.storage_and_layout(), self.sin.storage_and_layout());
        let (Storage::Cpu(cos), Storage::Cpu(sin)) = (&*cos, &*sin) else {
            candle_core::bail!("the angles are on another device than the activation")
        };
        let angles = (numbers(cos, of_cos, self.name())?, numbers(sin, of_sin, self.name())?);
        Ok((CpuStorage::F32(self.of(x, width(layout), angles)), layout.shape().clone()))
    }

    /// The opposite rotation.
    fn bwd(&self, _x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(turned(grad, (&self.cos, &self.sin.neg()?), self.adjacent)?))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    /// Values and gradients are those of candle's own operations to the last digit.
    #[test]
    fn rotations_are_those_of_candle() -> Result<()> {
        let wave = |shape: [usize; 4], salt: usize| {
            let count = shape.iter().product::<usize>();
            let numbers = (0..count).map(|i| ((i * 7919 + salt * 104_729 + 13) as f32 * 0.618_034).sin());
            Tensor::from_vec(numbers.collect::<Vec<f32>>(), shape.to_vec(), &Device::Cpu)
        };
        for (batch, of_batch, pos, heads, d_head, half) in
            [(2, 2, 3, 5, 8, 4), (3, 1, 4, 2, 8, 3), (3, 3, 40, 9, 64, 32), (1, 1, 1, 1, 2, 1)]
        {
            for adjacent in [false, true] {
                let x = Var::from_tensor(&wave([batch, pos, heads, d_head], 1)?)?;
                let (cos, sin) = (wave([of_batch, pos, 1, half], 2)?, wave([of_batch, pos + 1, 1, half], 3)?);
                // A part of longer tables, as where a run begins behind a prefix.
                let angles = (&cos, &sin.narrow(1, 1, pos)?);
                let grad = wave([batch, pos, heads, d_head], 4)?;
                let all = |y: Tensor| -> Result<(Vec<f32>, Vec<f32>)> {
                    let gradients = (&y * &grad)?.sum_all()?.backward()?;
                    let of_x = gradients.get(&x).expect("a gradient").flatten_all()?.to_vec1()?;
                    Ok((y.flatten_all()?.to_vec1()?, of_x))
                };
                let (ours, theirs) =
                    (turned(x.as_tensor(), angles, adjacent)?, composed(x.as_tensor(), angles, adjacent)?);
                assert_eq!(all(ours)?, all(theirs)?, "{batch} {pos} {heads} {d_head} {half} {adjacent}");
            }
        }
        Ok(())
    }
}
