//! Lines for plotly.js.

use plotly::common::{Line as Stroke, Mode};
use plotly::{Scatter, Trace};
use serde_json::{Value, json};

use crate::views::figure::color::series_color;
use crate::views::figure::drawing::{Drawing, Scale};
use crate::views::figure::fewer::outline;
use crate::views::figure::line::{Lines, MARKED};
use crate::views::figure::plot::whiskers::error_bars;
use crate::views::figure::plot::{Traces, categories, plain};

/// The number of labels below a line that has too many points to label each.
const TICKS: usize = 12;

impl Traces for Lines {
    fn traces(&self, drawing: &Drawing) -> Vec<Box<dyn Trace>> {
        let is_marked = self.series.values.ncols() <= MARKED || self.has_lonely();
        let mode = if is_marked { Mode::LinesMarkers } else { Mode::Lines };
        let rows = self.series.values.rows().into_iter().enumerate();
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
                (Scale::Numbers(..), _) if self.is_to_scale() => {
                    let x: Vec<f64> = places.iter().map(|&place| self.x(place)).collect();
                    Scatter::new(x, y).mode(mode.clone()).line(stroke).name(plain(&name))
                }
                (Scale::Numbers(..), _) => Scatter::new(places, y).mode(mode.clone()).line(stroke).name(plain(&name)),
            }
        })
        .collect()
    }

    fn finish(&self, drawing: &Drawing, spec: &mut Value) {
        if let Some(intervals) = &self.series.intervals {
            for (i, row) in self.series.values.rows().into_iter().enumerate() {
                let places = outline(row, drawing.extras.stretch.unwrap_or(1));
                spec["data"][i]["error_y"] = error_bars(&self.series.values, intervals, i, &places);
            }
        }
        if drawing.extras.y2.is_some() {
            spec["data"][self.series.values.nrows() - 1]["yaxis"] = json!("y2");
        }
        // Where points are left out, the others keep their positions; categories would move them together.
        if let (Scale::Labels(labels), Some(_)) = (&drawing.x.scale, drawing.extras.stretch) {
            let axis = &mut spec["layout"]["xaxis"];
            let shown: Vec<usize> = (0..labels.len()).step_by(labels.len().div_ceil(TICKS)).collect();
            axis["type"] = json!("linear");
            axis["ticktext"] = shown.iter().map(|&place| plain(&labels[place])).collect();
            axis["tickvals"] = json!(shown);
        }
    }
}
