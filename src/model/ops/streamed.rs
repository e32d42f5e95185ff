//! A product with weights that are not kept in panels: a few columns at a time are put in their order, widened to f32 on the way
//! where they are half precision, and dropped again.
//!
//! The numbers are to the last bit those of the same weights in f32 by panels: tiles and sums are the same.

use std::ops::{Range, RangeInclusive};

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Storage, Tensor};
use pulp::{Arch, Simd, WithSimd};

use super::kernels::numbers;
use super::products::{Part, Product, Sizes, shape_of, with_bias};
use super::tile::{ROWS, panel_width};
use crate::wide::{matmul, wide_type, widened};

/// The numbers that are in order at a time: half of a second cache.
const NUMBERS: usize = 1 << 16;

/// The columns of which they are. Rows lie far apart, and to go to one takes as long as to read hundreds of its numbers.
const COLUMNS: usize = 512;

/// The fewest columns that are worth the order.
const FEWEST_COLUMNS: usize = 32;

/// Weights in f32 that are too many for a cache, and the rows by which they are multiplied here: gemm reads fewer weights, and
/// one row of many, where they lie, and sorts them as fast for more rows.
const MANY: usize = 1 << 22;
const ROWS_OF_MANY: RangeInclusive<usize> = 2..=96;

/// Whether `x W` is computed here: on the CPU, with weights that are not trained, where candle would convert them as a whole or its
/// product is slower.
///
/// # Shapes
/// `x [.., k]`, `w [k, n]`.
pub(super) fn can_stream(x: &Tensor, w: &Tensor) -> bool {
    let fits = |t: &Tensor| t.device().is_cpu() && wide_type(t.dtype()) == DType::F32 && t.elem_count() > 0;
    let Ok((k, columns)) = w.dims2() else { return false };
    // Numbers that lie in one place several times are not worth a case.
    let is_spread = w.stride().iter().all(|&stride| stride > 0);
    let is_faster = match w.dtype() {
        DType::BF16 => true,
        // Columns that lie together gemm reads as fast.
        DType::F32 => {
            w.stride()[1] == 1 && w.elem_count() >= MANY && ROWS_OF_MANY.contains(&(x.elem_count() / k.max(1)))
        }
        // candle has a product of f16.
        dtype => dtype != x.dtype(),
    };
    is_faster
        && columns >= FEWEST_COLUMNS
        && fits(x)
        && fits(w)
        && is_spread
        && !w.track_op()
        && panel_width().is_some()
}

/// `x W + b`, summed in f32 and in the dtype of `x`; the weights may have another.
///
/// # Shapes
/// `x [row, k]`, `w [k, n]` and `b [n]` give `[row, n]`.
pub(super) fn product_by_columns(x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    let b = b.map(|b| widened(b)?.contiguous()).transpose()?;
    widened(x)?.contiguous()?.apply_op1(ByColumns { w: w.clone(), b })?.to_dtype(x.dtype())
}

struct ByColumns {
    w: Tensor,
    b: Option<Tensor>,
}

impl CustomOp1 for ByColumns {
    fn name(&self) -> &'static str {
        "product_by_columns"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let shape = shape_of(layout, &self.w, self.b.as_ref())?;
        let x = numbers(storage, layout, self.name())?;
        let (w, of_w) = self.w.storage_and_layout();
        let Storage::Cpu(w) = &*w else { candle_core::bail!("the weights are on another device than the activation") };
        let y = with_bias(self.b.as_ref(), |b| {
            Ok(match w {
                CpuStorage::F32(w) => Lying::new(w, of_w, |w| w)?.product(x, b),
                CpuStorage::BF16(w) => Lying::new(w, of_w, |w| of_bf16(w.to_bits()))?.product(x, b),
                CpuStorage::F16(w) => Lying::new(w, of_w, |w| of_f16(w.to_bits()))?.product(x, b),
                _ => candle_core::bail!("weights of {:?} have no product here", self.w.dtype()),
            })
        })?;
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let w = self.w.t()?;
        Ok(Some(match can_stream(grad, &w) || grad.dtype() != w.dtype() {
            true => product_by_columns(grad, &w, None)?,
            false => matmul(grad, &w)?,
        }))
    }
}

/// The number that these bits of bf16 are.
#[inline(always)]
fn of_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The number that these bits of f16 are, without branches, so that loops of it vectorise.
#[inline(always)]
fn of_f16(bits: u16) -> f32 {
    // The exponents of f32 are 112 more.
    const SHIFT: f32 = f32::from_bits((127 + 112) << 23);
    const INFINITE: u32 = 0x7f80_0000;
    let size = u32::from(bits & 0x7fff) << 13;
    let number = (f32::from_bits(size) * SHIFT).to_bits();
    // The largest exponent says infinite or not a number.
    let number = if bits & 0x7fff >= 0x7c00 { size | INFINITE } else { number };
    f32::from_bits(number | u32::from(bits & 0x8000) << 16)
}

