//! Whether two tensors are the same up to rounding, and in words where and how they differ.

use candle_core::{DType, Tensor};

use crate::error::{Error, Result};
use crate::wide;

/// More axes are not tried in all orders.
const MOST_AXES: usize = 5;

/// Compares two tensors: every number of `got` must be within `tolerance * (1 + |wanted|)` of the one in `wanted`. Infinite numbers must
/// be equal.
///
/// What differs is said in a sentence: how many numbers, where the first is, and whether all are a multiple of what was wanted, have
/// another sign, are shifted, or stand in another order.
///
/// ```
/// use candle_lens::prelude::*;
/// let wanted = Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?;
/// assert_close(&wanted, &(&wanted + 1e-7)?, 1e-5)?;
/// let error = assert_close(&(&wanted * 8.)?, &wanted, 1e-5).unwrap_err();
/// assert!(error.to_string().contains("All are 8 times what was wanted"), "{error}");
/// # Ok::<(), candle_lens::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] with that sentence, and for a tolerance that is not a number from 0 on.
pub fn assert_close(got: &Tensor, wanted: &Tensor, tolerance: f64) -> Result<()> {
    if !tolerance.is_finite() || tolerance < 0.0 {
        return Err(Error::argument(format!(
            "a tolerance of {tolerance} compares nothing: give a number from 0 on, such as 1e-5."
        )));
    }
    match difference(got, wanted, tolerance)? {
        Some(found) => Err(Error::argument(found.sentence(got, wanted))),
        None => Ok(()),
    }
}

/// How two tensors differ.
pub(crate) struct Difference {
    /// The numbers that differ, counted row by row; none where shapes do.
    pub wrong: Vec<usize>,
    /// The first of them.
    pub first: Option<First>,
    /// What is true of all numbers, where something is.
    pub how: Option<String>,
}

/// One number that differs.
pub(crate) struct First {
    pub index: Vec<usize>,
    pub got: String,
    pub wanted: String,
}

