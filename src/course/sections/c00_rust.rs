//! C00: the Rust that the course needs, as the page of the guide has it, whose examples are run with the documentation.

use crate::course::notebook::{Part, Section};

const PAGE: &str = include_str!("../../guide/rust_for_the_course.md");

pub(super) fn section() -> Section {
    let piece = |(number, piece): (usize, &'static str)| match number % 2 {
        0 => Part::Text(piece),
        _ => Part::Code(shown(piece)),
    };
    Section {
        file: "c00_rust",
        parts: PAGE.split("```\n").enumerate().map(piece).filter(|part| !is_empty(part)).collect(),
    }
}

/// An example without the lines that the documentation hides: its first and its last ones.
fn shown(example: &'static str) -> &'static str {
    let lines = example.split_once('\n').map_or(example, |(_, rest)| rest);
    lines.split_once("\n# ").map_or(lines, |(shown, _)| shown)
}

/// The text between two examples in a row, and behind the last.
fn is_empty(part: &Part) -> bool {
    matches!(part, Part::Text(text) if text.trim().is_empty())
}
