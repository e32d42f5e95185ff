//! The scripts of a page: our drawing code, on every page that has a use for it, and plotly.js, on one of them.
//!
//! Both are part of the library: nothing is fetched from a network.

/// The property of `window` that belongs to this version of the library.
const KEY: &str = concat!("candle-lens ", env!("CARGO_PKG_VERSION"));

/// plotly.js 3.0.1 with its cartesian charts, the version whose attributes plotly.rs 0.14 writes.
const PLOTLY_JS: &str = include_str!("assets/plotly-cartesian-3.0.1.min.js");

const FIGURE_JS: &str = include_str!("assets/figure.js");

/// What every widget needs, and what each kind of them needs besides.
const WIDGET_JS: &str = include_str!("assets/widget.js");
const ATTENTION_JS: &str = include_str!("assets/attention.js");
const TEXT_JS: &str = include_str!("assets/text.js");
const CIRCUIT_JS: &str = include_str!("assets/circuit.js");

/// A script of ours for one kind of widget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    Attention,
    Text,
    Circuit,
}

impl Script {
    fn code(self) -> &'static str {
        match self {
            Self::Attention => ATTENTION_JS,
            Self::Text => TEXT_JS,
            Self::Circuit => CIRCUIT_JS,
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

/// A script of ours without its comments and indents, which no page needs. None of its lines begins with `//` inside
/// a text.
fn bare(script: &str) -> String {
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The call that brings the widget with this id to life. `json` is safe in a script.
pub(super) fn widget_call(id: &str, kind: &str, json: &str) -> String {
    format!("<script>window[{KEY:?}].widget({id:?},{kind:?},{json})</script>")
}

/// The code that finds a figure's place and draws there; safe to run any number of times on a page.
pub(super) fn drawing_code() -> String {
    format!("<script>\n(function () {{ const KEY = {KEY:?};\n{FIGURE_JS}}})();\n</script>\n")
}

/// plotly.js. It is run inside a function that hides the names by which it would look for a module system, and
/// the global that it sets is put back, so that a page with another plotly.js or with require.js keeps its own.
pub(super) fn plotly_js() -> String {
    format!(
        "<script>\n(function () {{\nconst lens = window[{KEY:?}], before = window.Plotly;\nif (lens.plotly) return;\n\
         const module = {{ exports: {{}} }}, exports = module.exports, define = undefined;\n{PLOTLY_JS}\n\
         window.Plotly = before;\nlens.arrived(module.exports);\n}})();\n</script>\n"
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
        for script in [PLOTLY_JS, FIGURE_JS, WIDGET_JS, ATTENTION_JS, TEXT_JS, CIRCUIT_JS] {
            assert!(!script.contains("</script") && !script.contains("<!--"));
            assert!(!script.contains('\r'), "evcxr reads lines and would lose a carriage return");
        }
    }

    #[test]
    fn the_licence_stays_in_front() {
        assert!(PLOTLY_JS.starts_with("/**\n* plotly.js (cartesian - minified) v3.0.1\n"));
        assert!(PLOTLY_JS[..200].contains("Licensed under the MIT license"));
    }
}
