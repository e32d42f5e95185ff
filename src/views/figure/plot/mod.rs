//! The JSON of a figure for plotly.js, built with plotly.rs: here the layout and axes, which are alike for all kinds; the
//! marks of each kind in a file beside this one. No other file of the figures names plotly.rs.

mod animation;
mod bar;
mod gaps;
mod heat_map;
mod hist;
mod line;
mod scatter;
mod whiskers;

use plotly::color::Rgba;
use plotly::common::{Anchor, Font, Reference, Title};
use plotly::layout::{Axis as PlotAxis, AxisRange, AxisType, HoverMode as PlotHoverMode, Margin};
use plotly::{Configuration, Layout, Plot, Trace};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::views::figure::color::band_color;
use crate::views::figure::drawing::{Axis, Chart, Drawing, Scale};
use crate::views::figure::hover::HoverMode;
use crate::views::html::visible;

/// What plotly.js draws of a kind of figure.
pub(in crate::views) trait Traces {
    /// What is drawn inside the axes.
    fn traces(&self, drawing: &Drawing) -> Vec<Box<dyn Trace>>;
    /// What plotly.rs has no words for, added to its JSON.
    fn finish(&self, _: &Drawing, _: &mut Value) {}
}

/// The whole figure as the JSON of plotly.js. The page's script adds the colours of its theme.
pub(super) fn json(chart: &dyn Chart, drawing: &Drawing) -> Result<String> {
    let written = plot(chart, drawing).to_json();
    let mut spec: Value = serde_json::from_str(&written)
        .map_err(|error| Error::argument(format!("plotly wrote JSON that cannot be read ({error}).")))?;
    // Long labels push their axis' title away instead of running into it.
    for axis in ["xaxis", "yaxis"] {
        spec["layout"][axis]["title"]["standoff"] = json!(10);
    }
    if let Some(right) = &drawing.extras.y2 {
        spec["layout"]["yaxis2"] = json!({
            "title": { "text": plain(&right.title) }, "overlaying": "y", "side": "right", "showgrid": false,
            "automargin": true, "hoverformat": ".4~g",
        });
        spec["layout"]["legend"] = json!({ "x": 1.1 });
    }
    let shapes = drawing.extras.bands.iter().enumerate().map(|(i, band)| {
        json!({
            "type": "rect", "yref": "paper", "y0": 0, "y1": 1, "x0": band.from, "x1": band.to, "layer": "below",
            "line": { "width": 0 }, "fillcolor": band_color(i).to_hex(), "opacity": 0.16,
            "label": { "text": plain(&band.name), "textposition": "top center" },
        })
    });
    if !drawing.extras.bands.is_empty() {
        spec["layout"]["shapes"] = shapes.collect();
    }
    chart.finish(drawing, &mut spec);
    Ok(spec.to_string())
}

fn plot(chart: &dyn Chart, drawing: &Drawing) -> Plot {
    let mut plot = Plot::new();
    plot.add_traces(chart.traces(drawing));
    let clear = Rgba::new(0, 0, 0, 0.0);
    plot.set_layout(
        Layout::new()
            .title(
                Title::with_text(plain(&drawing.title))
                    .font(Font::new().size(16))
                    .x_ref(Reference::Paper)
                    .x(0.0)
                    .x_anchor(Anchor::Left),
            )
            .width(drawing.width)
            .height(drawing.height)
            .margin(Margin::new().left(60).right(30).top(if drawing.title.is_empty() { 20 } else { 50 }).bottom(50))
            .font(Font::new().family("system-ui, sans-serif").size(12))
            .paper_background_color(clear)
            .plot_background_color(clear)
            .show_legend(!drawing.names.is_empty())
            .hover_mode(hover_mode(drawing.hovermode))
            .x_axis(axis(&drawing.x))
            .y_axis(match &drawing.y.scale {
                // The first row of a matrix is at the top.
                Scale::Labels(rows) => axis(&drawing.y).range(AxisRange::new(rows.len() as f64 - 0.5, -0.5)),
                Scale::Numbers(..) => axis(&drawing.y).hover_format(".4~g").zero_line(true),
            }),
    );
    plot.set_configuration(Configuration::new().display_logo(false).typeset_math(false));
    plot
}

