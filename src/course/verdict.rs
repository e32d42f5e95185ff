//! What is said of a student's function.

use std::fmt;

use super::exercise::About;
use super::help::TRIES;
use super::journal::{self, What};
use super::meaning::meaning;
use super::mode::{Mode, mode};
use super::standing::Tally;
use crate::error::{Error, Result};
use crate::visible::visible;

/// How a function did.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is right; with a remark where the answer is another than the reference's and as good.
    Passed {
        /// The remark.
        note: Option<String>,
    },
    /// It is still `todo!()`.
    NotWritten,
    /// It returned an error.
    Failed(String),
    /// It panicked.
    Panicked(String),
    /// It is a function of the library of this name, so that the student's own does not exist yet. It does not count as a try.
    NotYours(String),
    /// The exercise's own inputs or reference failed, which says nothing of the function and does not count as a try.
    Broken(String),
    /// It returned something else than was wanted.
    Wrong {
        /// What differs.
        what: String,
        /// Which of the exercise's wrong answers it is, counted from 0, and what that mistake is. Behind these are counted the mistakes that any
        /// exercise may meet.
        likely: Option<(usize, String)>,
    },
}

impl Outcome {
    /// Whether it was passed, and no more.
    fn of_an_exam(self) -> Self {
        match self {
            Self::Passed { .. } => Self::Passed { note: None },
            Self::NotWritten | Self::NotYours(_) | Self::Broken(_) => self,
            Self::Failed(_) | Self::Panicked(_) | Self::Wrong { .. } => {
                Self::Wrong { what: "not passed.".into(), likely: None }
            }
        }
    }

    /// What an error of candle means; the exercise's first hint where nothing better is known.
    fn advice(&self, about: &About) -> Option<String> {
        let hint = || about.hints.first().map(|hint| format!("Hint: {hint}"));
        match self {
            Self::Failed(error) | Self::Panicked(error) => {
                meaning(error).map(|meaning| format!("It means: {meaning}")).or_else(hint)
            }
            Self::Wrong { likely: None, .. } => hint(),
            Self::Passed { .. } | Self::NotWritten | Self::NotYours(_) | Self::Broken(_) => None,
            Self::Wrong { likely: Some(_), .. } => None,
        }
    }

    /// As the journal has it, with the recognised mistake; nothing if it says nothing of the function.
    fn noted(&self) -> Option<(What, Option<(usize, String)>)> {
        Some(match self {
            Self::Passed { .. } => (What::Passed, None),
            Self::NotWritten => (What::NotWritten, None),
            Self::Failed(_) => (What::Error, None),
            Self::Panicked(_) => (What::Panic, None),
            Self::NotYours(_) | Self::Broken(_) => return None,
            Self::Wrong { likely, .. } => (What::Wrong, likely.clone()),
        })
    }
}

/// What a check says. It shows itself, begins with `candle-lens ✓` or `candle-lens ✗`, and is not an error.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    id: String,
    name: String,
    outcome: Outcome,
    /// What an error of candle means, or what to look at where no mistake was recognised.
    advice: Option<String>,
    /// Whether this was a try after which the solution may be read.
    opens: bool,
}

impl Verdict {
    /// The verdict, which is noted in the journal.
    pub(super) fn new(about: &About, outcome: Outcome) -> Self {
        let mode = mode();
        let noted = outcome.noted();
        let failed = !matches!(noted, None | Some((What::Passed | What::NotWritten, _)));
        if let Some((what, mistake)) = noted {
            journal::record(about.id, what, mistake);
        }
        let outcome = if mode == Mode::Exam { outcome.of_an_exam() } else { outcome };
        let advice = if mode == Mode::Exam { None } else { outcome.advice(about) };
        let opens = failed && mode == Mode::Open && Tally::of(about.id).tries >= TRIES;
        Self { id: about.id.into(), name: about.name.into(), outcome, advice, opens }
    }

    /// Whether the function is right.
    pub fn passed(&self) -> bool {
        matches!(self.outcome, Outcome::Passed { .. })
    }

    /// How it did.
    pub fn outcome(&self) -> Outcome {
        self.outcome.clone()
    }

    /// Fails where the function is not right; for notebooks that must pass.
    ///
    /// # Errors
    /// [`Error::Argument`] with what the verdict says.
    pub fn expect(&self) -> Result<()> {
        match self.passed() {
            true => Ok(()),
            false => Err(Error::argument(self.to_string())),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.passed() { '✓' } else { '✗' };
        write!(f, "candle-lens {mark} {} {}", self.id, self.name)?;
        match &self.outcome {
            Outcome::Passed { note: None } => {}
            Outcome::Passed { note: Some(note) } => write!(f, "\n{note}")?,
            Outcome::NotWritten => {
                f.write_str(": not written yet. Replace todo!(), in the cell above or in a function that it calls, and run the cells again.")?
            }
            Outcome::NotYours(function) => write!(
                f,
                ": that is the library's own {}, and yours does not exist yet, or its cell did not compile. Mend that cell, run it, and check again.",
                visible(function)
            )?,
            Outcome::Broken(error) => {
                write!(f, ": the exercise itself failed, which is not your function's fault.\n{}", visible(error))?
            }
            Outcome::Failed(error) => write!(f, ": it returned an error.\n{}", visible(error))?,
            Outcome::Panicked(message) => write!(f, ": it panicked.\n{}", visible(message))?,
            Outcome::Wrong { what, likely } => {
                write!(f, ": {what}")?;
                if let Some((_, mistake)) = likely {
                    write!(f, "\nLikely: {mistake}")?;
                }
            }
        }
        if let Some(advice) = &self.advice {
            write!(f, "\n{advice}")?;
        }
        if self.opens {
            write!(f, "\nAfter {TRIES} tries you may read ex::{}().solution().", self.name)?;
        }
        Ok(())
    }
}
