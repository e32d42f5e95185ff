//! Figures: one set of numbers drawn three times, by plotly.js where scripts run, as a still picture where they do
//! not (GitHub, a notebook that is not trusted), and in characters in a terminal.
//!
//! The names and defaults follow the `plotly_utils` of the ARENA course: [`line()`] and [`imshow`]. plotly.rs writes
//! the JSON for plotly.js; nothing is fetched from a network.
//!
//! # Which output brings plotly.js
//! The first figure of a kernel does, and every figure with the same kind, title, axis titles and number of values:
//! if its cell runs again, so does the library. Change one of those and run only that cell, and a notebook that is
//! saved then, closed and opened shows still pictures until its first figure is drawn in a new kernel.

mod animation;
mod bar;
mod color;
mod drawing;
mod facets;
mod fewer;
mod gaps;
mod hist;
mod imshow;
mod labels;
mod line;
mod notes;
mod options;
mod plot;
mod saved;
mod scatter;
mod series;
mod special;
mod text;

pub use bar::bar;
pub use facets::{Facets, imshow_facets};
pub use hist::hist;
pub use imshow::{imshow, imshow_animation};
pub use line::line;
pub use plotly::layout::HoverMode;
pub use scatter::scatter;
pub use special::{
    imshow_patching_result, imshow_patching_results, plot_comp_scores, plot_logit_attribution, plot_loss_difference,
};

pub(in crate::views) use color::{Color, INK, band_color, series_color};
pub(in crate::views) use drawing::{Axis, Chart, Drawing, Scale, half_room};
pub(in crate::views) use notes::{GAP, Note, height as notes_height, paint as paint_notes};

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use drawing::Looks;

use crate::error::{Error, Result};
use crate::views::html::{escape, json_in_script, stable_id, visible};
use crate::views::page::{Rendered, View};
use crate::views::{loader, picture};
use crate::visible::visible_lines;

/// A chart and how it is to look. Made by [`line()`] or [`imshow`]; the methods, chained, change its looks.
///
/// As the last expression of a cell it shows itself; in a loop or a program call [`show`](Self::show). What does not
/// fit (a shape, a number of labels) is reported there and in [`to_json`](Self::to_json). Numbers that are not finite,
/// as those of masked scores, are gaps, and a line above the figure says what they are.
///
/// ```
/// use candle_lens::views::line;
/// let loss = line([3.9, 2.1, 1.4]).title("Loss").x_label("Step").y_label("Nats");
/// loss.show()?;
/// assert!(line([3.9, 2.1, 1.4]).x_ticks(["a", "b"]).show().is_err());
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a figure appears as the last expression of a cell or by its method `show`"]
pub struct Figure {
    /// The chart, or the sentence that says why there is none.
    chart: std::result::Result<Arc<dyn Chart>, String>,
    looks: Looks,
}

impl Figure {
    /// A figure of `chart`; an error is kept and returned when the figure is shown.
    fn new(chart: Result<impl Chart + 'static>) -> Self {
        let chart = chart.map(|chart| Arc::new(chart) as Arc<dyn Chart>).map_err(|error| error.sentence());
        Self { chart, looks: Looks::default() }
    }

    /// A figure that says this error when it is shown.
    fn failed(mut self, error: Error) -> Self {
        self.chart = Err(error.sentence());
        self
    }

    /// What was asked of `other`.
    fn looking_like(mut self, other: &Self) -> Self {
        self.looks = other.looks.clone();
        self
    }

    /// Shades of one colour from zero, for numbers that are never negative.
    pub(in crate::views) fn one_sided(mut self) -> Self {
        self.looks.one_sided = true;
        self
    }

