//! What was tried, as lines of a file beside the notebooks: one for each check, each hint and each solution that was read.
//!
//! Lines are only ever added, each with one write, so that two kernels may write to one file and a killed one damages at most its
//! own line. A kernel's launcher names the file; without one, as in tests, all of it is kept in memory.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::files;
use crate::progress::say;

/// The variable that names the file; empty means none.
const VARIABLE: &str = "CANDLE_LENS_COURSE_PROGRESS";

/// How much of a file is read: some hundred thousand lines.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    Passed,
    NotWritten,
    Error,
    Panic,
    Wrong,
    Hint,
    Solution,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub time: String,
    pub exercise: String,
    pub what: What,
    /// Which of the exercise's wrong answers it was, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mistake: Option<usize>,
    /// What that mistake is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likely: Option<String>,
    /// How many hints had been seen.
    pub hints: usize,
    /// The version of this crate.
    pub version: String,
    pub process: u32,
}

/// What could not be written, or was not to be.
static IN_MEMORY: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

fn in_memory() -> MutexGuard<'static, Vec<Entry>> {
    IN_MEMORY.lock().unwrap_or_else(PoisonError::into_inner)
}

fn file() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// All that is known, in order; lines that are not entries are left out.
pub(super) fn entries() -> Vec<Entry> {
    let text = file().map(|path| read(&path)).unwrap_or_default();
    let mut entries: Vec<Entry> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    entries.extend(in_memory().iter().cloned());
    entries
}

/// Adds a line. One that cannot be written is kept in memory, and costs one sentence.
pub(super) fn record(exercise: &str, what: What, mistake: Option<(usize, String)>) {
    let hints = entries().iter().filter(|entry| entry.exercise == exercise && entry.what == What::Hint).count();
    let (mistake, likely) = mistake.unzip();
    let entry = Entry {
        time: files::now(),
        exercise: exercise.into(),
        what,
        mistake,
        likely,
        hints,
        version: files::VERSION.into(),
        process: std::process::id(),
    };
    let Some(path) = file() else { return in_memory().push(entry) };
    if let Err(error) = append(&path, &entry) {
        static SAID: AtomicBool = AtomicBool::new(false);
        if !SAID.swap(true, Ordering::Relaxed) {
            let path = path.display();
            say(&format!(
                "your progress cannot be written to {path} ({error}): it is kept only until this kernel ends."
            ));
        }
        in_memory().push(entry);
    }
}

fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    if is_file(path).is_ok() {
        // What cannot be read now can be none of the progress that is shown.
        let _ = fs::File::open(path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A pipe would be waited for.
fn is_file(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(data) if !data.is_file() => Err(io::Error::other("it is not a file")),
        _ => Ok(()),
    }
}

fn append(path: &Path, entry: &Entry) -> io::Result<()> {
    is_file(path)?;
    let text = read(path);
    // The last line of a kernel that was killed may have no end.
    let begin = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let line = format!("{begin}{}\n", serde_json::to_string(entry)?);
    OpenOptions::new().create(true).append(true).open(path)?.write_all(line.as_bytes())
}
