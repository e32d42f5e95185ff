//! Random choices that are the same for the same seed, on every machine and in every version.

use candle_core::{Device, Shape, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A stream of random choices: ChaCha8 from a seed, and our own way from its bits to choices, so that no new version of a crate
/// can change a data set.
///
/// ```
/// use candle_lens::random::Random;
/// let mut random = Random::new(7);
/// assert!(random.below(10) < 10);
/// assert_eq!(Random::new(7).uniform(), Random::new(7).uniform());
/// ```
#[derive(Debug, Clone)]
pub struct Random(ChaCha8Rng);

/// Where a stream of random choices is: its key, and how many words of it are used (the upper half first).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RandomState {
    seed: [u8; 32],
    words: [u64; 2],
}

impl Random {
    /// The stream of choices that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Where the stream is.
    pub(crate) fn state(&self) -> RandomState {
        let words = self.0.get_word_pos();
        RandomState { seed: self.0.get_seed(), words: [(words >> 64) as u64, words as u64] }
    }

    /// The stream that was there.
    pub(crate) fn at(state: &RandomState) -> Self {
        let mut random = ChaCha8Rng::from_seed(state.seed);
        random.set_word_pos(u128::from(state.words[0]) << 64 | u128::from(state.words[1]));
        Self(random)
    }

    /// A number from 0 to `n - 1`; 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.0.next_u64()) * n as u128) >> 64) as usize
    }

    /// Puts a list into another order, each as likely (Fisher and Yates).
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.below(last + 1));
        }
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// A number from 0 up to, not including, 1.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal numbers, f32 on the CPU: mean 0, variance 1. candle's own generator has no seed on the CPU.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let noise = Random::new(7).normal((2, 3))?;
    /// assert_eq!(noise.dims(), [2, 3]);
    /// assert_eq!(noise.to_vec2::<f32>()?, Random::new(7).normal((2, 3))?.to_vec2::<f32>()?);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] for more numbers than fit in memory.
    pub fn normal(&mut self, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        let count = shape.dims().iter().try_fold(1_usize, |count, size| count.checked_mul(*size));
        let mut values: Vec<f32> = Vec::new();
        match count.map(|count| (count, values.try_reserve_exact(count))) {
            Some((count, Ok(()))) => values.extend((0..count).map(|_| normal(|| self.uniform()) as f32)),
            _ => {
                return Err(Error::argument(format!(
                    "normal numbers of the shape {:?} were asked for, which do not fit in memory: give a smaller \
                     shape.",
                    shape.dims()
                )));
            }
        }
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    }

    /// One element of a list that is not empty.
    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// A standard normal number from two of `uniform`, which are from 0 up to, not including, 1 (Box and Muller 1958).
pub(crate) fn normal(mut uniform: impl FnMut() -> f64) -> f64 {
    let (u, v) = (1.0 - uniform(), uniform());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five standard errors of a share or mean of that many numbers are 0.8 %.
    #[test]
    fn normal_numbers_are_normal() -> Result<()> {
        let values = Random::new(3).normal(400_000)?.to_vec1::<f32>()?;
        let mean_of =
            |of: &dyn Fn(f64) -> f64| values.iter().map(|&x| of(f64::from(x))).sum::<f64>() / values.len() as f64;
        let below = |bound: f64| mean_of(&|x| if x < bound { 1.0 } else { 0.0 });
        for (what, got, expected) in [
            ("mean", mean_of(&|x| x), 0.0),
            ("variance", mean_of(&|x| x * x), 1.0),
            ("third moment", mean_of(&|x| x.powi(3)) / 4.0, 0.0),
            ("fourth moment", mean_of(&|x| x.powi(4)) / 10.0, 0.3),
            ("below -1", below(-1.0), 0.158_655),
            ("below 0", below(0.0), 0.5),
            ("below 2", below(2.0), 0.977_250),
        ] {
            const STANDARD_ERRORS: f64 = 0.008;
            assert!((got - expected).abs() < STANDARD_ERRORS, "{what}: {got}, expected {expected}");
        }
        assert_ne!(values[..10], Random::new(4).normal(10)?.to_vec1::<f32>()?[..]);
        Ok(())
    }

    #[test]
    fn shapes_are_any_that_fit() {
        let mut random = Random::new(0);
        assert_eq!(random.normal(()).expect("a number").dims(), [] as [usize; 0]);
        assert_eq!(random.normal((3, 0)).expect("none").dims(), [3, 0]);
        for shape in [vec![usize::MAX, 2], vec![usize::MAX / 8, 1], vec![usize::MAX]] {
            let message = random.normal(shape).expect_err("too many").to_string();
            assert!(message.contains("do not fit in memory"), "{message}");
        }
    }
}
