//! One or several named series of numbers, which [`line()`](super::line()), [`bar`](super::bar()) and
//! [`hist`](super::hist()) draw.

use std::ops::Range;

use ndarray::{Array2, Ix2};

use crate::error::{Error, Result};
use crate::labelled::Axis;
use crate::views::figure::drawing::{check_values, one_each};
use crate::views::figure::interval::Intervals;
use crate::views::source::Source;

/// `[series, position]`, with the names of both.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub values: Array2<f32>,
    pub title: String,
    pub x: Axis,
    /// The interval of each number, where there are intervals.
    pub intervals: Option<Intervals>,
    /// The names that the caller gave, if any.
    pub named: Option<Vec<String>>,
    names: Vec<String>,
}

impl Series {
    /// Reads a list or a matrix for the figure `kind`.
    pub fn new(kind: &str, source: &impl Source) -> Result<Self> {
        let numbers = source.numbers()?;
        check_values(kind, &numbers.values)?;
        let shape = numbers.values.shape().to_vec();
        let values = match shape[..] {
            [places] => numbers.values.into_shape_with_order((1, places)).ok(),
            [_, _] => numbers.values.into_dimensionality::<Ix2>().ok(),
            _ => None,
        };
        let values = values.ok_or_else(|| {
            Error::argument(format!(
                "`{kind}` draws a list, or a matrix with a series in each row, but it was given the shape {shape:?}: \
                 take one index or a mean of the other axes first."
            ))
        })?;
        let mut axes = numbers.axes.into_iter().rev();
        let x = axes.next().unwrap_or_else(|| Axis::numbered("", 0));
        let names = axes.next().map(|axis| axis.labels).unwrap_or_default();
        let intervals = Intervals::of_source(source, values.dim())?;
        Ok(Self { values, title: numbers.title, x, intervals, named: None, names })
    }

    /// The lowest and highest end of an interval in these rows, to make room for.
    pub fn reach(&self, rows: Range<usize>) -> Option<(f64, f64)> {
        let intervals = self.intervals.as_ref()?;
        let places = rows.flat_map(|row| (0..self.values.ncols()).map(move |column| (row, column)));
        places.filter_map(|place| intervals.at(place)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// The names of the series: as requested, or their own; none where there is one series without a name.
    pub fn names(&self) -> Result<Vec<String>> {
        let names = self.named.as_ref().unwrap_or(&self.names);
        if !names.is_empty() || self.named.is_some() {
            one_each(names, self.values.nrows(), "names", "series")?;
        }
        if names.is_empty() && self.values.nrows() > 1 {
            return Ok((0..self.values.nrows()).map(|i| i.to_string()).collect());
        }
        Ok(names.clone())
    }
}