    /// The line above the figure; the default is the title of the result it is drawn from.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.looks.title = Some(title.into());
        self
    }

    /// What the horizontal axis is; the default is the name of the result's last axis.
    pub fn x_label(mut self, label: impl Into<String>) -> Self {
        self.looks.x_label = Some(label.into());
        self
    }

    /// What the vertical axis is; the default for [`imshow`] is the name of the result's first axis.
    pub fn y_label(mut self, label: impl Into<String>) -> Self {
        self.looks.y_label = Some(label.into());
        self
    }

    /// What the colours of [`imshow`] stand for.
    pub fn color_label(mut self, label: impl Into<String>) -> Self {
        self.looks.color_label = Some(label.into());
        self
    }

    /// A label for each place along the horizontal axis.
    pub fn x_ticks<T: ToString>(mut self, labels: impl IntoIterator<Item = T>) -> Self {
        self.looks.x_ticks = Some(texts(labels));
        self
    }

    /// A label for each row of [`imshow`], from the top.
    pub fn y_ticks<T: ToString>(mut self, labels: impl IntoIterator<Item = T>) -> Self {
        self.looks.y_ticks = Some(texts(labels));
        self
    }

    /// A name for each series of [`line()`], shown in a legend.
    pub fn names<T: ToString>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.looks.names = Some(texts(names));
        self
    }

    /// What appears under the pointer; [`HoverMode::XUnified`], all series at one place, is the default of [`line()`].
    pub fn hovermode(mut self, hovermode: HoverMode) -> Self {
        self.looks.hovermode = Some(hovermode);
        self
    }

    /// The width in pixels, which a narrower page reduces. 800 is the default of [`line()`], 600 of [`imshow`].
    pub fn width(mut self, pixels: usize) -> Self {
        self.looks.width = Some(pixels);
        self
    }

    /// The height in pixels. 450 is the default of [`line()`]; [`imshow`] chooses it so that cells are about square.
    pub fn height(mut self, pixels: usize) -> Self {
        self.looks.height = Some(pixels);
        self
    }

    /// The figure as the JSON that plotly.js draws: `data`, `layout` and `config`.
    ///
    /// # Errors
    /// What makes the figure impossible to draw.
    pub fn to_json(&self) -> Result<String> {
        let (chart, drawing) = self.drawing()?;
        plot::json(chart, &drawing)
    }

    /// The figure as a still picture: the bytes of a PNG file.
    ///
    /// # Errors
    /// What makes the figure impossible to draw.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let (chart, drawing) = self.drawing()?;
        picture::png_of(chart, &drawing.by_itself())
    }

    /// The figure as an image without a script, for the still form of other views.
    pub(in crate::views) fn still(&self) -> Result<String> {
        let (chart, drawing) = self.drawing()?;
        let drawing = drawing.without_notes();
        let picture = BASE64.encode(picture::png_of(chart, &drawing)?);
        Ok(format!(
            "<img alt=\"{}\" width=\"{}\" style=\"max-width:100%\" src=\"data:image/png;base64,{picture}\">",
            escape(&drawing.description()),
            drawing.width
        ))
    }

    /// The chart, and everything that was asked for, checked against it.
    fn drawing(&self) -> Result<(&dyn Chart, Drawing)> {
        let chart = self.chart.as_deref().map_err(Error::argument)?;
        Ok((chart, chart.drawing(&self.looks)?))
    }
}

fn texts<T: ToString>(labels: impl IntoIterator<Item = T>) -> Vec<String> {
    labels.into_iter().map(|label| label.to_string()).collect()
}

impl View for Figure {
    /// What must be said of it, a still picture, and the script that replaces it.
    fn render(&self) -> Result<Rendered> {
        let (chart, drawing) = self.drawing()?;
        let json = json_in_script(&plot::json(chart, &drawing)?);
        let id = format!("cl-{:016x}", stable_id(&json));
        let notes = notes::markup(&drawing.notes);
        let words = format!("{}{}", notes::lines(&drawing.notes), chart.text(&drawing)?);
        let text = format!("{}\n{}", visible(&drawing.title), visible_lines(&words));
        let call = loader::draw_call(&id, &json);
        let html = format!("{notes}<div data-figure=\"{id}\">{}</div>\n{call}", self.still()?);
        let text = text.trim_start_matches('\n').to_owned();
        Ok(Rendered { html, text, figures: vec![drawing.identity()], scripts: Vec::new() })
    }
}

crate::views::show::shown!(Figure);
crate::views::show::drawn_by_debug!(Figure);
