//! The innermost part of a product: a few rows of `x` times one panel of `W`, held in registers.

use std::mem::size_of;

use pulp::{Arch, Simd, WithSimd};

/// Rows of `x` in a tile.
pub(super) const ROWS: usize = 6;

/// Vectors across a panel. With one for each row of `x` twelve sums fit into the sixteen vectors of AVX2, beside what they are
/// made of, and 24 into the 32 of an ARM processor, whose vectors are half as wide.
pub(super) const VECTORS: usize = if cfg!(target_arch = "x86_64") { 2 } else { 4 };

/// The most columns of a panel: two vectors of AVX-512.
pub(super) const WIDEST: usize = 32;

/// How many f32 a vector of this processor holds.
struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> usize {
        size_of::<S::f32s>() / size_of::<f32>()
    }
}

/// Columns of a panel. `None` on a processor without vectors, or whose vectors cannot multiply and add at once.
pub(super) fn panel_width() -> Option<usize> {
    let lanes = Arch::new().dispatch(Lanes);
    assert!(VECTORS * lanes <= WIDEST, "no vector has more than 16 numbers");
    (lanes >= 4).then_some(VECTORS * lanes)
}

/// Where rows of a tile lie, `stride` numbers apart.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub at: *mut f32,
    pub stride: usize,
}

impl Place {
    /// # Safety
    /// Both have `rows` rows of `columns` numbers, and none in common.
    #[inline(always)]
    pub unsafe fn copy_from(self, from: Self, rows: usize, columns: usize) {
        for row in 0..rows {
            // SAFETY: the caller's.
            unsafe {
                self.at.add(row * self.stride).copy_from_nonoverlapping(from.at.add(row * from.stride), columns);
            }
        }
    }
}

/// `to = from + x W` of one to six rows.
///
/// # Safety
/// `x` points at `rows` rows, `x.1` numbers apart, of as many numbers as the panel has rows; `from` and `to` have `rows`
/// rows as wide as the panel.
#[inline(always)]
pub(super) unsafe fn multiply<S: Simd>(
    simd: S,
    rows: usize,
    x: (*const f32, usize),
    panel: &[f32],
    from: Place,
    to: Place,
) {
    // SAFETY: the caller's.
    unsafe {
        match rows {
            1 => multiply_rows::<S, 1>(simd, x, panel, from, to),
            2 => multiply_rows::<S, 2>(simd, x, panel, from, to),
            3 => multiply_rows::<S, 3>(simd, x, panel, from, to),
            4 => multiply_rows::<S, 4>(simd, x, panel, from, to),
            5 => multiply_rows::<S, 5>(simd, x, panel, from, to),
            _ => multiply_rows::<S, ROWS>(simd, x, panel, from, to),
        }
    }
}

#[inline(always)]
unsafe fn multiply_rows<S: Simd, const R: usize>(
    simd: S,
    (x, stride): (*const f32, usize),
    panel: &[f32],
    from: Place,
    to: Place,
) {
    let (panel, _) = S::as_simd_f32s(panel);
    // SAFETY: the caller's; vectors are read and written where they lie, aligned or not.
    unsafe {
        let mut sums = [[simd.splat_f32s(0.); VECTORS]; R];
        for (row, sums) in sums.iter_mut().enumerate() {
            let from = from.at.add(row * from.stride).cast::<S::f32s>();
            for (vector, sum) in sums.iter_mut().enumerate() {
                *sum = from.add(vector).read_unaligned();
            }
        }
        for (term, weights) in panel.as_chunks::<VECTORS>().0.iter().enumerate() {
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = simd.splat_f32s(*x.add(row * stride + term));
                for (vector, sum) in sums.iter_mut().enumerate() {
                    *sum = simd.mul_add_f32s(x, weights[vector], *sum);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            let to = to.at.add(row * to.stride).cast::<S::f32s>();
            for (vector, &sum) in sums.iter().enumerate() {
                to.add(vector).write_unaligned(sum);
            }
        }
    }
}
