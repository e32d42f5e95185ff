//! How the tasks show their prompts: one as a table of its fields, several as one table with a row each.

use crate::error::Result;
use crate::metrics::{Score, TaskBatch};
use crate::tasks::repeated::RepeatedTokens;
use crate::tasks::words::{Category, Profession, Verb};
use crate::tasks::{LeftOut, Question, TaskDataset, TaskPrompt, VerbList};
use crate::views::page::{Rendered, View};
use crate::views::show::shown;
use crate::views::table::{Cell, Table};

/// Values of several fields.
macro_rules! records {
    ($($record:ident |$value:ident| { $($field:literal: $cell:expr),+ $(,)? })+) => {$(
        impl View for $record {
            fn render(&self) -> Result<Rendered> {
                let $value = self;
                let table = Table::new(["field", "value"]).title(stringify!($record));
                table$(.row(($field, $cell)))+.render()
            }

            fn render_list(list: &[Self]) -> Result<Rendered> {
                let table = Table::new([$($field),+]).title(format!("{} × {}", list.len(), stringify!($record)));
                let cells = |$value: &Self| vec![$(Cell::from($cell)),+];
                list.iter().fold(table, |table, each| table.row(cells(each))).render()
            }
        }
        shown!($record);
    )+};
}

records! {
    TaskPrompt |p| {
        "clean": &p.clean, "corrupted": &p.corrupted, "right": listed(&p.right), "wrong": listed(&p.wrong),
        "positions": p.positions.iter().map(|(name, at)| format!("{name} {at}")).collect::<Vec<_>>().join(", "),
        "words": p.words.iter().map(|(name, word)| format!("{name} {word}")).collect::<Vec<_>>().join(", "),
        "template": p.template.map_or(String::new(), |template| template.to_string()),
        "row": &p.row,
    }
    LeftOut |left| { "row": &left.row, "prompt": &left.prompt, "why": &left.why }
    RepeatedTokens |row| { "period": row.period, "ids": format!("{:?}", row.ids) }
    Question |q| { "prompt": &q.prompt, "right": listed(&q.right), "wrong": listed(&q.wrong) }
    Category |c| { "name": c.name, "answers": c.answers.join(", "), "members": c.members.join(", ") }
    Profession |p| { "noun": p.noun, "she": p.she }
    Verb |v| { "singular": v.singular, "plural": v.plural, "rest": v.rest }
    Score |s| {
        "count": s.count, "accuracy": s.accuracy, "preference": s.preference, "logit_diff": s.logit_diff,
        "prob_diff": s.prob_diff,
    }
}

/// The answers of a question; of many, the first.
fn listed(answers: &[String]) -> String {
    const SHOWN: usize = 6;
    let shown: Vec<String> = answers.iter().take(SHOWN).map(|answer| format!("{answer:?}")).collect();
    let more = answers.len().saturating_sub(SHOWN);
    if more > 0 { format!("{}, … {more} more", shown.join(", ")) } else { shown.join(", ") }
}

impl View for TaskDataset {
    /// The first prompts, and where they come from; what was left out, and why.
    fn render(&self) -> Result<Rendered> {
        let table = Table::new(["clean", "corrupted", "right", "wrong"])
            .title(format!("{}: {} prompts", self.task, self.len()))
            .max_rows(10)
            .note(self.source.join("; "));
        let rows =
            self.prompts.iter().map(|p| (p.clean.as_str(), p.corrupted.as_str(), listed(&p.right), listed(&p.wrong)));
        let mut all = rows.fold(table, Table::row).render()?;
        if !self.left_out.is_empty() {
            let title = match self.left_out.len() {
                1 => "1 prompt was left out".to_string(),
                several => format!("{several} prompts were left out"),
            };
            let table = Table::new(["row", "prompt", "why"]).title(title).max_rows(10);
            let rows = self.left_out.iter().map(|left| (left.row.as_str(), left.prompt.as_str(), left.why.as_str()));
            all.append(&rows.fold(table, Table::row).render()?);
        }
        Ok(all)
    }
}

impl View for VerbList {
    fn render(&self) -> Result<Rendered> {
        let left_out: Vec<String> = self.left_out.iter().map(|(verb, _)| verb.clone()).collect();
        Table::new(["verbs", "count", ""])
            .row(("singular", self.singular.len(), listed(&self.singular)))
            .row(("plural", self.plural.len(), listed(&self.plural)))
            .row(("left out", left_out.len(), listed(&left_out)))
            .note(&self.source)
            .render()
    }
}

impl View for TaskBatch {
    fn render(&self) -> Result<Rendered> {
        let table = Table::new(["", ""])
            .title(format!("{} prompts of {}", self.prompts.len(), self.task))
            .row(("metric", self.metric.name()))
            .row(("groups", self.groups.iter().max().map_or(0, |last| last + 1)))
            .row(("tokens of clean and corrupted", format!("{} and {}", self.clean.pos(), self.corrupted.pos())));
        let places = self.positions.iter();
        places.fold(table, |table, (name, at)| table.row((format!("position {name:?}"), spread(at)))).render()
    }
}

/// `3` where all are the same, else the smallest and the largest.
fn spread(positions: &[usize]) -> String {
    let (least, most) = (positions.iter().min().copied().unwrap_or(0), positions.iter().max().copied().unwrap_or(0));
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}

shown!(TaskDataset, TaskBatch, VerbList);
