//! `bar`: a bar for each number, grouped or stacked, as ARENA's `plotly_utils.bar`.

use std::borrow::Cow;

use ndarray::{Array2, Axis as NdAxis};

use crate::error::{Error, Result};
use crate::labelled::Axis;
use crate::views::figure::color::series_color;
use crate::views::figure::drawing::{Axis as PlotAxis, Chart, Drawing, Extras, Looks, Scale, one_each};
use crate::views::figure::fewer::{NUMBER, largest_columns};
use crate::views::figure::hover::HoverMode;
use crate::views::figure::interval::{Intervals, whisker};
use crate::views::figure::notes::Note;
use crate::views::figure::series::Series;
use crate::views::figure::{INK, Kept, texts};
use crate::views::html::visible;
use crate::views::number::grouped;
use crate::views::page::View;
use crate::views::picture::{Canvas, Frame};
use crate::views::source::Source;
use crate::views::table::{Cell, Table};

/// A bar for each number of a list, or for each row of a matrix a series of bars side by side; [`Bar::stacked`]
/// puts them on top of each other. A number that is not finite has no bar; a line above the figure says where.
///
/// # Shapes
/// `[position]` or `[series, position]`.
///
/// # Errors
/// Reported when the figure is shown: another shape, no numbers.
///
/// ```
/// use candle_lens::prelude::*;
/// let drawn = bar(vec![vec![1.0, 2.5], vec![0.5, -1.0]]).names(["clean", "corrupted"]).x_ticks(["attn", "mlp"]);
/// drawn.show()?;
/// assert!(drawn.render()?.html().contains("corrupted"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn bar(values: impl Source) -> Bar {
    Bar::new(Series::new("bar", &values).map(|series| Bars { series, x_ticks: None, stacked: false }))
}

/// Bars for numbers. Made by [`bar`](crate::views::bar()); its builder methods change how it looks.
#[derive(Clone)]
#[must_use = "a figure appears as the last expression of a cell or by its method `show`"]
pub struct Bar {
    pub(super) chart: Kept<Bars>,
    pub(super) looks: Looks,
}

impl Bar {
    /// A label for each position along the horizontal axis.
    pub fn x_ticks<T: ToString>(self, labels: impl IntoIterator<Item = T>) -> Self {
        self.change(|bars| bars.x_ticks = Some(texts(labels)))
    }

    /// A name for each series, shown in a legend.
    pub fn names<T: ToString>(self, names: impl IntoIterator<Item = T>) -> Self {
        self.change(|bars| bars.series.named = Some(texts(names)))
    }

    /// The interval of each bar, drawn as a whisker, from its lower to its upper end. [`Statistics`](crate::statistics::Statistics)
    /// bring theirs along.
    ///
    /// # Errors
    /// Reported when the figure is shown: ends in another shape than the numbers, or above each other.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let figure = bar([0.5, 1.0]).intervals([0.2, 0.9], [0.8, 1.3]);
    /// figure.show()?;
    /// assert!(figure.to_string().contains("0.2 to 0.8"));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn intervals(mut self, low: impl Source, high: impl Source) -> Self {
        let found = self.chart.as_ref().map(|bars| Intervals::of(&low, &high, bars.series.values.dim()));
        match found {
            Ok(Ok(intervals)) => return self.change(|bars| bars.series.intervals = Some(intervals)),
            Ok(Err(error)) => self.chart = Err(error.sentence()),
            Err(_) => {}
        }
        self
    }

    /// Stacks the series instead of placing them side by side.
    pub fn stacked(self) -> Self {
        self.change(|bars| bars.stacked = true)
    }
}

/// The share of a position that its bars fill.
pub(super) const WIDTH: f64 = 0.8;

/// The numbers of a bar figure, and its options.
#[derive(Clone, Debug)]
pub(super) struct Bars {
    pub series: Series,
    x_ticks: Option<Vec<String>>,
    pub stacked: bool,
}

/// The extent of a bar along both axes.
struct Place {
    series: usize,
    /// The number's column among those that are drawn.
    column: usize,
    x: (f64, f64),
    y: (f64, f64),
}

impl Bars {
    /// The numbers that are drawn.
    pub fn shown(&self, drawing: &Drawing) -> Cow<'_, Array2<f32>> {
        match &drawing.extras.kept {
            None => Cow::Borrowed(&self.series.values),
            Some(kept) => Cow::Owned(self.series.values.select(NdAxis(1), kept)),
        }
    }

    /// The positions that are drawn, where there is no room for all, and how many each represents.
    fn kept(&self, labels: &[String], looks: &Looks) -> Option<(Vec<usize>, usize)> {
        let (series, places) = self.series.values.dim();
        let label = labels.iter().map(|label| label.len() + 8).sum::<usize>() / places;
        let place = series * (NUMBER + label);
        let stretch = (places * place).div_ceil(looks.room().max(1)).min(places);
        (stretch > 1).then(|| (largest_columns(self.series.values.view(), stretch, self.stacked), stretch))
    }

    fn notes(&self, labels: &[String], stretch: Option<usize>, looks: &Looks) -> Vec<Note> {
        let places = self.series.values.ncols();
        let fewer = stretch.map(|stretch| {
            let largest = if self.stacked { "the highest stack" } else { "the largest bar" };
            let drawn = format!("{largest} of each {} positions", grouped(stretch));
            Note::of_size(&drawn, &format!("all {}", grouped(places)), looks.max_bytes())
        });
        let place = |i: usize| Some(visible(&labels[i % places]));
        Note::of_gaps(self.series.values.iter(), false, place).into_iter().chain(fewer).collect()
    }

    /// The place among all positions of a column that is drawn.
    pub fn place(column: usize, drawing: &Drawing) -> usize {
        drawing.extras.kept.as_ref().map_or(column, |kept| kept[column])
    }

    fn interval(&self, series: usize, column: usize, drawing: &Drawing) -> Option<(f64, f64)> {
        self.series.intervals.as_ref()?.at((series, Self::place(column, drawing)))
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
                places.push(Place { series, column: place, x: (from, from + width), y: (start, start + value) });
            }
        }
        places
    }
}

