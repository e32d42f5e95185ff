//! The piece of work that is computed in shards, as its folder remembers it.

use super::options::Submit;
use crate::notebook::Notebook;
use crate::process::{self, command};
use crate::steps::digest;
use crate::trouble::Trouble;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is executed for each shard.
#[derive(Clone, Debug, PartialEq)]
pub enum Unit {
    /// A notebook, by `cargo lab run`.
    Notebook(PathBuf),
    /// A program with its arguments.
    Program(Vec<String>),
}

/// A unit of work and how many shards it is computed in.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// What is executed.
    pub unit: Unit,
    /// How many shards there are.
    pub shards: usize,
    /// By which a change of it is recognised.
    pub digest: String,
    /// Seconds that a cell may take.
    pub timeout: u64,
}

impl Work {
    /// What is asked for.
    ///
    /// # Errors
    /// A notebook that cannot be read.
    pub fn of(wanted: &Submit) -> Result<Self, Trouble> {
        let absolute =
            |path: &Path| std::path::absolute(path).map_err(|source| Trouble::file("Finding", path, &source));
        let (unit, content) = match &wanted.notebook {
            Some(path) => {
                let code: Vec<String> =
                    Notebook::read(path)?.code_cells().into_iter().map(|cell| cell.source).collect();
                (Unit::Notebook(absolute(path)?), code.join("\n\n").into_bytes())
            }
            None => {
                let mut words = wanted.program.clone();
                let mut content = words.join("\n").into_bytes();
                // Tasks may begin in another folder.
                if let Some(first) = words.first_mut().filter(|first| first.contains('/')) {
                    *first = absolute(Path::new(first))?.display().to_string();
                    content.extend(std::fs::read(&*first).unwrap_or_default());
                }
                (Unit::Program(words), content)
            }
        };
        Ok(Self { unit, shards: wanted.shards, digest: digest(&content), timeout: wanted.timeout })
    }

    /// As the folder keeps it.
    pub fn to_json(&self) -> Value {
        let mut value = json!({ "shards": self.shards, "digest": self.digest, "timeout": self.timeout });
        match &self.unit {
            Unit::Notebook(path) => value["notebook"] = json!(path.display().to_string()),
            Unit::Program(words) => value["program"] = json!(words),
        }
        value
    }

    /// What [`Work::to_json`] made.
    pub fn of_json(value: &Value) -> Option<Self> {
        let unit = match (value["notebook"].as_str(), value["program"].as_array()) {
            (Some(path), _) => Unit::Notebook(path.into()),
            (None, Some(words)) => {
                Unit::Program(words.iter().map(|word| word.as_str().map(String::from)).collect::<Option<_>>()?)
            }
            (None, None) => return None,
        };
        let shards = usize::try_from(value["shards"].as_u64()?).ok().filter(|shards| *shards > 0)?;
        Some(Self { unit, shards, digest: value["digest"].as_str()?.into(), timeout: value["timeout"].as_u64()? })
    }

    /// The command that computes a shard; `executed` is where an executed notebook goes.
    ///
    /// # Errors
    /// This program has no name.
    pub fn process(&self, executed: &Path) -> Result<Command, Trouble> {
        Ok(match &self.unit {
            Unit::Notebook(path) => {
                let own = std::env::current_exe()
                    .map_err(|source| Trouble::file("Finding", Path::new("the launcher"), &source))?;
                let mut run = command(own);
                run.arg("run").arg("--no-html").arg("--to").arg(executed);
                run.arg("--timeout").arg(self.timeout.to_string()).arg(path);
                run
            }
            Unit::Program(words) => {
                let mut program = command(&words[0]);
                program.args(&words[1..]);
                program
            }
        })
    }

    /// What it is called, for a queue.
    pub fn name(&self) -> String {
        let path = match &self.unit {
            Unit::Notebook(path) => path.clone(),
            Unit::Program(words) => PathBuf::from(&words[0]),
        };
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        stem.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
    }

    /// The command line that submits it again.
    pub fn command(&self, folder: &Path) -> String {
        let (shards, out) = (self.shards, process::quoted(folder));
        match &self.unit {
            Unit::Notebook(path) => {
                format!("cargo lab submit {} --shards {shards} --out {out}", process::quoted(path))
            }
            Unit::Program(words) => {
                let words: Vec<String> = words.iter().map(|word| process::quoted(Path::new(word))).collect();
                format!("cargo lab submit --shards {shards} --out {out} -- {}", words.join(" "))
            }
        }
    }
}
