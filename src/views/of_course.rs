//! How verdicts and exercises are shown.

use candle_core::Tensor;

use crate::course::{About, AttnWeights, BlockWeights, Help, MlpWeights, Standing, UnembedWeights, Verdict};
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

/// Names and shapes.
fn shapes(weights: &[(&str, &Tensor)]) -> Result<Rendered> {
    let table = Table::new(["weight", "shape"]).max_rows(weights.len());
    weights.iter().fold(table, |table, (name, weight)| table.row((*name, format!("{:?}", weight.dims())))).render()
}

impl AttnWeights {
    fn named(&self) -> [(&str, &Tensor); 8] {
        [
            ("W_Q", &self.W_Q),
            ("b_Q", &self.b_Q),
            ("W_K", &self.W_K),
            ("b_K", &self.b_K),
            ("W_V", &self.W_V),
            ("b_V", &self.b_V),
            ("W_O", &self.W_O),
            ("b_O", &self.b_O),
        ]
    }
}

impl MlpWeights {
    fn named(&self) -> [(&str, &Tensor); 4] {
        [("W_in", &self.W_in), ("b_in", &self.b_in), ("W_out", &self.W_out), ("b_out", &self.b_out)]
    }
}

impl View for AttnWeights {
    fn render(&self) -> Result<Rendered> {
        shapes(&self.named())
    }
}

impl View for MlpWeights {
    fn render(&self) -> Result<Rendered> {
        shapes(&self.named())
    }
}

impl View for BlockWeights {
    fn render(&self) -> Result<Rendered> {
        let norms = [("ln1_w", &self.ln1_w), ("ln1_b", &self.ln1_b), ("ln2_w", &self.ln2_w), ("ln2_b", &self.ln2_b)];
        shapes(&[&norms[..2], &self.attn.named(), &norms[2..], &self.mlp.named()].concat())
    }
}

impl View for UnembedWeights {
    fn render(&self) -> Result<Rendered> {
        shapes(&[
            ("ln_final_w", &self.ln_final_w),
            ("ln_final_b", &self.ln_final_b),
            ("W_U", &self.W_U),
            ("b_U", &self.b_U),
        ])
    }
}

shown_with_own_display!(Verdict, About, Help);
shown!(Standing, AttnWeights, MlpWeights, BlockWeights, UnembedWeights);
