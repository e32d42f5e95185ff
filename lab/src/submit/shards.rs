//! The folder of a piece of work: what became of each shard.

use super::work::Work;
use crate::steps::{self, open_lock};
use crate::trouble::Trouble;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

/// The folder, which `cargo lab submit` made.
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
}

/// What became of a shard.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// It was computed, in this time.
    Done(String),
    /// It failed, for this reason.
    Failed(String),
    /// A process of this machine, or of one with a common file system that knows locks, is computing it.
    Running,
    /// It began, and nothing says how it ended: it was killed, or runs where locks are not known.
    Stopped,
    /// It did not begin.
    Missing,
}

/// How often, and how long after another, a lock is tried.
const TRIES: usize = 10;
const WAIT: std::time::Duration = std::time::Duration::from_millis(50);

const WORK: &str = "submit.json";
const JOB: &str = "job.txt";

impl Folder {
    /// The folder for this work, made where it is not there.
    ///
    /// # Errors
    /// A folder of other work.
    pub fn begin(path: &Path, work: &Work) -> Result<Self, Trouble> {
        let folder = Self { path: path.into() };
        for part in
            [folder.results(), folder.path.join("logs"), folder.path.join("shards"), folder.path.join("executed")]
        {
            steps::make_folder(&part)?;
        }
        if folder.path.join(WORK).exists() {
            let before = folder.work()?;
            let same = Work { digest: before.digest.clone(), timeout: before.timeout, ..work.clone() } == before;
            let begun = (1..=before.shards).any(|number| folder.state(number) != State::Missing);
            if !same {
                return Err(Trouble::new(
                    format!("{} holds the shards of other work: `{}`.", path.display(), before.command(path)),
                    "Give this work a folder of its own with --out, or remove that one.",
                ));
            }
            if begun && before.digest != work.digest {
                return Err(Trouble::new(
                    format!("The notebook or program has changed since shards in {} were computed.", path.display()),
                    "Parts of different work cannot be joined: give it a new folder with --out, or remove that one to compute \
                     all shards again.",
                ));
            }
        }
        steps::write(&folder.path.join(WORK), &format!("{:#}\n", work.to_json()))?;
        Ok(folder)
    }

    /// A folder that is there.
    ///
    /// # Errors
    /// A folder that `cargo lab submit` did not make.
    pub fn open(path: &Path) -> Result<Self, Trouble> {
        let path = std::path::absolute(path).map_err(|source| Trouble::file("Finding", path, &source))?;
        let folder = Self { path };
        folder.work()?;
        Ok(folder)
    }

    /// The work that it is for.
    ///
    /// # Errors
    /// A folder that `cargo lab submit` did not make.
    pub fn work(&self) -> Result<Work, Trouble> {
        let text = fs::read_to_string(self.path.join(WORK)).unwrap_or_default();
        serde_json::from_str(&text).ok().and_then(|value| Work::of_json(&value)).ok_or_else(|| {
            Trouble::new(
                format!("{} is not a folder of shards: it has no {WORK} that can be read.", self.path.display()),
                "Name the folder that `cargo lab submit` made, such as NOTEBOOK-shards.",
            )
        })
    }

    /// Where the work saves.
    pub fn results(&self) -> PathBuf {
        self.path.join("results")
    }

    /// What a shard printed.
    pub fn log(&self, number: usize) -> PathBuf {
        self.path.join("logs").join(format!("{number}.log"))
    }

    /// The executed notebook of a shard.
    pub fn executed(&self, number: usize) -> PathBuf {
        self.path.join("executed").join(format!("{number}.ipynb"))
    }

    fn stamp(&self, number: usize, kind: &str) -> PathBuf {
        self.path.join("shards").join(format!("{number}.{kind}"))
    }

    /// What became of a shard.
    pub fn state(&self, number: usize) -> State {
        let read = |kind| fs::read_to_string(self.stamp(number, kind)).ok();
        // Whoever holds a shard has removed the stamp of a failure, and a stamp is there before the shard is let go.
        if let Some(took) = read("done") {
            return State::Done(took);
        }
        if let Some(why) = read("failed") {
            return State::Failed(why);
        }
        let lock = self.stamp(number, "lock");
        match lock.exists().then(|| open_lock(&lock)) {
            None => State::Missing,
            Some(Ok(file)) if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) => State::Running,
            Some(_) => State::Stopped,
        }
    }

    /// Holds a shard for this process until the file is dropped; none where another process has it.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn hold(&self, number: usize) -> Result<Option<File>, Trouble> {
        let path = self.stamp(number, "lock");
        let file = open_lock(&path)?;
        let mut locked = file.try_lock();
        // A process that is just being started here has the locks of this one for an instant.
        for _ in 0..TRIES {
            if !matches!(locked, Err(TryLockError::WouldBlock)) {
                break;
            }
            std::thread::sleep(WAIT);
            locked = file.try_lock();
        }
        match locked {
            Ok(()) => {
                let _ = fs::remove_file(self.stamp(number, "failed"));
                Ok(Some(file))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            // A file system without locks: nothing keeps others away, which costs time but no results.
            Err(TryLockError::Error(_)) => Ok(Some(file)),
        }
    }

    /// Leaves the stamp of a shard that ended.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn end(&self, number: usize, state: &State) -> Result<(), Trouble> {
        match state {
            State::Done(took) => steps::write(&self.stamp(number, "done"), took),
            State::Failed(why) => steps::write(&self.stamp(number, "failed"), why),
            State::Running | State::Stopped | State::Missing => Ok(()),
        }
    }

    /// The last job of Slurm.
    pub fn job(&self) -> Option<String> {
        fs::read_to_string(self.path.join(JOB)).ok().map(|id| id.trim().to_string()).filter(|id| !id.is_empty())
    }

    /// Remembers the job of Slurm.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn keep_job(&self, id: &str) -> Result<(), Trouble> {
        steps::write(&self.path.join(JOB), id)
    }
}
