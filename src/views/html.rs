//! HTML that is safe to show: escaping, and ids that are the same in every run.
//!
//! Labels, tokens and titles come from data sets, so nothing in them may act as markup, end a script early, or
//! look like one of the lines by which evcxr marks a rich output.

use crate::error::Result;
use crate::views::page::{Rendered, View};
use crate::visible::visible_lines;

pub use crate::visible::visible;

/// A piece of HTML, with the plain text that replaces it where HTML is not shown.
///
/// ```
/// use candle_lens::views::Html;
/// let note = Html::escaped("a < b & c");
/// assert_eq!(note.html(), "<div style=\"white-space:pre-wrap\">a &lt; b &amp; c</div>");
/// assert_eq!(note.text(), "a < b & c");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Html {
    html: String,
    text: String,
    /// Whether the markup is the caller's own.
    trusted: bool,
}

impl Html {
    /// Markup that you trust, shown as it is, and the text to print in a terminal, where what cannot be seen is written out.
    /// Formulas between dollar signs are typeset in the markup where the page can do so, and nowhere else.
    pub fn new(html: impl Into<String>, text: impl Into<String>) -> Self {
        Self { html: html.into(), text: text.into(), trusted: true }
    }

    /// Text shown as text: nothing in it is interpreted as markup, its line breaks, tabs and spaces are kept, and what cannot be
    /// seen is written out as [`visible`] does.
    pub fn escaped(text: &str) -> Self {
        let text = visible_lines(text);
        let html = format!("<div style=\"white-space:pre-wrap\">{}</div>", escape(&text));
        Self { html, text, trusted: false }
    }

    /// The markup.
    pub fn html(&self) -> &str {
        &self.html
    }

    /// The plain text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Text whose layout depends on line breaks and spaces, such as the tree of a model.
pub(super) fn preformatted(text: &str) -> Rendered {
    let text = visible_lines(text);
    Rendered::new(format!("<pre style=\"margin:0\">{}</pre>", escape(&text)), text)
}

impl View for Html {
    fn render(&self) -> Result<Rendered> {
        let html = match self.trusted {
            true => format!("<div class=\"tex2jax_process mathjax_process\">{}</div>", self.html),
            false => self.html.clone(),
        };
        Ok(Rendered::new(html, self.text.clone()))
    }
}

/// Escapes `text` for the inside of an element and for a quoted attribute alike.
///
/// Line breaks become character references, because evcxr reads an output line by line and would lose a carriage
/// return. HTML has no way to write a null, so the symbol for null (U+2400) is shown.
///
/// ```
/// use candle_lens::views::escape;
/// assert_eq!(escape("</script><b x='1'>\n"), "&lt;/script&gt;&lt;b x=&#39;1&#39;&gt;&#10;");
/// ```
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            '\0' => out.push('\u{2400}'),
            other => out.push(other),
        }
    }
    out
}

/// Makes JSON safe inside a `<script>` element; the value it represents does not change.
///
/// `<`, `>` and `&` occur in JSON only within strings, where their `\u` form means the same. U+2028 and U+2029 end
/// a line in older JavaScript.
///
/// ```
/// use candle_lens::views::json_in_script;
/// assert_eq!(json_in_script(r#"["</script>"]"#), r#"["\u003c/script\u003e"]"#);
/// ```
pub fn json_in_script(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", c as u32)),
            other => out.push(other),
        }
    }
    out
}

/// A number made from `content` that is the same in every run and on every machine, for the ids of elements: the 64-bit FNV-1a hash (Fowler, Noll and Vo), which, unlike the standard library's hasher, never changes.
pub(super) fn stable_id(content: &str) -> u64 {
    content.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
