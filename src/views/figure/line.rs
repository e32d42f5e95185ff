//! `line`: one or several series of numbers, as ARENA's `plotly_utils.line`.

use ndarray::{ArrayView1, ArrayView2, s};
use plotly::common::{Line as Stroke, Mode};
use plotly::layout::HoverMode;
use plotly::{Scatter, Trace};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::views::figure::Figure;
use crate::views::figure::color::series_color;
use crate::views::figure::drawing::{
    Axis, Band, Chart, Drawing, Extras, Looks, Scale, finite_range, not_for, one_each,
};
use crate::views::figure::fewer::{NUMBER, outline};
use crate::views::figure::notes::Note;
use crate::views::figure::plot::{categories, plain};
use crate::views::figure::series::Series;
use crate::views::figure::text::sparkline;
use crate::views::html::visible;
use crate::views::number::{grouped, number};
use crate::views::picture::{Canvas, Frame};
use crate::views::source::Source;
use crate::views::terminal::{columns, fit, width};

/// So many labels stand below a line that has too many points to be drawn.
const TICKS: usize = 12;

/// Up to so many points are marked; more would hide the line.
const MARKED: usize = 60;

/// A line through a list of numbers, or one line for each row of a matrix.
///
/// A result of this crate brings its title, axis names and labels along; everything else is drawn over 0, 1, 2 and
/// so on until [`Figure::x_ticks`] gives labels. Numbers that are not finite are gaps.
///
/// # Shapes
/// `[point]` or `[series, point]`.
///
/// # Errors
/// Reported when the figure is shown: another shape, no numbers.
///
/// ```
/// use candle_lens::views::line;
/// let figure = line([0.1, 0.4, 2.8])
///     .title("Logit Difference From Accumulated Residual Stream")
///     .x_label("Layer")
///     .y_label("Logit Diff")
///     .x_ticks(["0_pre", "0_mid", "final_post"])
///     .width(800);
/// figure.show()?;
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn line(y: impl Source) -> Figure {
    Figure::new(Series::new("line", &y).map(Lines))
}

/// The numbers of a line figure.
#[derive(Debug)]
struct Lines(Series);

/// The lowest and highest value with a little room around them.
fn y_range(values: ArrayView2<f32>) -> (f64, f64) {
    let (low, high) = finite_range(values.iter());
    let room = if high > low { (high - low) * 0.06 } else { low.abs().max(1.0) * 0.5 };
    (low - room, high + room)
}

fn checked_bands(bands: &[Band], points: usize) -> Result<Vec<Band>> {
    let last = points as f64;
    match bands.iter().find(|band| !(band.from < band.to && band.from >= -1.0 && band.to <= last)) {
        None => Ok(bands.to_vec()),
        Some(band) => Err(Error::argument(format!(
            "the band {:?} goes from {} to {}, but the line has the points 0 to {}: give a stretch of it.",
            band.name,
            band.from,
            band.to,
            points - 1
        ))),
    }
}

/// These places of a line, one list for each piece between gaps.
fn pieces(row: ArrayView1<f32>, places: &[usize]) -> Vec<Vec<usize>> {
    let pieces = places.split(|&place| !row[place].is_finite());
    pieces.filter(|piece| !piece.is_empty()).map(<[usize]>::to_vec).collect()
}

impl Lines {
    /// How many points become two, so that the rest fits.
    fn stretch(&self, looks: &Looks) -> Option<usize> {
        let (series, points) = self.0.values.dim();
        let labels = looks.x_ticks.as_ref().unwrap_or(&self.0.x.labels);
        let label = labels.iter().map(|label| label.len() + 8).sum::<usize>() / points;
        let point = series * (2 * NUMBER + label);
        if points * point <= looks.room() {
            return None;
        }
        Some((2 * points * point).div_ceil(looks.room().max(1)).clamp(3, points.max(3)))
    }

