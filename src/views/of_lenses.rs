//! How lenses and what is read through them are shown.

use crate::error::Result;
use crate::labelled::Labelled;
use crate::lenses::{LensOptions, LensReading, LensTarget, LogitLens, TokenReading};
use crate::views::html::preformatted;
use crate::views::page::{Rendered, View};
use crate::views::show::shown;
use crate::views::table::{Cell, Table};

/// How many prompts of a reading are written.
const WRITTEN: usize = 8;

impl View for LensReading {
    /// One table for each prompt: a row for each point of the residual stream, a column for each position, in each cell the
    /// most likely next token and its probability. For vectors without a run, a row for each with its most likely tokens.
    fn render(&self) -> Result<Rendered> {
        if self.inputs.is_empty() {
            return self.of_vectors().render();
        }
        let axes = self.probabilities.axes();
        let [components, prompts, positions] = [0, 1, 2].map(|axis| &axes[axis].labels);
        let mut all = Rendered::default();
        for prompt in 0..prompts.len().min(WRITTEN) {
            let heads = positions.iter().zip(&self.inputs[prompt]).map(|(at, text)| format!("{at}: {text:?}"));
            let title = format!("What would come next by the {}, prompt {prompt}", self.lens);
            let mut table = Table::new(["after".to_string()].into_iter().chain(heads)).title(title);
            for (row, component) in components.iter().enumerate() {
                let cell = |column: usize| {
                    let first = (row * prompts.len() + prompt) * positions.len() + column;
                    Cell::from(self.likely(first, 1))
                };
                let cells = [Cell::from(component)].into_iter().chain((0..positions.len()).map(cell));
                table = table.row(cells.collect::<Vec<_>>());
            }
            if prompts.len() > WRITTEN && prompt + 1 == WRITTEN {
                table = table.note(format!("{} more prompts are not shown", prompts.len() - WRITTEN));
            }
            all.append(&table.render()?);
        }
        Ok(all)
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

impl View for LensOptions {
    fn render(&self) -> Result<Rendered> {
        Ok(preformatted(&format!("{self:#?}")))
    }
}

impl View for LensTarget {
    fn render(&self) -> Result<Rendered> {
        Ok(preformatted(&format!("{self:?}")))
    }
}

impl View for LogitLens {
    fn render(&self) -> Result<Rendered> {
        Ok(preformatted("logit lens: every residual stream is read as if it were the last one"))
    }
}

shown!(LensReading, TokenReading, LensOptions, LensTarget, LogitLens);
