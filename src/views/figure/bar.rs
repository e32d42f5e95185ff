//! `bar`: a bar for each number, grouped or stacked, as ARENA's `plotly_utils.bar`.

use std::borrow::Cow;

use ndarray::{Array2, Axis as NdAxis};
use plotly::common::Marker;
use plotly::layout::HoverMode;
use plotly::{Bar, Trace};
use serde_json::{Value, json};

use crate::error::Result;
use crate::labelled::Axis;
use crate::views::figure::Figure;
use crate::views::figure::color::series_color;
use crate::views::figure::drawing::{Axis as PlotAxis, Chart, Drawing, Extras, Looks, Scale, not_for, one_each};
use crate::views::figure::fewer::{NUMBER, largest_columns};
use crate::views::figure::notes::Note;
use crate::views::figure::plot::{categories, plain};
use crate::views::figure::series::Series;
use crate::views::html::visible;
use crate::views::number::grouped;
use crate::views::page::View;
use crate::views::picture::{Canvas, Frame};
use crate::views::source::Source;
use crate::views::table::{Cell, Table};

/// A bar for each number of a list, or for each row of a matrix a series of bars side by side; [`Figure::stacked`]
/// puts them on top of each other. A number that is not finite has no bar, and a line above says where.
///
/// # Shapes
/// `[place]` or `[series, place]`.
///
/// # Errors
/// Reported when the figure is shown: another shape, no numbers.
///
/// ```
/// use candle_lens::prelude::*;
/// bar(vec![vec![1.0, 2.5], vec![0.5, -1.0]]).names(["clean", "corrupted"]).x_ticks(["attn", "mlp"]).show()?;
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn bar(values: impl Source) -> Figure {
    Figure::new(Series::new("bar", &values).map(Bars))
}

/// How much of a place its bars take.
const WIDTH: f64 = 0.8;

/// The numbers of a bar figure.
#[derive(Debug)]
struct Bars(Series);

/// Where a bar begins and ends, on both axes.
struct Place {
    series: usize,
    x: (f64, f64),
    y: (f64, f64),
}

impl Bars {
    /// The numbers that are drawn.
    fn shown(&self, drawing: &Drawing) -> Cow<'_, Array2<f32>> {
        match &drawing.extras.kept {
            None => Cow::Borrowed(&self.0.values),
            Some(kept) => Cow::Owned(self.0.values.select(NdAxis(1), kept)),
        }
    }

    /// The places that are drawn, where there is no room for all, and how many each stands for.
    fn kept(&self, labels: &[String], looks: &Looks) -> Option<(Vec<usize>, usize)> {
        let (series, places) = self.0.values.dim();
        let label = labels.iter().map(|label| label.len() + 8).sum::<usize>() / places;
        let place = series * (NUMBER + label);
        let stretch = (places * place).div_ceil(looks.room().max(1)).min(places);
        (stretch > 1).then(|| (largest_columns(self.0.values.view(), stretch, looks.stacked), stretch))
    }

    fn notes(&self, labels: &[String], stretch: Option<usize>, looks: &Looks) -> Vec<Note> {
        let places = self.0.values.ncols();
        let fewer = stretch.map(|stretch| {
            let largest = if looks.stacked { "the highest stack" } else { "the one with the largest bar" };
            let drawn = format!("is of each {} places {largest}", grouped(stretch));
            Note::of_size(&drawn, &format!("all {}", grouped(places)), looks.max_bytes())
        });
        let place = |i: usize| Some(visible(&labels[i % places]));
        Note::of_gaps(self.0.values.iter(), false, place).into_iter().chain(fewer).collect()
    }

    fn places(values: &Array2<f32>, stacked: bool) -> Vec<Place> {
        let mut places = Vec::with_capacity(values.len());
        for (place, column) in values.columns().into_iter().enumerate() {
            let (mut above, mut below) = (0.0, 0.0);
            for (series, &value) in column.iter().enumerate().filter(|(_, value)| value.is_finite()) {
                let value = f64::from(value);
                let (left, width) = if stacked { (0.0, WIDTH) } else { (series as f64, WIDTH / column.len() as f64) };
                let from = place as f64 - WIDTH / 2.0 + left * width;
                let start = if !stacked {
                    0.0
                } else if value < 0.0 {
                    below
                } else {
                    above
                };
                *(if value < 0.0 { &mut below } else { &mut above }) += value;
                places.push(Place { series, x: (from, from + width), y: (start, start + value) });
            }
        }
        places
    }
}

