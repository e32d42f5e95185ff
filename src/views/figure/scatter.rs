//! `scatter`: points, as ARENA's `plotly_utils.scatter`.

use ndarray::Array1;
use plotly::common::{Marker, Mode};
use plotly::layout::HoverMode;
use plotly::{Scatter, Trace};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::views::figure::Figure;
use crate::views::figure::color::{INK, series_color};
use crate::views::figure::drawing::{
    Axis as PlotAxis, Chart, Drawing, Extras, Looks, Scale, check_values, finite_range, not_for, one_each,
};
use crate::views::figure::fewer::{NUMBER, spread};
use crate::views::figure::labels::{self, Side};
use crate::views::figure::notes::Note;
use crate::views::figure::plot::plain;
use crate::views::html::visible;
use crate::views::number::grouped;
use crate::views::page::View;
use crate::views::picture::{Anchor, Canvas, Frame, Turn, text_width};
use crate::views::source::Source;
use crate::views::table::Table;

/// A point for each pair of numbers. Results of this crate label the points with their labels;
/// [`Figure::diagonal`] draws y = x, [`Figure::point_labels`] gives other labels. A pair with a number that is not finite
/// has no point, and a line above says which.
///
/// # Shapes
/// Two of the same shape, whatever it is.
///
/// # Errors
/// Reported when the figure is shown: unequal shapes, no numbers.
///
/// ```
/// use candle_lens::prelude::*;
/// scatter([0.1, 0.5, 0.9], [0.2, 0.4, 1.1]).diagonal().point_labels(["L0H0", "L0H1", "L0H2"]).show()?;
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn scatter(x: impl Source, y: impl Source) -> Figure {
    Figure::new(Points::new(&x, &y))
}

/// With more points than these, labels would cover each other: they show under the pointer.
const LABELLED: usize = 40;

/// The points of a scatter figure.
#[derive(Debug)]
struct Points {
    x: Array1<f32>,
    y: Array1<f32>,
    titles: [String; 2],
    labels: Vec<String>,
}

impl Points {
    fn new(x: &impl Source, y: &impl Source) -> Result<Self> {
        let (x, y) = (x.numbers()?, y.numbers()?);
        check_values("scatter", &x.values)?;
        check_values("scatter", &y.values)?;
        if x.values.shape() != y.values.shape() {
            return Err(Error::argument(format!(
                "`scatter` needs as many x as y, but their shapes are {:?} and {:?}.",
                x.values.shape(),
                y.values.shape()
            )));
        }
        let other =
            x.axes.iter().zip(&y.axes).find(|(x, y)| {
                !x.labels.is_empty() && !y.labels.is_empty() && (x.name != y.name || x.labels != y.labels)
            });
        if let Some((x, y)) = other {
            return Err(Error::argument(format!(
                "`scatter` pairs numbers by their places, but one result has the axis {:?} where the other has {:?}, or other \
                 labels on it: give results with the same axes.",
                x.name, y.name
            )));
        }
        let labels = match x.axes.iter().all(|axis| axis.labels.is_empty()) {
            true => Vec::new(),
            false => x
                .values
                .indexed_iter()
                .map(|(at, _)| {
                    let names = x.axes.iter().enumerate().map(|(axis, names)| names.labels[at[axis]].clone());
                    names.collect::<Vec<_>>().join(", ")
                })
                .collect(),
        };
        let flat = |values: ndarray::ArrayD<f32>| values.into_iter().collect::<Array1<f32>>();
        Ok(Self { x: flat(x.values), y: flat(y.values), titles: [x.title, y.title], labels })
    }
}

impl Points {
    /// The places of the points that are drawn.
    fn shown(&self, drawing: &Drawing) -> Vec<usize> {
        let is_finite = |&i: &usize| self.x[i].is_finite() && self.y[i].is_finite();
        drawing.extras.kept.clone().unwrap_or_else(|| (0..self.x.len()).filter(is_finite).collect())
    }

