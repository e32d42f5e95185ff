//! A matrix of weights in the order in which a product reads it, and the product itself.
//!
//! `y = x W + b` of f32 on the CPU. candle's `gemm` puts the weights in order anew in every call, or reads them where they lie
//! when there are few rows, jumping by a whole row of `W` for each number of `x`. Weights do not change between calls: their
//! columns are cut once into panels as wide as two vectors of the processor, and each panel lies in one piece, row after row. A
//! product holds six rows of `x` and one panel in registers at a time (Goto and van de Geijn 2008, "Anatomy of High-Performance
//! Matrix Multiplication"; panels of `x` are not needed, because its rows are short enough for the cache).
//!
//! A number of `y` is the same to the last bit whatever other rows are multiplied with it, and on however many threads: each is
//! the sum over `k` in order, in blocks of at most 1024 terms.

use std::mem::size_of;
use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Storage, Tensor};
use pulp::{Arch, Simd, WithSimd};

use super::kernels::numbers;
use super::products::{CHUNK, Part, Product, Sizes, shape_of, with_bias};
use super::tile::{ROWS, panel_width};
use crate::wide::matmul;

/// The columns of `w [k, n]`, cut into panels.
pub(in crate::model) struct Panels {
    numbers: Vec<f32>,
    k: usize,
    n: usize,
    /// Columns of a panel; those that the last one has too many are zeros.
    width: usize,
    /// Those of the transposed matrix, which gradients go back through: made by the first that does.
    back: OnceLock<Option<Arc<Panels>>>,
}

impl Panels {
    /// Of a matrix of f32 on the CPU.
    pub fn of(w: &Tensor) -> Result<Option<Self>> {
        let (k, n) = w.dims2()?;
        let w = w.contiguous()?;
        let (storage, layout) = w.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else { return Ok(None) };
        Ok(Self::new(numbers(storage, layout, "panels")?, k, n))
    }

    /// `None` on a processor without vectors, or whose vectors cannot multiply and add at once.
    fn new(w: &[f32], k: usize, n: usize) -> Option<Self> {
        let width = panel_width().filter(|_| k > 0 && n > 0)?;
        let mut numbers = vec![0.; n.div_ceil(width) * k * width];
        // By this thread alone: others wait for the panels, and one of rayon's that waited for rayon could be given their task.
        numbers.chunks_mut(k * width).enumerate().for_each(|(j, panel)| {
            let columns = j * width..n.min((j + 1) * width);
            for (to, from) in panel.chunks_mut(width).zip(w.chunks(n)) {
                to[..columns.len()].copy_from_slice(&from[columns.clone()]);
            }
        });
        Some(Self { numbers, k, n, width, back: OnceLock::new() })
    }

    pub fn bytes(&self) -> usize {
        let back = self.back.get().into_iter().flatten().map(|back| back.bytes()).sum::<usize>();
        self.numbers.len() * size_of::<f32>() + back
    }

    /// `x W + b`.
    ///
    /// # Shapes
    /// `x [row, k]` and `b [n]` give `[row, n]`.
    fn product(&self, x: &[f32], b: Option<&[f32]>) -> Vec<f32> {
        let sizes = Sizes { k: self.k, n: self.n, width: self.width };
        Product::of(x, b, sizes, |product, part| Arch::new().dispatch(Task { of: self, product, part }))
    }
}

/// `x W + b`.
///
/// # Shapes
/// `x [row, k]` gives `[row, n]`.
pub(super) fn product_by_panels(
    x: &Tensor,
    (w, panels): (&Tensor, &Arc<Panels>),
    b: Option<&Tensor>,
) -> Result<Tensor> {
    let op = ByPanels { w: w.clone(), panels: panels.clone(), b: b.map(Tensor::contiguous).transpose()? };
    x.contiguous()?.apply_op1(op)
}

struct ByPanels {
    w: Tensor,
    panels: Arc<Panels>,
    b: Option<Tensor>,
}

impl CustomOp1 for ByPanels {
    fn name(&self) -> &'static str {
        "product_by_panels"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let shape = shape_of(layout, &self.w, self.b.as_ref())?;
        let x = numbers(storage, layout, self.name())?;
        let y = with_bias(self.b.as_ref(), |b| Ok(self.panels.product(x, b)))?;
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let w = self.w.t()?;
        let make = || Panels::of(&w).ok().flatten().map(Arc::new);
        Ok(Some(match self.panels.back.get_or_init(make) {
            Some(back) => product_by_panels(grad, (&w, back), None)?,
            None => matmul(grad, &w)?,
        }))
    }
}

