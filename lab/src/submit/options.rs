//! What can be asked of `cargo lab submit` and `cargo lab gather`.

use crate::trouble::Trouble;
use std::path::{Path, PathBuf};

/// A piece of work, and how it is computed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Submit {
    /// The notebook, where it is one.
    pub notebook: Option<PathBuf>,
    /// The program and its arguments, where it is one.
    pub program: Vec<String>,
    /// How many shards there are.
    pub shards: usize,
    /// Where all that belongs to it goes, if not beside the notebook.
    pub out: Option<PathBuf>,
    /// Computed by so many processes of this machine at a time, instead of Slurm.
    pub local: Option<usize>,
    /// Seconds that a cell may take.
    pub timeout: u64,
    /// What Slurm is told, as options of sbatch.
    pub sbatch: Vec<String>,
}

const VALID: &str = "Write `cargo lab submit NOTEBOOK --shards 16`, or `cargo lab submit --shards 16 --out FOLDER -- PROGRAM ARGUMENTS`; \
                     --out FOLDER, --local PROCESSES, --timeout SECONDS, --partition P, --time T, --cpus N and --memory M are options.";

/// Understands the words behind `cargo lab submit`.
///
/// # Errors
/// An unknown or incomplete word, no work, no number of shards, a program without a folder.
pub fn parse(words: &[&str]) -> Result<Submit, Trouble> {
    let mut wanted = Submit { timeout: DAY, ..Submit::default() };
    let mut rest = words.iter();
    while let Some(&word) = rest.next() {
        let mut value = || rest.next().copied().ok_or_else(|| Trouble::new(format!("{word} needs a value."), VALID));
        let number = |text: &str| match text.parse::<usize>() {
            Ok(number @ 1..=MOST) => Ok(number),
            _ => Err(Trouble::new(format!("{word} needs a number from 1 to {MOST}, not {text:?}."), VALID)),
        };
        let sbatch = |option: &str, text: &str| match text.chars().all(is_plain) && !text.is_empty() {
            true => Ok(format!("--{option}={text}")),
            false => Err(Trouble::new(format!("{word} cannot be {text:?}."), VALID)),
        };
        match word {
            "--shards" => wanted.shards = number(value()?)?,
            "--local" => wanted.local = Some(number(value()?)?),
            "--timeout" => wanted.timeout = number(value()?)? as u64,
            "--out" => wanted.out = Some(value()?.into()),
            "--partition" => wanted.sbatch.push(sbatch("partition", value()?)?),
            "--time" => wanted.sbatch.push(sbatch("time", value()?)?),
            "--cpus" => wanted.sbatch.push(sbatch("cpus-per-task", &number(value()?)?.to_string())?),
            "--memory" => wanted.sbatch.push(sbatch("mem", value()?)?),
            "--" => {
                wanted.program = rest.by_ref().map(|word| word.to_string()).collect();
                if wanted.program.is_empty() {
                    return Err(Trouble::new("There is no program behind `--`.", VALID));
                }
            }
            option if option.starts_with('-') => {
                return Err(Trouble::new(format!("`cargo lab submit` does not know {option:?}."), VALID));
            }
            path if wanted.notebook.is_none() => wanted.notebook = Some(path.into()),
            path => return Err(Trouble::new(format!("{path:?} would be a second notebook."), VALID)),
        }
    }
    match (&wanted.notebook, wanted.program.is_empty(), wanted.shards) {
        (_, _, 0) => Err(Trouble::new("How many shards there are was not said.", VALID)),
        (None, true, _) => Err(Trouble::new("Neither a notebook nor a program was named.", VALID)),
        (Some(_), false, _) => Err(Trouble::new("A notebook and a program were both named.", VALID)),
        (None, false, _) if wanted.out.is_none() => Err(Trouble::new(
            "A program needs --out FOLDER: there is no notebook beside which its results could go.",
            VALID,
        )),
        _ => Ok(wanted),
    }
}

/// Understands the words behind `cargo lab gather`.
///
/// # Errors
/// Anything but one folder.
pub fn parse_gather(words: &[&str]) -> Result<PathBuf, Trouble> {
    match words {
        [folder] if !folder.starts_with('-') => Ok(folder.into()),
        _ => Err(Trouble::new(
            "`cargo lab gather` needs the folder of one piece of work.",
            "Write `cargo lab gather FOLDER` with what `cargo lab submit` said, such as NOTEBOOK-shards.",
        )),
    }
}

/// How long a cell may take by default, in seconds: shards are for long work, and Slurm has limits of its own.
const DAY: u64 = 86_400;

const MOST: usize = 1_000_000;

/// Whether a character of an option of sbatch needs no quotes.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.,:".contains(c)
}

impl Submit {
    /// The folder of the work: as given, or beside the notebook.
    ///
    /// # Errors
    /// The current folder is gone.
    pub fn folder(&self) -> Result<PathBuf, Trouble> {
        let folder = match (&self.out, &self.notebook) {
            (Some(out), _) => out.clone(),
            (None, notebook) => {
                let notebook = notebook.as_deref().unwrap_or(Path::new("work"));
                let stem = notebook.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                notebook.with_file_name(format!("{stem}-shards"))
            }
        };
        std::path::absolute(&folder).map_err(|source| Trouble::file("Finding", &folder, &source))
    }
}
