//! `hist`: how often numbers fall into each of equal stretches, as ARENA's `plotly_utils.hist`.

use plotly::common::Marker;
use plotly::layout::HoverMode;
use plotly::{Bar, Trace};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::views::figure::Figure;
use crate::views::figure::color::series_color;
use crate::views::figure::drawing::{
    Axis as PlotAxis, Chart, Drawing, Extras, Looks, Scale, finite_range, half_room, not_for,
};
use crate::views::figure::notes::Note;
use crate::views::figure::plot::plain;
use crate::views::figure::series::Series;
use crate::views::figure::text::sparkline;
use crate::views::html::visible;
use crate::views::number::number;
use crate::views::picture::{Anchor, Canvas, Frame, Turn};
use crate::views::source::Source;

/// How often numbers fall into each of equal stretches, for a list or for each row of a matrix, one behind the other.
/// [`Figure::bins`] says how many stretches, [`Figure::mean_lines`] marks the means. Numbers that are not finite are not
/// counted, and a line above says how many they are.
///
/// # Shapes
/// `[value]` or `[series, value]`.
///
/// # Errors
/// Reported when the figure is shown: another shape, no numbers.
///
/// ```
/// use candle_lens::prelude::*;
/// hist([0.1, 0.4, 0.5, 2.0]).bins(4).mean_lines().x_label("Loss").show()?;
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn hist(values: impl Source) -> Figure {
    Figure::new(Series::new("hist", &values).map(Histogram))
}

/// More bins than these could not be told apart.
const MOST_BINS: usize = 1000;

/// How much of what is behind a bar is hidden where series overlap.
const OPACITY: f64 = 0.6;

/// The numbers of a histogram.
#[derive(Debug)]
struct Histogram(Series);

/// Equal stretches from `low`, and how many numbers of each series fall into each.
struct Bins {
    low: f64,
    width: f64,
    counts: Vec<Vec<usize>>,
}

impl Histogram {
    fn bins(&self, asked: usize) -> Bins {
        let values = &self.0.values;
        let (low, high) = finite_range(values);
        // Numbers that are all the same stand in the middle of one stretch.
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

    fn means(&self) -> Vec<f64> {
        let mean = |row: ndarray::ArrayView1<f32>| {
            let finite = || row.iter().filter(|value| value.is_finite()).map(|&value| f64::from(value));
            finite().sum::<f64>() / finite().count() as f64
        };
        self.0.values.rows().into_iter().map(mean).collect()
    }

    fn opacity(&self) -> f64 {
        if self.0.values.nrows() > 1 { OPACITY } else { 1.0 }
    }
}

impl Chart for Histogram {
    fn drawing(&self, looks: &Looks) -> Result<Drawing> {
        not_for(looks.x_ticks.as_ref(), "x_ticks", "hist", "its axes have numbers; `bins` says how many stretches")?;
        not_for(looks.y_ticks.as_ref(), "y_ticks", "hist", "its axes have numbers")?;
        not_for(looks.color_label.as_ref(), "color_label", "hist", "`names` names its series")?;
        looks.only("hist", &["bins", "mean_lines"])?;
        let each = self.0.values.ncols();
        let asked = looks.bins.unwrap_or_else(|| ((each as f64).sqrt().ceil() as usize * 2).clamp(5, 100));
        if asked == 0 || asked > MOST_BINS {
            return Err(Error::argument(format!("`bins` was given {asked}: give 1 to {MOST_BINS}.")));
        }
        let bins = self.bins(asked);
        let most = bins.counts.iter().flatten().copied().max().unwrap_or(0);
        Drawing {
            what: format!("histogram of {} values in {asked} bins", self.0.values.len()),
            title: looks.title.clone().unwrap_or_else(|| self.0.title.clone()),
            x: PlotAxis {
                title: looks.value_label(looks.x_label.as_ref(), &self.0.title),
                scale: Scale::Numbers(bins.low, bins.low + bins.width * asked as f64),
            },
            y: PlotAxis {
                title: looks.y_label.clone().unwrap_or_else(|| "count".into()),
                scale: Scale::Numbers(0.0, most as f64 * 1.1),
            },
            names: self.0.names(looks)?,
            color_bar: None,
            hovermode: looks.hovermode.clone().unwrap_or(HoverMode::XUnified),
            width: looks.width.unwrap_or(800),
            height: looks.height.unwrap_or(450),
            notes: Note::of_gaps(self.0.values.iter(), false, |_| None).into_iter().collect(),
            extras: Extras { bins: asked, mean_lines: looks.mean_lines, ..Extras::default() },
        }
        .check_size()
    }

    fn traces(&self, drawing: &Drawing) -> Vec<Box<dyn Trace>> {
        let Bins { low, width, counts } = self.bins(drawing.extras.bins);
        let middles: Vec<f64> = (0..drawing.extras.bins).map(|i| low + width * (i as f64 + 0.5)).collect();
        let rows = counts.into_iter().enumerate();
        rows.map(|(i, counts)| {
            Bar::new(middles.clone(), counts)
                .name(plain(drawing.names.get(i).unwrap_or(&drawing.y.title)))
                .opacity(self.opacity())
                .width(width)
                .marker(Marker::new().color(series_color(i).to_hex())) as Box<dyn Trace>
        })
        .collect()
    }

    fn finish(&self, drawing: &Drawing, spec: &mut Value) {
        spec["layout"]["barmode"] = json!("overlay");
        spec["layout"]["xaxis"]["hoverformat"] = json!(".4~g");
        if drawing.extras.mean_lines {
            let means = self.means().into_iter().enumerate().filter(|(_, mean)| mean.is_finite());
            let lines = means.map(|(i, mean)| {
                json!({
                    "type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": mean, "x1": mean,
                    "line": { "color": series_color(i).to_hex(), "width": 2, "dash": "dash" },
                    "label": { "text": format!("mean {}", number(mean)), "textposition": "end", "textangle": 0 },
                })
            });
            spec["layout"]["shapes"] = lines.collect();
        }
    }

    fn paint(&self, drawing: &Drawing, canvas: &mut Canvas, frame: &Frame) {
        let Bins { low, width, counts } = self.bins(drawing.extras.bins);
        for (series, counts) in counts.iter().enumerate() {
            for (i, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                let left = low + width * i as f64;
                let (from, to) =
                    ((frame.x(left) + 0.5, frame.y(count as f64)), (frame.x(left + width) - 0.5, frame.y(0.0)));
                canvas.faint_rectangle(from, to, series_color(series), (self.opacity() * 255.0) as u8);
            }
        }
        if !drawing.extras.mean_lines {
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
        let Bins { low, width, counts } = self.bins(drawing.extras.bins);
        let end = low + width * drawing.extras.bins as f64;
        let lines = counts.iter().zip(self.means()).enumerate().map(|(i, (counts, mean))| {
            let heights: Vec<f32> = counts.iter().map(|&count| count as f32).collect();
            let name = drawing.names.get(i).map(|name| visible(name) + "  ").unwrap_or_default();
            let most = counts.iter().max().copied().unwrap_or(0);
            format!("{name}{}  at most {most}, mean {}", sparkline(&heights, 40), number(mean))
        });
        let along = format!("{} to {} in {} bins", number(low), number(end), drawing.extras.bins);
        Ok(lines.chain([along]).collect::<Vec<_>>().join("\n"))
    }
}
