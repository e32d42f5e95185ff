//! How verdicts and exercises are shown.

use crate::course::{About, Help, Standing, Verdict};
use crate::error::Result;
use crate::views::html::{escape, preformatted};
use crate::views::page::{Rendered, View};
use crate::views::show::{shown, shown_with_own_display};
use crate::views::table::Table;

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

impl View for Help {
    fn render(&self) -> Result<Rendered> {
        Ok(preformatted(&self.to_string()))
    }
}

impl View for Standing {
    /// The exercises of the sections that were begun.
    fn render(&self) -> Result<Rendered> {
        let begun = |file: &str| self.rows.iter().any(|(section, _, tally)| *section == file && tally.begun);
        let mut table =
            Table::new(["exercise", "function", "done", "tries", "hints", "first passed"]).max_rows(self.total());
        let mut rows = 0;
        for (_, about, tally) in self.rows.iter().filter(|(section, ..)| begun(section)) {
            let done = if tally.passed.is_some() { "✓" } else { "" };
            let time = tally.passed.clone().unwrap_or_default();
            table = table.row((about.id, about.name, done, tally.tries as f64, tally.hints as f64, time));
            rows += 1;
        }
        let title = format!("{} of {} exercises passed", self.passed(), self.total());
        let next = match self.next {
            Some(row) => format!("Next: {} {}, in {}.", self.rows[row].1.id, self.rows[row].1.name, self.rows[row].0),
            None => "None is left.".to_string(),
        };
        match rows {
            0 => Ok(preformatted(&format!("{title}\n{next}"))),
            _ => table.title(title).note(next).render(),
        }
    }
}

shown_with_own_display!(Verdict, About, Help);
shown!(Standing);
