//! Points for plotly.js.

use ndarray::Array1;
use plotly::common::{Marker, Mode};
use plotly::{Scatter, Trace};
use serde_json::{Value, json};

use crate::views::figure::color::{INK, series_color};
use crate::views::figure::drawing::Drawing;
use crate::views::figure::labels::Side;
use crate::views::figure::plot::{Traces, plain};
use crate::views::figure::scatter::{LABELLED, Points, shared};
use crate::views::picture::Frame;

impl Traces for Points {
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
        if let (true, Some((low, high))) = (self.diagonal, shared(drawing)) {
            spec["layout"]["shapes"] = json!([{
                "type": "line", "x0": low, "y0": low, "x1": high, "y1": high, "layer": "below",
                "line": { "color": INK.to_hex(), "width": 1.5, "dash": "dash" },
            }]);
        }
    }
}
