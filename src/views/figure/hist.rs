//! `hist`: how many numbers fall into each of several equal bins, as ARENA's `plotly_utils.hist`.

use crate::error::{Error, Result};
use crate::views::figure::color::series_color;
use crate::views::figure::drawing::{Axis as PlotAxis, Chart, Drawing, Extras, Looks, Scale, finite_range, half_room};
use crate::views::figure::hover::HoverMode;
use crate::views::figure::notes::Note;
use crate::views::figure::series::Series;
use crate::views::figure::text::sparkline;
use crate::views::figure::{Kept, texts};
use crate::views::html::visible;
use crate::views::number::number;
use crate::views::picture::{Anchor, Canvas, Frame, Turn};
use crate::views::source::Source;

/// How many numbers fall into each of several equal bins, for a list or for each row of a matrix, overlaid.
/// [`Histogram::bins`] sets the number of bins, [`Histogram::mean_lines`] marks the means. Numbers that are not finite are not
/// counted; a line above the figure says how many there are.
///
/// # Shapes
/// `[value]` or `[series, value]`.
///
/// # Errors
/// Reported when the figure is shown: another shape, no numbers.
///
/// ```
/// use candle_lens::prelude::*;
/// let drawn = hist([0.1, 0.4, 0.5, 2.0]).bins(4).mean_lines().x_label("Loss");
/// drawn.show()?;
/// assert!(drawn.render()?.html().contains("Loss"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn hist(values: impl Source) -> Histogram {
    Histogram::new(Series::new("hist", &values).map(|series| Values { series, bins: None, mean_lines: false }))
}

/// Counts of numbers. Made by [`hist`](crate::views::hist()); its builder methods change how it looks.
#[derive(Clone)]
#[must_use = "a figure appears as the last expression of a cell or by its method `show`"]
pub struct Histogram {
    pub(super) chart: Kept<Values>,
    pub(super) looks: Looks,
}

impl Histogram {
    /// A name for each series, shown in a legend.
    pub fn names<T: ToString>(self, names: impl IntoIterator<Item = T>) -> Self {
        self.change(|values| values.series.named = Some(texts(names)))
    }

    /// How many bins to count in; by default twice the root of the number of values, 5 to 100.
    pub fn bins(self, bins: usize) -> Self {
        self.change(|values| values.bins = Some(bins))
    }

    /// A line at the mean of each series.
    pub fn mean_lines(self) -> Self {
        self.change(|values| values.mean_lines = true)
    }
}

/// The most bins that can be distinguished.
const MOST_BINS: usize = 1000;

/// The opacity of bars where series overlap.
const OPACITY: f64 = 0.6;

/// The numbers of a histogram, and its options.
#[derive(Clone, Debug)]
pub(super) struct Values {
    series: Series,
    bins: Option<usize>,
    pub mean_lines: bool,
}

/// Equal bins from `low`, and the counts of each series.
pub(super) struct Bins {
    pub low: f64,
    pub width: f64,
    pub counts: Vec<Vec<usize>>,
}

impl Values {
    /// How many bins there are.
    pub fn count(&self) -> usize {
        let each = self.series.values.ncols();
        self.bins.unwrap_or_else(|| ((each as f64).sqrt().ceil() as usize * 2).clamp(5, 100))
    }

    pub fn counted(&self) -> Bins {
        let asked = self.count();
        let values = &self.series.values;
        let (low, high) = finite_range(values);
        // Equal numbers are in the middle of one bin.
        let (low, high) = if high > low { (low, high) } else { (low - half_room(low), low + half_room(low)) };
        let width = (high - low) / asked as f64;
        let bin = |value: f32| (((f64::from(value) - low) / width) as usize).min(asked - 1);
        let count = |row: ndarray::ArrayView1<f32>| {
            let mut counts = vec![0; asked];
            row.iter().filter(|value| value.is_finite()).for_each(|&value| counts[bin(value)] += 1);
            counts
        };
        Bins { low, width, counts: values.rows().into_iter().map(count).collect() }
    }