impl Chart for Bars {
    fn drawing(&self, looks: &Looks) -> Result<Drawing> {
        not_for(looks.y_ticks.as_ref(), "y_ticks", "bar", "its vertical axis has numbers; `y_label` names them")?;
        not_for(looks.color_label.as_ref(), "color_label", "bar", "`names` names its series")?;
        looks.only("bar", &["stacked"])?;
        let Series { values, title, x, .. } = &self.0;
        let numbered = Axis::numbered("", values.ncols()).labels;
        let ticks = looks.x_ticks.as_ref().unwrap_or(if x.labels.is_empty() { &numbered } else { &x.labels });
        one_each(ticks, values.ncols(), "x_ticks", "bars")?;
        let kept = self.kept(ticks, looks);
        let notes = self.notes(ticks, kept.as_ref().map(|(_, stretch)| *stretch), looks);
        let kept = kept.map(|(places, _)| places);
        let labels =
            kept.as_ref().map_or_else(|| ticks.clone(), |kept| kept.iter().map(|&i| ticks[i].clone()).collect());
        let ends = Self::places(values, looks.stacked);
        let low = ends.iter().fold(0.0_f64, |low, place| low.min(place.y.1));
        let high = ends.iter().fold(0.0_f64, |high, place| high.max(place.y.1));
        let room = if high > low { (high - low) * 0.06 } else { 1.0 };
        Drawing {
            what: format!("bars for {} places, {} series", values.ncols(), values.nrows()),
            title: looks.title.clone().unwrap_or_else(|| title.clone()),
            x: PlotAxis {
                title: looks.x_label.clone().unwrap_or_else(|| x.name.clone()),
                scale: Scale::Labels(labels),
            },
            y: PlotAxis {
                title: looks.value_label(looks.y_label.as_ref(), title),
                scale: Scale::Numbers(
                    if low < 0.0 { low - room } else { 0.0 },
                    if high > 0.0 { high + room } else { 0.0 },
                ),
            },
            names: self.0.names(looks)?,
            color_bar: None,
            hovermode: looks.hovermode.clone().unwrap_or(HoverMode::XUnified),
            width: looks.width.unwrap_or(800),
            height: looks.height.unwrap_or(450),
            notes,
            extras: Extras { stacked: looks.stacked, kept, ..Extras::default() },
        }
        .check_size()
    }

    fn traces(&self, drawing: &Drawing) -> Vec<Box<dyn Trace>> {
        let Scale::Labels(labels) = &drawing.x.scale else { return Vec::new() };
        let values = self.shown(drawing);
        let rows = values.rows().into_iter().enumerate();
        rows.map(|(i, row)| {
            let name = drawing.names.get(i).unwrap_or(&drawing.y.title);
            Bar::new(categories(labels), row.to_vec())
                .name(plain(name))
                .marker(Marker::new().color(series_color(i).to_hex())) as Box<dyn Trace>
        })
        .collect()
    }

    fn finish(&self, drawing: &Drawing, spec: &mut Value) {
        spec["layout"]["barmode"] = json!(if drawing.extras.stacked { "relative" } else { "group" });
        spec["layout"]["bargap"] = json!(1.0 - WIDTH);
    }

    fn paint(&self, drawing: &Drawing, canvas: &mut Canvas, frame: &Frame) {
        let values = self.shown(drawing);
        for Place { series, x, y } in Self::places(&values, drawing.extras.stacked) {
            let (top, bottom) = (frame.y(y.0.max(y.1)), frame.y(y.0.min(y.1)));
            // A bar that is thinner than a pixel of the picture would not be seen.
            let (left, right) = (frame.x(x.0), frame.x(x.1).max(frame.x(x.0) + 0.6));
            canvas.rectangle((left, top), (right, bottom), series_color(series));
        }
        let ends = (frame.x(-0.5), frame.x(values.ncols() as f64 - 0.5));
        canvas.faint_line((ends.0, frame.y(0.0)), (ends.1, frame.y(0.0)));
    }

    fn text(&self, drawing: &Drawing) -> Result<String> {
        let Scale::Labels(labels) = &drawing.x.scale else { return Ok(String::new()) };
        let series = self.0.values.nrows();
        let names: Vec<String> = match &drawing.names[..] {
            [] => vec![if drawing.y.title.is_empty() { "value".into() } else { drawing.y.title.clone() }],
            names => names.to_vec(),
        };
        let table = Table::new([&drawing.x.title].into_iter().chain(&names[..series.min(names.len())]));
        let values = self.shown(drawing);
        let columns = values.columns();
        let table = labels.iter().zip(columns).fold(table, |table, (label, column)| {
            let cells = column.iter().map(|&value| Cell::from(value)).take(names.len());
            table.row([Cell::from(label)].into_iter().chain(cells).collect::<Vec<_>>())
        });
        Ok(table.render()?.text().to_owned())
    }
}
