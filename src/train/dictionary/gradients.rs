//! The gradients that [`objective`](super::objective) writes out, against candle's autograd through the same loss in dense
//! operations, with active features chosen by sorting.

use candle_core::{DType, Device, Tensor, Var};

use super::objective::{Choice, Setting};
use super::passes::Batch;
use super::recipe::REVIVAL_WEIGHT;
use super::weights::{Sizes, Weights};
use crate::error::Result;
use crate::random::Random;

const POSITIONS: usize = 7;
/// Sums of f32 in another order, relative to the largest gradient of a part.
const ROUNDING: f32 = 1e-5;

struct Case {
    setting: Setting,
    weights: Weights,
    batch: Batch,
    dead: Vec<Vec<usize>>,
}

fn numbers(count: usize, random: &mut Random) -> Result<Vec<f32>> {
    Ok(random.normal(count)?.to_vec1()?)
}

impl Case {
    fn new(layers: usize, has_b_in: bool, threshold: Option<f32>, dead: &[usize]) -> Result<Self> {
        let mut random = Random::new(layers as u64);
        let d_in = 6;
        let d_out = if has_b_in { d_in } else { 5 };
        let sizes = Sizes { layers, d_in, d_out, d_sae: 12 };
        let b_dec = (0..layers).map(|_| numbers(d_out, &mut random)).collect::<Result<_>>()?;
        let mut weights = Weights::new(sizes, has_b_in, threshold, b_dec, &mut random);
        for layer in &mut weights.layers {
            layer.b_enc = numbers(sizes.d_sae, &mut random)?;
        }
        let rows = |width: usize, random: &mut Random| numbers(POSITIONS * width, random);
        let x = (0..layers).map(|_| rows(d_in, &mut random)).collect::<Result<_>>()?;
        let y = (0..layers).map(|_| rows(d_out, &mut random)).collect::<Result<_>>()?;
        let variance = (0..layers).map(|layer| 3.0 + layer as f32).collect();
        Ok(Self {
            setting: Setting { sizes, has_b_in, variance, revived: 2 },
            weights,
            batch: Batch { positions: POSITIONS, x, y },
            dead: vec![dead.to_vec(); layers],
        })
    }

    /// The weights as variables, in the order of [`Weights::parts`].
    fn vars(&self) -> Result<Vec<Var>> {
        let Sizes { layers, d_in, d_out, d_sae } = self.setting.sizes;
        let mut shapes: Vec<Vec<usize>> = Vec::new();
        for (layer, weights) in self.weights.layers.iter().enumerate() {
            let writes = layers - layer;
            shapes.extend([
                vec![d_sae, d_in],
                vec![d_sae],
                vec![d_sae, writes, d_out],
                vec![weights.log_threshold.len()],
            ]);
        }
        shapes.extend(vec![vec![d_out]; layers]);
        let var = |(part, shape): (&Vec<f32>, Vec<usize>)| Ok(Var::from_slice(part, shape, &Device::Cpu)?);
        self.weights.parts().into_iter().zip(shapes).map(var).collect()
    }

    /// The loss in candle's operations.
    fn loss(&self, vars: &[Var], choice: &Choice) -> Result<Tensor> {
        let Sizes { layers, d_in, d_out, .. } = self.setting.sizes;
        let b_dec = &vars[4 * layers..];
        let matrix = |rows: &[f32], width: usize| Tensor::from_slice(rows, (POSITIONS, width), &Device::Cpu);
        let (mut written, mut revived) = (vec![None; layers], vec![None; layers]);
        let mut total = Tensor::new(0f32, &Device::Cpu)?;
        for layer in 0..layers {
            let [w_enc, b_enc, w_dec, log_threshold] = &vars[4 * layer..4 * layer + 4] else { unreachable!() };
            let mut x = matrix(&self.batch.x[layer], d_in)?;
            if self.setting.has_b_in {
                x = x.broadcast_sub(&b_dec[layer])?;
            }
            let pre = x.matmul(&w_enc.t()?)?.broadcast_add(b_enc)?;
            let acts = match choice {
                Choice::Thresholds { price, bandwidth } => {
                    let (acts, count) = jump(&pre, &log_threshold.exp()?, f64::from(*bandwidth))?;
                    total = (total + (count * (f64::from(*price) / POSITIONS as f64))?)?;
                    acts
                }
                _ => (pre.relu()? * by_sorting(&pre, choice)?)?,
            };
            let among = among(&pre, &self.dead[layer], self.setting.revived)?;
            let of_dead = (pre.relu()? * among)?;
            for write in 0..layers - layer {
                let w_dec = w_dec.narrow(1, write, 1)?.squeeze(1)?;
                add(&mut written[layer + write], acts.matmul(&w_dec)?)?;
                add(&mut revived[layer + write], of_dead.matmul(&w_dec)?)?;
            }
        }
        for (layer, (written, revived)) in written.into_iter().zip(revived).enumerate() {
            let y = matrix(&self.batch.y[layer], d_out)?;
            let left = (y - written.expect("each layer writes its own").broadcast_add(&b_dec[layer])?)?;
            let scale = 1.0 / f64::from(self.setting.variance[layer]) / POSITIONS as f64;
            total = (total + (left.sqr()?.sum_all()? * scale)?)?;
            if self.dead.iter().any(|dead| !dead.is_empty()) {
                let rest = (left.detach() - revived.expect("as above"))?;
                total = (total + (rest.sqr()?.sum_all()? * (scale * f64::from(REVIVAL_WEIGHT)))?)?;
            }
        }
        Ok(total)
    }