    pub fn means(&self) -> Vec<f64> {
        let mean = |row: ndarray::ArrayView1<f32>| {
            let finite = || row.iter().filter(|value| value.is_finite()).map(|&value| f64::from(value));
            finite().sum::<f64>() / finite().count() as f64
        };
        self.series.values.rows().into_iter().map(mean).collect()
    }

    pub fn opacity(&self) -> f64 {
        if self.series.values.nrows() > 1 { OPACITY } else { 1.0 }
    }
}

impl Chart for Values {
    fn drawing(&self, looks: &Looks) -> Result<Drawing> {
        let asked = self.count();
        if asked == 0 || asked > MOST_BINS {
            return Err(Error::argument(format!("`bins` was given {asked}: give 1 to {MOST_BINS}.")));
        }
        let bins = self.counted();
        let most = bins.counts.iter().flatten().copied().max().unwrap_or(0);
        Drawing {
            what: format!("histogram of {} values in {asked} bins", self.series.values.len()),
            title: looks.title.clone().unwrap_or_else(|| self.series.title.clone()),
            x: PlotAxis {
                title: looks.value_label(looks.x_label.as_ref(), &self.series.title),
                scale: Scale::Numbers(bins.low, bins.low + bins.width * asked as f64),
            },
            y: PlotAxis {
                title: looks.y_label.clone().unwrap_or_else(|| "count".into()),
                scale: Scale::Numbers(0.0, most as f64 * 1.1),
            },
            names: self.series.names()?,
            color_bar: None,
            hovermode: looks.hovermode.unwrap_or(HoverMode::XUnified),
            width: looks.width.unwrap_or(800),
            height: looks.height.unwrap_or(450),
            notes: Note::of_gaps(self.series.values.iter(), false, |_| None).into_iter().collect(),
            extras: Extras::default(),
        }
        .check_size()
    }

    fn paint(&self, drawing: &Drawing, canvas: &mut Canvas, frame: &Frame) {
        let Bins { low, width, counts } = self.counted();
        for (series, counts) in counts.iter().enumerate() {
            for (i, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                let left = low + width * i as f64;
                let (from, to) =
                    ((frame.x(left) + 0.5, frame.y(count as f64)), (frame.x(left + width) - 0.5, frame.y(0.0)));
                canvas.faint_rectangle(from, to, series_color(series), (self.opacity() * 255.0) as u8);
            }
        }
        if !self.mean_lines {
            return;
        }
        let Scale::Numbers(_, top) = drawing.y.scale else { return };
        for (series, mean) in self.means().into_iter().enumerate().filter(|(_, mean)| mean.is_finite()) {
            canvas.line(&[(frame.x(mean), frame.y(0.0)), (frame.x(mean), frame.y(top))], 2.0, series_color(series));
            let at = (frame.x(mean) + 4.0, frame.y(top) + 8.0 + 14.0 * series as f32);
            canvas.text(&format!("mean {}", number(mean)), at, 12.0, Anchor::Start, Turn::Level);
        }
    }

    fn text(&self, drawing: &Drawing) -> Result<String> {
        let Bins { low, width, counts } = self.counted();
        let end = low + width * self.count() as f64;
        let lines = counts.iter().zip(self.means()).enumerate().map(|(i, (counts, mean))| {
            let heights: Vec<f32> = counts.iter().map(|&count| count as f32).collect();
            let name = drawing.names.get(i).map(|name| visible(name) + "  ").unwrap_or_default();
            let most = counts.iter().max().copied().unwrap_or(0);
            format!("{name}{}  at most {most}, mean {}", sparkline(&heights, 40), number(mean))
        });
        let along = format!("{} to {} in {} bins", number(low), number(end), self.count());
        Ok(lines.chain([along]).collect::<Vec<_>>().join("\n"))
    }
}
