//! Element-wise work on rows of numbers: split over threads by rayon, vectorised for the processor by pulp.
//!
//! Only what is inlined into pulp's functions becomes code for the processor's vectors. So every closure given to a function of
//! this module is [`inlined`]: left to itself the compiler puts a body with several callers into a function of its own, which is
//! code for all processors. For the same reason nothing here that runs once for each number calls `zip`,
//! `array::from_fn` or `for_each`: what the standard library does not mark for inlining becomes a call where the
//! crate is compiled without link-time optimisation among its own parts, as the notebook's library is (lab/src/template/workspace.rs).

use std::mem::MaybeUninit;

use candle_core::{CpuStorage, Error, Layout, Result};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// A closure whose body stands wherever it is called.
macro_rules! inlined {
    ($($closure:tt)*) => {{
        #[inline(always)]
        $($closure)*
    }};
}
pub(super) use inlined;

/// About how many numbers a thread takes at a time: enough to be worth a thread, few enough to share work evenly.
const CHUNK: usize = 1 << 14;

/// Calls `work(first, chunk)` for chunks of whole rows of `out`; `first` is the chunk's offset in `out`. A row takes
/// time for `cost` numbers.
pub(super) fn for_rows(out: &mut [f32], width: usize, cost: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let rows = (CHUNK / cost.max(1)).max(1);
    for_chunks(out, rows * width.max(1), &work);
}

/// Calls `work(first, chunk)` for chunks of this size, in code for the processor.
fn for_chunks<T: Send>(out: &mut [T], size: usize, work: &(impl Fn(usize, &mut [T]) + Sync)) {
    let arch = Arch::new();
    let of_chunk = |(i, places)| arch.dispatch(Chunk { first: i * size, places, work });
    match out.len() <= size {
        // Waking another thread takes longer than so little work.
        true => of_chunk((0, out)),
        false => out.par_chunks_mut(size).enumerate().for_each(of_chunk),
    }
}

/// Some rows of a result.
struct Chunk<'a, T, F> {
    first: usize,
    places: &'a mut [T],
    work: &'a F,
}

impl<T, F: Fn(usize, &mut [T])> WithSimd for Chunk<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        (self.work)(self.first, self.places)
    }
}

/// `each(of_row, x)` of every number `x`, where `of_row` is what `row` makes of its row, given with the row's number.
pub(super) fn map_rows<P: Copy>(
    x: &[f32],
    width: usize,
    row: impl Fn(usize, &[f32]) -> P + Sync,
    each: impl Fn(P, f32) -> f32 + Sync,
) -> Vec<f32> {
    let work = inlined!(|first: usize, places: &mut [MaybeUninit<f32>]| {
        let x = &x[first..][..places.len()];
        for (index, (places, x)) in places.chunks_mut(width).zip(x.chunks(width)).enumerate() {
            let of_row = row(first / width + index, x);
            for (place, &x) in places.iter_mut().zip(x) {
                place.write(each(of_row, x));
            }
        }
    });
    written(x.len(), width, work)
}

/// `each(x, y)` of the numbers of two tensors of one shape.
pub(super) fn map_pairs(x: &[f32], y: &[f32], each: impl Fn(f32, f32) -> f32 + Sync) -> Vec<f32> {
    let work = inlined!(|first: usize, places: &mut [MaybeUninit<f32>]| {
        for (place, (&x, &y)) in places.iter_mut().zip(x[first..].iter().zip(&y[first..])) {
            place.write(each(x, y));
        }
    });
    written(x.len().min(y.len()), 1, work)
}

/// So many numbers, of which `work(first, places)` writes chunks of whole rows; it writes all places that it is given, and
/// `first` is their offset.
pub(super) fn written(count: usize, width: usize, work: impl Fn(usize, &mut [MaybeUninit<f32>]) + Sync) -> Vec<f32> {
    let mut out = Vec::with_capacity(count);
    for_chunks(&mut out.spare_capacity_mut()[..count], (CHUNK / width).max(1) * width, &work);
    // SAFETY: the chunks are all places, and the caller's work has written each.
    unsafe { out.set_len(count) };
    out
}

