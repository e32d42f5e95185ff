//! `scatter`: points, as ARENA's `plotly_utils.scatter`.

use ndarray::Array1;

use crate::error::{Error, Result};
use crate::views::figure::color::{INK, series_color};
use crate::views::figure::drawing::{
    Axis as PlotAxis, Chart, Drawing, Extras, Looks, Scale, check_values, finite_range, one_each,
};
use crate::views::figure::fewer::{NUMBER, spread};
use crate::views::figure::hover::HoverMode;
use crate::views::figure::labels::{self, Side};
use crate::views::figure::notes::Note;
use crate::views::figure::{Kept, texts};
use crate::views::html::visible;
use crate::views::number::grouped;
use crate::views::page::View;
use crate::views::picture::{Anchor, Canvas, Frame, Turn, text_width};
use crate::views::source::Source;
use crate::views::table::Table;

/// A point for each pair of numbers. Results of this crate label the points with their labels;
/// [`Scatter::diagonal`] draws y = x, [`Scatter::point_labels`] gives other labels. A pair with a number that is not finite
/// has no point, and a line above the figure says which.
///
/// # Shapes
/// Two of the same shape, whatever it is.
///
/// # Errors
/// Reported when the figure is shown: unequal shapes, no numbers.
///
/// ```
/// use candle_lens::prelude::*;
/// let drawn = scatter([0.1, 0.5, 0.9], [0.2, 0.4, 1.1]).diagonal().point_labels(["L0H0", "L0H1", "L0H2"]);
/// drawn.show()?;
/// assert!(drawn.render()?.html().contains("L0H2"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn scatter(x: impl Source, y: impl Source) -> Scatter {
    Scatter::new(Points::new(&x, &y))
}

/// Points for pairs of numbers. Made by [`scatter`](crate::views::scatter()); its builder methods change how it looks.
#[derive(Clone)]
#[must_use = "a figure appears as the last expression of a cell or by its method `show`"]
pub struct Scatter {
    pub(super) chart: Kept<Points>,
    pub(super) looks: Looks,
}

impl Scatter {
    /// A label for each point, beside it where there are few points.
    pub fn point_labels<T: ToString>(self, labels: impl IntoIterator<Item = T>) -> Self {
        self.change(|points| points.labelled = Some(texts(labels)))
    }

    /// The line y = x behind the points.
    pub fn diagonal(self) -> Self {
        self.change(|points| points.diagonal = true)
    }
}

/// The most points that are labelled in place; with more, labels would overlap and show under the pointer only.
pub(super) const LABELLED: usize = 40;

/// The points of a scatter figure, and its options.
#[derive(Clone, Debug)]
pub(super) struct Points {
    pub x: Array1<f32>,
    pub y: Array1<f32>,
    titles: [String; 2],
    labels: Vec<String>,
    /// The labels that the caller gave, if any.
    labelled: Option<Vec<String>>,
    pub diagonal: bool,
}

impl Points {
    fn new(x: &impl Source, y: &impl Source) -> Result<Self> {
        let (x, y) = (x.numbers()?, y.numbers()?);
        check_values("scatter", &x.values)?;
        check_values("scatter", &y.values)?;
        if x.values.shape() != y.values.shape() {
            return Err(Error::argument(format!(
                "`scatter` needs x and y of the same shape, but their shapes are {:?} and {:?}.",
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
                "`scatter` pairs numbers by their indices, but one result has the axis {:?} where the other has {:?}, \
                 or other labels on it: give results with the same axes.",
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
        Ok(Self {
            x: flat(x.values),
            y: flat(y.values),
            titles: [x.title, y.title],
            labels,
            labelled: None,
            diagonal: false,
        })
    }
}

impl Points {
    /// The indices of the points that are drawn.
    pub fn shown(&self, drawing: &Drawing) -> Vec<usize> {
        let is_finite = |&i: &usize| self.x[i].is_finite() && self.y[i].is_finite();
        drawing.extras.kept.clone().unwrap_or_else(|| (0..self.x.len()).filter(is_finite).collect())
    }

    /// The pixel coordinates of the points that are drawn.
    fn points(&self, drawing: &Drawing, frame: &Frame) -> Vec<(f32, f32)> {
        let at = |i: usize| (frame.x(f64::from(self.x[i])), frame.y(f64::from(self.y[i])));
        self.shown(drawing).into_iter().map(at).collect()
    }

    /// The labels of the points that are drawn; none where there are none at all.
    pub fn words(&self, drawing: &Drawing) -> Vec<String> {
        let words = &drawing.extras.words;
        if words.is_empty() { Vec::new() } else { self.shown(drawing).into_iter().map(|i| words[i].clone()).collect() }
    }

    /// Adds notes on points that are not finite and on those left out for lack of room, and removes the latter.
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
            let drawn = format!("{} points, one wherever there are any", grouped(kept.len()));
            drawing.notes.push(Note::of_size(&drawn, &format!("all {} points", grouped(all.len())), looks.max_bytes()));
            drawing.extras.kept = Some(kept);
        }
    }

    /// The side of each point on which its label is; nothing without labels, or with too many.
    pub fn sides(&self, drawing: &Drawing, frame: &Frame) -> Option<Vec<Option<Side>>> {
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
        let labels = self.labelled.clone().unwrap_or_else(|| self.labels.clone());
        if !labels.is_empty() || self.labelled.is_some() {
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
            hovermode: looks.hovermode.unwrap_or(HoverMode::Closest),
            width: looks.width.unwrap_or(600),
            height: looks.height.unwrap_or(500),
            notes: Vec::new(),
            extras: Extras { words: labels, ..Extras::default() },
        }
        .check_size()?;
        self.reduce(&mut drawing, looks);
        Ok(drawing)
    }

    fn paint(&self, drawing: &Drawing, canvas: &mut Canvas, frame: &Frame) {
        if let (true, Some((low, high))) = (self.diagonal, shared(drawing)) {
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

/// The range that both axes share, in which y = x can be drawn.
pub(super) fn shared(drawing: &Drawing) -> Option<(f64, f64)> {
    let (Scale::Numbers(x_low, x_high), Scale::Numbers(y_low, y_high)) = (&drawing.x.scale, &drawing.y.scale) else {
        return None;
    };
    let (low, high) = (x_low.max(*y_low), x_high.min(*y_high));
    (low < high).then_some((low, high))
}
