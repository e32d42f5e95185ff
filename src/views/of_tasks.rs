//! How the tasks show their prompts and papers: one as a table of its fields, several as one table with a row each.

use crate::error::Result;
use crate::labelled::Entry;
use crate::metrics::{Score, Scorecard, TaskBatch};
use crate::tasks::capital_country::CapitalCountryPrompt;
use crate::tasks::corpus::Sentence;
use crate::tasks::datasets::CsvFile;
use crate::tasks::gender_bias::GenderBiasPrompt;
use crate::tasks::greater_than::GreaterThanPrompt;
use crate::tasks::hypernymy::HypernymyPrompt;
use crate::tasks::ioi::IoiPrompt;
use crate::tasks::repeated::RepeatedTokens;
use crate::tasks::sva::SvaPrompt;
use crate::tasks::words::{Category, Profession, Verb};
use crate::tasks::{ExamPaper, LeftOut, Question, TaskDataset, TaskPrompt, VerbList};
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
    IoiPrompt |p| {
        "clean": &p.clean, "corrupted": &p.corrupted, "corrupted_hard": &p.corrupted_hard, "io": p.io, "s": p.s,
        "third": p.third, "order": format!("{:?}", p.order), "template": p.template,
        "positions": format!("io {}, s1 {}, s2 {}, end {}", p.positions.io, p.positions.s1, p.positions.s2, p.positions.end),
    }
    GreaterThanPrompt |p| {
        "clean": &p.clean, "corrupted": &p.corrupted, "year": p.year, "century": p.century, "noun": p.noun,
        "template": p.template,
    }
    GenderBiasPrompt |p| {
        "clean": &p.clean, "corrupted": &p.corrupted, "clean_answer": p.clean_answer,
        "corrupted_answer": p.corrupted_answer, "profession": p.profession.noun, "template": p.template,
    }
    CapitalCountryPrompt |p| {
        "clean": &p.clean, "capital": p.capital, "country": p.country, "corrupted": &p.corrupted,
        "corrupted_capital": p.corrupted_capital, "corrupted_country": p.corrupted_country, "template": p.template,
    }
    SvaPrompt |p| { "clean": &p.clean, "corrupted": &p.corrupted, "plural": p.plural, "template": p.template }
    HypernymyPrompt |p| {
        "clean": &p.clean, "member": p.member, "category": p.category.name, "corrupted": &p.corrupted,
        "corrupted_member": p.corrupted_member, "corrupted_category": p.corrupted_category.name,
        "template": p.template,
    }
    TaskPrompt |p| {
        "clean": &p.clean, "corrupted": &p.corrupted, "right": listed(&p.right), "wrong": listed(&p.wrong),
        "positions": p.positions.iter().map(|(name, at)| format!("{name} {at}")).collect::<Vec<_>>().join(", "),
        "row": &p.row,
    }
    LeftOut |left| { "row": &left.row, "prompt": &left.prompt, "why": &left.why }
    RepeatedTokens |row| { "period": row.period, "ids": format!("{:?}", row.ids) }
    Question |q| { "prompt": &q.prompt, "right": listed(&q.right), "wrong": listed(&q.wrong) }
    Sentence |s| { "prompt": &s.prompt, "answer": &s.answer, "rest": &s.rest }
    CsvFile |file| { "name": file.name, "lines": file.text.lines().count(), "begins": file.text.lines().next().unwrap_or("") }
    Category |c| { "name": c.name, "answers": c.answers.join(", "), "members": c.members.join(", ") }
    Profession |p| { "noun": p.noun, "she": p.she }
    Verb |v| { "singular": v.singular, "plural": v.plural, "rest": v.rest }
    Score |s| {
        "count": s.count, "accuracy": s.accuracy, "preference": s.preference, "logit_diff": s.logit_diff,
        "prob_diff": s.prob_diff,
    }
    Entry |e| { "index": format!("{:?}", e.index), "labels": e.labels.join(", "), "value": e.value }
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

impl View for ExamPaper {
    /// The first questions of the paper.
    fn render(&self) -> Result<Rendered> {
        let table = Table::new(["prompt", "right", "wrong"])
            .title(format!("{} ({}): {} questions", self.task, self.split, self.questions.len()))
            .max_rows(10);
        let rows = self.questions.iter().map(|q| (q.prompt.as_str(), listed(&q.right), listed(&q.wrong)));
        rows.fold(table, Table::row).render()
    }

    fn render_list(list: &[Self]) -> Result<Rendered> {
        let table = Table::new(["task", "split", "questions"]).title(format!("{} papers", list.len()));
        list.iter().fold(table, |table, p| table.row((p.task, p.split.to_string(), p.questions.len()))).render()
    }
}

impl View for Scorecard {
    fn render(&self) -> Result<Rendered> {
        let columns = ["task", "split", "accuracy", "preference", "prob_diff", "logit_diff"];
        let table = Table::new(columns).note(format!("repeated random tokens: accuracy {:.3}", self.repeated));
        let row = |table: Table, (task, split, s): &(&'static str, crate::tasks::Split, Score)| {
            table.row((*task, split.to_string(), s.accuracy, s.preference, s.prob_diff, s.logit_diff))
        };
        self.rows.iter().fold(table, row).render()
    }
}

shown!(ExamPaper, Scorecard, TaskDataset, TaskBatch, VerbList);