impl Chart for Bars {
    fn drawing(&self, looks: &Looks) -> Result<Drawing> {
        let Series { values, title, x, .. } = &self.series;
        if self.stacked && self.series.intervals.is_some() {
            return Err(Error::argument(
                "bars on top of each other have no place for whiskers, because each begins where another ends: leave \
                 `stacked` out, or give the numbers without intervals.",
            ));
        }
        let numbered = Axis::numbered("", values.ncols()).labels;
        let ticks = self.x_ticks.as_ref().unwrap_or(if x.labels.is_empty() { &numbered } else { &x.labels });
        one_each(ticks, values.ncols(), "x_ticks", "bars")?;
        let kept = self.kept(ticks, looks);
        let notes = self.notes(ticks, kept.as_ref().map(|(_, stretch)| *stretch), looks);
        let kept = kept.map(|(places, _)| places);
        let labels =
            kept.as_ref().map_or_else(|| ticks.clone(), |kept| kept.iter().map(|&i| ticks[i].clone()).collect());
        let ends = Self::places(values, self.stacked);
        let low = ends.iter().fold(0.0_f64, |low, place| low.min(place.y.1));
        let high = ends.iter().fold(0.0_f64, |high, place| high.max(place.y.1));
        let reach = self.series.reach(0..values.nrows());
        let (low, high) = reach.map_or((low, high), |ends| (low.min(ends.0), high.max(ends.1)));
        let room = if high > low { (high - low) * 0.06 } else { 1.0 };
        Drawing {
            what: format!("bars for {} positions, {} series", values.ncols(), values.nrows()),
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
            names: self.series.names()?,
            color_bar: None,
            hovermode: looks.hovermode.unwrap_or(HoverMode::XUnified),
            width: looks.width.unwrap_or(800),
            height: looks.height.unwrap_or(450),
            notes,
            extras: Extras { kept, ..Extras::default() },
        }
        .check_size()
    }

    fn paint(&self, drawing: &Drawing, canvas: &mut Canvas, frame: &Frame) {
        let values = self.shown(drawing);
        for Place { series, column, x, y } in Self::places(&values, self.stacked) {
            let (top, bottom) = (frame.y(y.0.max(y.1)), frame.y(y.0.min(y.1)));
            // A bar that is thinner than a pixel of the picture would not be seen.
            let (left, right) = (frame.x(x.0), frame.x(x.1).max(frame.x(x.0) + 0.6));
            canvas.rectangle((left, top), (right, bottom), series_color(series));
            let Some((low, high)) = self.interval(series, column, drawing) else { continue };
            whisker(canvas, (left + right) / 2.0, (frame.y(high), frame.y(low)), right - left, INK);
        }
        let ends = (frame.x(-0.5), frame.x(values.ncols() as f64 - 0.5));
        canvas.faint_line((ends.0, frame.y(0.0)), (ends.1, frame.y(0.0)));
    }

    fn text(&self, drawing: &Drawing) -> Result<String> {
        let Scale::Labels(labels) = &drawing.x.scale else { return Ok(String::new()) };
        let series = self.series.values.nrows();
        let names: Vec<String> = match &drawing.names[..] {
            [] => vec![if drawing.y.title.is_empty() { "value".into() } else { drawing.y.title.clone() }],
            names => names.to_vec(),
        };
        let intervals = self.series.intervals.as_ref();
        let headed = |name: &String| [name.clone()].into_iter().chain(intervals.map(|_| "interval".to_string()));
        let names = names[..series.min(names.len())].iter().flat_map(headed);
        let table = Table::new([drawing.x.title.clone()].into_iter().chain(names));
        let values = self.shown(drawing);
        let columns = values.columns().into_iter().enumerate();
        let table = labels.iter().zip(columns).fold(table, |table, (label, (i, column))| {
            let cells = column.iter().enumerate().flat_map(|(row, &value)| {
                let interval = intervals.map(|all| Cell::from(all.words((row, Self::place(i, drawing)))));
                [Cell::from(value)].into_iter().chain(interval)
            });
            table.row([Cell::from(label)].into_iter().chain(cells).collect::<Vec<_>>())
        });
        Ok(table.render()?.text().to_owned())
    }
}
