//! `line`: one or several series of numbers, as ARENA's `plotly_utils.line`.

use ndarray::{ArrayView1, ArrayView2, s};

use crate::error::{Error, Result};
use crate::views::figure::color::series_color;
use crate::views::figure::drawing::{Axis, Band, Chart, Drawing, Extras, Looks, Scale, finite_range, one_each};
use crate::views::figure::fewer::{NUMBER, outline};
use crate::views::figure::hover::HoverMode;
use crate::views::figure::interval::{Intervals, whisker};
use crate::views::figure::notes::Note;
use crate::views::figure::series::Series;
use crate::views::figure::text::sparkline;
use crate::views::figure::{Kept, texts};
use crate::views::html::visible;
use crate::views::number::{grouped, number};
use crate::views::picture::{Canvas, Frame};
use crate::views::source::Source;
use crate::views::terminal::{columns, fit, width};

/// The most points that are marked; more markers would hide the line.
pub(super) const MARKED: usize = 60;

/// A line through a list of numbers, or one line for each row of a matrix.
///
/// A result of this crate brings its title, axis names and labels along; everything else is drawn over 0, 1, 2 and
/// so on until [`Line::x_ticks`] gives labels. Numbers that are not finite are gaps.
///
/// # Shapes
/// `[point]` or `[series, point]`.
///
/// # Errors
/// Reported when the figure is shown: another shape, no numbers.
///
/// ```
/// use candle_lens::prelude::*;
/// let figure = line([0.1, 0.4, 2.8])
///     .title("Logit Difference From Accumulated Residual Stream")
///     .x_label("Layer")
///     .y_label("Logit Diff")
///     .x_ticks(["0_pre", "0_mid", "final_post"])
///     .width(800);
/// figure.show()?;
/// assert!(figure.render()?.html().contains("final_post"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
///
/// A line has no options that mean nothing for it:
///
/// ```compile_fail,E0599
/// use candle_lens::views::line;
/// line([0.1, 0.4, 2.8]).stacked();
/// ```
pub fn line(y: impl Source) -> Line {
    Line::new(Series::new("line", &y).map(|series| Lines {
        series,
        x_ticks: None,
        x_values: None,
        secondary: None,
        bands: Vec::new(),
    }))
}

/// Lines through numbers. Made by [`line()`](crate::views::line()); its builder methods change how it looks.
#[derive(Clone)]
#[must_use = "a figure appears as the last expression of a cell or by its method `show`"]
pub struct Line {
    pub(super) chart: Kept<Lines>,
    pub(super) looks: Looks,
}

impl Line {
    /// A label for each point along the horizontal axis.
    pub fn x_ticks<T: ToString>(self, labels: impl IntoIterator<Item = T>) -> Self {
        self.change(|lines| lines.x_ticks = Some(texts(labels)))
    }

    /// Where each point is along the horizontal axis, such as training steps or shares: the axis is to scale.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let figure = line([7.9, 3.1, 2.8]).x_values([0.0, 100.0, 1000.0]).x_label("Step");
    /// assert!(figure.to_string().contains("Step: 0 to 1000"));
    /// assert!(line([7.9, 3.1]).x_values([5.0, 1.0]).show().is_err(), "they must not go back");
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn x_values(self, values: impl IntoIterator<Item = f64>) -> Self {
        self.change(|lines| lines.x_values = Some(values.into_iter().collect()))
    }

    /// A name for each series, shown in a legend.
    pub fn names<T: ToString>(self, names: impl IntoIterator<Item = T>) -> Self {
        self.change(|lines| lines.series.named = Some(texts(names)))
    }

    /// The interval of each point, drawn as a whisker, from its lower to its upper end. [`Statistics`](crate::statistics::Statistics)
    /// bring theirs along.
    ///
    /// # Errors
    /// Reported when the figure is shown: ends in another shape than the numbers, or above each other.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let figure = line([0.5, 1.0]).intervals([0.2, 0.9], [0.8, 1.3]);
    /// figure.show()?;
    /// assert!(figure.to_string().contains("0.2 to 0.8"));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn intervals(mut self, low: impl Source, high: impl Source) -> Self {
        let found = self.chart.as_ref().map(|lines| Intervals::of(&low, &high, lines.series.values.dim()));
        match found {
            Ok(Ok(intervals)) => return self.change(|lines| lines.series.intervals = Some(intervals)),
            Ok(Err(error)) => self.chart = Err(error.sentence()),
            Err(_) => {}
        }
        self
    }

    /// Draws the last series on its own axis at the right, with this title.
    pub fn secondary_axis(self, title: impl Into<String>) -> Self {
        self.change(|lines| lines.secondary = Some(title.into()))
    }

    /// A coloured background with a name behind part of the line, from one place of the horizontal axis to another.
    pub fn band(self, from: f64, to: f64, name: impl Into<String>) -> Self {
        self.change(|lines| lines.bands.push(Band { from, to, name: name.into() }))
    }
}

/// The numbers of a line figure, and its options.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    pub series: Series,
    x_ticks: Option<Vec<String>>,
    x_values: Option<Vec<f64>>,
    secondary: Option<String>,
    bands: Vec<Band>,
}

