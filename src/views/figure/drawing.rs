//! What every kind of figure is reduced to before it is drawn: text, axes and a size, all resolved and checked.

use std::fmt;

use crate::error::{Error, Result};
use crate::views::figure::color::{Color, blues, red_blue};
use crate::views::figure::fewer::{MAX_BYTES, room};
use crate::views::figure::hover::HoverMode;
use crate::views::figure::notes::{self, Note};
use crate::views::figure::plot::Traces;
use crate::views::html::stable_id;
use crate::views::picture::{Canvas, Frame};

/// The numbers of a figure with the options of its kind. A new kind is a file beside this one that implements this.
pub(in crate::views) trait Chart: Traces + fmt::Debug + Send + Sync {
    /// Resolves what the caller left open.
    ///
    /// # Errors
    /// Options that do not fit these numbers.
    fn drawing(&self, looks: &Looks) -> Result<Drawing>;
    /// Draws it on a still picture.
    fn paint(&self, drawing: &Drawing, canvas: &mut Canvas, frame: &Frame);
    /// The same as text; the title is printed above it.
    fn text(&self, drawing: &Drawing) -> Result<String>;
}

/// The options of every kind of figure; `None` leaves the choice to the chart.
#[derive(Clone, Debug, Default)]
pub(in crate::views) struct Looks {
    pub title: Option<String>,
    pub x_label: Option<String>,
    pub y_label: Option<String>,
    pub hovermode: Option<HoverMode>,
    pub width: Option<usize>,
    pub height: Option<usize>,
    pub max_bytes: Option<usize>,
}

/// A part of the horizontal axis with a name and its own background.
#[derive(Clone, Debug)]
pub(in crate::views) struct Band {
    pub from: f64,
    pub to: f64,
    pub name: String,
}

impl Looks {
    /// The most that the figure may add to a notebook, in bytes.
    pub fn max_bytes(&self) -> usize {
        self.max_bytes.unwrap_or(MAX_BYTES)
    }

    /// The part of that budget that is for numbers and labels.
    pub fn room(&self) -> usize {
        room(self.max_bytes())
    }

    /// What the numbers are, beside their axis or scale: as requested; otherwise the result's own title, where the figure's
    /// title does not say it already. There is room for its first part only, which names the numbers.
    pub fn value_label(&self, asked: Option<&String>, own: &str) -> String {
        let said_above = self.title.is_none();
        let first = own.split(", ").next().unwrap_or_default();
        asked.cloned().unwrap_or_else(|| if said_above { String::new() } else { first.to_owned() })
    }
}

/// A figure with everything resolved but its marks.
#[derive(Clone, Debug)]
pub(in crate::views) struct Drawing {
    /// The kind in a few words, with its size: "line of 25 values".
    pub what: String,
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    /// Names of the series; empty where there is one without a name.
    pub names: Vec<String>,
    /// The scale at the side, where colour represents a number.
    pub color_bar: Option<ColorBar>,
    pub hovermode: HoverMode,
    pub width: usize,
    pub height: usize,
    /// Notes for the reader, above the figure.
    pub notes: Vec<Note>,
    pub extras: Extras,
}

/// What only some kinds of figure have, as far as it depends on their numbers.
#[derive(Clone, Debug, Default)]
pub(in crate::views) struct Extras {
    /// The axis at the right, for the last series.
    pub y2: Option<Axis>,
    pub bands: Vec<Band>,
    /// Words in the cells of a heat map, row by row, or at points.
    pub words: Vec<String>,
    /// The names of an animation's frames.
    pub frames: Vec<String>,
    /// Where there is no room for all numbers: how many points of a line, or how many rows and columns, one represents.
    pub stretch: Option<usize>,
    pub blocks: Option<(usize, usize)>,
    /// The indices of the positions or points that are drawn.
    pub kept: Option<Vec<usize>>,
}

/// One axis of a figure.
#[derive(Clone, Debug)]
pub(in crate::views) struct Axis {
    pub title: String,
    pub scale: Scale,
}

/// What an axis shows.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::views) enum Scale {
    /// A label for each of the positions 0, 1, 2 and so on.
    Labels(Vec<String>),
    /// The numbers from the first to the second.
    Numbers(f64, f64),
}

/// Colours from `limit` below to `limit` above the centre; shades of one colour from zero where all is above it.
#[derive(Clone, Debug)]
pub(in crate::views) struct ColorBar {
    pub title: String,
    pub center: f64,
    pub limit: f64,
    pub one_sided: bool,
}

impl ColorBar {
    /// The colour of a value.
    pub fn color(&self, value: f64) -> Color {
        if self.one_sided { blues(value / self.limit) } else { red_blue((value - self.center) / self.limit) }
    }

    /// The values with the strongest colours.
    pub fn range(&self) -> (f64, f64) {
        if self.one_sided { (0.0, self.limit) } else { (self.center - self.limit, self.center + self.limit) }
    }
}

/// The sizes that a figure may have, in pixels.
const SIZES: std::ops::RangeInclusive<usize> = 100..=10_000;

impl Drawing {
    /// Returns an error for a size that cannot be drawn.
    pub fn check_size(self) -> Result<Self> {
        for (name, pixels) in [("width", self.width), ("height", self.height)] {
            if !SIZES.contains(&pixels) {
                return Err(Error::argument(format!(
                    "a figure cannot have the {name} {pixels}: give {} to {} pixels.",
                    SIZES.start(),
                    SIZES.end()
                )));
            }
        }
        Ok(self)
    }

    /// The same with room for its notes above the marks, for a picture outside a page.
    pub fn by_itself(mut self) -> Self {
        self.height += notes::height(&self.notes, self.width);
        self
    }

    /// The same without its notes, for a picture on a page that shows them.
    pub fn without_notes(mut self) -> Self {
        self.notes.clear();
        self
    }

    /// The alternative text of the picture.
    pub fn description(&self) -> String {
        if self.title.is_empty() { self.what.clone() } else { format!("{}: {}", self.title, self.what) }
    }

    /// An identity that stays the same when the cell of this figure runs again, even with other numbers.
    pub fn identity(&self) -> u64 {
        stable_id(&[&self.what, &self.title, &self.x.title, &self.y.title].map(String::as_str).join("\n"))
    }
}

/// Checks that `labels`, given by the method `method`, has one label for each of `count` places.
pub(in crate::views) fn one_each(labels: &[String], count: usize, method: &str, places: &str) -> Result<()> {
    if labels.len() == count {
        return Ok(());
    }
    Err(Error::argument(format!("{count} {places} need one label each, but `{method}` gives {}.", labels.len())))
}

/// Returns an error where there are no numbers.
pub(in crate::views) fn check_values(kind: &str, values: &ndarray::ArrayD<f32>) -> Result<()> {
    if values.is_empty() {
        return Err(Error::argument(format!(
            "`{kind}` was given no numbers (the shape is {:?}): give it at least one.",
            values.shape()
        )));
    }
    Ok(())
}

/// The minimum and maximum of the finite numbers; 0 and 0 where there are none.
pub(in crate::views) fn finite_range<'a>(values: impl IntoIterator<Item = &'a f32>) -> (f64, f64) {
    let finite = values.into_iter().copied().filter(|value| value.is_finite());
    let (low, high) =
        finite.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low <= high { (f64::from(low), f64::from(high)) } else { (0.0, 0.0) }
}

/// Half the range that an axis shows of equal numbers: enough for its ends to differ, however large they are.
pub(in crate::views) fn half_room(value: f64) -> f64 {
    (value.abs() * 1e-6).max(0.5)
}
