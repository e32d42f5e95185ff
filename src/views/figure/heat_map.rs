//! `imshow`: a matrix as a heat map, as ARENA's `plotly_utils.imshow`, and several as an animation.

use crate::error::Result;
use crate::views::figure::drawing::Looks;
use crate::views::figure::grid::Grid;
use crate::views::figure::interval::Intervals;
use crate::views::figure::{Figure, Kept, texts};
use crate::views::source::Source;

/// A matrix as a heat map: the first row at the top, red below zero, blue above, white at zero, grey where a number is
/// not finite, as in masked attention scores.
///
/// A result of this crate brings its title, axis names and labels along; for everything else rows and columns are
/// numbered until [`HeatMap::x_ticks`] and [`HeatMap::y_ticks`] give labels.
///
/// # Shapes
/// `[row, column]`.
///
/// # Errors
/// Reported when the figure is shown: another shape, no numbers.
///
/// ```
/// use candle_lens::prelude::*;
/// let per_head = vec![vec![0.1, -0.2], vec![0.0, 1.9]];
/// let figure = imshow(&per_head).title("Logit Difference From Each Head").x_label("Head").y_label("Layer").width(600);
/// figure.show()?;
/// assert!(figure.render()?.html().contains("Logit Difference From Each Head"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn imshow(matrix: impl Source) -> HeatMap {
    HeatMap::new(Grid::new(&matrix))
}

/// A matrix in colours. Made by [`imshow`](crate::views::imshow()); its builder methods change how it looks.
#[derive(Clone)]
#[must_use = "a figure appears as the last expression of a cell or by its method `show`"]
pub struct HeatMap {
    pub(super) chart: Kept<Grid>,
    pub(super) looks: Looks,
}

impl HeatMap {
    /// Words in the cells, row by row.
    pub fn cell_text<T: ToString>(self, words: impl IntoIterator<Item = T>) -> Self {
        self.change(|grid| grid.asked.cell_text = Some(texts(words)))
    }

    /// The interval of each number, from its lower to its upper end: cells whose interval holds 0 are grey.
    /// [`Statistics`](crate::statistics::Statistics) bring theirs along.
    ///
    /// # Errors
    /// Reported when the figure is shown: ends in another shape than the numbers, or above each other.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let (low, high) = (vec![vec![0.2, -0.1]], vec![vec![0.8, 0.3]]);
    /// let figure = imshow(vec![vec![0.5, 0.1]]).intervals(low, high);
    /// figure.show()?;
    /// assert!(figure.to_string().contains("the interval holds 0 (1 of 2 values)"));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn intervals(mut self, low: impl Source, high: impl Source) -> Self {
        let found = self.chart.as_ref().map(|grid| Intervals::of(&low, &high, grid.values.dim()));
        match found {
            Ok(Ok(intervals)) => return self.change(|grid| grid.intervals = vec![intervals]),
            Ok(Err(error)) => self.chart = Err(error.sentence()),
            Err(_) => {}
        }
        self
    }

    /// Shades of one colour from zero, for numbers that are never negative.
    pub(in crate::views) fn one_sided(self) -> Self {
        self.change(|grid| grid.asked.one_sided = true)
    }

    /// The figure as an image without a script, for the still form of other views.
    pub(in crate::views) fn still(&self) -> Result<String> {
        Figure::from(self).still()
    }
}

/// Gives figures of heat maps the options of their rows, columns and colours.
macro_rules! of_cells {
    ($($figure:ident),+) => {$(
        impl $figure {
            /// A label for each column.
            pub fn x_ticks<T: ToString>(self, labels: impl IntoIterator<Item = T>) -> Self {
                self.change(|grid| grid.asked.x_ticks = Some(texts(labels)))
            }

            /// A label for each row, from the top.
            pub fn y_ticks<T: ToString>(self, labels: impl IntoIterator<Item = T>) -> Self {
                self.change(|grid| grid.asked.y_ticks = Some(texts(labels)))
            }

            /// A title for the colour scale.
            pub fn color_label(self, label: impl Into<String>) -> Self {
                self.change(|grid| grid.asked.color_label = Some(label.into()))
            }

            /// The value that is white; 0 by default.
            pub fn center(self, value: f64) -> Self {
                self.change(|grid| grid.asked.center = Some(value))
            }

            /// How far the colours go on both sides of the centre, so that several figures can be compared; the default is as
            /// far as the numbers do.
            pub fn limit(self, limit: f64) -> Self {
                self.change(|grid| grid.asked.limit = Some(limit))
            }
        }
    )+};
}
of_cells!(HeatMap, Animation);

/// Heat maps one after another on one scale, with a slider to go through them and a button to play them; where no
/// script runs, the first frame is shown. [`Animation::names`] names the frames.
///
/// # Shapes
/// `[frame, row, column]`.
///
/// # Errors
/// As [`imshow`].
///
/// ```
/// use candle_lens::prelude::*;
/// let frames = ndarray::Array3::from_shape_fn((4, 2, 3), |(f, r, c)| (f * r) as f32 - c as f32);
/// let drawn = imshow_animation(&frames).names(["start", "early", "late", "end"]);
/// drawn.show()?;
/// assert!(drawn.render()?.html().contains("early"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn imshow_animation(matrices: impl Source) -> Animation {
    Animation::new(Grid::animated(&matrices))
}

/// Heat maps one after another. Made by [`imshow_animation`]; its builder methods change how it looks.
#[derive(Clone)]
#[must_use = "a figure appears as the last expression of a cell or by its method `show`"]
pub struct Animation {
    pub(super) chart: Kept<Grid>,
    pub(super) looks: Looks,
}

impl Animation {
    /// A name for each frame.
    pub fn names<T: ToString>(self, names: impl IntoIterator<Item = T>) -> Self {
        self.change(|grid| grid.asked.frame_names = Some(texts(names)))
    }
}