    /// Where the points that are drawn are in the picture.
    fn points(&self, drawing: &Drawing, frame: &Frame) -> Vec<(f32, f32)> {
        let at = |i: usize| (frame.x(f64::from(self.x[i])), frame.y(f64::from(self.y[i])));
        self.shown(drawing).into_iter().map(at).collect()
    }

    /// The labels of the points that are drawn; none where there are none at all.
    fn words(&self, drawing: &Drawing) -> Vec<String> {
        let words = &drawing.extras.words;
        if words.is_empty() { Vec::new() } else { self.shown(drawing).into_iter().map(|i| words[i].clone()).collect() }
    }

    /// What is said of points that have no place, and of those that have no room, which are taken out of the drawing.
    fn reduce(&self, drawing: &mut Drawing, looks: &Looks) {
        let words = &drawing.extras.words;
        // One number for each pair, which is finite where both are.
        let pairs: Vec<f32> = self.x.iter().zip(&self.y).map(|(&x, &y)| if x.is_finite() { y } else { x }).collect();
        let place = |i: usize| words.get(i).map(|word| visible(word));
        drawing.notes.extend(Note::of_gaps(pairs.iter(), false, place));
        let label = words.iter().map(|word| word.len() + 8).sum::<usize>() / self.x.len();
        let most = looks.room() / (2 * NUMBER + label);
        let all = self.shown(drawing);
        if all.len() > most {
            let places = self.points(drawing, &Frame::new(drawing));
            let kept: Vec<usize> = spread(&places, most).into_iter().map(|i| all[i]).collect();
            let drawn = format!("are {}, one wherever there are any", grouped(kept.len()));
            drawing.notes.push(Note::of_size(&drawn, &format!("all {} points", grouped(all.len())), looks.max_bytes()));
            drawing.extras.kept = Some(kept);
        }
    }

    /// On which side of each point its label stands; nothing without labels, or with too many.
    fn sides(&self, drawing: &Drawing, frame: &Frame) -> Option<Vec<Option<Side>>> {
        let words = self.words(drawing);
        if words.is_empty() || words.len() > LABELLED {
            return None;
        }
        let widths: Vec<f32> = words.iter().map(|label| text_width(&visible(label), labels::SIZE)).collect();
        Some(labels::sides(&self.points(drawing, frame), &widths, frame.area()))
    }
}

/// The range of the numbers with a little room around them.
fn range(values: &Array1<f32>) -> (f64, f64) {
    let (low, high) = finite_range(values);
    let room = if high > low { (high - low) * 0.08 } else { low.abs().max(1.0) * 0.5 };
    (low - room, high + room)
}

impl Chart for Points {
    fn drawing(&self, looks: &Looks) -> Result<Drawing> {
        for (asked, method) in [(&looks.x_ticks, "x_ticks"), (&looks.y_ticks, "y_ticks")] {
            not_for(asked.as_ref(), method, "scatter", "its axes have numbers; `point_labels` labels its points")?;
        }
        not_for(looks.color_label.as_ref(), "color_label", "scatter", "its points have one colour")?;
        not_for(looks.names.as_ref(), "names", "scatter", "`point_labels` labels its points")?;
        looks.only("scatter", &["diagonal", "point_labels"])?;
        let labels = looks.point_labels.clone().unwrap_or_else(|| self.labels.clone());
        if !labels.is_empty() || looks.point_labels.is_some() {
            one_each(&labels, self.x.len(), "point_labels", "points")?;
        }
        let (x, y) = (range(&self.x), range(&self.y));
        let mut drawing = Drawing {
            what: format!("{} points", self.x.len()),
            title: looks.title.clone().unwrap_or_default(),
            x: PlotAxis {
                title: looks.x_label.clone().unwrap_or_else(|| self.titles[0].clone()),
                scale: Scale::Numbers(x.0, x.1),
            },
            y: PlotAxis {
                title: looks.y_label.clone().unwrap_or_else(|| self.titles[1].clone()),
                scale: Scale::Numbers(y.0, y.1),
            },
            names: Vec::new(),
            color_bar: None,
            hovermode: looks.hovermode.clone().unwrap_or(HoverMode::Closest),
            width: looks.width.unwrap_or(600),
            height: looks.height.unwrap_or(500),
            notes: Vec::new(),
            extras: Extras { words: labels, diagonal: looks.diagonal, ..Extras::default() },
        }
        .check_size()?;
        self.reduce(&mut drawing, looks);
        Ok(drawing)
    }

