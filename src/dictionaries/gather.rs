//! Decoding by the rows of active features: for each position the sum of a few rows of `W_dec`, where a dense product reads all of
//! them for every position.

use candle_core::{CpuStorage, Storage, Tensor};
use rayon::prelude::*;

use super::acts::FeatureActs;
use crate::error::{Error, Result};

/// How many positions a thread takes at once.
const TOGETHER: usize = 4;

/// Which part of a row of the decoder is read.
pub(super) struct Written {
    /// How many numbers a row has: `n_writes d_out`.
    pub row: usize,
    /// Where in it the part begins.
    pub from: usize,
    pub d_out: usize,
    /// Whether activations are divided by the norm of the whole row.
    pub by_norm: bool,
}

impl Written {
    /// `bias + sum_f a_f W_dec[f]` for each position, summed in f32 whatever dtype the decoder has.
    ///
    /// # Errors
    /// [`Error::Argument`] for a decoder of integers.
    pub(super) fn sums(&self, acts: &FeatureActs, w_dec: &Tensor, bias: Option<&[f32]>) -> Result<Vec<f32>> {
        let (storage, layout) = w_dec.storage_and_layout();
        let Storage::Cpu(numbers) = &*storage else {
            return Err(Error::argument("rows of a decoder are added up on the CPU: move the dictionary there."));
        };
        let from = layout.start_offset();
        Ok(match numbers {
            CpuStorage::F32(w) => self.gather(acts, &w[from..], bias, |w| w),
            CpuStorage::F64(w) => self.gather(acts, &w[from..], bias, |w| w as f32),
            CpuStorage::F16(w) => self.gather(acts, &w[from..], bias, |w| w.to_f32()),
            CpuStorage::BF16(w) => self.gather(acts, &w[from..], bias, |w| w.to_f32()),
            _ => {
                let dtype = w_dec.dtype();
                return Err(Error::argument(format!(
                    "a decoder of {dtype:?} numbers has no rows that could be added up."
                )));
            }
        })
    }

    fn gather<T: Copy + Sync>(
        &self,
        acts: &FeatureActs,
        w_dec: &[T],
        bias: Option<&[f32]>,
        widened: impl Fn(T) -> f32 + Sync,
    ) -> Vec<f32> {
        let mut sums = vec![0f32; acts.positions() * self.d_out];
        let rows = sums.par_chunks_mut(self.d_out.max(1)).enumerate().with_min_len(TOGETHER);
        rows.for_each(|(position, sum)| {
            if let Some(bias) = bias {
                sum.copy_from_slice(bias);
            }
            let (features, values) = acts.row(position);
            for (&feature, &value) in features.iter().zip(values) {
                let row = &w_dec[feature as usize * self.row..][..self.row];
                let value = match self.by_norm {
                    // A row of zeros writes nothing, and its norm divides nothing.
                    true => match row.iter().map(|&w| widened(w) * widened(w)).sum::<f32>().sqrt() {
                        0.0 => value,
                        norm => value / norm,
                    },
                    false => value,
                };
                let part = &row[self.from..][..self.d_out];
                sum.iter_mut().zip(part).for_each(|(sum, &w)| *sum += value * widened(w));
            }
        });
        sums
    }
}
