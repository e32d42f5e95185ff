//! What runs with something in place of an activation predict, compared with the clean run.

use candle_core::{D, DType, Tensor};

use super::batches::Batch;
use crate::error::Result;

/// The predictions of the clean run at the positions that count.
pub(super) struct Clean {
    rows: Tensor,
    /// The logarithms of the probabilities, `[position, d_vocab_out]`.
    log_probs: Tensor,
    likeliest: Vec<u32>,
    /// The sum of the cross-entropies.
    pub ce: f64,
}

/// Sums over positions of how a run's predictions compare with the clean run's.
#[derive(Clone, Copy, Default)]
pub(super) struct Compared {
    pub ce: f64,
    pub kl: f64,
    pub same: u64,
}

impl std::ops::AddAssign for Compared {
    fn add_assign(&mut self, other: Self) {
        self.ce += other.ce;
        self.kl += other.kl;
        self.same += other.same;
    }
}

impl Clean {
    /// # Shapes
    /// `logits [batch, pos, d_vocab_out]`.
    pub fn new(logits: &Tensor, batch: &Batch) -> Result<Self> {
        let rows = batch.rows(logits.device())?;
        let log_probs = log_probs(logits, &rows)?;
        let likeliest = log_probs.argmax(D::Minus1)?.to_vec1::<u32>()?;
        let ce = cross_entropy(&log_probs, batch)?;
        Ok(Self { rows, log_probs, likeliest, ce })
    }

    /// Compares another run of the same texts.
    ///
    /// # Shapes
    /// `logits [batch, pos, d_vocab_out]`.
    pub fn compare(&self, logits: &Tensor, batch: &Batch) -> Result<Compared> {
        let log_probs = log_probs(logits, &self.rows)?;
        let p = self.log_probs.exp()?;
        // A clean probability of 0 adds nothing, whatever it is multiplied with.
        let parts = (&p * (&self.log_probs - &log_probs)?)?;
        let parts = p.gt(0.0)?.where_cond(&parts, &parts.zeros_like()?)?.sum(D::Minus1)?;
        let kl = sum(&parts)?;
        let likeliest = log_probs.argmax(D::Minus1)?.to_vec1::<u32>()?;
        let same = likeliest.iter().zip(&self.likeliest).filter(|(this, clean)| this == clean).count() as u64;
        Ok(Compared { ce: cross_entropy(&log_probs, batch)?, kl, same })
    }
}

/// The logarithms of the probabilities at these rows.
fn log_probs(logits: &Tensor, rows: &Tensor) -> Result<Tensor> {
    let (batch, pos, vocabulary) = logits.dims3()?;
    let logits = logits.reshape((batch * pos, vocabulary))?.index_select(rows, 0)?.to_dtype(DType::F32)?;
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?;
    Ok(shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)?)
}

/// The sum of the cross-entropies of the next tokens.
fn cross_entropy(log_probs: &Tensor, batch: &Batch) -> Result<f64> {
    if batch.next.is_empty() {
        return Ok(0.);
    }
    let (rows, targets): (Vec<u32>, Vec<u32>) = batch.next.iter().copied().unzip();
    let rows = Tensor::new(rows, log_probs.device())?;
    let targets = Tensor::new(targets, log_probs.device())?.unsqueeze(1)?;
    Ok(-sum(&log_probs.index_select(&rows, 0)?.gather(&targets, 1)?.squeeze(1)?)?)
}

/// The sum of a list, in f64.
fn sum(values: &Tensor) -> Result<f64> {
    Ok(values.to_vec1::<f32>()?.into_iter().map(f64::from).sum())
}