/// The lowest and highest value with a little room around them.
fn y_range(values: ArrayView2<f32>, reach: Option<(f64, f64)>) -> (f64, f64) {
    let (low, high) = finite_range(values.iter());
    let (low, high) = reach.map_or((low, high), |ends| (low.min(ends.0), high.max(ends.1)));
    let room = if high > low { (high - low) * 0.06 } else { low.abs().max(1.0) * 0.5 };
    (low - room, high + room)
}

/// `whole` is where the line is, and `room` how far a band may go beyond it.
fn checked_bands(bands: &[Band], whole: (f64, f64), room: f64) -> Result<Vec<Band>> {
    let is_there = |band: &Band| band.from < band.to && band.from >= whole.0 - room && band.to <= whole.1 + room;
    match bands.iter().find(|band| !is_there(band)) {
        None => Ok(bands.to_vec()),
        Some(band) => Err(Error::argument(format!(
            "the band {:?} goes from {} to {}, but the line goes from {} to {}: give a part of it.",
            band.name, band.from, band.to, whole.0, whole.1
        ))),
    }
}

/// These places of a line, one list for each piece between gaps.
fn pieces(row: ArrayView1<f32>, places: &[usize]) -> Vec<Vec<usize>> {
    let pieces = places.split(|&place| !row[place].is_finite());
    pieces.filter(|piece| !piece.is_empty()).map(<[usize]>::to_vec).collect()
}

impl Lines {
    /// Where a point is along the horizontal axis.
    pub(super) fn x(&self, place: usize) -> f64 {
        self.x_values.as_ref().map_or(place as f64, |values| values[place])
    }

    /// Whether points are where numbers of the user's say.
    pub(super) fn is_to_scale(&self) -> bool {
        self.x_values.is_some()
    }

    /// The labels of the horizontal axis: none where it is to scale.
    fn ticks(&self) -> &[String] {
        match (&self.x_ticks, &self.x_values) {
            (Some(ticks), _) => ticks,
            (None, None) => &self.series.x.labels,
            (None, Some(_)) => &[],
        }
    }

    fn check_x(&self, points: usize) -> Result<()> {
        let ticks = self.ticks();
        if !ticks.is_empty() || self.x_ticks.is_some() {
            one_each(ticks, points, "x_ticks", "points")?;
        }
        let Some(values) = &self.x_values else { return Ok(()) };
        if values.len() != points {
            return Err(Error::argument(format!(
                "{points} points need one place each, but `x_values` gives {}.",
                values.len()
            )));
        }
        if self.x_ticks.is_some() {
            return Err(Error::argument(
                "`x_ticks` are labels at equal distances and `x_values` are places on an axis to scale: give one of them.",
            ));
        }
        match values.windows(2).find(|pair| pair[0] > pair[1] || pair.iter().any(|value| !value.is_finite())) {
            None => Ok(()),
            Some(pair) => Err(Error::argument(format!(
                "`x_values` go from {} to {}: give finite numbers, none below the one before it.",
                pair[0], pair[1]
            ))),
        }
    }

    /// How many points become two, so that the rest fits.
    fn stretch(&self, looks: &Looks) -> Option<usize> {
        let (series, points) = self.series.values.dim();
        let label = self.ticks().iter().map(|label| label.len() + 8).sum::<usize>() / points;
        let point = series * (2 * NUMBER + label);
        if points * point <= looks.room() {
            return None;
        }
        Some((2 * points * point).div_ceil(looks.room().max(1)).clamp(3, points.max(3)))
    }

    fn notes(&self, stretch: Option<usize>, ticks: &[String], looks: &Looks) -> Vec<Note> {
        let points = self.series.values.ncols();
        let place =
            |i: usize| Some(ticks.get(i % points).map_or_else(|| self.x(i % points).to_string(), |tick| visible(tick)));
        let fewer = stretch.map(|stretch| {
            let drawn = format!("the minimum and maximum of each {} points", grouped(stretch));
            Note::of_size(&drawn, &format!("all {}", grouped(points)), looks.max_bytes())
        });
        Note::of_gaps(self.series.values.iter(), false, place).into_iter().chain(fewer).collect()
    }

    /// Whether a point is between two gaps, where no line passes.
    pub(super) fn has_lonely(&self) -> bool {
        let is_lonely = |row: ArrayView1<f32>| {
            let is_gap = |i: Option<usize>| i.and_then(|i| row.get(i)).is_none_or(|value| !value.is_finite());
            (0..row.len()).any(|i| !is_gap(Some(i)) && is_gap(i.checked_sub(1)) && is_gap(Some(i + 1)))
        };
        self.series.values.rows().into_iter().any(is_lonely)
    }
}

