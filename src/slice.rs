//! Which part of an axis is meant: one index, a range, a list or all of it.
//!
//! The counterpart of TransformerLens' `Slice`: one index drops the axis, the others keep it.
//! Negative numbers count from the end.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A selection along one axis. Built by `into()` from `3`, `-1`, `2..5`, `..`, or a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Slice {
    /// The whole axis.
    #[default]
    All,
    /// One index; the axis is dropped.
    At(isize),
    /// From the first up to, not including, the second; `None` is the axis' end.
    Range(isize, Option<isize>),
    /// These indices in this order.
    List(Vec<isize>),
}

/// `index` in an axis of `size`, counted from the start; negative counts from the end.
///
/// # Errors
/// [`Error::IndexOutOfRange`] naming `axis` when the index is outside.
pub fn absolute(index: isize, size: usize, axis: &'static str) -> Result<usize> {
    bound(index, size).filter(|place| *place < size).ok_or(Error::IndexOutOfRange { axis, index, size })
}

/// `index` in an axis of `size` or at its end, counted from the start; `None` outside. No size or index is too large.
pub(crate) fn bound(index: isize, size: usize) -> Option<usize> {
    let place = if index < 0 { size.checked_sub(index.unsigned_abs())? } else { index as usize };
    (place <= size).then_some(place)
}

/// A position, layer or head as an index; one that is too large stays outside every axis instead of counting from its end.
pub(crate) fn forward(index: usize) -> isize {
    isize::try_from(index).unwrap_or(isize::MAX)
}

/// Indices of a tensor are 32 bits wide.
const LONGEST: usize = u32::MAX as usize;

impl Slice {
    /// The absolute indices that this selects in an axis of `size`.
    ///
    /// # Errors
    /// [`Error::IndexOutOfRange`] for an index outside the axis; [`Error::Argument`] for an empty selection, and for more
    /// indices than a tensor has or than fit in memory.
    pub fn indices(&self, size: usize, axis: &'static str) -> Result<Vec<usize>> {
        let range = match self {
            Self::At(index) => return Ok(vec![absolute(*index, size, axis)?]),
            Self::List(list) => {
                self.count(size, axis)?;
                return list.iter().map(|&i| absolute(i, size, axis)).collect();
            }
            Self::All => 0..size,
            Self::Range(from, to) => Self::range(*from, *to, size, axis)?,
        };
        let count = self.count(size, axis)?;
        let mut found = Vec::new();
        if count > LONGEST || found.try_reserve_exact(count).is_err() {
            return Err(Error::argument(format!(
                "the selection {self} of an axis of {size} ({axis}) has {count} indices, more than a tensor has or \
                 than fit in memory: select fewer."
            )));
        }
        found.extend(range);
        Ok(found)
    }

    /// How many indices this selects in an axis of `size`, without a list of them.
    ///
    /// # Errors
    /// As [`Slice::indices`], but no count is too large.
    pub(crate) fn count(&self, size: usize, axis: &'static str) -> Result<usize> {
        let count = match self {
            Self::All => size,
            Self::At(index) => absolute(*index, size, axis).map(|_| 1)?,
            Self::Range(from, to) => Self::range(*from, *to, size, axis)?.len(),
            Self::List(list) => {
                list.iter().try_for_each(|&i| absolute(i, size, axis).map(drop))?;
                list.len()
            }
        };
        match count {
            0 => Err(Error::argument(format!(
                "the selection {self} of an axis of {size} ({axis}) is empty: select at least one."
            ))),
            count => Ok(count),
        }
    }

    fn range(from: isize, to: Option<isize>, size: usize, axis: &'static str) -> Result<std::ops::Range<usize>> {
        let place = |index: isize| bound(index, size).ok_or(Error::IndexOutOfRange { axis, index, size });
        let end = to.map_or(Ok(size), place)?;
        Ok(place(from)?..end)
    }