/// A matrix where it lies in memory, and how its numbers become f32.
struct Lying<'a, T, F> {
    numbers: &'a [T],
    /// From a row to the next, and from a column to the next.
    strides: [usize; 2],
    sizes: Sizes,
    widen: F,
}

impl<'a, T: Copy + Sync, F: Fn(T) -> f32 + Sync> Lying<'a, T, F> {
    fn new(numbers: &'a [T], layout: &Layout, widen: F) -> Result<Self> {
        let (k, n) = layout.shape().dims2()?;
        let Some(width) = panel_width() else { candle_core::bail!("this processor has no vectors") };
        let strides = [layout.stride()[0], layout.stride()[1]];
        Ok(Self { numbers: &numbers[layout.start_offset()..], strides, sizes: Sizes { k, n, width }, widen })
    }

    fn product(&self, x: &[f32], b: Option<&[f32]>) -> Vec<f32> {
        Product::of(x, b, self.sizes, |product, part| Arch::new().dispatch(Task { of: self, product, part }))
    }

    /// Puts these panels in order, each with its rows of these terms.
    #[inline(always)]
    fn order(&self, panels: Range<usize>, terms: Range<usize>, to: &mut [f32]) {
        let width = self.sizes.width;
        let columns = panels.start * width..self.sizes.n.min(panels.end * width);
        let of_panel = terms.len() * width;
        match self.strides {
            [row, 1] => {
                // All columns of a row before the next, which may be where this one is in the cache.
                for (place, term) in terms.enumerate() {
                    let from = &self.numbers[term * row + columns.start..][..columns.len()];
                    let to = &mut to[place * width..];
                    // Loops of a length that the compiler knows.
                    match width {
                        8 => self.order_row::<8>(from, to, of_panel),
                        16 => self.order_row::<16>(from, to, of_panel),
                        _ => self.order_row::<32>(from, to, of_panel),
                    }
                }
            }
            [row, column] => {
                for (at, column_at) in columns.enumerate() {
                    let to = &mut to[at / width * of_panel + at % width..];
                    let from = self.numbers[terms.start * row + column_at * column..].iter().step_by(row);
                    for (to, &w) in to.iter_mut().step_by(width).zip(from).take(terms.len()) {
                        *to = (self.widen)(w);
                    }
                }
            }
        }
    }

    /// Puts numbers of one row where panels of `W` columns have them.
    #[inline(always)]
    fn order_row<const W: usize>(&self, from: &[T], to: &mut [f32], of_panel: usize) {
        let (whole, rest) = from.as_chunks::<W>();
        for (panel, from) in whole.iter().enumerate() {
            // Beside both, because numbers that could overlap are moved one by one.
            let mut moved = [0.; W];
            for (lane, moved) in moved.iter_mut().enumerate() {
                *moved = (self.widen)(from[lane]);
            }
            to[panel * of_panel..].as_chunks_mut::<W>().0[0] = moved;
        }
        for (lane, &w) in rest.iter().enumerate() {
            to[whole.len() * of_panel + lane] = (self.widen)(w);
        }
    }
}

/// Some rows of `x` times some panels.
struct Task<'a, T, F> {
    of: &'a Lying<'a, T, F>,
    product: &'a Product<'a>,
    part: Part,
}

