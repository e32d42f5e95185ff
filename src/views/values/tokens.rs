//! Tokens and answers.

use crate::analysis::Answers;
use crate::error::Result;
use crate::tokens::Tokens;
use crate::views::page::{Rendered, View};
use crate::views::show::shown;
use crate::views::table::{Cell, Table};

impl View for Tokens {
    fn render(&self) -> Result<Rendered> {
        let mut table = Table::new(["prompt", "tokens", "ids"]);
        for prompt in 0..self.batch() {
            let ids = self.real_row(prompt).iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
            let count = self.lengths()[prompt];
            table = table.row([
                Cell::from(prompt.to_string().as_str()),
                Cell::from(count as f64),
                Cell::from(ids.as_str()),
            ]);
        }
        let padding = match self.is_padded() {
            true => format!(", padded on the {}", self.padding_side()),
            false => String::new(),
        };
        table.title(format!("Tokens [{}, {}]{padding}", self.batch(), self.pos())).render()
    }
}

impl View for Answers {
    fn render(&self) -> Result<Rendered> {
        let mut table = Table::new(["prompt", "correct", "incorrect"]).title("Answers");
        for (prompt, (correct, incorrect)) in self.texts().enumerate() {
            table = table.row([prompt.to_string(), correct, incorrect]);
        }
        table.render()
    }
}

shown!(Tokens, Answers);
