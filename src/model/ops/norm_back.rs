//! The gradient at a norm's input, in one threaded pass, where candle's operations make eight.

use candle_core::{CpuStorage, CustomOp3, D, DType, Layout, Result, Shape, Tensor};

use super::kernels::{for_rows, inlined, numbers, products, total, width};

/// What of a norm's slope there is.
#[derive(Clone, Copy)]
pub(crate) struct NormSlope {
    /// Whether the norm takes the mean out.
    pub centres: bool,
    /// Whether what it divides by is a constant.
    pub is_frozen: bool,
}

/// `(g - mean(g) - y mean(g y)) / s` of each row, where `g` is the gradient times `weights`, `y` is what the norm has divided and `s`
/// what by; without the parts that the slope does not have.
///
/// # Shapes
/// `gradient [.., row, d]`, `y [row, d]`, `scale [row, 1]`, `weights [d]` give the gradient's shape.
pub(super) fn norm_back(
    gradient: &Tensor,
    (y, scale): (&Tensor, &Tensor),
    weights: Option<&Tensor>,
    slope: NormSlope,
) -> Result<Tensor> {
    let all = [Some(gradient), Some(y), Some(scale), weights];
    let is_ours = |x: &Tensor| x.dtype() == DType::F32 && x.device().is_cpu() && !x.track_op();
    if !all.into_iter().flatten().all(is_ours) || y.dims2()?.1 == 0 {
        return composed(gradient, (y, scale), weights, slope);
    }
    let weights = weights.map(Tensor::to_vec1).transpose()?;
    gradient.contiguous()?.apply_op3_no_bwd(&y.contiguous()?, &scale.contiguous()?, &NormBack { weights, slope })
}

fn composed(
    gradient: &Tensor,
    (y, scale): (&Tensor, &Tensor),
    weights: Option<&Tensor>,
    slope: NormSlope,
) -> Result<Tensor> {
    let gradient = match weights {
        Some(weights) => gradient.broadcast_mul(weights)?,
        None => gradient.clone(),
    };
    let across = match slope.is_frozen {
        true => gradient.clone(),
        false => {
            let along = gradient.broadcast_mul(y)?.mean_keepdim(D::Minus1)?;
            (&gradient - along.broadcast_mul(y)?)?
        }
    };
    let across = match slope.centres {
        true => across.broadcast_sub(&gradient.mean_keepdim(D::Minus1)?)?,
        false => across,
    };
    across.broadcast_div(scale)
}

struct NormBack {
    weights: Option<Vec<f32>>,
    slope: NormSlope,
}

impl CustomOp3 for NormBack {
    fn name(&self) -> &'static str {
        "norm_back"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let gradient = numbers(s1, l1, self.name())?;
        let (y, scale) = (numbers(s2, l2, self.name())?, numbers(s3, l3, self.name())?);
        let (width, rows) = (width(l1), scale.len());
        let mut out = gradient.to_vec();
        let work = inlined!(|first: usize, chunk: &mut [f32]| {
            for (index, out) in chunk.chunks_exact_mut(width).enumerate() {
                let row = (first / width + index) % rows;
                let y = &y[row * width..][..width];
                if let Some(weights) = &self.weights {
                    for (g, w) in out.iter_mut().zip(weights) {
                        *g *= w;
                    }
                }
                let mean = if self.slope.centres { total(width, |i| out[i]) / width as f32 } else { 0. };
                let along = if self.slope.is_frozen { 0. } else { products(out, y) / width as f32 };
                let s = scale[row];
                for (g, y) in out.iter_mut().zip(y) {
                    *g = (*g - mean - along * y) / s;
                }
            }
        });
        for_rows(&mut out, width, width, work);
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    /// Both ways, of rows that fill no whole vector and of more of them than a thread takes.
    #[test]
    fn one_pass_agrees_with_many() -> Result<()> {
        for (heads, rows, width) in [(3, 41, 77), (1, 3, 1), (2, 1, 2049), (5, 129, 64)] {
            let wave = |salt: usize, shape: &[usize]| -> Result<Tensor> {
                let count = shape.iter().product();
                let numbers: Vec<f32> =
                    (0..count).map(|i| (((i * 7919 + salt * 104_729 + 13) as f64 * 0.618_034).sin()) as f32).collect();
                Tensor::from_vec(numbers, shape, &Device::Cpu)
            };
            let (gradient, y) = (wave(1, &[heads, rows, width])?, wave(2, &[rows, width])?);
            let (scale, weights) = ((wave(3, &[rows, 1])?.abs()? + 0.5)?, wave(4, &[width])?);
            for centres in [false, true] {
                for is_frozen in [false, true] {
                    for weights in [None, Some(&weights)] {
                        let slope = NormSlope { centres, is_frozen };
                        let got = norm_back(&gradient, (&y, &scale), weights, slope)?;
                        let expected = composed(&gradient, (&y, &scale), weights, slope)?;
                        let apart = (got - expected)?.abs()?.max_all()?.to_scalar::<f32>()?;
                        assert!(apart < 4e-6, "{heads} {rows} {width} {centres} {is_frozen}: {apart}");
                    }
                }
            }
        }
        Ok(())
    }
}