    fn notes(&self, stretch: Option<usize>, ticks: &[String], looks: &Looks) -> Vec<Note> {
        let points = self.0.values.ncols();
        let place =
            |i: usize| Some(ticks.get(i % points).map_or_else(|| (i % points).to_string(), |tick| visible(tick)));
        let fewer = stretch.map(|stretch| {
            let drawn = format!("are the least and the greatest of each {} points", grouped(stretch));
            Note::of_size(&drawn, &format!("all {}", grouped(points)), looks.max_bytes())
        });
        Note::of_gaps(self.0.values.iter(), false, place).into_iter().chain(fewer).collect()
    }

    /// Whether a point stands between two gaps, where no line passes.
    fn has_lonely(&self) -> bool {
        let is_lonely = |row: ArrayView1<f32>| {
            let is_gap = |i: Option<usize>| i.and_then(|i| row.get(i)).is_none_or(|value| !value.is_finite());
            (0..row.len()).any(|i| !is_gap(Some(i)) && is_gap(i.checked_sub(1)) && is_gap(Some(i + 1)))
        };
        self.0.values.rows().into_iter().any(is_lonely)
    }
}

impl Chart for Lines {
    fn drawing(&self, looks: &Looks) -> Result<Drawing> {
        not_for(looks.y_ticks.as_ref(), "y_ticks", "line", "its vertical axis has numbers; `y_label` names them")?;
        not_for(looks.color_label.as_ref(), "color_label", "line", "`names` names its series")?;
        looks.only("line", &["secondary_axis", "band"])?;
        let (series, points) = self.0.values.dim();
        if looks.secondary.is_some() && series < 2 {
            return Err(Error::argument(
                "`secondary_axis` is for the last of several series, but there is one: leave it out.",
            ));
        }
        let ticks = looks.x_ticks.as_ref().unwrap_or(&self.0.x.labels);
        let names = self.0.names(looks)?;
        if !ticks.is_empty() || looks.x_ticks.is_some() {
            one_each(ticks, points, "x_ticks", "points")?;
        }
        let own = if looks.secondary.is_some() { series - 1 } else { series };
        let (low, high) = y_range(self.0.values.slice(s![..own, ..]));
        let stretch = self.stretch(looks);
        let x = if ticks.is_empty() { Scale::Numbers(0.0, (points - 1) as f64) } else { Scale::Labels(ticks.clone()) };
        Drawing {
            what: if series == 1 {
                format!("line of {points} values")
            } else {
                format!("{series} lines of {points} values")
            },
            title: looks.title.clone().unwrap_or_else(|| self.0.title.clone()),
            x: Axis { title: looks.x_label.clone().unwrap_or_else(|| self.0.x.name.clone()), scale: x },
            y: Axis {
                title: looks.value_label(looks.y_label.as_ref(), &self.0.title),
                scale: Scale::Numbers(low, high),
            },
            names,
            color_bar: None,
            hovermode: looks.hovermode.clone().unwrap_or(HoverMode::XUnified),
            width: looks.width.unwrap_or(800),
            height: looks.height.unwrap_or(450),
            notes: self.notes(stretch, ticks, looks),
            extras: Extras {
                stretch,
                y2: looks.secondary.clone().map(|title| {
                    let (low, high) = y_range(self.0.values.slice(s![own.., ..]));
                    Axis { title, scale: Scale::Numbers(low, high) }
                }),
                bands: checked_bands(&looks.bands, points)?,
                ..Extras::default()
            },
        }
        .check_size()
    }

