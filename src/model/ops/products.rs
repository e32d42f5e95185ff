//! What all products by panels have in common: how threads share one, and a tile of it.

use std::ops::Range;

use candle_core::{Layout, Result, Shape, Storage, Tensor};
use pulp::Simd;
use rayon::prelude::*;

use super::kernels::numbers;
use super::tile::{Place, ROWS, WIDEST, multiply};

/// The most terms that are added up before the sum is put down in `y`.
const DEPTH: usize = 1024;

/// The rows of `x` that one task takes through its panels: they stay in the second cache.
pub(super) const CHUNK: usize = 12 * ROWS;

/// Multiplications that are not worth a second thread: ten microseconds of them.
const FEW: usize = 1 << 19;

/// The sizes of a product.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    /// Terms of a sum.
    pub k: usize,
    /// Columns of the result.
    pub n: usize,
    /// Columns of a panel.
    pub width: usize,
}

/// `x W + b` while it is computed.
pub(super) struct Product<'a> {
    pub sizes: Sizes,
    x: &'a [f32],
    b: Option<&'a [f32]>,
    y: *mut f32,
}

// SAFETY: tasks share what they read, and no number of what they write.
unsafe impl Sync for Product<'_> {}

/// The part of a product that one task computes.
pub(super) struct Part {
    pub rows: Range<usize>,
    pub panels: Range<usize>,
}

impl Product<'_> {
    /// `x W + b`, where `task` computes every tile of the part that it is given.
    ///
    /// # Shapes
    /// `x [row, k]` and `b [n]` give `[row, n]`.
    pub fn of(x: &[f32], b: Option<&[f32]>, sizes: Sizes, task: impl Fn(&Product, Part) + Sync) -> Vec<f32> {
        let Sizes { k, n, width } = sizes;
        assert!(x.len().is_multiple_of(k) && b.is_none_or(|b| b.len() == n), "the caller checks shapes");
        let rows = x.len() / k;
        let mut y: Vec<f32> = Vec::with_capacity(rows * n);
        let product = Product { sizes, x, b, y: y.spare_capacity_mut().as_mut_ptr().cast() };
        let panels = n.div_ceil(width);
        let wanted = if rows * n * k <= FEW { 1 } else { 4 * rayon::current_num_threads() };
        // Tasks share columns first, and rows where there are not columns enough.
        let across = wanted.min(panels);
        let down = wanted.div_ceil(across).min(rows.div_ceil(CHUNK)).max(1);
        let of_task = |i: usize| {
            let part = |part: usize, parts: usize, all: usize| all * part / parts..all * (part + 1) / parts;
            let chunks = part(i / across, down, rows.div_ceil(CHUNK));
            let rows = chunks.start * CHUNK..rows.min(chunks.end * CHUNK);
            task(&product, Part { rows, panels: part(i % across, across, panels) })
        };
        if across * down == 1 {
            of_task(0)
        } else {
            (0..across * down).into_par_iter().for_each(of_task)
        }
        // SAFETY: the tasks' rows and panels cover all of `y`, and each writes all of its own.
        unsafe { y.set_len(rows * n) };
        y
    }

    /// The terms, in the pieces in which they are added up.
    #[inline(always)]
    pub fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let k = self.sizes.k;
        let blocks = k.div_ceil(DEPTH);
        (0..blocks).map(move |block| k * block / blocks..k * (block + 1) / blocks)
    }

    /// At most [`ROWS`] rows of one panel: the sum over these terms, of which `weights` has the panel's rows, added to that over
    /// the terms before them.
    #[inline(always)]
    pub fn tile<S: Simd>(&self, simd: S, rows: Range<usize>, panel: usize, (terms, weights): (Range<usize>, &[f32])) {
        let Sizes { k, n, width } = self.sizes;
        let first = panel * width;
        let columns = width.min(n - first);
        let count = rows.len();
        let y = Place { at: self.y.wrapping_add(rows.start * n + first), stride: n };
        let mut bias = [0.; WIDEST];
        if let Some(b) = self.b {
            bias[..columns].copy_from_slice(&b[first..first + columns]);
        }
        let mut edge = [0.; ROWS * WIDEST];
        // The last panel is wider than what is left of `y`, and is multiplied beside it.
        let whole = if columns == width { y } else { Place { at: edge.as_mut_ptr(), stride: width } };
        let x = &self.x[rows.start * k + terms.start..];
        let weights = &weights[..terms.len() * width];
        let from = if terms.start == 0 { Place { at: bias.as_mut_ptr(), stride: 0 } } else { whole };
        // SAFETY: `x` has `count` rows of which `k` numbers apart the terms begin. The rows and columns of `y` are this task's
        // alone, `edge` has room for all of them, and what is read from there was written with the terms before.
        unsafe {
            if whole.at != y.at && terms.start > 0 {
                whole.copy_from(y, count, columns);
            }
            multiply(simd, count, (x.as_ptr(), k), weights, from, whole);
            if whole.at != y.at {
                y.copy_from(whole, count, columns);
            }
        }
    }
}

/// The shape of `x W + b`.
///
/// # Errors
/// Shapes that do not fit.
pub(super) fn shape_of(x: &Layout, w: &Tensor, b: Option<&Tensor>) -> Result<Shape> {
    let ((rows, terms), (k, n)) = (x.shape().dims2()?, w.dims2()?);
    if terms != k || b.is_some_and(|b| b.dims() != [n]) {
        candle_core::bail!("a product of {:?} with {:?} does not exist", x.shape(), w.shape());
    }
    Ok(Shape::from((rows, n)))
}

/// Gives `work` the numbers of a bias in f32, if there is one.
///
/// # Errors
/// A bias on another device than the CPU.
pub(super) fn with_bias<T>(b: Option<&Tensor>, work: impl FnOnce(Option<&[f32]>) -> Result<T>) -> Result<T> {
    match b.map(Tensor::storage_and_layout) {
        None => work(None),
        Some((b, layout)) => match &*b {
            Storage::Cpu(b) => work(Some(numbers(b, layout, "the bias of a product")?)),
            _ => candle_core::bail!("the bias is on another device than the activation"),
        },
    }
}
