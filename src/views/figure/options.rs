//! What some kinds of figure can do and others cannot: each refuses what has no meaning for it.

use crate::error::Result;
use crate::views::figure::drawing::Band;
use crate::views::figure::{Figure, texts};
use crate::views::picture;

impl Figure {
    /// The series of [`bar`](crate::views::bar) on top of each other instead of side by side.
    pub fn stacked(mut self) -> Self {
        self.looks.stacked = true;
        self
    }

    /// A line at the mean of each series of [`hist`](crate::views::hist).
    pub fn mean_lines(mut self) -> Self {
        self.looks.mean_lines = true;
        self
    }

    /// How many bins [`hist`](crate::views::hist) counts in; the default grows with the root of the number of values.
    pub fn bins(mut self, bins: usize) -> Self {
        self.looks.bins = Some(bins);
        self
    }

    /// The line y = x behind the points of [`scatter`](crate::views::scatter).
    pub fn diagonal(mut self) -> Self {
        self.looks.diagonal = true;
        self
    }

    /// A label for each point of [`scatter`](crate::views::scatter), beside it where there are few points.
    pub fn point_labels<T: ToString>(mut self, labels: impl IntoIterator<Item = T>) -> Self {
        self.looks.point_labels = Some(texts(labels));
        self
    }

    /// Words in the cells of [`imshow`](crate::views::imshow()), row by row.
    pub fn cell_text<T: ToString>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        self.looks.cell_text = Some(texts(words));
        self
    }

    /// The value of [`imshow`](crate::views::imshow()) that is white; 0 unless told otherwise.
    pub fn center(mut self, value: f64) -> Self {
        self.looks.center = Some(value);
        self
    }

    /// How far the colours of [`imshow`](crate::views::imshow()) go on both sides of the centre, so that several figures
    /// can be compared; the default is as far as the numbers do.
    pub fn limit(mut self, limit: f64) -> Self {
        self.looks.limit = Some(limit);
        self
    }

    /// Draws the last series of [`line`](crate::views::line()) on an axis of its own at the right, with this title.
    pub fn secondary_axis(mut self, title: impl Into<String>) -> Self {
        self.looks.secondary = Some(title.into());
        self
    }

    /// A coloured ground with a name behind a stretch of [`line`](crate::views::line()), in points.
    pub fn band(mut self, from: f64, to: f64, name: impl Into<String>) -> Self {
        self.looks.bands.push(Band { from, to, name: name.into() });
        self
    }

    /// The most that the figure may add to a notebook, in bytes; 5 MB unless told otherwise. A larger one draws fewer
    /// numbers and says so above: of a line the least and the greatest of each stretch, of bars and of the cells of a heat
    /// map the largest of each block, of points one wherever there are any.
    ///
    /// ```
    /// use candle_lens::views::{View, line};
    /// let steps: Vec<f32> = (0..20_000).map(|step| (step as f32).sin()).collect();
    /// let text = line(&steps).max_bytes(100_000).render()?.text().to_owned();
    /// assert!(text.contains("the least and the greatest of each"), "{text}");
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.looks.max_bytes = Some(bytes);
        self
    }

    /// The figure as an SVG image.
    ///
    /// # Errors
    /// What makes the figure impossible to draw.
    ///
    /// ```
    /// use candle_lens::views::line;
    /// assert!(line([3.9, 2.1, 1.4]).to_svg()?.starts_with("<svg "));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn to_svg(&self) -> Result<String> {
        let (chart, drawing) = self.drawing()?;
        Ok(picture::svg_of(chart, &drawing.by_itself()))
    }
}
