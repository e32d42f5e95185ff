//! Cross-entropy of rows of logits with one target each, `log sum_j exp(x_j) - x_target`, without a second matrix as
//! large as the logits.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, DType, Layout, Result, Shape, Tensor};

use super::kernels::{exp, for_rows, inlined, largest, numbers, total};
use crate::wide::wide_type;

/// `-log softmax(logits)[target]` of each row; f32 for logits of half precision.
///
/// # Shapes
/// `logits [row, class]` and one target below `class` for each row give `[row]`.
pub(super) fn cross_entropy(logits: &Tensor, targets: &[u32]) -> Result<Tensor> {
    let logits = logits.to_dtype(wide_type(logits.dtype()))?;
    if logits.dtype() != DType::F32 || !logits.device().is_cpu() {
        return composed(&logits, targets);
    }
    logits.contiguous()?.apply_op1(CrossEntropy { targets: targets.into() })
}

/// The same, composed of candle's operations, for other devices and for f64.
fn composed(logits: &Tensor, targets: &[u32]) -> Result<Tensor> {
    let targets = Tensor::new(targets, logits.device())?.unsqueeze(1)?;
    let max = logits.detach().max_keepdim(D::Minus1)?;
    let shifted = logits.broadcast_sub(&max)?;
    let log_sum = shifted.exp()?.sum(D::Minus1)?.log()?;
    log_sum - shifted.contiguous()?.gather(&targets, D::Minus1)?.squeeze(1)?
}

/// `max` and `sum_j exp(x_j - max)` of a row.
#[inline(always)]
fn max_and_sum(row: &[f32]) -> (f32, f32) {
    let max = largest(row);
    (max, total(row.len(), |i| exp(row[i] - max)))
}

struct CrossEntropy {
    targets: Arc<[u32]>,
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = numbers(storage, layout, self.name())?;
        let (rows, width) = layout.shape().dims2()?;
        let mut losses = vec![0f32; rows];
        let work = inlined!(|first: usize, chunk: &mut [f32]| {
            let each = x[first * width..].chunks_exact(width).zip(&self.targets[first..]);
            for (loss, (row, &target)) in chunk.iter_mut().zip(each) {
                let (max, sum) = max_and_sum(row);
                *loss = sum.ln() - (row[target as usize] - max);
            }
        });
        for_rows(&mut losses, 1, width, work);
        Ok((CpuStorage::F32(losses), rows.into()))
    }

    fn bwd(&self, x: &Tensor, _losses: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let op = CrossEntropyGrad { targets: self.targets.clone() };
        Ok(Some(x.contiguous()?.apply_op2_no_bwd(&grad.contiguous()?, &op)?))
    }
}

/// `grad_row (softmax(x) - 1 at the target)` of the logits `x` and `grad`.
struct CrossEntropyGrad {
    targets: Arc<[u32]>,
}

impl CustomOp2 for CrossEntropyGrad {
    fn name(&self) -> &'static str {
        "cross_entropy_grad"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, grad) = (numbers(s1, l1, self.name())?, numbers(s2, l2, self.name())?);
        let (_, width) = l1.shape().dims2()?;
        let mut out = vec![0f32; x.len()];
        let work = inlined!(|first: usize, chunk: &mut [f32]| {
            let row = first / width;
            let each = x[first..].chunks_exact(width).zip(self.targets[row..].iter().zip(&grad[row..]));
            for (out, (x, (&target, &grad))) in chunk.chunks_exact_mut(width).zip(each) {
                let (max, sum) = max_and_sum(x);
                let scale = grad / sum;
                for (out, &x) in out.iter_mut().zip(x) {
                    *out = scale * exp(x - max);
                }
                out[target as usize] -= grad;
            }
        });
        for_rows(&mut out, width, width, work);
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }
}