impl<T: Copy + Sync, F: Fn(T) -> f32 + Sync> WithSimd for Task<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { of, product, part: Part { rows, panels } } = self;
        let Sizes { k, width, .. } = of.sizes;
        let pieces = (panels.len() * width).div_ceil(COLUMNS).max(1);
        let together = panels.len().div_ceil(pieces) * width;
        let deep = (NUMBERS / together).clamp(1, k);
        let mut ordered = vec![0.; deep * together];
        for piece in 0..pieces {
            let part = |piece: usize| panels.start + panels.len() * piece / pieces;
            let panels = part(piece)..part(piece + 1);
            for first in (0..k).step_by(deep) {
                let terms = first..k.min(first + deep);
                of.order(panels.clone(), terms.clone(), &mut ordered);
                for row in rows.clone().step_by(ROWS) {
                    let rows = row..rows.end.min(row + ROWS);
                    for (panel, weights) in panels.clone().zip(ordered.chunks_exact(terms.len() * width)) {
                        product.tile(simd, rows.clone(), panel, (terms.clone(), weights));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::super::panels::{Panels, product_by_panels};
    use super::*;
    use crate::random::Random;

    const DTYPES: [DType; 3] = [DType::F32, DType::BF16, DType::F16];

    fn matrix(random: &mut Random, rows: usize, columns: usize) -> Result<Tensor> {
        let numbers: Vec<f32> = (0..rows * columns).map(|_| random.uniform() as f32 - 0.5).collect();
        Tensor::from_vec(numbers, (rows, columns), &Device::Cpu)
    }

    fn same(a: &Tensor, b: &Tensor) -> Result<bool> {
        Ok(a.dims() == b.dims() && a.to_vec2::<f32>()? == b.to_vec2::<f32>()?)
    }

    #[test]
    fn half_numbers_are_what_candle_says() -> Result<()> {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        for (dtype, ours) in [(DType::BF16, of_bf16 as fn(u16) -> f32), (DType::F16, of_f16)] {
            let half = Tensor::from_raw_buffer(&bytes, dtype, &[1 << 16], &Device::Cpu)?;
            for (bits, theirs) in (0..=u16::MAX).zip(half.to_dtype(DType::F32)?.to_vec1::<f32>()?) {
                let ours = ours(bits);
                assert!(ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan(), "{dtype:?} {bits:x}");
            }
        }
        Ok(())
    }

    #[test]
    fn products_are_those_of_the_converted_whole_by_panels() -> Result<()> {
        let mut random = Random::new(0);
        for dtype in DTYPES {
            for k in [1, 63, 65, 1025, 2100] {
                for n in [32, 33, 64, 130, 300] {
                    // As they lie, transposed, and a part of a wider matrix that begins inside it.
                    let lying = matrix(&mut random, k, n)?.to_dtype(dtype)?;
                    let turned = matrix(&mut random, n, k)?.to_dtype(dtype)?.t()?;
                    let part = matrix(&mut random, k + 2, n + 7)?.to_dtype(dtype)?.narrow(0, 2, k)?.narrow(1, 5, n)?;
                    let b = matrix(&mut random, 1, n)?.to_dtype(dtype)?.squeeze(0)?;
                    for (w, rows) in [(&lying, 1), (&turned, 7), (&part, 80)] {
                        let x = matrix(&mut random, rows, k)?;
                        let whole = w.to_dtype(DType::F32)?.contiguous()?;
                        let panels = Panels::of(&whole)?.expect("a processor with vectors");
                        let wide_b = b.to_dtype(DType::F32)?;
                        let expected = product_by_panels(&x, (&whole, &panels.into()), Some(&wide_b))?;
                        let found = product_by_columns(&x, w, Some(&b))?;
                        assert!(same(&found, &expected)?, "{dtype:?}, {rows} x {k} x {n}");
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn half_activations_come_back_as_half_and_with_their_gradient() -> Result<()> {
        let mut random = Random::new(1);
        for dtype in DTYPES {
            let w = matrix(&mut random, 40, 70)?.to_dtype(dtype)?;
            let x = Var::from_tensor(&matrix(&mut random, 9, 40)?.to_dtype(dtype)?)?;
            let y = product_by_columns(&x, &w, None)?;
            assert_eq!(y.dtype(), dtype);
            let found = y.to_dtype(DType::F32)?.sum_all()?.backward()?;
            let sums = w.to_dtype(DType::F32)?.sum(1)?.to_dtype(dtype)?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
            for row in found.get(&x).expect("a gradient").to_dtype(DType::F32)?.to_vec2::<f32>()? {
                let furthest = row.iter().zip(&sums).map(|(a, b)| (a - b).abs()).fold(0., f32::max);
                assert!(furthest < ROUNDED, "{dtype:?}: {furthest}");
            }
        }
        Ok(())
    }

    /// Sums of 70 numbers below 1/2 rounded to the eight bits of bf16, where they are below 8.
    const ROUNDED: f32 = 0.04;

    #[test]
    fn what_cannot_be_streamed_is_refused() -> Result<()> {
        let mut random = Random::new(2);
        let (x, w) = (matrix(&mut random, 8, 40)?, matrix(&mut random, 40, 64)?);
        let half = w.to_dtype(DType::BF16)?;
        assert!(can_stream(&x, &half) && can_stream(&x.narrow(0, 0, 1)?, &half), "any rows of bf16");
        assert!(!can_stream(&x, &w), "f32 of which there is not much");
        assert!(!can_stream(&x, Var::from_tensor(&half)?.as_tensor()), "weights that are trained");
        assert!(!can_stream(&x.to_dtype(DType::F64)?, &half), "f64");
        assert!(!can_stream(&x, &half.narrow(1, 0, 31)?), "few columns");
        assert!(!can_stream(&x.narrow(0, 0, 0)?, &half), "no rows");
        assert!(!can_stream(&x, &half.narrow(0, 0, 1)?.broadcast_as((40, 64))?), "one row many times");
        let f16 = w.to_dtype(DType::F16)?;
        assert!(can_stream(&x, &f16) && !can_stream(&x.to_dtype(DType::F16)?, &f16), "f16 beside f32");
        let many = Tensor::zeros((40, MANY / 40 + 1), DType::F32, &Device::Cpu)?;
        assert!(can_stream(&x, &many), "much of f32");
        assert!(!can_stream(&x.narrow(0, 0, 1)?, &many), "one row");
        assert!(!can_stream(&matrix(&mut random, 97, 40)?, &many), "many rows");
        assert!(!can_stream(&x, &many.reshape((MANY / 40 + 1, 40))?.t()?), "columns that lie together");
        Ok(())
    }
}
