//! How shards are shown: what they are parts of, and how far they are.

use crate::error::Result;
use crate::shard::{Shard, TextShard};
use crate::shards::ShardResult;
use crate::tasks::DatasetShard;
use crate::views::html::preformatted;
use crate::views::page::{Rendered, View};
use crate::views::show::{shown, shown_with_own_display};
use crate::views::table::Table;

impl View for Shard {
    fn render(&self) -> Result<Rendered> {
        Ok(preformatted(&format!("shard {self}")))
    }
}

impl View for DatasetShard {
    /// Its prompts, as those of a data set.
    fn render(&self) -> Result<Rendered> {
        self.data.render()
    }
}

impl View for TextShard {
    fn render(&self) -> Result<Rendered> {
        let (shard, count) = (self.shard(), self.len());
        let table =
            Table::new(["text"]).title(format!("shard {shard}: {count} of {} texts", self.cut.count)).max_rows(10);
        self.texts.iter().fold(table, |table, text| table.row((text.as_str(),))).render()
    }
}

impl View for ShardResult {
    /// What there is, of which prompts and which model.
    fn render(&self) -> Result<Rendered> {
        let (done, own, all) = (self.len(), self.cut.places.len(), self.of_prompts());
        let model = self.model();
        let processing = if model.processing.is_empty() { "none".into() } else { model.processing.join(", ") };
        let (title, whole) = match self.shard().of() {
            1 => ("Results of all prompts".into(), String::new()),
            _ => (format!("Results of shard {}", self.shard()), format!("; {all} in all shards")),
        };
        let note = match self.is_complete() {
            true => "sweep(), effect(), circuit(), nodes() or numbers() gives the result of these prompts",
            false => "the others are still to be done: the same program with the same folder goes on after these",
        };
        Table::new(["", ""])
            .title(title)
            .row(("results", self.what()))
            .row(("prompts done", format!("{done} of {own}{whole}")))
            .row(("model", model.model))
            .row(("processing", processing))
            .note(note)
            .render()
    }
}

shown!(DatasetShard, TextShard, ShardResult);
shown_with_own_display!(Shard);
