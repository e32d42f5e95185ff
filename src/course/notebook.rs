//! Notebooks made of a section: for students with empty functions, and with the references, for tests.

use std::cmp::Ordering;
use std::fmt;

use serde_json::{Value, json};

use super::exercise::About;
use crate::files::VERSION;
use crate::progress::say;

/// A section of the course.
#[derive(Clone, Debug)]
pub struct Section {
    /// The notebook's file name without its ending.
    pub file: &'static str,
    /// What is in it, in order.
    pub parts: Vec<Part>,
}

/// A piece of a section.
#[derive(Clone, Debug)]
pub enum Part {
    /// Markdown.
    Text(&'static str),
    /// A cell to run as it is.
    Code(&'static str),
    /// A function to write, and the check of it.
    Exercise(&'static About),
}

/// Whose notebook it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// Functions are empty.
    Students,
    /// Functions are the references, and every check must pass.
    Tests,
}

impl Section {
    /// Its exercises.
    pub fn exercises(&self) -> Vec<&'static About> {
        let exercise = |part: &Part| match part {
            Part::Exercise(about) => Some(*about),
            Part::Text(_) | Part::Code(_) => None,
        };
        self.parts.iter().filter_map(exercise).collect()
    }

    /// The notebook, without outputs.
    pub fn notebook(&self, whose: For) -> Value {
        let first = format!(
            ":dep candle-lens = {{ path = \"../..\" }}\nuse candle_lens::prelude::*;\nuse candle_lens::course::*;\n\
             made_for_version(\"{VERSION}\");"
        );
        let mut cells = vec![code(&first, json!({}))];
        let has_checks = !self.exercises().is_empty();
        for part in &self.parts {
            match part {
                Part::Text(text) => {
                    let is_first = cells.len() == 1;
                    cells.push(markdown(text));
                    if is_first && has_checks {
                        cells.push(markdown(BEFORE_A_CHECK));
                    }
                }
                Part::Code(source) => cells.push(code(source, json!({}))),
                Part::Exercise(about) => cells.extend(exercise(about, whose)),
            }
        }
        // Numbered ids: the same section gives the same file.
        for (number, cell) in cells.iter_mut().enumerate() {
            cell["id"] = format!("cell-{number:02}").into();
        }
        json!({
            "cells": cells,
            "metadata": {
                "kernelspec": { "display_name": "Rust (candle-lens)", "language": "rust", "name": "candle-lens" },
                "language_info": {
                    "codemirror_mode": "rust", "file_extension": ".rs", "mimetype": "text/rust", "name": "Rust",
                    "pygment_lexer": "rust", "version": "",
                },
            },
            "nbformat": 4,
            "nbformat_minor": 5,
        })
    }
}

/// In the head of every notebook with exercises: a kernel keeps what compiled last, and a check cannot tell it from what stands in the cell.
const BEFORE_A_CHECK: &str = "**Before a check, run the cell above it, and see that it compiles.** A cell that does not compile changes nothing: the check then judges the version of your function that compiled last. If there is none, it finds a function of the library that has the same name, if there is one, and says so or complains of its arguments.";

/// Says so, in one line that stops nothing, if a notebook was made for another version of the course than this one. Each notebook's first
/// cell calls it.
pub fn made_for_version(version: &str) {
    let numbers = |version: &str| version.split('.').map(|part| part.parse().unwrap_or(0)).collect::<Vec<u64>>();
    let (age, advice) = match numbers(version).cmp(&numbers(VERSION)) {
        Ordering::Equal => return,
        Ordering::Less => ("older", "`cargo lab course reset` gives you the new one and keeps a copy of yours"),
        Ordering::Greater => ("newer", "update the library"),
    };
    say(&format!(
        "this notebook was made for {age} exercises, of version {version}; the library has those of {VERSION}. Where a check \
         does not fit its task, {advice}."
    ));
}

fn exercise(about: &About, whose: For) -> Vec<Value> {
    let check = format!("ex::{name}().check({name})", name = about.name);
    let (function, check, expects) = match whose {
        For::Students => (about.stub(), check, "not written yet"),
        For::Tests => {
            (about.solution().to_string(), format!("let verdict = {check};\nverdict.expect()?;\nverdict"), "✓")
        }
    };
    let id = format!("exercise-{}", about.id);
    let graded = json!({ "grade": false, "grade_id": id, "locked": false, "schema_version": 3, "solution": true, "task": false });
    let metadata = json!({ "nbgrader": graded, "candle_lens": { "exercise": about.id } });
    vec![
        markdown(&format!("### {} · `{}`\n\n{}", about.id, about.name, about.task.trim())),
        code(&function, metadata),
        code(&check, json!({ "candle_lens": { "expects": [about.id, expects] } })),
    ]
}

fn markdown(text: &str) -> Value {
    json!({ "cell_type": "markdown", "id": "", "metadata": {}, "source": lines(text.trim()) })
}

fn code(source: &str, metadata: Value) -> Value {
    json!({ "cell_type": "code", "execution_count": null, "id": "", "metadata": metadata, "outputs": [], "source": lines(source.trim()) })
}

/// As Jupyter keeps text: a list of lines with their ends.
fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.exercises().iter().map(|about| about.name).collect();
        write!(f, "{}: {}", self.file, names.join(", "))
    }
}