    fn traces(&self, drawing: &Drawing) -> Vec<Box<dyn Trace>> {
        let is_marked = self.0.values.ncols() <= MARKED || self.has_lonely();
        let mode = if is_marked { Mode::LinesMarkers } else { Mode::Lines };
        let rows = self.0.values.rows().into_iter().enumerate();
        rows.map(|(i, row)| {
            let stroke = Stroke::new().color(series_color(i).to_hex());
            let places = outline(row, drawing.extras.stretch.unwrap_or(1));
            let y: Vec<f32> = places.iter().map(|&place| row[place]).collect();
            let name = drawing.names.get(i).map_or_else(|| drawing.y.title.clone(), Clone::clone);
            match (&drawing.x.scale, drawing.extras.stretch) {
                (Scale::Labels(labels), None) => {
                    Scatter::new(categories(labels), y).mode(mode.clone()).line(stroke).name(plain(&name))
                        as Box<dyn Trace>
                }
                (Scale::Labels(labels), Some(_)) => {
                    let words: Vec<String> = places.iter().map(|&place| plain(&labels[place])).collect();
                    Scatter::new(places, y)
                        .mode(mode.clone())
                        .line(stroke)
                        .name(plain(&name))
                        .hover_text_array(words)
                        .hover_template("%{hovertext}: %{y}")
                }
                (Scale::Numbers(..), _) => Scatter::new(places, y).mode(mode.clone()).line(stroke).name(plain(&name)),
            }
        })
        .collect()
    }

    fn finish(&self, drawing: &Drawing, spec: &mut Value) {
        if drawing.extras.y2.is_some() {
            spec["data"][self.0.values.nrows() - 1]["yaxis"] = json!("y2");
        }
        // Where points are left out, the others stand at their places, not beside each other as categories would.
        if let (Scale::Labels(labels), Some(_)) = (&drawing.x.scale, drawing.extras.stretch) {
            let axis = &mut spec["layout"]["xaxis"];
            let shown: Vec<usize> = (0..labels.len()).step_by(labels.len().div_ceil(TICKS)).collect();
            axis["type"] = json!("linear");
            axis["ticktext"] = shown.iter().map(|&place| plain(&labels[place])).collect();
            axis["tickvals"] = json!(shown);
        }
    }

    fn paint(&self, drawing: &Drawing, canvas: &mut Canvas, frame: &Frame) {
        let (series, points) = self.0.values.dim();
        let [left, _, right, _] = frame.area();
        // Within a column of pixels only the ends of a line can be seen.
        let column = (points as f32 / (right - left).max(1.0)) as usize;
        let stretch = column.max(drawing.extras.stretch.unwrap_or(1));
        for (i, row) in self.0.values.rows().into_iter().enumerate() {
            let right = drawing.extras.y2.is_some() && i + 1 == series;
            let height = |y: f32| if right { frame.y2(f64::from(y)) } else { frame.y(f64::from(y)) };
            for piece in pieces(row, &outline(row, stretch)) {
                let line: Vec<(f32, f32)> =
                    piece.iter().map(|&place| (frame.x(place as f64), height(row[place]))).collect();
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
            Scale::Numbers(..) => place.to_string(),
        };
        let side = drawing.names.iter().map(|name| columns(name)).max().unwrap_or(0).min(24);
        let lines = self.0.values.rows().into_iter().enumerate().map(|(i, row)| {
            let values = row.to_vec();
            let by_value = |a: &usize, b: &usize| values[*a].total_cmp(&values[*b]);
            let finite = || (0..values.len()).filter(|&place| values[place].is_finite());
            let (low, high) = (finite().min_by(by_value).unwrap_or(0), finite().max_by(by_value).unwrap_or(0));
            let at = |place: usize| format!("{} ({})", number(f64::from(values[place])), label(place));
            let name = drawing.names.get(i).map(|name| fit(&visible(name), side, false) + "  ").unwrap_or_default();
            let range = format!("  from {} to {}", at(low), at(high));
            let room = width().saturating_sub(columns(&name) + columns(&range)).max(20);
            format!("{name}{}{range}", sparkline(&values, room))
        });
        let mut lines: Vec<String> = lines.collect();
        let along = format!("{}: {} to {}", visible(&drawing.x.title), label(0), label(self.0.values.ncols() - 1));
        let axes = [(&drawing.y.title, visible(&drawing.y.title)), (&drawing.x.title, along)];
        let named: Vec<String> =
            axes.into_iter().filter(|(title, _)| !title.is_empty()).map(|(_, text)| text).collect();
        if !named.is_empty() {
            lines.push(named.join(" over "));
        }
        Ok(lines.join("\n"))
    }
}
