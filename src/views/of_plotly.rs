//! Plots that a user builds with plotly.rs, shown by our own loader: offline, and together with the other views of the cell.
//!
//! plotly's own methods of these names open a browser (`plot.show()`) or print what our notebooks do not show
//! (a last expression `plot`), and inherent methods take precedence over a trait's. So write `Show::show(&plot)?`, or end
//! the cell with `Page::new().with(&plot)?`.

use plotly::Plot;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::views::html::{escape, json_in_script, stable_id};
use crate::views::loader;
use crate::views::page::{Rendered, View};
use crate::visible::visible;

/// The kinds of trace that the plotly.js of this crate draws, its cartesian bundle.
const DRAWN: [&str; 12] = [
    "scatter",
    "bar",
    "box",
    "heatmap",
    "histogram",
    "histogram2d",
    "histogram2dcontour",
    "contour",
    "scatterternary",
    "violin",
    "image",
    "pie",
];

impl View for Plot {
    /// An interactive figure without a still picture: where scripts do not run, a line describes it. Dollar signs in
    /// its words stay as they are, unless its `Configuration` asks for `typeset_math`.
    ///
    /// ```
    /// use candle_lens::plotly::{Bar, Plot};
    /// use candle_lens::prelude::*;
    /// let mut plot = Plot::new();
    /// plot.add_trace(Bar::new(vec!["q", "k", "v"], vec![1.0, 2.5, 0.5]));
    /// Show::show(&plot)?;
    /// assert_eq!(plot.render()?.text(), "(a plotly figure: bar)");
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    fn render(&self) -> Result<Rendered> {
        let mut spec: Value = serde_json::from_str(&self.to_json())
            .map_err(|error| Error::argument(format!("plotly wrote JSON that cannot be read ({error}).")))?;
        let kinds = kinds(&spec)?.join(", ");
        if spec["frames"].as_array().is_some_and(|frames| !frames.is_empty()) {
            return Err(Error::argument(
                "the plot has frames of an animation, which are not drawn: show them one by one.",
            ));
        }
        // A dark page has light text, which the plot's own background would hide.
        for ground in ["paper_bgcolor", "plot_bgcolor"] {
            if spec["layout"][ground].is_null() {
                spec["layout"][ground] = json!("rgba(0,0,0,0)");
            }
        }
        // On a page with MathJax plotly.js would typeset text between dollar signs, unless told not to.
        if spec["config"]["typesetMath"].is_null() {
            spec["config"]["typesetMath"] = json!(false);
        }
        let title = spec["layout"]["title"]["text"].as_str().unwrap_or_default();
        let text = visible(format!("{title} (a plotly figure: {kinds})").trim_start());
        let json = json_in_script(&spec.to_string());
        let id = format!("cl-{:016x}", stable_id(&json));
        let html =
            format!("<div data-figure=\"{id}\"><em>{}</em></div>\n{}", escape(&text), loader::draw_call(&id, &json));
        Ok(Rendered { html, figures: vec![stable_id(&text)], scripts: Vec::new(), text })
    }
}

/// The kinds of the plot's traces.
fn kinds(spec: &Value) -> Result<Vec<&str>> {
    let traces = spec["data"].as_array().map_or(&[][..], Vec::as_slice);
    if traces.is_empty() {
        return Err(Error::argument("the plot has no trace, so there is nothing to draw: add one."));
    }
    let kinds = traces.iter().map(|trace| trace["type"].as_str().unwrap_or("scatter"));
    kinds
        .map(|kind| match DRAWN.contains(&kind) {
            true => Ok(kind),
            false => Err(Error::argument(format!(
                "the plot has a trace of the kind {kind:?}, which the plotly.js of this crate does not draw: it draws \
                 {}.",
                DRAWN.join(", ")
            ))),
        })
        .collect()
}
