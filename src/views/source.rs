//! What a figure can be drawn from: results with labels, tensors, arrays, lists.

use candle_core::{DType, Device, Tensor};
use ndarray::{ArrayBase, ArrayD, Data, Dimension, IxDyn};

use crate::error::{Context, Error, Result};
use crate::labelled::{Axis, Labelled};
use crate::statistics::Statistics;

/// Numbers to draw: a [`Labelled`] where names and labels may be missing, as they are for a tensor or a list.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// What they are, in a few words; may be empty.
    pub title: String,
    /// The axes, in the order of the array's; names may be empty, and labels absent.
    pub axes: Vec<Axis>,
    /// The numbers.
    pub values: ArrayD<f32>,
}

/// Anything a figure can be drawn from.
pub trait Source {
    /// The numbers, in host memory, and their labels.
    ///
    /// # Errors
    /// A tensor that cannot be read as 32-bit floats; rows of unequal lengths.
    fn numbers(&self) -> Result<Numbers>;

    /// The lower and the upper end of the interval of each number, in the shape of the numbers, where there are intervals: lines and
    /// bars draw them as whiskers, heat maps grey the cells whose interval holds 0.
    ///
    /// # Errors
    /// As [`Source::numbers`].
    fn intervals(&self) -> Result<Option<[ArrayD<f32>; 2]>> {
        Ok(None)
    }
}

/// A number that can be drawn.
pub trait Number: Copy {
    /// The nearest float.
    fn to_f64(self) -> f64;
}

macro_rules! numbers {
    ($($number:ty),+) => {$(
        impl Number for $number {
            fn to_f64(self) -> f64 {
                self as f64
            }
        }
    )+};
}
numbers!(f32, f64, u8, u32, u64, i32, i64, usize);

fn unlabelled(values: ArrayD<f32>) -> Numbers {
    let axes = vec![Axis::numbered("", 0); values.ndim()];
    Numbers { values, axes, title: String::new() }
}

impl<S: Source + ?Sized> Source for &S {
    fn numbers(&self) -> Result<Numbers> {
        (**self).numbers()
    }

    fn intervals(&self) -> Result<Option<[ArrayD<f32>; 2]>> {
        (**self).intervals()
    }
}

impl Source for Labelled {
    fn numbers(&self) -> Result<Numbers> {
        Ok(Numbers { title: self.title.clone(), axes: self.axes().to_vec(), values: self.values().into_owned() })
    }
}

/// The estimates, with their intervals.
impl Source for Statistics {
    fn numbers(&self) -> Result<Numbers> {
        self.estimate.numbers()
    }

    fn intervals(&self) -> Result<Option<[ArrayD<f32>; 2]>> {
        Ok(Some([&self.low, &self.high].map(|ends| ends.values().into_owned())))
    }
}

impl<T: Number> Source for [T] {
    fn numbers(&self) -> Result<Numbers> {
        Ok(unlabelled(self.iter().map(|&value| value.to_f64() as f32).collect::<ndarray::Array1<f32>>().into_dyn()))
    }
}

impl<T: Number, const N: usize> Source for [T; N] {
    fn numbers(&self) -> Result<Numbers> {
        self.as_slice().numbers()
    }
}

impl<T: Number> Source for Vec<T> {
    fn numbers(&self) -> Result<Numbers> {
        self.as_slice().numbers()
    }
}

impl<T: Number> Source for Vec<Vec<T>> {
    fn numbers(&self) -> Result<Numbers> {
        let columns = self.first().map_or(0, Vec::len);
        if let Some((i, row)) = self.iter().enumerate().find(|(_, row)| row.len() != columns) {
            return Err(Error::argument(format!(
                "the rows of a matrix have the same length, but row 0 has {columns} numbers and row {i} has {}.",
                row.len()
            )));
        }
        let flat: Vec<f32> = self.iter().flatten().map(|&value| value.to_f64() as f32).collect();
        Ok(unlabelled(array(&[self.len(), columns], flat)?))
    }
}

impl<T: Number, S: Data<Elem = T>, D: Dimension> Source for ArrayBase<S, D> {
    fn numbers(&self) -> Result<Numbers> {
        Ok(unlabelled(self.mapv(|value| value.to_f64() as f32).into_dyn()))
    }
}

impl Source for Tensor {
    fn numbers(&self) -> Result<Numbers> {
        let flat = self
            .to_device(&Device::Cpu)
            .and_then(|tensor| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>())
            .context("reading the tensor to draw")?;
        Ok(unlabelled(array(self.dims(), flat)?))
    }
}

fn array(shape: &[usize], flat: Vec<f32>) -> Result<ArrayD<f32>> {
    let count = flat.len();
    ArrayD::from_shape_vec(IxDyn(shape), flat)
        .map_err(|_| Error::argument(format!("{count} numbers do not fill the shape {shape:?}.")))
}
