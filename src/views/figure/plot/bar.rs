//! Bars for plotly.js.

use plotly::common::Marker;
use plotly::{Bar, Trace};
use serde_json::{Value, json};

use crate::views::figure::bar::{Bars, WIDTH};
use crate::views::figure::color::{INK, series_color};
use crate::views::figure::drawing::{Drawing, Scale};
use crate::views::figure::plot::whiskers::error_bars;
use crate::views::figure::plot::{Traces, categories, plain};

impl Traces for Bars {
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
        if let Some(intervals) = &self.series.intervals {
            let places: Vec<usize> = (0..self.shown(drawing).ncols()).map(|i| Self::place(i, drawing)).collect();
            for i in 0..self.series.values.nrows() {
                spec["data"][i]["error_y"] = error_bars(&self.series.values, intervals, i, &places);
                spec["data"][i]["error_y"]["color"] = json!(INK.to_hex());
            }
        }
        spec["layout"]["barmode"] = json!(if self.stacked { "relative" } else { "group" });
        spec["layout"]["bargap"] = json!(1.0 - WIDTH);
    }
}
