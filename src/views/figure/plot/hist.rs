//! Histograms for plotly.js: bars of what was counted here.

use plotly::common::Marker;
use plotly::{Bar, Trace};
use serde_json::{Value, json};

use crate::views::figure::color::series_color;
use crate::views::figure::drawing::Drawing;
use crate::views::figure::hist::{Bins, Values};
use crate::views::figure::plot::{Traces, plain};
use crate::views::number::number;

impl Traces for Values {
    fn traces(&self, drawing: &Drawing) -> Vec<Box<dyn Trace>> {
        let Bins { low, width, counts } = self.counted();
        let middles: Vec<f64> = (0..self.count()).map(|i| low + width * (i as f64 + 0.5)).collect();
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

    fn finish(&self, _: &Drawing, spec: &mut Value) {
        spec["layout"]["barmode"] = json!("overlay");
        spec["layout"]["xaxis"]["hoverformat"] = json!(".4~g");
        if self.mean_lines {
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
}