/// Some rows of `x` through some panels.
struct Task<'a> {
    of: &'a Panels,
    product: &'a Product<'a>,
    part: Part,
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { of: Panels { numbers, k, width, .. }, product, part: Part { rows, panels } } = self;
        for first in rows.clone().step_by(CHUNK) {
            let last = rows.end.min(first + CHUNK);
            for terms in product.blocks() {
                for panel in panels.clone() {
                    let weights = &numbers[(panel * k + terms.start) * width..(panel * k + terms.end) * width];
                    for row in (first..last).step_by(ROWS) {
                        product.tile(simd, row..last.min(row + ROWS), panel, (terms.clone(), weights));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::random::Random;

    fn numbers_of(random: &mut Random, count: usize) -> Vec<f32> {
        (0..count).map(|_| random.uniform() as f32 - 0.5).collect()
    }

    fn matrix(random: &mut Random, rows: usize, columns: usize) -> Result<Tensor> {
        Tensor::from_vec(numbers_of(random, rows * columns), (rows, columns), &Device::Cpu)
    }

    fn made(w: &Tensor) -> Arc<Panels> {
        Arc::new(Panels::of(w).expect("a matrix").expect("a processor with vectors"))
    }

    /// Sums of up to 2,100 products of numbers below 1/2: f32 adds them up to 1e-4.
    const SUMS: f64 = 1e-4;

    #[test]
    fn products_of_all_edges_are_those_of_a_loop() -> Result<()> {
        let mut random = Random::new(0);
        for k in [1, 3, 64, 1024, 1025, 2100] {
            for n in [1, 15, 16, 17, 33, 64, 130] {
                let (w, b) = (numbers_of(&mut random, k * n), numbers_of(&mut random, n));
                let panels = Panels::new(&w, k, n).expect("a processor with vectors");
                for rows in [0, 1, 2, 5, 6, 7, 13, 73, 150] {
                    let x = numbers_of(&mut random, rows * k);
                    for b in [None, Some(&b[..])] {
                        let y = panels.product(&x, b);
                        assert_eq!(y.len(), rows * n);
                        // All columns of two rows, which is where tiles and panels begin and end.
                        for row in [0, rows.saturating_sub(1)].into_iter().filter(|_| rows > 0) {
                            for column in 0..n {
                                let terms = (0..k).map(|i| f64::from(x[row * k + i]) * f64::from(w[i * n + column]));
                                let exact = terms.sum::<f64>() + b.map_or(0., |b| f64::from(b[column]));
                                let found = f64::from(y[row * n + column]);
                                assert!((found - exact).abs() < SUMS, "{rows} x {k} x {n}: {found}, not {exact}");
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_row_has_the_same_numbers_in_any_company() {
        let mut random = Random::new(1);
        let (k, n) = (1500, 200);
        let w = numbers_of(&mut random, k * n);
        let panels = Panels::new(&w, k, n).expect("a processor with vectors");
        let x = numbers_of(&mut random, 301 * k);
        let all = panels.product(&x, None);
        for row in [0, 5, 6, 71, 72, 150, 300] {
            let alone = panels.product(&x[row * k..(row + 1) * k], None);
            assert!(all[row * n..(row + 1) * n] == alone, "row {row} differs by itself");
        }
    }

    #[test]
    fn the_gradient_is_that_of_the_plain_product() -> Result<()> {
        let mut random = Random::new(2);
        let (w, b) = (matrix(&mut random, 40, 70)?, matrix(&mut random, 1, 70)?.squeeze(0)?);
        let x = Var::from_tensor(&matrix(&mut random, 9, 40)?)?;
        let (ours, plain) = (
            product_by_panels(&x, (&w, &made(&w)), Some(&b))?.sqr()?.sum_all()?.backward()?,
            x.matmul(&w)?.broadcast_add(&b)?.sqr()?.sum_all()?.backward()?,
        );
        let [ours, plain] = [ours, plain].map(|found| found.get(&x).expect("a gradient").clone());
        let apart: f32 = (ours - plain)?.abs()?.max_all()?.to_scalar()?;
        assert!(apart < SUMS as f32, "{apart}");
        Ok(())
    }

    #[test]
    fn nothing_hides_what_is_not_a_number() -> Result<()> {
        let mut random = Random::new(3);
        let w = matrix(&mut random, 20, 33)?;
        let mut x = vec![1.; 40];
        x[25] = f32::NAN;
        let y = product_by_panels(&Tensor::from_vec(x, (2, 20), &Device::Cpu)?, (&w, &made(&w)), None)?;
        let y: Vec<Vec<f32>> = y.to_vec2()?;
        assert!(y[0].iter().all(|y| y.is_finite()) && y[1].iter().all(|y| y.is_nan()));
        Ok(())
    }
}
