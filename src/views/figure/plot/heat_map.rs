//! Heat maps and animations of them for plotly.js.

use plotly::common::{ColorBar as Bar, ColorScale, ColorScaleElement, Side, Title};
use plotly::{HeatMap, Trace};
use serde_json::{Value, json};

use crate::views::figure::color::RED_BLUE;
use crate::views::figure::drawing::{Drawing, Scale};
use crate::views::figure::grid::Grid;
use crate::views::figure::notes::GAP;
use crate::views::figure::plot::animation::animate;
use crate::views::figure::plot::gaps::{
    flag_rows, gap_map, gap_names, gap_rows, grey_map, rows, short_rows, word_rows,
};
use crate::views::figure::plot::{Traces, categories, plain};

impl Traces for Grid {
    fn traces(&self, drawing: &Drawing) -> Vec<Box<dyn Trace>> {
        let (Scale::Labels(x), Scale::Labels(y)) = (&drawing.x.scale, &drawing.y.scale) else { return Vec::new() };
        let values = Self::shown(&self.values, drawing);
        let z = rows(&values);
        let Some(bar) = drawing.color_bar.clone() else { return Vec::new() };
        let (low, high) = bar.range();
        let colors = if bar.one_sided { &RED_BLUE[RED_BLUE.len() / 2..] } else { &RED_BLUE[..] };
        let last = (colors.len() - 1) as f64;
        let stops = colors.iter().enumerate().map(|(i, color)| ColorScaleElement(i as f64 / last, color.to_hex()));
        let named = |title: &str, otherwise: &str| plain(if title.is_empty() { otherwise } else { title });
        let hover = format!(
            "{} %{{y}}<br>{} %{{x}}<br>{} %{{z:.4~g}}{}<extra></extra>",
            named(&drawing.y.title, "row"),
            named(&drawing.x.title, "column"),
            named(&bar.title, "value"),
            if self.intervals.is_empty() { "" } else { "<br>interval %{customdata}" },
        );
        let gap = if values.len() <= 24 * 24 { 1.0 } else { 0.0 };
        vec![
            HeatMap::new(categories(x), categories(y), z)
                .zmin(low)
                .zmax(high)
                .color_scale(ColorScale::Vector(stops.collect()))
                .color_bar(
                    Bar::new()
                        .title(Title::with_text(plain(&bar.title)).side(Side::Right))
                        .outline_width(0)
                        .thickness(14),
                )
                .hover_template(hover)
                .x_gap(gap)
                .y_gap(gap),
        ]
    }

    fn finish(&self, drawing: &Drawing, spec: &mut Value) {
        let has_gaps = drawing.notes.iter().any(|note| note.legend == Some(GAP));
        if let Some(words) = self.interval_words(0, drawing) {
            spec["data"][0]["customdata"] = word_rows(&words);
        }
        let first = Self::shown(&self.values, drawing);
        let gaps = has_gaps.then(|| gap_map(&first, &spec["data"][0]));
        let greyed = self.greyed(0, drawing).map(|greyed| grey_map(&first, &greyed, &spec["data"][0]));
        if let Some(traces) = spec["data"].as_array_mut() {
            traces.extend(gaps.into_iter().chain(greyed));
        }
        if !self.frames.is_empty() {
            let data = |(i, frame)| {
                let shown = Self::shown(frame, drawing);
                let mut traces = vec![json!({ "z": short_rows(&shown) })];
                if has_gaps {
                    traces.push(json!({ "z": gap_rows(&shown), "text": gap_names(&shown) }));
                }
                if let (Some(words), Some(greyed)) = (self.interval_words(i, drawing), self.greyed(i, drawing)) {
                    traces[0]["customdata"] = word_rows(&words);
                    traces.push(json!({
                        "z": flag_rows(&greyed), "text": short_rows(&shown), "customdata": word_rows(&words),
                    }));
                }
                traces
            };
            let frames: Vec<Vec<Value>> = self.frames.iter().enumerate().map(data).collect();
            animate(frames, &drawing.extras.frames, &self.along.name, spec);
        }
        let words = self.words(drawing);
        if !words.is_empty() {
            let Scale::Labels(x) = &drawing.x.scale else { return };
            let rows = words.chunks(x.len());
            spec["data"][0]["text"] = rows.map(|row| row.iter().map(|text| plain(text)).collect::<Vec<_>>()).collect();
            spec["data"][0]["texttemplate"] = json!("%{text}");
        }
    }
}