    /// # Panics
    /// If the gradients differ.
    fn check(&self, choice: &Choice) -> Result<()> {
        let (outcome, gradient) = self.setting.gradients(&self.weights, &self.batch, choice, &self.dead)?;
        let vars = self.vars()?;
        let loss = self.loss(&vars, choice)?;
        let expected_loss = loss.to_scalar::<f32>()?;
        assert!(
            (outcome.loss as f32 - expected_loss).abs() < ROUNDING * expected_loss,
            "{} {expected_loss}",
            outcome.loss
        );
        let grads = loss.backward()?;
        for (part, (got, var)) in
            gradient.parts().into_iter().zip(&vars).enumerate().filter(|(_, (got, _))| !got.is_empty())
        {
            let expected = match grads.get(var) {
                Some(expected) => expected.flatten_all()?.to_vec1::<f32>()?,
                None => vec![0.0; got.len()],
            };
            let largest = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
            assert!(largest > 0.0, "nothing depends on part {part}");
            for (got, expected) in got.iter().zip(&expected) {
                assert!((got - expected).abs() <= ROUNDING * largest, "part {part}: {got}, expected {expected}");
            }
        }
        Ok(())
    }
}

fn add(sum: &mut Option<Tensor>, term: Tensor) -> Result<()> {
    *sum = Some(match sum.take() {
        Some(sum) => (sum + term)?,
        None => term,
    });
    Ok(())
}

/// JumpReLU with the pseudo-derivatives of Rajamanoharan et al. 2024, as values whose autograd gives them: the activations, and the
/// number of active features.
fn jump(pre: &Tensor, threshold: &Tensor, bandwidth: f64) -> Result<(Tensor, Tensor)> {
    let active = pre.broadcast_gt(threshold)?.to_dtype(DType::F32)?.detach();
    // (pre - threshold) / bandwidth with a gradient to the threshold only, inside the kernel only, and the value 0.
    let s = (pre.detach().broadcast_sub(threshold)? / bandwidth)?;
    let inside = s.abs()?.lt(0.5)?.to_dtype(DType::F32)?.detach();
    let step = ((&s - s.detach())? * inside)?;
    let acts = ((pre * &active)? + step.broadcast_mul(&threshold.detach())?)?;
    Ok((acts, (active + step)?.sum_all()?))
}

/// 1 for the largest, each row or all together.
fn by_sorting(pre: &Tensor, choice: &Choice) -> Result<Tensor> {
    let mark = |numbers: &[f32], count: usize| {
        let mut order: Vec<usize> = (0..numbers.len()).collect();
        order.sort_by(|a, b| numbers[*b].total_cmp(&numbers[*a]));
        let mut mask = vec![0f32; numbers.len()];
        order[..count].iter().for_each(|i| mask[*i] = 1.0);
        mask
    };
    let rows = pre.to_vec2::<f32>()?;
    let mask = match choice {
        Choice::PerPosition(k) => rows.iter().flat_map(|row| mark(row, *k)).collect(),
        Choice::PerBatch { count, .. } => mark(&rows.concat(), *count),
        Choice::Thresholds { .. } => unreachable!("thresholds are not chosen by sorting"),
    };
    Ok(Tensor::from_vec(mask, pre.shape(), &Device::Cpu)?)
}

/// 1 for the `k` largest of some features in each row.
fn among(pre: &Tensor, features: &[usize], k: usize) -> Result<Tensor> {
    let mut mask = Vec::new();
    for row in pre.to_vec2::<f32>()? {
        let mut order = features.to_vec();
        order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
        order.truncate(k);
        mask.extend((0..row.len()).map(|i| if order.contains(&i) { 1f32 } else { 0.0 }));
    }
    Ok(Tensor::from_vec(mask, pre.shape(), &Device::Cpu)?)
}

#[test]
fn top_k_of_an_autoencoder() -> Result<()> {
    Case::new(1, true, None, &[])?.check(&Choice::PerPosition(3))
}

#[test]
fn batch_top_k_of_an_autoencoder_with_dead_features() -> Result<()> {
    Case::new(1, true, None, &[1, 4, 7, 8])?.check(&Choice::PerBatch { count: 21, guesses: vec![0.5] })
}

#[test]
fn batch_top_k_of_a_transcoder_with_dead_features() -> Result<()> {
    Case::new(1, false, None, &[0, 5, 11])?.check(&Choice::PerBatch { count: 21, guesses: vec![9.0] })
}

#[test]
fn jump_relu_of_an_autoencoder() -> Result<()> {
    Case::new(1, true, Some(0.4), &[])?.check(&Choice::Thresholds { price: 0.01, bandwidth: 0.8 })
}

#[test]
fn jump_relu_of_a_cross_layer_transcoder() -> Result<()> {
    Case::new(3, false, Some(0.4), &[2, 3])?.check(&Choice::Thresholds { price: 0.01, bandwidth: 0.8 })
}

#[test]
fn batch_top_k_of_a_cross_layer_transcoder_with_dead_features() -> Result<()> {
    Case::new(3, false, None, &[1, 2, 3])?.check(&Choice::PerBatch { count: 21, guesses: vec![0.0; 3] })
}
