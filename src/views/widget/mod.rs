//! Widgets: views of attention, tokens and circuits that respond to mouse and keyboard.
//!
//! The names follow CircuitsVis. Each is written as a still picture or table, which a small script of ours replaces in
//! place where scripts run; its numbers come with it, quantised and packed. Nothing is fetched from a network.
//!
//! # Words and numbers
//! Every widget takes first the tokens, then the numbers. Tokens are a list of texts, or the model itself where the
//! numbers come from a cache, which knows the ids that were run.

mod attention;
mod circuit;
mod circuit_still;
pub(super) mod feature;
pub(super) mod feature_active;
mod feature_graph;
mod feature_parts;
mod heads;
mod lens;
mod pack;
mod patterns;
mod performance;
mod pool;
mod samples;
mod scores;
mod still;
mod tables;
mod text;
mod words;

pub use attention::{attention_comparison, attention_explorer, attention_heads, attention_pattern, attention_patterns};
pub use circuit::{CircuitEdge, CircuitGraph, CircuitNode, EdgeKind, circuit_graph};
pub use feature_graph::{FeatureGraphView, feature_graph};
pub use lens::{LensColor, lens_grid};
pub use patterns::Patterns;
pub use performance::{test_prompt, token_log_probs, visualize_model_performance};
pub use text::{colored_tokens, colored_tokens_multi, text_neuron_activations, topk_samples, topk_tokens};
pub use words::Words;

use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::views::html::{escape, json_in_script, stable_id, visible};
use crate::views::loader::{self, Script};
use crate::views::page::{Rendered, View};
use crate::views::source::Source;
use crate::visible::visible_lines;

/// The size of a widget above which it is reduced, in bytes.
const MAX_BYTES: usize = 5_000_000;

/// A view that responds to mouse and keyboard, and its appearance. Made by [`attention_heads`] and the functions
/// beside it; its builder methods change how it looks.
///
/// As the last expression of a cell it shows itself; in a loop or a program call [`show`](Self::show). What does not
/// fit (a shape, a number of tokens) is reported there. Numbers that are not finite are on grey, and a line says so.
///
/// ```
/// use candle_lens::prelude::*;
/// let pattern = [[1.0, 0.0], [0.3, 0.7]];
/// attention_pattern(["The", " cat"], pattern.map(Vec::from).to_vec()).title("A head").show()?;
/// assert!(attention_pattern(["The"], pattern.map(Vec::from).to_vec()).show().is_err());
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a widget appears as the last expression of a cell or by its method `show`"]
pub struct Widget {
    /// Its content, or the sentence that says why there is none.
    kind: std::result::Result<Arc<dyn Kind>, String>,
    asked: Asked,
}

/// A kind of widget with its numbers. A new kind is a file beside this one that implements this.
trait Kind: fmt::Debug + Send + Sync {
    /// Resolves what the caller left open; returns an error for options that do not fit these numbers or this kind.
    fn drawn(&self, asked: &Asked) -> Result<Drawn>;
}

/// The caller's options; `None` leaves the choice to the kind.
#[derive(Clone, Debug, Default)]
struct Asked {
    title: Option<String>,
    names: Option<Vec<String>>,
    range: Option<(f64, f64)>,
    mask_upper_tri: Option<bool>,
    scores: Vec<(String, std::result::Result<Vec<f32>, String>)>,
    top_k: Option<usize>,
    max_bytes: Option<usize>,
}

impl Asked {
    fn top_k(&self) -> Result<Option<usize>> {
        match self.top_k {
            Some(0) => Err(Error::argument("`top_k` was given 0, which shows nothing: give 1 or more.")),
            k => Ok(k),
        }
    }

    fn max_bytes(&self) -> usize {
        self.max_bytes.unwrap_or(MAX_BYTES)
    }
}

/// A widget ready to be written.
struct Drawn {
    /// The line above it; may be empty.
    title: String,
    /// Its alternative text.
    description: String,
    /// The script that makes it interactive, and the name of its function there.
    script: Script,
    kind: &'static str,
    /// The argument of that function.
    data: Value,
    /// The picture or table that is shown until then.
    still: String,
    /// The same as text.
    text: String,
    /// Notes for the reader, for instance how the view was reduced.
    note: Option<String>,
}

