//! The folder of one model in the hub's cache, laid out as Python's `huggingface_hub` lays it out.
//!
//! `blobs/<etag>` are the files, `snapshots/<commit>/<name>` point to them, `refs/<revision>` names the commit, and
//! `.no_exist/<commit>/<name>` remembers what a commit does not have. A blob gets its name when it is whole, and a
//! revision when all that was asked for is there, so that nothing half fetched is ever taken for good.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::files;
use crate::progress::Progress;

/// How long to wait for another process that fetches the same file.
const PATIENCE: Duration = Duration::from_secs(600);

/// One model's folder.
pub(super) struct RepoCache {
    root: PathBuf,
    locks: PathBuf,
}

impl RepoCache {
    pub(super) fn new(cache: &Path, id: &str) -> Self {
        let name = format!("models--{}", id.replace('/', "--"));
        Self { root: cache.join(&name), locks: cache.join(".locks").join(name) }
    }

    /// The commit that a revision was when it was fetched; a commit is its own.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.into());
        }
        let text = fs::read_to_string(self.root.join("refs").join(revision)).ok()?;
        let commit = text.trim();
        is_commit(commit).then(|| commit.to_string())
    }

    /// The file of this name in a commit, if it is here.
    pub(super) fn file(&self, commit: &str, name: &str) -> Option<PathBuf> {
        let path = self.root.join("snapshots").join(commit).join(name);
        path.is_file().then_some(path)
    }

    /// Whether the hub has said that a commit has no such file.
    pub(super) fn is_absent(&self, commit: &str, name: &str) -> bool {
        self.root.join(".no_exist").join(commit).join(name).exists()
    }

    /// Remembers that a commit has no such file. A cache that cannot be written asks again next time.
    pub(super) fn set_absent(&self, commit: &str, name: &str) {
        let path = self.root.join(".no_exist").join(commit).join(name);
        let _ = path.parent().map(fs::create_dir_all);
        let _ = File::create(path);
    }

    /// Where the whole file of this etag is, or will be.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(etag)
    }

    /// Where the part of it is that has come.
    pub(super) fn part(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// Makes a blob appear under its name in a commit.
    ///
    /// # Errors
    /// [`Error::File`] when the folder does not take it.
    pub(super) fn link(&self, commit: &str, name: &str, etag: &str) -> Result<PathBuf> {
        let path = self.root.join("snapshots").join(commit).join(name);
        let blob = self.blob(etag);
        make_parent(&path)?;
        // From the file's folder up to the model's: one step for the commit, one for "snapshots", one for each folder.
        let up = "../".repeat(2 + name.matches('/').count());
        // A link that points to nothing is in the way of a new one.
        let _ = fs::remove_file(&path);
        let made = symlink(&PathBuf::from(format!("{up}blobs/{etag}")), &path);
        if made.is_ok() || path.is_file() {
            return Ok(path);
        }
        let mut whole = File::open(&blob).map_err(|error| unwritable(&blob, &error))?;
        files::write_whole(&path, |out| io::copy(&mut whole, out).map(drop))?;
        Ok(path)
    }

    /// Remembers which commit a revision is. This comes last, when everything of it is here.
    ///
    /// # Errors
    /// [`Error::File`] when the folder does not take it.
    pub(super) fn set_commit(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit || self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.root.join("refs").join(revision);
        make_parent(&path)?;
        files::write_whole(&path, |out| out.write_all(commit.as_bytes()))
    }

    /// Holds off other processes, Python's too, while one fetches this blob; dropping the file lets them on.
    ///
    /// # Errors
    /// [`Error::File`] when the folder cannot be written, or another process takes too long.
    pub(super) fn lock(&self, etag: &str) -> Result<File> {
        let path = self.locks.join(format!("{etag}.lock"));
        make_parent(&path)?;
        make_parent(&self.blob(etag))?;
        let file = File::create(&path).map_err(|error| unwritable(&path, &error))?;
        let _waiting = Progress::opaque("waiting for another process that fetches the same file");
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) if started.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::file(
                        path,
                        format!(
                            "is held by another process, which has been fetching the same file for {} minutes: wait \
                             for it, or end it.",
                            PATIENCE.as_secs() / 60
                        ),
                    ));
                }
                // Some file systems have no locks.
                Ok(()) | Err(TryLockError::Error(_)) => return Ok(file),
            }
        }
    }
}

/// Whether a text is a commit's name, of which nothing in a path has to be feared.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.chars().all(|c| c.is_ascii_hexdigit())
}

/// Whether a name can stand in a path below a folder and not lead out of it.
pub(in crate::storage) fn is_safe(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && !part.chars().any(|c| c.is_control() || "\\:*?\"<>|".contains(c))
    };
    name.len() < 300 && name.split('/').all(part)
}

fn make_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(folder) => fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error)),
        None => Ok(()),
    }
}

/// The sentence about a folder of the cache that does not take what is fetched.
pub(super) fn unwritable(path: &Path, error: &io::Error) -> Error {
    Error::file(
        path,
        format!(
            "in the folder of fetched models could not be read or written ({error}): free it, or set HF_HOME to another folder."
        ),
    )
}

#[cfg(unix)]
fn symlink(target: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

#[cfg(windows)]
fn symlink(target: &Path, path: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, path)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
