//! A product with weights that are not trained. candle's own product computes the gradient of both factors, wanted or
//! not, and that of a weight matrix costs as much as that of the activation.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, MetalStorage, Result, Shape, Storage, Tensor};

use crate::wide::{as_matrices, matmul};

/// `x w`, without a gradient for `w` where `w` has none to pass on.
///
/// # Shapes
/// `x [row, n]`, `w [n, m]` give `[row, m]`; both may have one more axis of one size in front.
pub(super) fn product(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    if w.track_op() || !x.track_op() {
        return matmul(x, w);
    }
    as_matrices(x, w, |x, w| x.apply_op1(Product { w: w.clone() }))
}

struct Product {
    w: Tensor,
}

impl Product {
    /// Batch, rows, columns and what is summed over.
    fn sizes(&self, x: &Layout) -> Result<((usize, usize, usize, usize), Shape)> {
        let (x, w) = (x.dims(), self.w.dims());
        let (fits, rank) = (x.len() == w.len() && x.len() >= 2, x.len());
        if !fits || x[rank - 1] != w[rank - 2] || x[..rank - 2] != w[..rank - 2] {
            candle_core::bail!("a product of {x:?} with {w:?} does not exist");
        }
        let (m, k, n) = (x[rank - 2], x[rank - 1], w[rank - 1]);
        let batch = x[..rank - 2].iter().product();
        Ok(((batch, m, n, k), Shape::from([&x[..rank - 1], &[n]].concat())))
    }
}

macro_rules! forward {
    ($name:ident, $storage:ty, $kind:ident) => {
        fn $name(&self, x: &$storage, layout: &Layout) -> Result<($storage, Shape)> {
            let (sizes, shape) = self.sizes(layout)?;
            let (w, w_layout) = self.w.storage_and_layout();
            match &*w {
                Storage::$kind(w) => Ok((x.matmul(w, sizes, layout, w_layout)?, shape)),
                _ => candle_core::bail!("the weights are on another device than the activation"),
            }
        }
    };
}

impl CustomOp1 for Product {
    fn name(&self) -> &'static str {
        "product_with_weights"
    }

    forward!(cpu_fwd, CpuStorage, Cpu);
    forward!(cuda_fwd, CudaStorage, Cuda);
    forward!(metal_fwd, MetalStorage, Metal);

    fn bwd(&self, _x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let rank = self.w.rank();
        Ok(Some(matmul(grad, &self.w.transpose(rank - 2, rank - 1)?)?))
    }
}
