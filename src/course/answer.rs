//! What a function returned, as tensors that can be compared.

use candle_core::{Device, Tensor};

use crate::error::Result;
use crate::factored_matrix::FactoredMatrix;
use crate::labelled::Labelled;
use crate::tokens::Tokens;

/// The parts of what a function returned: one, or as many as its tuple has.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub parts: Vec<Tensor>,
    /// What it says in words: a text, or a yes or no.
    pub text: String,
    /// The largest inner size of what is factored; 0 where nothing is.
    pub inner: usize,
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
        Ok(Answer { parts: vec![self], text: String::new(), inner: 0 })
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

impl IntoAnswer for String {
    fn into_answer(self) -> Result<Answer> {
        Ok(Answer { parts: Vec::new(), text: self, inner: 0 })
    }
}

impl IntoAnswer for bool {
    fn into_answer(self) -> Result<Answer> {
        self.to_string().into_answer()
    }
}

/// By its product and its inner size: factors that differ may have the same product.
impl IntoAnswer for FactoredMatrix {
    fn into_answer(self) -> Result<Answer> {
        Ok(Answer { inner: self.mdim(), ..self.AB()?.into_answer()? })
    }
}

impl IntoAnswer for Labelled {
    fn into_answer(self) -> Result<Answer> {
        let shape = self.values().shape().to_vec();
        Tensor::from_vec(self.values().iter().copied().collect::<Vec<f32>>(), shape, &Device::Cpu)?.into_answer()
    }
}

impl IntoAnswer for Vec<Tensor> {
    fn into_answer(self) -> Result<Answer> {
        Ok(Answer { parts: self, text: String::new(), inner: 0 })
    }
}

/// Such as heads, each a layer and a head.
impl IntoAnswer for Vec<(usize, usize)> {
    fn into_answer(self) -> Result<Answer> {
        let count = self.len();
        let numbers: Vec<i64> = self.into_iter().flat_map(|(a, b)| [a as i64, b as i64]).collect();
        Tensor::from_vec(numbers, (count, 2), &Device::Cpu)?.into_answer()
    }
}

/// Such as texts with their scores: the numbers, then the rows of ids.
impl IntoAnswer for Vec<(f32, Vec<u32>)> {
    fn into_answer(self) -> Result<Answer> {
        let (numbers, rows): (Vec<f32>, Vec<Vec<u32>>) = self.into_iter().unzip();
        (numbers, Tokens::from_rows(rows)?).into_answer()
    }
}

macro_rules! tuples {
    ($($first:ident, $($other:ident),+;)+) => {$(
        impl<$first: IntoAnswer, $($other: IntoAnswer),+> IntoAnswer for ($first, $($other),+) {
            #[allow(non_snake_case)]
            fn into_answer(self) -> Result<Answer> {
                let ($first, $($other),+) = self;
                let mut answer = $first.into_answer()?;
                $(
                    let other = $other.into_answer()?;
                    answer.parts.extend(other.parts);
                    answer.text += &other.text;
                    answer.inner = answer.inner.max(other.inner);
                )+
                Ok(answer)
            }
        }
    )+};
}
tuples! {
    A, B;
    A, B, C;
    A, B, C, D;
}
