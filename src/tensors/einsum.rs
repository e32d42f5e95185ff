//! Products and sums of tensors by the names of their axes.
//!
//! ```text
//! result[o] = sum over all other axes of product over tensors t of t[its axes]
//! ```
//!
//! as NumPy's and PyTorch's `einsum`, with names of any length. Two tensors at a time are brought into the form of a batched matrix
//! product: `[shared and kept, own, shared and summed] x [shared and kept, shared and summed, own]`.

use candle_core::Tensor;

use super::equation::Equation;
use crate::error::{Error, Result};
use crate::wide;

/// Multiplies tensors along axes that have the same name and sums over those that the result does not have.
///
/// Names are divided by spaces: `"b q h d, b k h d -> b h q k"`. Single letters may be written without: `"bqhd,bkhd->bhqk"`. An axis
/// that a tensor has twice is its diagonal there. Half precision is summed in f32.
///
/// ```
/// use candle_lens::prelude::*;
/// let mut random = Random::new(0);
/// let (q, k) = (random.normal((2, 5, 3, 4))?, random.normal((2, 5, 3, 4))?);
/// let scores = einsum("b q h d, b k h d -> b h q k", &[&q, &k])?;
/// assert_eq!(scores.dims(), [2, 3, 5, 5]);
/// let by_hand = q.transpose(1, 2)?.contiguous()?.matmul(&k.permute((0, 2, 3, 1))?.contiguous()?)?;
/// assert_close(&scores, &by_hand, 1e-5)?;
/// # Ok::<(), candle_lens::Error>(())
/// ```
///
/// # Shapes
/// As the equation says.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for an equation that does not fit the tensors, naming the axis.
pub fn einsum(equation: &str, tensors: &[&Tensor]) -> Result<Tensor> {
    let shapes: Vec<&[usize]> = tensors.iter().map(|tensor| tensor.dims()).collect();
    let Equation { terms, output, sizes } = Equation::new(equation, &shapes)?;
    let mut operands = Vec::with_capacity(tensors.len());
    for (number, (tensor, axes)) in tensors.iter().zip(terms.iter().cloned()).enumerate() {
        let elsewhere = |axis: usize| {
            let others = terms.iter().enumerate().filter(|(other, _)| *other != number);
            output.contains(&axis) || others.into_iter().any(|(_, term)| term.contains(&axis))
        };
        operands.push(Operand { tensor: (*tensor).clone(), axes }.without_repeats()?.summed(&elsewhere)?);
    }
    let mut rest = operands.into_iter();
    let mut product = rest.next().ok_or_else(|| Error::argument("einsum of no tensors: give at least one."))?;
    while let Some(next) = rest.next() {
        let wanted = |axis: usize| output.contains(&axis) || rest.as_slice().iter().any(|of| of.axes.contains(&axis));
        product = product.times(&next, &wanted, &sizes)?;
    }
    product.in_order(&output)
}

/// A tensor with the numbers of its axes.
struct Operand {
    tensor: Tensor,
    axes: Vec<usize>,
}

impl Operand {
    /// Takes the diagonal along axes that are there twice.
    fn without_repeats(mut self) -> Result<Self> {
        while let Some((first, second)) = twice(&self.axes) {
            let size = self.tensor.dim(first)?;
            let mut order: Vec<usize> = (0..self.axes.len()).filter(|at| *at != first && *at != second).collect();
            let kept: Vec<usize> = order.iter().map(|at| self.axes[*at]).collect();
            let mut shape: Vec<usize> = order.iter().map(|at| self.tensor.dims()[*at]).collect();
            let axis = self.axes[first];
            order.extend([first, second]);
            shape.push(size * size);
            let flat = self.tensor.permute(order)?.contiguous()?.reshape(shape)?;
            let places: Vec<u32> = (0..size).map(|at| (at * (size + 1)) as u32).collect();
            let places = Tensor::from_vec(places, size, flat.device())?;
            self.tensor = flat.index_select(&places, flat.rank() - 1)?;
            self.axes = kept.into_iter().chain([axis]).collect();
        }
        Ok(self)
    }

    /// Sums over the axes that nothing else has.
    fn summed(mut self, is_wanted: &dyn Fn(usize) -> bool) -> Result<Self> {
        let gone: Vec<usize> = (0..self.axes.len()).filter(|at| !is_wanted(self.axes[*at])).collect();
        if !gone.is_empty() {
            self.tensor = wide::sum(&self.tensor, gone)?;
            self.axes.retain(|axis| is_wanted(*axis));
        }
        Ok(self)
    }

    /// The product with another, summed over the axes that both have and nothing wants any more.
    fn times(&self, other: &Self, is_wanted: &dyn Fn(usize) -> bool, sizes: &[usize]) -> Result<Self> {
        let (shared, own): (Vec<usize>, Vec<usize>) = self.axes.iter().partition(|axis| other.axes.contains(axis));
        let (batch, summed): (Vec<usize>, Vec<usize>) = shared.into_iter().partition(|axis| is_wanted(*axis));
        let others: Vec<usize> = other.axes.iter().copied().filter(|axis| !self.axes.contains(axis)).collect();
        let size = |axes: &[usize]| axes.iter().map(|axis| sizes[*axis]).product::<usize>();
        let left = self.arranged(&[&batch, &own, &summed])?.reshape((size(&batch), size(&own), size(&summed)))?;
        let right =
            other.arranged(&[&batch, &summed, &others])?.reshape((size(&batch), size(&summed), size(&others)))?;
        let product = wide::matmul(&left, &right)?;
        let axes: Vec<usize> = [batch, own, others].concat();
        let shape: Vec<usize> = axes.iter().map(|axis| sizes[*axis]).collect();
        Ok(Self { tensor: product.reshape(shape)?, axes })
    }

    fn in_order(&self, output: &[usize]) -> Result<Tensor> {
        self.arranged(&[output])
    }

    /// Its axes in this order.
    fn arranged(&self, order: &[&[usize]]) -> Result<Tensor> {
        let places = order.concat().into_iter().filter_map(|axis| self.axes.iter().position(|own| *own == axis));
        Ok(self.tensor.permute(places.collect::<Vec<usize>>())?.contiguous()?)
    }
}

/// Two places with the same axis.
fn twice(axes: &[usize]) -> Option<(usize, usize)> {
    let second = (0..axes.len()).find(|at| axes[..*at].contains(&axes[*at]))?;
    axes.iter().position(|axis| *axis == axes[second]).map(|first| (first, second))
}