impl Widget {
    /// A widget of `kind`; an error is kept and returned when it is shown.
    fn new(kind: Result<impl Kind + 'static>) -> Self {
        let kind = kind.map(|kind| Arc::new(kind) as Arc<dyn Kind>).map_err(|error| error.sentence());
        Self { kind, asked: Asked::default() }
    }

    /// The line above the widget.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.asked.title = Some(title.into());
        self
    }

    /// A name for each head, or for each of the values that tokens are coloured by.
    pub fn names<T: ToString>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.asked.names = Some(names.into_iter().map(|name| name.to_string()).collect());
        self
    }

    /// The values that have the darkest colours; the default is the range of the numbers, with zero without colour.
    pub fn range(mut self, min_value: f64, max_value: f64) -> Self {
        self.asked.range = Some((min_value, max_value));
        self
    }

    /// Whether to leave out what a token cannot attend to, above the diagonal. The default is to leave it out where
    /// all of it is zero or infinite.
    pub fn mask_upper_tri(mut self, mask: bool) -> Self {
        self.asked.mask_upper_tri = Some(mask);
        self
    }

    /// A score for each head, by which the reader can sort; call it again to add another.
    ///
    /// # Shapes
    /// One number for each head, for instance `[layer, head]`.
    pub fn scores(mut self, name: impl Into<String>, scores: impl Source) -> Self {
        let scores = scores.numbers().map(|numbers| numbers.values.into_iter().collect());
        self.asked.scores.push((name.into(), scores.map_err(|error| error.sentence())));
        self
    }

    /// How many of the most likely or most active are listed; 10 by default.
    pub fn top_k(mut self, k: usize) -> Self {
        self.asked.top_k = Some(k);
        self
    }

    /// The most that the widget may add to a notebook, in bytes; 5 MB by default. A larger one is reduced,
    /// and says so above its picture.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.asked.max_bytes = Some(bytes);
        self
    }
}

impl View for Widget {
    /// A still picture or table, and the script that replaces it.
    fn render(&self) -> Result<Rendered> {
        Ok(written(self.kind.as_deref().map_err(Error::argument)?.drawn(&self.asked)?))
    }
}

/// The markup of a widget, and its text.
fn written(drawn: Drawn) -> Rendered {
    let mut data = drawn.data;
    data["title"] = json!(visible(&drawn.title));
    data["description"] = json!(visible(&drawn.description));
    data["note"] = json!(drawn.note.as_deref().map(visible));
    let json = json_in_script(&data.to_string());
    let id = format!("cl-{:016x}", stable_id(&format!("{}{json}", drawn.kind)));
    let paragraph = |text: &str, style: &str| match text {
        "" => String::new(),
        text => format!("<div style=\"{style}\">{}</div>", escape(&visible(text))),
    };
    let html = format!(
        "<div data-widget=\"{id}\">{}{}{}</div>\n{}",
        paragraph(&drawn.title, "font-weight:600;margin:4px 0"),
        paragraph(drawn.note.as_deref().unwrap_or_default(), "font-style:italic;margin:4px 0"),
        drawn.still,
        loader::widget_call(&id, drawn.kind, &json),
    );
    let note = visible(&drawn.note.unwrap_or_default());
    let parts = [visible(&drawn.title), note, visible_lines(&drawn.text)];
    let text: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    Rendered { html, text: text.join("\n"), figures: Vec::new(), scripts: vec![drawn.script] }
}

crate::views::show::shown!(Widget);
crate::views::show::drawn_by_debug!(Widget);

/// Returns an error for an option that means nothing for this kind.
fn not_for(kind: &str, asked: &[(&str, bool)]) -> Result<()> {
    match asked.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((method, _)) => Err(Error::argument(format!(
            "`{method}` is not an option of `{kind}`: leave it out, or choose another view."
        ))),
    }
}

/// Checks a requested range: finite, and from low to high.
fn checked_range(range: Option<(f64, f64)>) -> Result<Option<(f64, f64)>> {
    match range {
        Some((low, high)) if !(low.is_finite() && high.is_finite() && low < high) => Err(Error::argument(format!(
            "`range` was given {low} and {high}: give two finite numbers, the smaller one first."
        ))),
        range => Ok(range),
    }
}
