//! Methods that candle's tensors do not have.

use candle_core::{D, DType, Tensor};

use crate::error::{Error, Result};
use crate::slice::absolute;
use crate::wide;

/// Small words for [`Tensor`], in scope with the prelude.
pub trait TensorWords {
    /// The diagonal of the last two axes: entries whose column is `offset` further than their row. Negative offsets are below the main
    /// diagonal: in a pattern `[.., q_pos, k_pos]`, `diagonal(-1)` is how much each position looks at the one before it.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let x = Tensor::arange(0f32, 9., &Device::Cpu)?.reshape((3, 3))?;
    /// assert_eq!(x.diagonal(0)?.to_vec1::<f32>()?, [0., 4., 8.]);
    /// assert_eq!(x.diagonal(-1)?.to_vec1::<f32>()?, [3., 7.]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Shapes
    /// `[.., rows, columns]` gives `[.., diagonal]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for fewer than two axes; [`Error::Argument`] for an offset beyond the corner.
    fn diagonal(&self, offset: isize) -> Result<Tensor>;

    /// `value` where the mask is not 0, and the tensor elsewhere. The mask, u8 or u32 as comparisons and
    /// [`causal masks`](candle_core::Tensor::tril2) give it, is broadcast.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let scores = Tensor::zeros((2, 2), DType::F32, &Device::Cpu)?;
    /// let future = Tensor::triu2(2, DType::U8, &Device::Cpu)?.broadcast_sub(&Tensor::eye(2, DType::U8, &Device::Cpu)?)?;
    /// let masked = scores.masked_fill(&future, f32::NEG_INFINITY)?;
    /// assert_eq!(softmax(&masked)?.to_vec2::<f32>()?, [[1., 0.], [0.5, 0.5]]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Shapes
    /// `mask` broadcasts to the tensor's shape, which is the result's.
    ///
    /// # Errors
    /// [`Error::Argument`] for a mask of floats; [`Error::Shape`] for one that does not fit.
    fn masked_fill(&self, mask: &Tensor, value: f32) -> Result<Tensor>;

    /// The `k` largest numbers along the last axis, the largest first, and their indices.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let (values, places) = Tensor::new(&[0.1f32, 0.7, 0.2], &Device::Cpu)?.top_k(2)?;
    /// assert_eq!((values.to_vec1::<f32>()?, places.to_vec1::<u32>()?), (vec![0.7, 0.2], vec![1, 2]));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Shapes
    /// `[.., n]` gives `[.., k]` twice, the places in u32.
    ///
    /// # Errors
    /// [`Error::Argument`] for a `k` of 0, or larger than the axis; [`Error::Shape`] for a single number.
    fn top_k(&self, k: usize) -> Result<(Tensor, Tensor)>;

    /// The part at these indices of the first axes; negative ones count from the end. `logits.at(&[0, -1])` is what the first prompt's
    /// last position has.
    ///
    /// # Shapes
    /// `[a, b, ..]` gives `[..]` without as many axes as there are indices.
    ///
    /// # Errors
    /// [`Error::Shape`] for more indices than axes; [`Error::IndexOutOfRange`] naming the axis.
    fn at(&self, index: &[isize]) -> Result<Tensor>;

    /// The only number of a tensor, of any dtype.
    ///
    /// # Errors
    /// [`Error::Shape`] for none or several.
    fn item(&self) -> Result<f32>;
}

impl TensorWords for Tensor {
    fn diagonal(&self, offset: isize) -> Result<Tensor> {
        let rank = self.rank();
        if rank < 2 {
            return Err(Error::shape("what a diagonal is taken of", "[.., rows, columns]", self.dims()));
        }
        let (rows, columns) = (self.dim(rank - 2)?, self.dim(rank - 1)?);
        let (down, right) = (offset.min(0).unsigned_abs(), offset.max(0).unsigned_abs());
        let length = rows.saturating_sub(down).min(columns.saturating_sub(right));
        if length == 0 {
            return Err(Error::argument(format!(
                "diagonal {offset} of {rows} rows and {columns} columns is empty: the offset goes from -{} to {}.",
                rows.saturating_sub(1),
                columns.saturating_sub(1)
            )));
        }
        let mut shape = self.dims()[..rank - 2].to_vec();
        shape.push(rows * columns);
        let places: Vec<u32> = (0..length).map(|at| ((down + at) * columns + right + at) as u32).collect();
        let places = Tensor::from_vec(places, length, self.device())?;
        Ok(self.contiguous()?.reshape(shape)?.index_select(&places, rank - 2)?)
    }

    fn masked_fill(&self, mask: &Tensor, value: f32) -> Result<Tensor> {
        if mask.dtype().is_float() {
            return Err(Error::argument(format!(
                "a mask says for each number whether it is replaced, in u8 or u32, and this one has {:?}: compare, as in mask.gt(0.0)?.",
                mask.dtype()
            )));
        }
        let mask = mask
            .broadcast_as(self.shape())
            .map_err(|_| Error::shape("the mask", format!("one that broadcasts to {:?}", self.dims()), mask.dims()))?;
        let value = Tensor::full(value, self.shape(), self.device())?.to_dtype(self.dtype())?;
        Ok(mask.where_cond(&value, self)?)
    }

    fn top_k(&self, k: usize) -> Result<(Tensor, Tensor)> {
        let Some(&size) = self.dims().last() else {
            return Err(Error::shape("what the largest numbers are taken of", "[.., n]", self.dims()));
        };
        if k == 0 || k > size {
            return Err(Error::argument(format!(
                "the {k} largest of {size} numbers were asked for: k goes from 1 to {size}."
            )));
        }
        let rows = self.detach().to_dtype(DType::F32)?.contiguous()?.reshape(((), size))?.to_vec2::<f32>()?;
        let mut places = Vec::with_capacity(rows.len() * k);
        for row in &rows {
            let mut order: Vec<u32> = (0..size as u32).collect();
            // Equal numbers in their order; NaN first, so that it is seen.
            order.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]));
            places.extend_from_slice(&order[..k]);
        }
        let mut shape = self.dims().to_vec();
        *shape.last_mut().expect("there is a last axis") = k;
        let places = Tensor::from_vec(places, shape, self.device())?;
        Ok((self.contiguous()?.gather(&places, D::Minus1)?, places))
    }

    fn at(&self, index: &[isize]) -> Result<Tensor> {
        if index.len() > self.rank() {
            return Err(Error::shape("what is indexed", format!("at least {} axes", index.len()), self.dims()));
        }
        let mut part = self.clone();
        for (axis, &index) in index.iter().enumerate() {
            const NAMES: [&str; 4] = [
                "on the first axis, index",
                "on the second axis, index",
                "on the third axis, index",
                "on the fourth axis, index",
            ];
            let name = NAMES.get(axis).copied().unwrap_or("on a later axis, index");
            part = part.get(absolute(index, part.dim(0)?, name)?)?;
        }
        Ok(part)
    }

    fn item(&self) -> Result<f32> {
        if self.elem_count() != 1 {
            return Err(Error::shape("what one number is taken of", "one number (sum or index it)", self.dims()));
        }
        Ok(wide::widened(self)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?[0])
    }
}