    /// The same positions counted from `past` on; those from the end stay.
    ///
    /// # Errors
    /// [`Error::Argument`] for one before `past`.
    pub(crate) fn after(&self, past: usize) -> Result<Self> {
        let past = forward(past);
        let shifted = |i: isize| match i {
            i if i < 0 => Ok(i),
            i if i >= past => Ok(i - past),
            i => Err(Error::argument(format!(
                "position {i} was run before: this run begins at position {past}, so give {past} or more, or run the \
                 whole text."
            ))),
        };
        Ok(match self {
            Self::All => Self::All,
            Self::At(index) => Self::At(shifted(*index)?),
            Self::Range(from, to) => Self::Range(shifted(*from)?, to.map(shifted).transpose()?),
            Self::List(list) => Self::List(list.iter().map(|&i| shifted(i)).collect::<Result<_>>()?),
        })
    }

    /// Whether a negative index occurs, which counts from the end.
    pub fn counts_from_end(&self) -> bool {
        match self {
            Self::All => false,
            Self::At(i) => *i < 0,
            Self::Range(from, to) => *from < 0 || to.is_some_and(|to| to < 0),
            Self::List(list) => list.iter().any(|&i| i < 0),
        }
    }

    /// Takes this part of `tensor` along `dim`. The result owns its numbers (it is not a view of the whole),
    /// except for [`Slice::All`], which shares them.
    ///
    /// # Errors
    /// As [`Slice::indices`].
    pub fn apply(&self, tensor: &Tensor, dim: usize, axis: &'static str) -> Result<Tensor> {
        if *self == Self::All {
            return Ok(tensor.clone());
        }
        let indices: Vec<u32> = self.indices(tensor.dim(dim)?, axis)?.iter().map(|&i| i as u32).collect();
        let count = indices.len();
        let indices = Tensor::from_vec(indices, count, tensor.device())?;
        let taken = tensor.contiguous()?.index_select(&indices, dim)?;
        Ok(if matches!(self, Self::At(_)) { taken.squeeze(dim)? } else { taken })
    }
}

impl std::fmt::Display for Slice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str(".."),
            Self::At(i) => write!(f, "{i}"),
            Self::Range(from, Some(to)) => write!(f, "{from}..{to}"),
            Self::Range(from, None) => write!(f, "{from}.."),
            Self::List(list) => write!(f, "{list:?}"),
        }
    }
}

impl From<std::ops::RangeFull> for Slice {
    fn from(_: std::ops::RangeFull) -> Self {
        Self::All
    }
}

/// The types of index that `into()` takes.
pub(crate) trait Index {
    /// As an index, negative where it counts from the end.
    fn index(self) -> isize;
}

impl Index for i32 {
    fn index(self) -> isize {
        self as isize
    }
}

impl Index for isize {
    fn index(self) -> isize {
        self
    }
}

impl Index for usize {
    fn index(self) -> isize {
        forward(self)
    }
}

macro_rules! from_integers {
    ($($int:ty),*) => {$(
        impl From<$int> for Slice {
            fn from(index: $int) -> Self {
                Self::At(Index::index(index))
            }
        }
        impl From<std::ops::Range<$int>> for Slice {
            fn from(range: std::ops::Range<$int>) -> Self {
                Self::Range(Index::index(range.start), Some(Index::index(range.end)))
            }
        }
        impl From<std::ops::RangeFrom<$int>> for Slice {
            fn from(range: std::ops::RangeFrom<$int>) -> Self {
                Self::Range(Index::index(range.start), None)
            }
        }
        impl From<Vec<$int>> for Slice {
            fn from(list: Vec<$int>) -> Self {
                Self::List(list.into_iter().map(Index::index).collect())
            }
        }
        impl From<&[$int]> for Slice {
            fn from(list: &[$int]) -> Self {
                Self::List(list.iter().map(|&i| Index::index(i)).collect())
            }
        }
        impl<const N: usize> From<[$int; N]> for Slice {
            fn from(list: [$int; N]) -> Self {
                Self::List(list.iter().map(|&i| Index::index(i)).collect())
            }
        }
    )*};
}
from_integers!(i32, isize, usize);
