//! Data sets that others wrote, read as they are: the CSV files that go with "Have Faith in Faithfulness" (Hanna et al.
//! 2024, <https://arxiv.org/abs/2403.17806>), those of `datasets/`, and circuit-finder's JSON of prompts.
//!
//! A row that is not understood is an error that says where it is; nothing is skipped.

mod csv;
mod json;
mod list;
mod rows;
mod verb_list;

use std::path::Path;

use super::{Task, TaskDataset};
use crate::error::{Error, Result};

pub use verb_list::VerbList;

/// Larger files than this are not data sets of prompts.
const MOST_BYTES: u64 = 256 << 20;

impl TaskDataset {
    /// Reads a file of a task: `.csv` with a header line, or `.json` in circuit-finder's form.
    ///
    /// Columns that a task needs, by name; others are ignored. Ids are GPT-2's and need not be there: the answers
    /// are the texts, and where a column of ids says otherwise for GPT-2's tokenizer, [`TaskDataset::batches`] refuses
    /// it. Verbs are this crate's own, unless [`TaskDataset::with_verbs`] gives others.
    ///
    /// | task | columns |
    /// |---|---|
    /// | ioi | clean, corrupted, corrupted_hard, where the prompts differ in the two names; or correct, incorrect. `correct_idx`, `incorrect_idx` |
    /// | greater_than | clean, corrupted, correct_idx: the two-digit year |
    /// | gender_bias | clean, corrupted; clean_answer, corrupted_answer, or `.._idx` with 673 (" she") and 339 (" he") |
    /// | capital_country | clean, corrupted, country, corrupted_country; `country_idx`, `corrupted_country_idx` |
    /// | sva | clean, corrupted, plural: 1 where the clean subject is in the plural |
    /// | hypernymy | clean, corrupted, answers, corrupted_answers: lists; `.._idx`, `prob_diff` |
    ///
    /// # Errors
    /// [`Error::File`] with line and column: a missing column, a row of another length, a field that is not what its
    /// column says.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let path = std::env::temp_dir().join("years.csv");
    /// std::fs::write(&path, "clean,corrupted,correct_idx\nFrom 1741 to 17,From 1701 to 17,41\n")?;
    /// let years = TaskDataset::read(Task::GreaterThan, &path)?;
    /// assert_eq!(years.prompts[0].right[0], "42");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read(task: Task, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = text_of(path)?;
        let parsed = match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => csv::parse(&text).and_then(|table| rows::prompts(task, &table)),
            Some("json") => json::prompts(task, &text),
            _ => Err("its name ends in neither .csv nor .json: give it the ending of its format.".into()),
        };
        let prompts = parsed.map_err(|sentence| Error::file(path, sentence))?;
        if prompts.is_empty() {
            return Err(Error::file(path, "it has no prompts: give a file with at least one."));
        }
        Ok(Self::of(task, path.display().to_string(), prompts))
    }
}

/// The text of a file, without a byte order mark.
fn text_of(path: &Path) -> Result<String> {
    let unreadable = |error| Error::file(path, format!("it cannot be read: {error}."));
    if std::fs::metadata(path).map_err(unreadable)?.len() > MOST_BYTES {
        return Err(Error::file(path, "it is larger than 256 MB, which no file of prompts is: check the path."));
    }
    let text = String::from_utf8(std::fs::read(path).map_err(unreadable)?)
        .map_err(|_| Error::file(path, "it is not text in UTF-8: save it as UTF-8, or give another file."))?;
    Ok(text.trim_start_matches('\u{feff}').into())
}
