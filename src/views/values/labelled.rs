//! Results: a column for one axis, a matrix for two, the largest and smallest entries for more.

use crate::error::Result;
use crate::labelled::{Entry, Labelled};
use crate::views::page::{Rendered, View};
use crate::views::show::shown;
use crate::views::table::{Cell, Table};

/// A matrix with more columns than this is shown by its largest entries.
const WIDEST: usize = 16;
/// How many entries are shown from each end.
const ENDS: usize = 8;

impl View for Labelled {
    fn render(&self) -> Result<Rendered> {
        let table = match self.shape() {
            [] => Table::new([self.title.clone()]).row([self.at(&[])? as f64]),
            [_] => self.as_column(),
            [_, columns] if *columns <= WIDEST => self.as_matrix(),
            _ => self.as_entries(),
        };
        table.title(self.title.clone()).render()
    }
}

shown!(Labelled);

impl Labelled {
    fn as_column(&self) -> Table {
        let axis = &self.axes[0];
        let mut table = Table::new([axis.name.clone(), "value".into()]);
        for (label, value) in axis.labels.iter().zip(&self.values) {
            table = table.row([Cell::from(label.as_str()), Cell::from(f64::from(*value))]);
        }
        table.note(format!("mean {:.4}", self.mean()))
    }

    fn as_matrix(&self) -> Table {
        let (rows, columns) = (&self.axes[0], &self.axes[1]);
        let header = columns.labels.iter().map(|label| format!("{} {label}", columns.name));
        let mut table = Table::new(std::iter::once(rows.name.clone()).chain(header));
        for (label, row) in rows.labels.iter().zip(self.values.outer_iter()) {
            let numbers = row.iter().map(|value| Cell::from(f64::from(*value))).collect::<Vec<_>>();
            table = table.row(std::iter::once(Cell::from(label.as_str())).chain(numbers));
        }
        table
    }

    fn as_entries(&self) -> Table {
        let names = self.axes.iter().map(|axis| axis.name.clone());
        let mut table = Table::new(names.chain(["value".into()]));
        let row = |table: Table, entry: Entry| {
            let labels = entry.labels.into_iter().map(|label| Cell::from(label.as_str())).collect::<Vec<_>>();
            table.row(labels.into_iter().chain([Cell::from(f64::from(entry.value))]))
        };
        let ends = ENDS.min(self.values.len() / 2);
        table = self.top(ends).into_iter().fold(table, row);
        table = self.bottom(ends).into_iter().rev().fold(table, row);
        table.note(format!(
            "the {ends} largest and the {ends} smallest of {} numbers, {:?}",
            self.values.len(),
            self.shape()
        ))
    }
}
