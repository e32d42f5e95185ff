//! How the figures of dictionaries are shown.

use crate::error::Result;
use crate::features::{DictionaryScore, DictionaryScores, SplicedScore};
use crate::views::page::{Rendered, View};
use crate::views::show::shown;
use crate::views::table::Table;

impl View for DictionaryScores {
    /// A row for each dictionary; below it, what the figures are of and which do not fit their card.
    fn render(&self) -> Result<Rendered> {
        let title =
            "Dictionaries: the share of variance that they explain, and what the model loses with them spliced in";
        let table = Table::new(Self::COLUMNS).title(title).note(self.notes().join(". "));
        self.rows().into_iter().fold(table, Table::row).render()
    }
}

impl View for DictionaryScore {
    fn render(&self) -> Result<Rendered> {
        figures(&self.name, self.figures())
    }
}

impl View for SplicedScore {
    fn render(&self) -> Result<Rendered> {
        figures(&format!("{} predictions", self.predictions), self.figures())
    }
}

/// Names and numbers.
fn figures(title: &str, figures: Vec<(&'static str, String)>) -> Result<Rendered> {
    figures.into_iter().fold(Table::new(["", ""]).title(title), Table::row).render()
}

shown!(DictionaryScores, DictionaryScore, SplicedScore);
