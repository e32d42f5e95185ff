//! The options and outputs that all kinds of figure share: written once, given to each kind.

use std::sync::Arc;

use crate::error::Result;
use crate::views::figure::drawing::Chart;
use crate::views::figure::hover::HoverMode;
use crate::views::figure::{Animation, Bar, Facets, Figure, HeatMap, Histogram, Line, Scatter};
use crate::views::page::{Rendered, View};
use crate::views::show::{drawn_by_debug, shown};

/// Gives figures the options that all of them share, in a field `looks`.
macro_rules! looks {
    ($($figure:ident),+ $(,)?) => {$(
        impl $figure {
            /// The line above the figure; the default is the title of the result it is drawn from.
            pub fn title(mut self, title: impl Into<String>) -> Self {
                self.looks.title = Some(title.into());
                self
            }

            /// What the horizontal axis is; the default is the name of the result's last axis, where it has one.
            pub fn x_label(mut self, label: impl Into<String>) -> Self {
                self.looks.x_label = Some(label.into());
                self
            }

            /// What the vertical axis is; the default is the name of the axis, or of the numbers along it.
            pub fn y_label(mut self, label: impl Into<String>) -> Self {
                self.looks.y_label = Some(label.into());
                self
            }

            /// What appears under the pointer: all series at one position ([`HoverMode::XUnified`], the default of lines, bars
            /// and histograms) or one mark ([`HoverMode::Closest`], the default of points and heat maps).
            pub fn hovermode(mut self, hovermode: HoverMode) -> Self {
                self.looks.hovermode = Some(hovermode);
                self
            }

            /// The width in pixels, which a narrower page reduces: by default 800 for lines, bars and histograms, 600 for points
            /// and heat maps, 380 for each facet.
            pub fn width(mut self, pixels: usize) -> Self {
                self.looks.width = Some(pixels);
                self
            }

            /// The height in pixels: by default 450 for lines, bars and histograms, 500 for points; heat maps choose it so that
            /// their cells are about square.
            pub fn height(mut self, pixels: usize) -> Self {
                self.looks.height = Some(pixels);
                self
            }

            /// The most that the figure may add to a notebook, in bytes; 5 MB by default. A larger one draws fewer numbers and
            /// says so above: the minimum and maximum of each stretch of a line, the largest of each block of bars or cells, and one
            /// point wherever there are any.
            ///
            /// ```
            /// use candle_lens::views::{View, line};
            /// let steps: Vec<f32> = (0..20_000).map(|step| (step as f32).sin()).collect();
            /// let text = line(&steps).max_bytes(100_000).render()?.text().to_owned();
            /// assert!(text.contains("the minimum and maximum of each"), "{text}");
            /// # Ok::<(), candle_lens::Error>(())
            /// ```
            pub fn max_bytes(mut self, bytes: usize) -> Self {
                self.looks.max_bytes = Some(bytes);
                self
            }
        }

        shown!($figure);
        drawn_by_debug!($figure);
    )+};
}
looks!(Figure, Line, Bar, Histogram, Scatter, HeatMap, Animation, Facets);

/// Gives figures that have `to_png` and `to_svg` the methods that save them.
macro_rules! saved {
    ($($figure:ident),+ $(,)?) => {$(
        impl $figure {
            /// Saves this as a still picture in a PNG file, with a transparent background.
            ///
            /// # Errors
            /// Whatever makes it impossible to draw, or a file that cannot be written.
            pub fn save_png(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
                let _drawing = crate::progress::Progress::opaque("drawing");
                let picture = self.to_png()?;
                crate::interrupt::check_interrupt()?;
                crate::files::write_whole(path.as_ref(), |file| file.write_all(&picture))
            }

            /// Saves this as an SVG file, whose words are text, with a transparent background.
            ///
            /// # Errors
            /// As `save_png`.
            pub fn save_svg(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
                let _drawing = crate::progress::Progress::opaque("drawing");
                let picture = self.to_svg()?;
                crate::interrupt::check_interrupt()?;
                crate::files::write_whole(path.as_ref(), |file| file.write_all(picture.as_bytes()))
            }
        }
    )+};
}
saved!(Figure, Line, Bar, Histogram, Scatter, HeatMap, Animation, Facets);

/// Makes a figure of any kind out of each of these, and gives them its methods.
macro_rules! kinds {
    ($($figure:ident of $chart:ty),+ $(,)?) => {$(
        impl $figure {
            /// A figure of `chart`; an error is kept and returned when the figure is shown.
            pub(super) fn new(chart: Result<$chart>) -> Self {
                let chart = chart.map(Arc::new).map_err(|error| error.sentence());
                Self { chart, looks: Default::default() }
            }

            /// Sets an option of this kind.
            pub(super) fn change(mut self, change: impl FnOnce(&mut $chart)) -> Self {
                if let Ok(chart) = &mut self.chart {
                    change(Arc::make_mut(chart));
                }
                self
            }

            /// The figure as the JSON that plotly.js draws: `data`, `layout` and `config`.
            ///
            /// # Errors
            /// Whatever makes the figure impossible to draw.
            pub fn to_json(&self) -> Result<String> {
                Figure::from(self).to_json()
            }

            /// The figure as a still picture: the bytes of a PNG file.
            ///
            /// # Errors
            /// Whatever makes the figure impossible to draw.
            pub fn to_png(&self) -> Result<Vec<u8>> {
                Figure::from(self).to_png()
            }

            /// The figure as an SVG image, whose words are text.
            ///
            /// # Errors
            /// Whatever makes the figure impossible to draw.
            pub fn to_svg(&self) -> Result<String> {
                Figure::from(self).to_svg()
            }
        }

        impl From<&$figure> for Figure {
            fn from(figure: &$figure) -> Self {
                let chart = figure.chart.clone().map(|chart| chart as Arc<dyn Chart>);
                Figure { chart, looks: figure.looks.clone() }
            }
        }

        impl From<$figure> for Figure {
            fn from(figure: $figure) -> Self {
                Figure::from(&figure)
            }
        }

        impl View for $figure {
            /// As [`Figure`]'s.
            fn render(&self) -> Result<Rendered> {
                Figure::from(self).render()
            }
        }
    )+};
}
kinds!(
    Line of crate::views::figure::line::Lines,
    Bar of crate::views::figure::bar::Bars,
    Histogram of crate::views::figure::hist::Values,
    Scatter of crate::views::figure::scatter::Points,
    HeatMap of crate::views::figure::grid::Grid,
    Animation of crate::views::figure::grid::Grid,
);
