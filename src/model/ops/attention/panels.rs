//! Products of a few rows with a matrix that is cut into panels, each as wide as two of the processor's vectors.
//!
//! A product of six rows with a panel keeps its twelve sums in registers, and reads each number of the panel once. What is
//! added up, and in which order, is the same for each row wherever it stands, so that a row's result depends on that row only.

use pulp::Simd;

/// How many rows a product takes at a time: twelve sums, a pair of the panel and a factor fit into sixteen registers.
pub(super) const ROWS: usize = 6;

/// How many columns a panel has.
#[inline(always)]
pub(super) fn width_of_panels<S: Simd>() -> usize {
    2 * S::F32_LANES
}

/// A matrix in panels of its columns, the last one filled up with zeros.
pub(super) struct Panels {
    /// `[panel, depth, width]`.
    numbers: Vec<f32>,
    depth: usize,
    width: usize,
}

impl Panels {
    /// The matrix of these rows.
    ///
    /// # Shapes
    /// `count` rows of `d` numbers are `[count, d]`.
    #[inline(always)]
    pub(super) fn of_rows<'a, S: Simd>(rows: impl Iterator<Item = &'a [f32]>, count: usize, d: usize) -> Self {
        let width = width_of_panels::<S>();
        let mut numbers = vec![0f32; d.div_ceil(width) * count * width];
        for (r, row) in rows.enumerate() {
            for (panel, part) in row.chunks(width).enumerate() {
                let at = (panel * count + r) * width;
                numbers[at..at + part.len()].copy_from_slice(part);
            }
        }
        Self { numbers, depth: count, width }
    }

    /// The transpose of the matrix of these rows.
    ///
    /// # Shapes
    /// `count` rows of `d` numbers are `[d, count]`.
    #[inline(always)]
    pub(super) fn of_columns<'a, S: Simd>(rows: impl Iterator<Item = &'a [f32]>, count: usize, d: usize) -> Self {
        let width = width_of_panels::<S>();
        let mut numbers = vec![0f32; count.div_ceil(width) * d * width];
        for (column, row) in rows.enumerate() {
            let first = column / width * d * width + column % width;
            for (place, &x) in numbers[first..].iter_mut().step_by(width).zip(row) {
                *place = x;
            }
        }
        Self { numbers, depth: d, width }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn count(&self) -> usize {
        self.numbers.len() / (self.depth * self.width)
    }

    pub(super) fn is_finite(&self) -> bool {
        // What is not finite makes a sum of zeros that is not 0.
        self.numbers.iter().map(|x| x * 0.0).sum::<f32>() == 0.0
    }

    /// How many numbers a row of all panels has.
    pub(super) fn stride(&self) -> usize {
        self.count() * self.width
    }

    /// The rows `from..to` of a panel.
    #[inline(always)]
    pub(super) fn part(&self, panel: usize, from: usize, to: usize) -> &[f32] {
        let first = panel * self.depth;
        &self.numbers[(first + from) * self.width..(first + to) * self.width]
    }

    /// A panel.
    #[inline(always)]
    pub(super) fn panel(&self, panel: usize) -> &[f32] {
        self.part(panel, 0, self.depth)
    }
}

/// Rows of a buffer, each `stride` numbers behind the one before.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub numbers: &'a [f32],
    pub stride: usize,
}

/// `[R, depth]` times a panel `[depth, width]`, where `factor(r, k)` is a number of the first.
#[inline(always)]
fn sums<S: Simd, const R: usize>(
    simd: S,
    depth: usize,
    factor: impl Fn(usize, usize) -> f32,
    panel: &[f32],
) -> [[S::f32s; 2]; R] {
    let mut sums = [[simd.splat_f32s(0.0); 2]; R];
    for (k, pair) in S::as_simd_f32s(panel).0.as_chunks::<2>().0.iter().enumerate().take(depth) {
        for (r, sums) in sums.iter_mut().enumerate() {
            let factor = simd.splat_f32s(factor(r, k));
            sums[0] = simd.mul_add_e_f32s(factor, pair[0], sums[0]);
            sums[1] = simd.mul_add_e_f32s(factor, pair[1], sums[1]);
        }
    }
    sums
}

/// Puts sums where the first numbers of `out` are, or adds them to these.
#[inline(always)]
fn put<S: Simd>(simd: S, sums: [S::f32s; 2], out: &mut [f32], adds: bool) {
    let (places, _) = S::as_mut_simd_f32s(out);
    for (vector, &sum) in sums.iter().enumerate() {
        places[vector] = if adds { simd.add_f32s(places[vector], sum) } else { sum };
    }
}

/// Calls a function of up to six rows, whose number must be known when it is compiled.
macro_rules! with_rows {
    ($rows:expr, $function:ident($simd:expr, $($argument:expr),*)) => {
        match $rows {
            1 => $function::<S, 1>($simd, $($argument),*),
            2 => $function::<S, 2>($simd, $($argument),*),
            3 => $function::<S, 3>($simd, $($argument),*),
            4 => $function::<S, 4>($simd, $($argument),*),
            5 => $function::<S, 5>($simd, $($argument),*),
            _ => $function::<S, ROWS>($simd, $($argument),*),
        }
    };
}

#[inline(always)]
fn put_rows<S: Simd, const R: usize>(simd: S, a: Rows, depth: usize, panel: &[f32], out: &mut [f32], stride: usize) {
    let mut rows: [&[f32]; R] = [&[]; R];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = &a.numbers[r * a.stride..][..depth];
    }
    // SAFETY: `k` is below the depth, which is the length of each row. A check of each number costs a tenth of the time.
    let sums = sums::<S, R>(simd, depth, |r, k| unsafe { *rows[r].get_unchecked(k) }, panel);
    for (r, &sums) in sums.iter().enumerate() {
        put(simd, sums, &mut out[r * stride..], false);
    }
}

/// The product of `count` rows of `a`, at most [`ROWS`] and each of `depth` numbers, with a panel.
///
/// # Shapes
/// `a [count, depth]`, `panel [depth, width]`; row `r` of the result begins at `out[r * stride]`.
#[inline(always)]
pub(super) fn rows_by_panel<S: Simd>(
    simd: S,
    (a, count, depth): (Rows, usize, usize),
    panel: &[f32],
    (out, stride): (&mut [f32], usize),
) {
    with_rows!(count, put_rows(simd, a, depth, panel, out, stride));
}

#[inline(always)]
fn add_columns<S: Simd, const R: usize>(simd: S, a: Rows, panel: &[f32], out: &mut [f32], stride: usize) {
    let depth = panel.len() / width_of_panels::<S>();
    let sums = sums::<S, R>(simd, depth, |r, k| a.numbers[k * a.stride..][..R][r], panel);
    for (r, &sums) in sums.iter().enumerate() {
        put(simd, sums, &mut out[r * stride..], true);
    }
}

/// As [`rows_by_panel`], with the transpose of `a`, and added to what is in `out`.
///
/// # Shapes
/// `a [depth, count]`, `panel [depth, width]`.
#[inline(always)]
pub(super) fn columns_by_panel<S: Simd>(
    simd: S,
    (a, count): (Rows, usize),
    panel: &[f32],
    (out, stride): (&mut [f32], usize),
) {
    with_rows!(count, add_columns(simd, a, panel, out, stride));
}
