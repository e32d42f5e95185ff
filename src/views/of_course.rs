//! How verdicts and exercises are shown.

use crate::course::{About, Verdict};
use crate::error::Result;
use crate::views::html::{escape, preformatted};
use crate::views::page::{Rendered, View};
use crate::views::show::shown_with_own_display;

impl View for Verdict {
    /// Green or red at the side; the words say it as well.
    fn render(&self) -> Result<Rendered> {
        let colour = if self.passed() { "#2a9d5c" } else { "#c8553d" };
        let text = self.to_string();
        let html = format!(
            "<div role=\"status\" style=\"border-left:4px solid {colour};padding:2px 10px;white-space:pre-wrap\">{}</div>",
            escape(&text)
        );
        Ok(Rendered::new(html, text))
    }
}

impl View for About {
    fn render(&self) -> Result<Rendered> {
        Ok(preformatted(&self.to_string()))
    }
}

shown_with_own_display!(Verdict, About);
