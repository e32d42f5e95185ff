//! A weighted cross-entropy in one pass: with a vocabulary far wider than the model, a chain of candle's operations
//! over the logits would take longer than the model itself.

use candle_lens::candle::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

/// `sum_i w_i (log sum_j exp(x_ij) - x_i,target_i) / sum_i w_i` of logits `x [rows, d_vocab]`, a scalar.
pub struct WeightedCrossEntropy {
    pub targets: Vec<u32>,
    pub weights: Vec<f32>,
}

impl WeightedCrossEntropy {
    /// Row by row, what the logits say of the target: (row, target, weight in the mean), where the weight is not 0.
    fn rows<'a>(&'a self, logits: &'a [f32]) -> impl Iterator<Item = (usize, &'a [f32], usize, f32)> {
        let total: f32 = self.weights.iter().sum();
        let width = logits.len() / self.targets.len();
        let rows = logits.chunks_exact(width).zip(&self.targets).zip(&self.weights).enumerate();
        rows.filter(|(_, (_, weight))| **weight != 0.0)
            .map(move |(i, ((row, &target), &weight))| (i * width, row, target as usize, weight / total))
    }
}

fn max(row: &[f32]) -> f32 {
    row.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

impl CustomOp1 for WeightedCrossEntropy {
    fn name(&self) -> &'static str {
        "weighted_cross_entropy"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_lens::candle::bail!("weighted_cross_entropy needs contiguous logits");
        };
        let mut loss = 0.0;
        for (_, row, target, weight) in self.rows(&storage.as_slice::<f32>()?[start..end]) {
            let max = max(row);
            let sum: f32 = row.iter().map(|x| (x - max).exp()).sum();
            loss += weight * (sum.ln() + max - row[target]);
        }
        Ok((CpuStorage::F32(vec![loss]), Shape::from(())))
    }

    fn bwd(&self, logits: &Tensor, _loss: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let values = logits.flatten_all()?.to_vec1::<f32>()?;
        let scale = grad.to_scalar::<f32>()?;
        let mut gradient = vec![0f32; values.len()];
        for (start, row, target, weight) in self.rows(&values) {
            let gradient = &mut gradient[start..start + row.len()];
            let max = max(row);
            let mut sum = 0.0;
            for (g, x) in gradient.iter_mut().zip(row) {
                *g = (x - max).exp();
                sum += *g;
            }
            let factor = scale * weight / sum;
            gradient.iter_mut().for_each(|g| *g *= factor);
            gradient[target] -= scale * weight;
        }
        Ok(Some(Tensor::from_vec(gradient, logits.shape(), logits.device())?))
    }
}
