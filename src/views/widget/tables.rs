//! The tables that replace coloured text in a terminal, and lists of the largest values where no script runs.

use crate::error::Result;
use crate::labelled::Axis;
use crate::views::page::View;
use crate::views::table::{Cell, Table};
use crate::views::widget::samples::{Sample, order};
use crate::views::widget::still::largest_of;

/// The most numbers beside a token that fit on a line.
const COLUMNS: usize = 8;

impl Table {
    /// Only its markup.
    pub(super) fn html_of(&self) -> Result<String> {
        Ok(self.render()?.html().to_owned())
    }

    /// Only its text.
    pub(super) fn text_of(&self) -> Result<String> {
        Ok(self.render()?.text().to_owned())
    }
}

/// Each token with its numbers.
pub(super) fn token_table(sample: &Sample, axes: &[Axis]) -> Result<Table> {
    let several = axes[1].labels.len() > 1;
    let names = axes[1].labels.iter().take(COLUMNS).map(|label| if several { label.as_str() } else { "value" });
    let table = Table::new(["token"].into_iter().chain(names));
    Ok(sample.words.iter().enumerate().fold(table, |table, (position, word)| {
        let numbers = (0..axes[1].labels.len().min(COLUMNS)).map(|i| Cell::from(sample.values[[position, 0, i]]));
        table.row([Cell::from(word)].into_iter().chain(numbers).collect::<Vec<_>>())
    }))
}

/// The tokens with the largest and the smallest first number of a sample.
pub(super) fn tops_table(sample: &Sample, axes: &[Axis], k: usize) -> Result<Table> {
    let value = |position: usize| sample.values[[position, 0, 0]];
    let mut places: Vec<usize> = (0..sample.words.len()).collect();
    places.sort_by(|&a, &b| order(value(b)).total_cmp(&order(value(a))));
    let table = Table::new(["", "top token", "value", "bottom token", "value"]).max_rows(k);
    let table = table.title(format!("{} {}, sample 0", axes[1].name, axes[1].labels[0]).trim().to_owned());
    Ok(places.iter().zip(places.iter().rev()).take(k).enumerate().fold(table, |table, (i, (&top, &bottom))| {
        table.row((i + 1, &sample.words[top], value(top), &sample.words[bottom], value(bottom)))
    }))
}

/// Samples by the largest of their first numbers.
pub(super) fn samples_table(samples: &[Sample], axes: &[Axis], k: usize) -> Result<Table> {
    let mut places: Vec<usize> = (0..samples.len()).collect();
    places.sort_by(|&a, &b| order(largest_of(&samples[b], 0)).total_cmp(&order(largest_of(&samples[a], 0))));
    let largest = format!("largest of {} {}", axes[1].name, axes[1].labels[0]);
    let table = Table::new(["sample", "text", &largest]);
    Ok(places
        .into_iter()
        .take(k)
        .fold(table, |table, place| table.row((place, samples[place].words.concat(), largest_of(&samples[place], 0)))))
}