fn hover_mode(mode: HoverMode) -> PlotHoverMode {
    match mode {
        HoverMode::X => PlotHoverMode::X,
        HoverMode::Y => PlotHoverMode::Y,
        HoverMode::Closest => PlotHoverMode::Closest,
        HoverMode::XUnified => PlotHoverMode::XUnified,
        HoverMode::YUnified => PlotHoverMode::YUnified,
        HoverMode::Off => PlotHoverMode::False,
    }
}

fn axis(axis: &Axis) -> PlotAxis {
    let plot_axis = PlotAxis::new().title(Title::with_text(plain(&axis.title))).auto_margin(true);
    match &axis.scale {
        Scale::Labels(labels) => plot_axis
            .type_(AxisType::Category)
            .range(AxisRange::new(-0.5, labels.len() as f64 - 0.5))
            .show_grid(false)
            .zero_line(false),
        Scale::Numbers(..) => plot_axis.show_grid(true),
    }
}

/// Labels as categories of plotly.js, each with invisible marks of no width in front of it.
///
/// plotly.js looks categories up in a plain JavaScript object, which already has properties such as `constructor` and
/// `toString`, and in which equal labels are one position. So no category is a label itself: each begins with a zero-width
/// space, followed by the number of earlier equal labels in binary. Labels contain none of these marks, because
/// [`visible`] writes them out.
///
/// Positions with `tickvals` would work as well, but plotly.js draws all of those, whereas it hides categories that have
/// no room and shows them again when the reader zooms in.
pub(super) fn categories(labels: &[String]) -> Vec<String> {
    let mut seen: std::collections::HashMap<&String, usize> = std::collections::HashMap::new();
    let distinct = |label| {
        let before = seen.entry(label).or_default();
        let mut category = String::from(FIRST);
        let digits = format!("{before:b}");
        category.extend(digits.chars().filter(|_| *before > 0).map(|digit| if digit == '1' { ONE } else { FIRST }));
        *before += 1;
        category + &plain(label)
    };
    labels.iter().map(distinct).collect()
}

/// The zero-width space and the word joiner.
const FIRST: char = '\u{200b}';
const ONE: char = '\u{2060}';

/// `text` so that plotly.js shows it as it is: it takes some tags for formatting and `%{..}` for a variable, and
/// understands character references.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in visible(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '%' => out.push_str("&#37;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_labels_stay_apart() {
        let labels = ["the", " cat", "the", "", "", "the"].map(String::from);
        let (first, second) = ("\u{200b}", "\u{200b}\u{2060}");
        let expected = ["the", " cat"].map(|label| format!("{first}{label}"));
        assert_eq!(categories(&labels)[..2], expected);
        assert_eq!(categories(&labels)[2..5], [format!("{second}the"), first.into(), second.into()]);
        assert_eq!(categories(&labels)[5], "\u{200b}\u{2060}\u{200b}the");
        let many = vec!["the".to_owned(); 3000];
        let all: std::collections::HashSet<String> = categories(&many).into_iter().collect();
        assert_eq!(all.len(), 3000);
        assert!(all.iter().all(|category| category.len() < 50), "marks grow with the digits of a count");
    }

    #[test]
    fn no_label_is_a_property_of_every_object() {
        let names = ["constructor", "toString", "valueOf", "__proto__", "hasOwnProperty", "__defineGetter__", ""];
        for category in categories(&names.map(String::from)) {
            assert!(category.starts_with(FIRST), "{category:?}");
        }
    }

    #[test]
    fn plotly_formats_nothing_of_a_label() {
        assert_eq!(plain("<b>50%{x}</b> & \u{200f}\n"), "&lt;b&gt;50&#37;{x}&lt;/b&gt; &amp; \\u{200f}\\n");
    }
}