impl Chart for Lines {
    fn drawing(&self, looks: &Looks) -> Result<Drawing> {
        let (series, points) = self.series.values.dim();
        if self.secondary.is_some() && series < 2 {
            return Err(Error::argument(
                "`secondary_axis` is for the last of several series, but there is one: leave it out.",
            ));
        }
        self.check_x(points)?;
        let (ticks, names) = (self.ticks(), self.series.names()?);
        let whole = (self.x(0), self.x(points - 1));
        let own = if self.secondary.is_some() { series - 1 } else { series };
        let (low, high) = y_range(self.series.values.slice(s![..own, ..]), self.series.reach(0..own));
        let stretch = self.stretch(looks);
        let x = if ticks.is_empty() { Scale::Numbers(whole.0, whole.1) } else { Scale::Labels(ticks.to_vec()) };
        Drawing {
            what: if series == 1 {
                format!("line of {points} values")
            } else {
                format!("{series} lines of {points} values")
            },
            title: looks.title.clone().unwrap_or_else(|| self.series.title.clone()),
            x: Axis { title: looks.x_label.clone().unwrap_or_else(|| self.series.x.name.clone()), scale: x },
            y: Axis {
                title: looks.value_label(looks.y_label.as_ref(), &self.series.title),
                scale: Scale::Numbers(low, high),
            },
            names,
            color_bar: None,
            hovermode: looks.hovermode.unwrap_or(HoverMode::XUnified),
            width: looks.width.unwrap_or(800),
            height: looks.height.unwrap_or(450),
            notes: self.notes(stretch, ticks, looks),
            extras: Extras {
                stretch,
                y2: self.secondary.clone().map(|title| {
                    let (low, high) = y_range(self.series.values.slice(s![own.., ..]), self.series.reach(own..series));
                    Axis { title, scale: Scale::Numbers(low, high) }
                }),
                bands: checked_bands(&self.bands, whole, if self.x_values.is_some() { 0.0 } else { 1.0 })?,
                ..Extras::default()
            },
        }
        .check_size()
    }

    fn paint(&self, drawing: &Drawing, canvas: &mut Canvas, frame: &Frame) {
        let (series, points) = self.series.values.dim();
        let [left, _, right, _] = frame.area();
        // Within a column of pixels only the ends of a line can be seen.
        let column = (points as f32 / (right - left).max(1.0)) as usize;
        let stretch = column.max(drawing.extras.stretch.unwrap_or(1));
        for (i, row) in self.series.values.rows().into_iter().enumerate() {
            let right = drawing.extras.y2.is_some() && i + 1 == series;
            let height = |y: f32| if right { frame.y2(f64::from(y)) } else { frame.y(f64::from(y)) };
            let outline = outline(row, stretch);
            if let Some(intervals) = &self.series.intervals {
                let apart = (frame.x(self.x(points - 1)) - frame.x(self.x(0))) / points as f32;
                for &place in &outline {
                    let Some((low, high)) = intervals.at((i, place)) else { continue };
                    let ends = (height(high as f32), height(low as f32));
                    whisker(canvas, frame.x(self.x(place)), ends, apart, series_color(i));
                }
            }
            for piece in pieces(row, &outline) {
                let line: Vec<(f32, f32)> =
                    piece.iter().map(|&place| (frame.x(self.x(place)), height(row[place]))).collect();
                canvas.line(&line, 2.0, series_color(i));
                if points <= MARKED || line.len() == 1 {
                    line.iter().for_each(|&point| canvas.dot(point, 3.0, series_color(i)));
                }
            }
        }
    }

    fn text(&self, drawing: &Drawing) -> Result<String> {
        let label = |place: usize| match &drawing.x.scale {
            Scale::Labels(labels) => visible(&labels[place]),
            Scale::Numbers(..) => number(self.x(place)),
        };
        let side = drawing.names.iter().map(|name| columns(name)).max().unwrap_or(0).min(24);
        let lines = self.series.values.rows().into_iter().enumerate().map(|(i, row)| {
            let values = row.to_vec();
            let by_value = |a: &usize, b: &usize| values[*a].total_cmp(&values[*b]);
            let finite = || (0..values.len()).filter(|&place| values[place].is_finite());
            let (low, high) = (finite().min_by(by_value).unwrap_or(0), finite().max_by(by_value).unwrap_or(0));
            let interval = |place: usize| {
                let intervals = self.series.intervals.as_ref();
                intervals.map_or_else(String::new, |intervals| format!(" [{}]", intervals.words((i, place))))
            };
            let at =
                |place: usize| format!("{}{} ({})", number(f64::from(values[place])), interval(place), label(place));
            let name = drawing.names.get(i).map(|name| fit(&visible(name), side, false) + "  ").unwrap_or_default();
            let range = format!("  from {} to {}", at(low), at(high));
            let room = width().saturating_sub(columns(&name) + columns(&range)).max(20);
            format!("{name}{}{range}", sparkline(&values, room))
        });
        let mut lines: Vec<String> = lines.collect();
        let along = format!("{}: {} to {}", visible(&drawing.x.title), label(0), label(self.series.values.ncols() - 1));
        let axes = [(&drawing.y.title, visible(&drawing.y.title)), (&drawing.x.title, along)];
        let named: Vec<String> =
            axes.into_iter().filter(|(title, _)| !title.is_empty()).map(|(_, text)| text).collect();
        if !named.is_empty() {
            lines.push(named.join(" over "));
        }
        Ok(lines.join("\n"))
    }
}
