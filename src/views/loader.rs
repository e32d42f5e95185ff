//! The scripts of a page: our drawing code, on every page that has a use for it, and plotly.js, on one of them.
//!
//! Both are part of the library: nothing is fetched from a network.
//!
//! # Leaving plotly.js out of a file
//! plotly.js is 1.3 MB. It can be removed from a notebook's outputs: delete every `<script data-carried>` element. The one
//! whose attribute has a value contains a file of that name. Each output with a figure has a link
//! `<a data-plotly="NAME">`; give it the address of that file, relative to the notebook, as its `href`, and a figure that
//! finds no plotly.js on its page loads it from there. `cargo lab run --in-place` does so.

/// The property of `window` that belongs to this version of the library.
const KEY: &str = concat!("candle-lens ", env!("CARGO_PKG_VERSION"));

/// plotly.js 3.0.1 with its cartesian charts, the version whose attributes plotly.rs 0.14 writes.
const PLOTLY_JS: &str = include_str!("assets/plotly-cartesian-3.0.1.min.js");

/// The name of the file that holds the same.
const PLOTLY_FILE: &str = "plotly-cartesian-3.0.1.min.js";

const FIGURE_JS: &str = include_str!("assets/figure.js");

/// The code that every widget needs, and the code of each kind.
const WIDGET_JS: &str = include_str!("assets/widget.js");
const ATTENTION_JS: &str = include_str!("assets/attention.js");
const TEXT_JS: &str = include_str!("assets/text.js");
const CIRCUIT_JS: &str = include_str!("assets/circuit.js");
const FEATURE_JS: &str = include_str!("assets/feature.js");
const GRAPH_JS: &str = include_str!("assets/graph.js");
const LENS_JS: &str = include_str!("assets/lens.js");

/// A script of ours for one kind of widget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    Attention,
    Text,
    Circuit,
    Features,
    Graph,
    Lens,
}

impl Script {
    fn code(self) -> &'static str {
        match self {
            Self::Attention => ATTENTION_JS,
            Self::Text => TEXT_JS,
            Self::Circuit => CIRCUIT_JS,
            Self::Features => FEATURE_JS,
            Self::Graph => GRAPH_JS,
            Self::Lens => LENS_JS,
        }
    }
}

/// The code of these widgets; safe to run any number of times on a page.
pub(super) fn widget_code(scripts: &[Script]) -> String {
    let mut each: Vec<Script> = Vec::new();
    for &script in scripts {
        if !each.contains(&script) {
            each.push(script);
        }
    }
    let code: String = each.into_iter().map(|script| bare(script.code())).collect();
    format!("<script>\n(function () {{ const KEY = {KEY:?};\n{}{code}}})();\n</script>\n", bare(WIDGET_JS))
}

/// A script of ours without comments, indentation and most line breaks, which no page needs and which a notebook stores as
/// a list of strings. None of its lines begins with `//` inside a string or has a comment after code.
fn bare(script: &str) -> String {
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    // After these characters no line break is needed: the statement has ended or goes on.
    lines.flat_map(|line| [line, if line.ends_with([';', '{', '(', '[', ',']) { " " } else { "\n" }]).collect()
}

/// The call that brings the widget with this id to life. `json` is safe in a script.
pub(super) fn widget_call(id: &str, kind: &str, json: &str) -> String {
    format!("<script>window[{KEY:?}].widget({id:?},{kind:?},{json})</script>")
}

/// The code that finds a figure's element and draws there, after the link to plotly.js; safe to run any number of times on a
/// page.
pub(super) fn drawing_code() -> String {
    format!(
        "<a data-plotly={PLOTLY_FILE:?}></a>\n<script>\n(function () {{ const KEY = {KEY:?};\n{}}})();\n</script>\n",
        bare(FIGURE_JS)
    )
}

/// plotly.js, between two calls that preserve the page's own globals.
pub(super) fn plotly_js() -> String {
    format!(
        "<script data-carried>window[{KEY:?}].before()</script>\n<script data-carried={PLOTLY_FILE:?}>{PLOTLY_JS}</script>\n\
         <script data-carried>window[{KEY:?}].after()</script>\n"
    )
}

/// The call that brings the figure with this id to life. `json` is safe in a script.
pub(super) fn draw_call(id: &str, json: &str) -> String {
    format!("<script>window[{KEY:?}].figure({id:?},{json})</script>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_script_ends_early_or_opens_a_comment() {
        for script in
            [PLOTLY_JS, FIGURE_JS, WIDGET_JS, ATTENTION_JS, TEXT_JS, CIRCUIT_JS, FEATURE_JS, GRAPH_JS, LENS_JS]
        {
            assert!(!script.contains("</script") && !script.contains("<!--"));
            assert!(!script.contains('\r'), "evcxr reads lines and would lose a carriage return");
        }
    }

    #[test]
    fn a_bare_script_loses_nothing_but_blanks_and_comments() {
        for script in [FIGURE_JS, WIDGET_JS, ATTENTION_JS, TEXT_JS, CIRCUIT_JS, FEATURE_JS, GRAPH_JS, LENS_JS] {
            let code = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<_>>();
            let whole: Vec<&str> = script.lines().filter(|line| !line.trim().starts_with("//")).collect();
            assert_eq!(code(&bare(script)), code(&whole.join("\n")));
            let behind = whole.iter().find(|line| line.replace("://", "").contains("//"));
            assert_eq!(behind, None, "a comment behind code would take the next line with it");
        }
        assert_eq!(bare("f(\n  // why\n  a,\n  b\n);\nreturn\n"), "f( a, b\n); return\n");
    }

    #[test]
    fn the_licence_stays_in_front() {
        assert!(PLOTLY_JS.starts_with("/**\n* plotly.js (cartesian - minified) v3.0.1\n"));
        assert!(PLOTLY_JS[..200].contains("Licensed under the MIT license"));
    }
}
