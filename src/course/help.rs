//! Hints and solutions: what the course tells on request, and when.

use std::fmt;

use super::exercise::About;
use super::journal::{self, What};
use super::mode::{Mode, mode};
use super::standing::Tally;

/// A solution opens after so many tries.
pub(super) const TRIES: usize = 3;

/// A hint, a solution, or why there is none; it shows itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Help {
    text: String,
}

impl Help {
    fn new(about: &About, text: &str) -> Self {
        Self { text: format!("{} {}{text}", about.id, about.name) }
    }

    /// The next hint, which is counted.
    pub(super) fn hint(about: &About) -> Self {
        if mode() == Mode::Exam {
            return Self::new(about, ": there are no hints in an exam.");
        }
        let seen = Tally::of(about.id).hints;
        journal::record(about.id, What::Hint, None);
        let (count, number) = (about.hints.len(), (seen + 1).min(about.hints.len()));
        let last = if seen >= count { ", the last" } else { "" };
        let hint = number.checked_sub(1).map_or("there is none.", |at| about.hints[at]);
        Self::new(about, &format!(", hint {number} of {count}{last}: {hint}"))
    }

    /// The reference, if it may be read.
    pub(super) fn solution(about: &About) -> Self {
        let tally = Tally::of(about.id);
        let closed = match mode() {
            Mode::Exam => Some("there are no solutions in an exam.".to_string()),
            _ if tally.passed.is_some() => None,
            Mode::Locked => Some("its solution opens after a pass.".to_string()),
            Mode::Open if tally.tries >= TRIES => None,
            Mode::Open => {
                Some(format!("its solution opens after a pass or {TRIES} tries. So far there were {}.", tally.tries))
            }
        };
        if let Some(why) = closed {
            return Self::new(about, &format!(": {why}"));
        }
        journal::record(about.id, What::Solution, None);
        Self::new(about, &format!("\n\n{}", about.solution()))
    }
}

impl fmt::Display for Help {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
