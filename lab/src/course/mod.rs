//! `cargo lab course`: where students stand, their notebooks given back, graded and watched.

mod grade;
mod journal;
mod kernel;
mod marks;
mod reset;
mod sandbox;
mod status;
mod trial;
mod watch;

pub use trial::trial;

use crate::places::Places;
use crate::trouble::Trouble;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is asked of the course.
#[derive(Debug, PartialEq)]
pub enum Wanted {
    /// Where a student stands.
    Status {
        /// The folder of the notebooks, if not the clone's.
        folder: Option<PathBuf>,
    },
    /// A notebook as it was given out, or one exercise of it.
    Reset {
        /// The notebook: its file, or its section's name in the clone.
        notebook: PathBuf,
        /// The exercise; without one, all of the notebook.
        exercise: Option<String>,
    },
    /// Grade what students handed in.
    Grade(Grading),
    /// Show where a class stands, again and again.
    Watch {
        /// A folder with one for each student.
        folder: PathBuf,
        /// Show it once.
        once: bool,
    },
}

/// How submissions are graded.
#[derive(Clone, Debug, PartialEq)]
pub struct Grading {
    /// A folder with a folder or a notebook for each student.
    pub folder: PathBuf,
    /// Decides the inputs of the checks.
    pub seed: u64,
    /// Seconds that one cell may take.
    pub timeout: u64,
    /// Mebibytes that a process may allocate.
    pub memory: u64,
}

/// What a mistyped command line is answered with.
pub const VALID: &str = "Valid are: course status [FOLDER], course reset NOTEBOOK [EXERCISE], course grade FOLDER [--seed N] \
     [--timeout SECONDS] [--memory MEGABYTES], course watch FOLDER [--once].";

/// Understands the words after `cargo lab course`.
///
/// # Errors
/// An unknown or incomplete argument, with the valid ones named.
pub fn parse(words: &[&str]) -> Result<Wanted, Trouble> {
    match words {
        ["status"] => Ok(Wanted::Status { folder: None }),
        ["status", folder] if !folder.starts_with('-') => Ok(Wanted::Status { folder: Some(folder.into()) }),
        ["reset", notebook] => Ok(Wanted::Reset { notebook: notebook.into(), exercise: None }),
        ["reset", notebook, exercise] => {
            Ok(Wanted::Reset { notebook: notebook.into(), exercise: Some(exercise.to_string()) })
        }
        ["grade", folder, options @ ..] if !folder.starts_with('-') => parse_grading(folder, options),
        ["watch", folder] => Ok(Wanted::Watch { folder: folder.into(), once: false }),
        ["watch", folder, "--once"] => Ok(Wanted::Watch { folder: folder.into(), once: true }),
        words => Err(Trouble::new(format!("`cargo lab course` does not understand {:?}.", words.join(" ")), VALID)),
    }
}

fn parse_grading(folder: &str, options: &[&str]) -> Result<Wanted, Trouble> {
    let mut grading = Grading { folder: folder.into(), seed: 1, timeout: 60, memory: 8192 };
    for pair in options.chunks(2) {
        let number = pair.get(1).and_then(|text| text.parse().ok()).filter(|number| *number > 0);
        let field = match pair[0] {
            "--seed" => &mut grading.seed,
            "--timeout" => &mut grading.timeout,
            "--memory" => &mut grading.memory,
            unknown => {
                return Err(Trouble::new(format!("`cargo lab course grade` does not know {unknown:?}."), VALID));
            }
        };
        *field = number.ok_or_else(|| {
            Trouble::new(
                format!("{} needs a whole number, at least 1.", pair[0]),
                format!("Write e.g. {} 100.", pair[0]),
            )
        })?;
    }
    Ok(Wanted::Grade(grading))
}

/// Carries it out.
pub fn obey(places: &Places, wanted: &Wanted) -> Result<ExitCode, Trouble> {
    match wanted {
        Wanted::Status { folder } => {
            print!("{}", status::status(&folder.clone().unwrap_or_else(|| notebooks(places)))?);
        }
        Wanted::Reset { notebook, exercise } => reset::reset(places, notebook, exercise.as_deref())?,
        Wanted::Grade(grading) => drop(grade::grade(places, grading, &grading.folder)?),
        Wanted::Watch { folder, once } => watch::watch(folder, *once)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The clone's notebooks for students.
fn notebooks(places: &Places) -> PathBuf {
    places.root.join("notebooks/course")
}

/// What others wrote, safe to print: one line, without what a terminal obeys.
fn plain(text: &str) -> String {
    let is_hidden = |c: char| {
        c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if is_hidden(c) { '·' } else { c }).take(200).collect()
}

/// Rows in columns, the first one being their heads.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|text| text.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let padded = row.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_string() + "\n"
    };
    rows.iter().map(line).collect()
}

/// The name that a student's path gives: the first part below `folder`, without an ending.
fn student(folder: &Path, path: &Path) -> String {
    let below = path.strip_prefix(folder).unwrap_or(path);
    let first = below.components().next().map(|part| PathBuf::from(part.as_os_str())).unwrap_or_default();
    let name = if first == below { first.with_extension("") } else { first };
    plain(&name.to_string_lossy())
}

/// The files of a name or an ending below a folder, at most `depth` folders down; no hidden folders, no copies that `reset`
/// kept, and no links.
fn files(folder: &Path, depth: usize, is_wanted: &dyn Fn(&Path) -> bool) -> Result<Vec<PathBuf>, Trouble> {
    let entries = std::fs::read_dir(folder).map_err(|source| Trouble::file("Reading", folder, &source))?;
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        if kind.is_dir() && depth > 0 && !is_hidden && entry.file_name() != reset::KEPT {
            found.extend(files(&path, depth - 1, is_wanted).unwrap_or_default());
        } else if kind.is_file() && is_wanted(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_understood() {
        let words = |line: &'static str| parse(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(words("status").unwrap(), Wanted::Status { folder: None });
        let reset = Wanted::Reset { notebook: "c3_attention".into(), exercise: Some("1.2.b".into()) };
        assert_eq!(words("reset c3_attention 1.2.b").unwrap(), reset);
        let grading = Grading { folder: "in".into(), seed: 7, timeout: 60, memory: 4000 };
        assert_eq!(words("grade in --seed 7 --memory 4000").unwrap(), Wanted::Grade(grading));
        assert_eq!(words("watch in --once").unwrap(), Wanted::Watch { folder: "in".into(), once: true });
        for (line, wrong) in
            [("grade", "grade"), ("grade in --sed 7", "--sed"), ("grade in --seed", "--seed"), ("look", "look")]
        {
            let message = words(line).unwrap_err().to_string();
            assert!(message.contains(wrong), "{line}: {message}");
        }
    }

    #[test]
    fn what_others_wrote_is_made_plain() {
        assert_eq!(plain("Ada\u{1b}[2J\n\u{202e}x"), "Ada·[2J··x");
        assert_eq!(student(Path::new("/in"), Path::new("/in/ada/c3/c3.ipynb")), "ada");
        assert_eq!(student(Path::new("/in"), Path::new("/in/j.doe/progress.jsonl")), "j.doe");
        assert_eq!(student(Path::new("/in"), Path::new("/in/ada.ipynb")), "ada");
        assert_eq!(table(&[vec!["a".into(), "b".into()], vec!["long".into(), "c".into()]]), "a     b\nlong  c\n");
    }
}