    fn traces(&self, drawing: &Drawing) -> Vec<Box<dyn Trace>> {
        let labels: Vec<String> = self.words(drawing).iter().map(|label| plain(label)).collect();
        let at = |values: &Array1<f32>| self.shown(drawing).into_iter().map(|i| values[i]).collect::<Vec<f32>>();
        let few = !labels.is_empty() && labels.len() <= LABELLED;
        let mode = if few { Mode::MarkersText } else { Mode::Markers };
        let name = if labels.is_empty() { "" } else { "%{hovertext}<br>" };
        vec![
            Scatter::new(at(&self.x), at(&self.y))
                .mode(mode)
                .hover_text_array(labels)
                .marker(Marker::new().color(series_color(0).to_hex()).size(8))
                .hover_template(format!("{name}x %{{x:.4~g}}<br>y %{{y:.4~g}}<extra></extra>")),
        ]
    }

    fn finish(&self, drawing: &Drawing, spec: &mut Value) {
        if let Some(sides) = self.sides(drawing, &Frame::new(drawing)) {
            let shown = sides.iter().zip(&drawing.extras.words);
            spec["data"][0]["text"] =
                shown.map(|(side, label)| side.map_or_else(String::new, |_| plain(label))).collect();
            spec["data"][0]["textposition"] =
                sides.iter().map(|side| side.unwrap_or(Side::Above).text_position()).collect();
        }
        if let (true, Some((low, high))) = (drawing.extras.diagonal, shared(drawing)) {
            spec["layout"]["shapes"] = json!([{
                "type": "line", "x0": low, "y0": low, "x1": high, "y1": high, "layer": "below",
                "line": { "color": INK.to_hex(), "width": 1.5, "dash": "dash" },
            }]);
        }
    }

    fn paint(&self, drawing: &Drawing, canvas: &mut Canvas, frame: &Frame) {
        if let (true, Some((low, high))) = (drawing.extras.diagonal, shared(drawing)) {
            canvas.line(&[(frame.x(low), frame.y(low)), (frame.x(high), frame.y(high))], 1.5, INK);
        }
        let points = self.points(drawing, frame);
        points.iter().for_each(|&at| canvas.dot(at, 4.0, series_color(0)));
        let sides = self.sides(drawing, frame).unwrap_or_default();
        for ((at, side), label) in points.into_iter().zip(sides).zip(self.words(drawing)) {
            let Some(side) = side else { continue };
            let label = visible(&label);
            let middle = side.middle(at, text_width(&label, labels::SIZE));
            canvas.text(&label, middle, labels::SIZE, Anchor::Middle, Turn::Level);
        }
    }

    fn text(&self, drawing: &Drawing) -> Result<String> {
        let name =
            |title: &str, otherwise: &str| if title.is_empty() { otherwise.to_owned() } else { title.to_owned() };
        let table = Table::new(["point".into(), name(&drawing.x.title, "x"), name(&drawing.y.title, "y")]);
        let points = self.x.iter().zip(&self.y).enumerate();
        let table = points.fold(table, |table, (i, (&x, &y))| {
            table.row((drawing.extras.words.get(i).cloned().unwrap_or_else(|| i.to_string()), x, y))
        });
        Ok(table.render()?.text().to_owned())
    }
}

/// The stretch that both axes have, where y = x can be drawn.
fn shared(drawing: &Drawing) -> Option<(f64, f64)> {
    let (Scale::Numbers(x_low, x_high), Scale::Numbers(y_low, y_high)) = (&drawing.x.scale, &drawing.y.scale) else {
        return None;
    };
    let (low, high) = (x_low.max(*y_low), x_high.min(*y_high));
    (low < high).then_some((low, high))
}
