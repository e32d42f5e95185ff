//! A figure of any kind: what can be done with all of them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::error::{Error, Result};
use crate::views::figure::drawing::{Chart, Drawing, Looks};
use crate::views::figure::{Kept, notes, plot};
use crate::views::html::{escape, json_in_script, stable_id, visible};
use crate::views::page::{Rendered, View};
use crate::views::{loader, picture};
use crate::visible::visible_lines;

/// A figure of any kind, made `from` a [`Line`](crate::views::Line), a [`HeatMap`](crate::views::HeatMap) or another kind,
/// so that a list or a function can hold several kinds. It has the options that all kinds share.
///
/// As the last expression of a cell a figure shows itself; in a loop or a program call [`show`](Self::show). What does not
/// fit (a shape, a number of labels) is reported there and in [`to_json`](Self::to_json). Numbers that are not finite,
/// as those of masked scores, are gaps, and a line above the figure says what they are.
///
/// ```
/// use candle_lens::views::{Figure, bar, line};
/// let figures: Vec<Figure> = vec![line([3.9, 2.1, 1.4]).x_label("Step").into(), bar([1.0, 2.5]).into()];
/// for figure in figures {
///     figure.width(400).show()?;
/// }
/// assert!(line([3.9, 2.1, 1.4]).x_ticks(["a", "b"]).show().is_err());
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a figure appears as the last expression of a cell or by its method `show`"]
pub struct Figure {
    pub(super) chart: Kept<dyn Chart>,
    pub(super) looks: Looks,
}

impl Figure {
    /// The figure as the JSON that plotly.js draws: `data`, `layout` and `config`.
    ///
    /// # Errors
    /// Whatever makes the figure impossible to draw.
    pub fn to_json(&self) -> Result<String> {
        let (chart, drawing) = self.drawing()?;
        plot::json(chart, &drawing)
    }

    /// The figure as a still picture: the bytes of a PNG file.
    ///
    /// # Errors
    /// Whatever makes the figure impossible to draw.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let (chart, drawing) = self.drawing()?;
        picture::png_of(chart, &drawing.by_itself())
    }

    /// The figure as an SVG image, whose words are text.
    ///
    /// # Errors
    /// Whatever makes the figure impossible to draw.
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

    /// The chart, and the requested options, checked against it.
    pub(super) fn drawing(&self) -> Result<(&dyn Chart, Drawing)> {
        let chart = self.chart.as_deref().map_err(Error::argument)?;
        Ok((chart, chart.drawing(&self.looks)?))
    }
}

impl From<&Figure> for Figure {
    fn from(figure: &Figure) -> Self {
        figure.clone()
    }
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