/// The numbers of a contiguous f32 tensor.
pub(super) fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout, op: &'static str) -> Result<&'a [f32]> {
    let (start, end) = layout.contiguous_offsets().ok_or(Error::RequiresContiguous { op })?;
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// `exp(x)` with a relative error below 3e-7, written without branches so that loops of it vectorise: 0 below -87.3,
/// `exp(88)` above 88, NaN for NaN. `x = n ln 2 + r` with `|r| <= ln 2 / 2`, and a Taylor polynomial for `exp(r)`.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest whole number.
    const ROUND: f32 = 12_582_912.0;
    let clamped = if x > 88.0 { 88.0 } else { x };
    let clamped = if clamped < -87.3 { -87.3 } else { clamped };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN_2_HIGH - n * LN_2_LOW;
    let p = 1.0 / 5040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    // The low bits of the shifted number are n itself; moved up, they are the exponent of 2^n.
    let power = f32::from_bits((shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127)) << 23);
    if x < -87.3 { 0.0 } else { p * power }
}

/// The largest number of a row; NaN does not count.
#[inline(always)]
pub(super) fn largest(row: &[f32]) -> f32 {
    // Sixteen running maxima, so that the loop vectorises.
    let mut lanes = [f32::NEG_INFINITY; 16];
    let chunks = row.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |most, &x| if x > most { x } else { most })
}

/// `sum_i f(i)` over a row, in sixteen partial sums, so that the loop vectorises and loses less to rounding.
#[inline(always)]
pub(super) fn total(count: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0f32; 16];
    let whole = count / 16 * 16;
    for start in (0..whole).step_by(16) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += f(start + lane);
        }
    }
    lanes.iter().sum::<f32>() + (whole..count).map(f).sum::<f32>()
}

/// `sum_i a_i b_i` of two rows, as [`total`].
#[inline(always)]
pub(super) fn products(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; 16];
    let (whole_a, whole_b) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest = whole_a.remainder().iter().zip(whole_b.remainder()).map(|(a, b)| a * b).sum::<f32>();
    for (a, b) in whole_a.zip(whole_b) {
        for (sum, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// The mean of a row, added up in f64: of equal numbers exactly their number.
#[inline(always)]
pub(super) fn mean(row: &[f32]) -> f32 {
    let mut lanes = [0f64; 16];
    let whole = row.len() / 16 * 16;
    for piece in row[..whole].chunks_exact(16) {
        for (sum, &x) in lanes.iter_mut().zip(piece) {
            *sum += f64::from(x);
        }
    }
    let rest: f64 = row[whole..].iter().map(|&x| f64::from(x)).sum();
    ((lanes.iter().sum::<f64>() + rest) / row.len() as f64) as f32
}

/// How many numbers a row has: the size of the last axis.
pub(super) fn width(layout: &Layout) -> usize {
    layout.dims().last().copied().unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_the_standard_library() {
        let mut worst = 0f64;
        for i in -87_000..=88_000 {
            let x = i as f32 / 1000.0;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - exact).abs() / exact);
        }
        assert!(worst < 3e-7, "relative error {worst:e}");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn means_of_equal_numbers_are_that_number() {
        for count in [1, 7, 16, 17, 64, 768, 1000, 4097] {
            for x in [0.1f32, -3.7, 1e-30, 65504.3, 1e30] {
                assert_eq!(mean(&vec![x; count]), x, "{count} times {x}");
            }
            let row: Vec<f32> = (0..count).map(|i| ((i * 37) % 11) as f32 + 1e4).collect();
            let exact = row.iter().map(|&x| f64::from(x)).sum::<f64>() / count as f64;
            assert_eq!(mean(&row), exact as f32);
        }
    }

    #[test]
    fn sums_and_maxima_of_any_length() {
        for count in [0, 1, 15, 16, 17, 100] {
            let row: Vec<f32> = (0..count).map(|i| ((i * 37) % 11) as f32).collect();
            assert_eq!(total(count, |i| row[i]), row.iter().sum::<f32>());
            assert_eq!(products(&row, &row), row.iter().map(|x| x * x).sum::<f32>());
            assert_eq!(largest(&row), row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}
