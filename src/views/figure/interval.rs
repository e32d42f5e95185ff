//! Intervals of numbers: whiskers on lines and bars, grey cells of heat maps where 0 is within.

use ndarray::{Array2, ArrayD};

use crate::error::{Error, Result};
use crate::views::figure::Color;
use crate::views::figure::notes::Note;
use crate::views::number::{grouped, number};
use crate::views::picture::Canvas;
use crate::views::source::Source;

/// The background of cells whose interval holds 0: lighter than a gap's, on light and dark pages.
pub(in crate::views) const GREYED: Color = Color(0xc6, 0xc6, 0xc6);

/// Half the width of a whisker's ends, in pixels.
const HALF: f32 = 4.0;

/// The lower and upper ends of the intervals of a matrix of numbers; NaN where a number has none.
#[derive(Clone, Debug)]
pub(super) struct Intervals {
    pub low: Array2<f32>,
    pub high: Array2<f32>,
}

impl Intervals {
    /// One interval for each of `count` numbers `[row, column]`.
    pub fn new(low: ArrayD<f32>, high: ArrayD<f32>, (rows, columns): (usize, usize)) -> Result<Self> {
        let as_matrix = |ends: ArrayD<f32>| {
            let shape = ends.shape().to_vec();
            let other = || {
                Error::argument(format!(
                    "the ends of intervals have the shape {shape:?}, but the numbers have [{rows}, {columns}]: give one \
                     interval for each number."
                ))
            };
            let long = |shape: &[usize]| shape.iter().copied().filter(|size| *size != 1).collect::<Vec<_>>();
            match long(&shape) == long(&[rows, columns]) {
                true => ends.into_shape_with_order((rows, columns)).map_err(|_| other()),
                false => Err(other()),
            }
        };
        let (low, high) = (as_matrix(low)?, as_matrix(high)?);
        match low.iter().zip(&high).find(|(low, high)| low > high) {
            None => Ok(Self { low, high }),
            Some((low, high)) => Err(Error::argument(format!(
                "an interval goes from {low} to {high}: give its lower end first, then its upper."
            ))),
        }
    }

    /// As [`Intervals::new`], from whatever numbers can be drawn from.
    pub fn of(low: &impl Source, high: &impl Source, count: (usize, usize)) -> Result<Self> {
        Self::new(low.numbers()?.values, high.numbers()?.values, count)
    }

    /// Those that belong to the numbers of a source `[row, column]`, if there are any.
    pub fn of_source(source: &impl Source, count: (usize, usize)) -> Result<Option<Self>> {
        source.intervals()?.map(|[low, high]| Self::new(low, high, count)).transpose()
    }

    /// Where the interval holds 0, or a number has none.
    pub fn hold_zero(&self) -> Array2<bool> {
        ndarray::Zip::from(&self.low).and(&self.high).map_collect(|&low, &high| !(low > 0.0 || high < 0.0))
    }

    /// The ends at a place; none where one is not finite.
    pub fn at(&self, place: (usize, usize)) -> Option<(f64, f64)> {
        let (low, high) = (self.low[place], self.high[place]);
        (low.is_finite() && high.is_finite()).then(|| (f64::from(low), f64::from(high)))
    }

    /// The interval at a place, in words.
    pub fn words(&self, place: (usize, usize)) -> String {
        self.at(place).map_or_else(|| "none".into(), |(low, high)| format!("{} to {}", number(low), number(high)))
    }
}

/// The note on cells that are grey because their intervals hold 0.
pub(super) fn note(greyed: usize, all: usize) -> Note {
    let text = format!("grey, ~ in text: the interval holds 0 ({} of {} values)", grouped(greyed), grouped(all));
    Note { legend: Some(GREYED), text }
}

/// A whisker from one end of an interval to the other.
pub(super) fn whisker(canvas: &mut Canvas, x: f32, (top, bottom): (f32, f32), width: f32, color: Color) {
    let half = HALF.min(width / 2.0).max(1.0);
    canvas.line(&[(x, top), (x, bottom)], 1.5, color);
    for end in [top, bottom] {
        canvas.line(&[(x - half, end), (x + half, end)], 1.5, color);
    }
}
