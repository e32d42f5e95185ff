//! Where a student stands: the journal, counted.

use super::exercise::About;
use super::journal::{self, Entry, What};
use super::sections::sections;

/// What became of one exercise.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    /// Checks of a function that was written.
    pub tries: usize,
    pub hints: usize,
    /// When it was first passed.
    pub passed: Option<String>,
    /// Whether anything was done at all.
    pub begun: bool,
}

impl Tally {
    /// Of the exercise of this id.
    pub(super) fn of(id: &str) -> Self {
        Self::count(&journal::entries(), id)
    }

    fn count(entries: &[Entry], id: &str) -> Self {
        let mut tally = Self::default();
        for entry in entries.iter().filter(|entry| entry.exercise == id) {
            match entry.what {
                What::Hint => tally.hints += 1,
                What::NotWritten | What::Solution => {}
                What::Error | What::Panic | What::Wrong => tally.tries += 1,
                What::Passed => {
                    tally.tries += 1;
                    tally.passed.get_or_insert_with(|| entry.time.clone());
                }
            }
            tally.begun |= entry.what != What::NotWritten;
        }
        tally
    }
}

/// Where a student stands: which exercises are passed, after how many tries and hints, and which is next. It shows itself.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The exercises in order: the section's file, the exercise, and what became of it.
    pub(crate) rows: Vec<(&'static str, &'static About, Tally)>,
    /// The row of the exercise that is next.
    pub(crate) next: Option<usize>,
}

/// Where you stand in the course.
///
/// ```
/// use candle_lens::course::*;
/// let standing = progress();
/// assert!(standing.passed() <= standing.total());
/// ```
pub fn progress() -> Standing {
    let entries = journal::entries();
    let mut rows = Vec::new();
    for section in sections() {
        let all = section.exercises();
        rows.extend(all.into_iter().map(|about| (section.file, about, Tally::count(&entries, about.id))));
    }
    let known = |entry: &Entry| rows.iter().position(|(_, about, _)| about.id == entry.exercise);
    let last = entries.iter().rev().filter(|entry| entry.what != What::NotWritten).find_map(known).unwrap_or(0);
    let next = (0..rows.len()).map(|step| (last + step) % rows.len()).find(|row| rows[*row].2.passed.is_none());
    Standing { rows, next }
}

impl Standing {
    /// How many exercises are passed.
    pub fn passed(&self) -> usize {
        self.rows.iter().filter(|(_, _, tally)| tally.passed.is_some()).count()
    }

    /// How many exercises there are.
    pub fn total(&self) -> usize {
        self.rows.len()
    }

    /// The exercise that is next, if any is left: from the last one that was tried on, the first that is not passed.
    pub fn next(&self) -> Option<&'static About> {
        self.next.map(|row| self.rows[row].1)
    }
}
