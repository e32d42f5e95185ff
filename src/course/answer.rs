//! What a function returned, as tensors that can be compared.

use candle_core::{Device, Tensor};

use crate::error::Result;
use crate::tokens::Tokens;

/// The parts of what a function returned: one, or as many as its tuple has.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub parts: Vec<Tensor>,
}

/// What exercises ask for.
pub(crate) trait IntoAnswer {
    /// As tensors.
    ///
    /// # Errors
    /// candle's.
    fn into_answer(self) -> Result<Answer>;
}

impl IntoAnswer for Tensor {
    fn into_answer(self) -> Result<Answer> {
        Ok(Answer { parts: vec![self] })
    }
}

impl IntoAnswer for Tokens {
    fn into_answer(self) -> Result<Answer> {
        let rows = (0..self.batch()).flat_map(|row| self.row(row)).collect::<Vec<u32>>();
        Tensor::from_vec(rows, (self.batch(), self.pos()), &Device::Cpu)?.into_answer()
    }
}

macro_rules! numbers {
    ($($number:ty as $wide:ty),+) => {$(
        impl IntoAnswer for $number {
            fn into_answer(self) -> Result<Answer> {
                Tensor::new(self as $wide, &Device::Cpu)?.into_answer()
            }
        }

        impl IntoAnswer for Vec<$number> {
            fn into_answer(self) -> Result<Answer> {
                let numbers: Vec<$wide> = self.into_iter().map(|number| number as $wide).collect();
                let count = numbers.len();
                Tensor::from_vec(numbers, count, &Device::Cpu)?.into_answer()
            }
        }
    )+};
}
numbers!(f32 as f32, f64 as f64, u32 as u32, usize as i64);

impl<A: IntoAnswer, B: IntoAnswer> IntoAnswer for (A, B) {
    fn into_answer(self) -> Result<Answer> {
        let mut answer = self.0.into_answer()?;
        answer.parts.extend(self.1.into_answer()?.parts);
        Ok(answer)
    }
}
