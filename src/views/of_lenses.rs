//! How lenses and what is read through them are shown.

use crate::error::Result;
use crate::labelled::Labelled;
use crate::lenses::{
    LensOptions, LensReading, LensTarget, LogitLens, TokenReading, TunedFit, TunedLens, TunedTraining,
};
use crate::views::html::preformatted;
use crate::views::page::{Rendered, View};
use crate::views::show::{shown, shown_as_text};
use crate::views::table::{Cell, Table};
use crate::views::{LensColor, lens_grid};

impl View for LensReading {
    /// The picture of [`lens_grid`], coloured by probability. For vectors without a run, a row for each with its most likely tokens.
    fn render(&self) -> Result<Rendered> {
        match self.inputs.is_empty() {
            true => self.of_vectors().render(),
            false => lens_grid(self, LensColor::Probability).render(),
        }
    }
}

impl LensReading {
    /// The most likely tokens of a row and their probabilities.
    fn likely(&self, row: usize, count: usize) -> String {
        let k = self.tokens.len() / self.entropy.values().len().max(1);
        let probabilities = self.probabilities.values();
        let best = self.texts.iter().zip(&probabilities).skip(row * k).take(count.min(k));
        let words = best.map(|(text, p)| if p.is_nan() { String::new() } else { format!("{text:?} {p:.2}") });
        words.collect::<Vec<_>>().join(", ")
    }

    fn of_vectors(&self) -> Table {
        let axes = self.entropy.axes();
        let names = axes.iter().map(|axis| axis.name.clone());
        let columns = names.chain(["most likely tokens".into(), "entropy in nats".into()]);
        let table = Table::new(columns).title(format!("What vectors say by the {}", self.lens));
        self.entropy.values().indexed_iter().enumerate().fold(table, |table, (row, (at, entropy))| {
            let labels = axes.iter().enumerate().map(|(axis, labels)| Cell::from(&labels.labels[at[axis]]));
            let numbers = [Cell::from(self.likely(row, 5)), Cell::from(f64::from(*entropy))];
            table.row(labels.chain(numbers).collect::<Vec<_>>())
        })
    }
}

impl View for TokenReading {
    /// A row for each number of the reading.
    fn render(&self) -> Result<Rendered> {
        let axes = self.rank.axes();
        let columns = axes.iter().map(|axis| axis.name.clone());
        let columns = columns.chain(["logit", "log-probability", "rank"].map(String::from));
        let table = Table::new(columns).title(format!("{}, log-probability and rank", self.logit.title));
        let number = |result: &Labelled, at: &ndarray::IxDyn| Cell::from(f64::from(result.values()[at]));
        let rows = self.rank.values();
        let table = rows.indexed_iter().fold(table, |table, (at, _)| {
            let labels = axes.iter().enumerate().map(|(axis, labels)| Cell::from(&labels.labels[at[axis]]));
            let numbers = [&self.logit, &self.log_prob, &self.rank].map(|result| number(result, &at));
            table.row(labels.chain(numbers).collect::<Vec<_>>())
        });
        table.render()
    }
}

impl View for LogitLens {
    fn render(&self) -> Result<Rendered> {
        Ok(preformatted("logit lens: every residual stream is read as if it were the last one"))
    }
}

shown!(LensReading, TokenReading, LogitLens);
shown_as_text! {
    "{}": TunedLens;
    "{:#?}": LensColor, LensOptions, LensTarget, TunedFit, TunedTraining;
}