impl Difference {
    fn sentence(&self, got: &Tensor, wanted: &Tensor) -> String {
        let what = match &self.first {
            Some(first) => format!(
                "{} of {} numbers differ; the first at {:?}: {} instead of {}.",
                self.wrong.len(),
                wanted.elem_count(),
                first.index,
                first.got,
                first.wanted
            ),
            None => format!("the shape is {:?}, and {:?} was wanted.", got.dims(), wanted.dims()),
        };
        [Some(what), self.how.clone()].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// How two tensors differ; nothing if they do not.
pub(crate) fn difference(got: &Tensor, wanted: &Tensor, tolerance: f64) -> Result<Option<Difference>> {
    let in_order = |got: &Tensor| -> Result<Option<String>> {
        let order = order_of_axes(got, wanted, tolerance)?;
        Ok(order
            .map(|order| format!("The numbers are right: permute({order:?}) of what was given is what was wanted.")))
    };
    if got.dims() != wanted.dims() {
        return Ok(Some(Difference { wrong: Vec::new(), first: None, how: in_order(got)? }));
    }
    let pair = Pair { got: numbers(got)?, wanted: numbers(wanted)?, tolerance };
    let wrong: Vec<usize> = (0..pair.got.len()).filter(|at| !pair.is_close(pair.got[*at], pair.wanted[*at])).collect();
    let Some(&first) = wrong.first() else { return Ok(None) };
    let how = match pair.in_all() {
        Some(how) => Some(how),
        None => match in_order(got)? {
            Some(how) => Some(how),
            None => shift(got, wanted, tolerance)?.or_else(|| pair.in_another_order()),
        },
    };
    let (got, wanted_number) = (short(pair.got[first]), short(pair.wanted[first]));
    let first = First { index: place(first, wanted.dims()), got, wanted: wanted_number };
    Ok(Some(Difference { wrong, first: Some(first), how }))
}

/// The numbers of two tensors of one shape.
struct Pair {
    got: Vec<f64>,
    wanted: Vec<f64>,
    tolerance: f64,
}

impl Pair {
    fn is_close(&self, got: f64, wanted: f64) -> bool {
        got == wanted || (wanted.is_finite() && (got - wanted).abs() <= self.tolerance * (1.0 + wanted.abs()))
    }

    fn all(&self, of: impl Fn(f64) -> f64) -> bool {
        self.got.iter().zip(&self.wanted).all(|(got, wanted)| self.is_close(*got, of(*wanted)))
    }

    /// What is true of every number, if anything is.
    fn in_all(&self) -> Option<String> {
        let bad =
            self.got.iter().zip(&self.wanted).filter(|(got, wanted)| !got.is_finite() && wanted.is_finite()).count();
        if bad > 0 {
            return Some(format!("{bad} are NaN or infinite where a finite number was wanted."));
        }
        if self.got.len() < 2 {
            return None;
        }
        if self.all(|wanted| -wanted) {
            return Some("All have the opposite sign.".into());
        }
        // The largest number gives the factor with the least rounding.
        let finite = (0..self.wanted.len()).filter(|at| self.wanted[*at].is_finite());
        let largest = finite.max_by(|a, b| self.wanted[*a].abs().total_cmp(&self.wanted[*b].abs()))?;
        let (got, wanted) = (self.got[largest], self.wanted[largest]);
        let (factor, offset) = (got / wanted, got - wanted);
        let is_constant = self.wanted.iter().all(|number| *number == wanted);
        if !is_constant && factor.is_finite() && factor != 0.0 && self.all(|wanted| factor * wanted) {
            return Some(format!("All are {} times what was wanted.", short(factor)));
        }
        if self.all(|wanted| wanted + offset) {
            return Some(format!(
                "All are {} {} what was wanted.",
                short(offset.abs()),
                if offset > 0.0 { "more than" } else { "less than" }
            ));
        }
        if self.all(|wanted| 1.0 - wanted) {
            return Some("All are 1 less what was wanted.".into());
        }
        if self.all(f64::ln) {
            return Some("All are the logarithm of what was wanted.".into());
        }
        self.all(f64::exp).then(|| "All are exp of what was wanted.".into())
    }

    fn in_another_order(&self) -> Option<String> {
        let sorted = |numbers: &[f64]| {
            let mut numbers = numbers.to_vec();
            numbers.sort_by(f64::total_cmp);
            numbers
        };
        let (got, wanted) = (sorted(&self.got), sorted(&self.wanted));
        let same = got.len() > 1 && got.iter().zip(&wanted).all(|(got, wanted)| self.is_close(*got, *wanted));
        same.then(|| {
            "The same numbers are there in another order: was an axis moved (transpose, permute, another order of loops) that should have \
             stayed, or something reshaped that had to be moved?"
                .into()
        })
    }
}

/// The order of the axes of `got` in which it is what was wanted.
fn order_of_axes(got: &Tensor, wanted: &Tensor, tolerance: f64) -> Result<Option<Vec<usize>>> {
    let rank = got.rank();
    if rank != wanted.rank() || !(2..=MOST_AXES).contains(&rank) {
        return Ok(None);
    }
    for order in orders(rank) {
        let is_same_shape = order.iter().zip(wanted.dims()).all(|(axis, size)| got.dims()[*axis] == *size);
        if is_same_shape && are_close(&got.permute(order.clone())?, wanted, tolerance)? {
            return Ok(Some(order));
        }
    }
    Ok(None)
}

/// All orders of so many axes but the first.
fn orders(rank: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for _ in 0..rank {
        let longer = |order: &Vec<usize>| {
            let order = order.clone();
            (0..rank)
                .filter(|axis| !order.contains(axis))
                .map(|axis| [&order[..], &[axis]].concat())
                .collect::<Vec<_>>()
        };
        all = all.iter().flat_map(longer).collect();
    }
    all.split_off(1)
}

/// By how much the numbers are shifted along an axis, if that is all.
fn shift(got: &Tensor, wanted: &Tensor, tolerance: f64) -> Result<Option<String>> {
    for (axis, &size) in wanted.dims().iter().enumerate().filter(|(_, size)| **size > 2) {
        let parts =
            |x: &Tensor| -> Result<[Tensor; 2]> { Ok([x.narrow(axis, 0, size - 1)?, x.narrow(axis, 1, size - 1)?]) };
        let ([got_front, got_back], [front, back]) = (parts(got)?, parts(wanted)?);
        for (part, of, way) in [(&got_back, &front, "later"), (&got_front, &back, "earlier")] {
            if are_close(part, of, tolerance)? {
                return Ok(Some(format!("Along axis {axis} everything stands one place {way} than it was wanted.")));
            }
        }
    }
    Ok(None)
}

fn are_close(got: &Tensor, wanted: &Tensor, tolerance: f64) -> Result<bool> {
    let pair = Pair { got: numbers(got)?, wanted: numbers(wanted)?, tolerance };
    Ok(pair.all(|wanted| wanted))
}

fn numbers(x: &Tensor) -> Result<Vec<f64>> {
    Ok(wide::widened(x)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

/// The index of a number that is counted row by row.
pub(crate) fn place(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (axis, size) in shape.iter().enumerate().rev() {
        index[axis] = at % size;
        at /= size;
    }
    index
}

/// Four digits are enough to see.
fn short(number: f64) -> String {
    let rounded: f64 = format!("{number:.3e}").parse().unwrap_or(number);
    rounded.to_string()
}
