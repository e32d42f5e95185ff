//! The folder of one model in the hub's cache, laid out as Python's `huggingface_hub` lays it out.
//!
//! `blobs/<etag>` are the files, `snapshots/<commit>/<name>` are links to them, `refs/<revision>` names the commit, and
//! `.no_exist/<commit>/<name>` records files that a commit does not have. A blob gets its name once it is complete, and
//! a revision is recorded once every requested file has arrived, so a partial download is never mistaken for a complete
//! one.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::files;
use crate::interrupt;
use crate::progress::Progress;
use crate::storage::place::names_below;

/// How long to wait for another process that is fetching the same file.
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

    /// The commit that a revision pointed to when it was fetched; a commit resolves to itself.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.into());
        }
        let text = fs::read_to_string(self.root.join("refs").join(revision)).ok()?;
        let commit = text.trim();
        is_commit(commit).then(|| commit.to_string())
    }

    /// The file of this name in a commit, if it is cached.
    pub(super) fn file(&self, commit: &str, name: &str) -> Option<PathBuf> {
        let path = self.root.join("snapshots").join(commit).join(name);
        path.is_file().then_some(path)
    }

    /// Whether the hub has reported that a commit has no such file.
    pub(super) fn is_absent(&self, commit: &str, name: &str) -> bool {
        self.root.join(".no_exist").join(commit).join(name).exists()
    }

    /// Records that a commit has no such file. If the cache is not writable, the hub is simply asked again next time.
    pub(super) fn set_absent(&self, commit: &str, name: &str) {
        let path = self.root.join(".no_exist").join(commit).join(name);
        let _ = path.parent().map(fs::create_dir_all);
        let _ = File::create(path);
    }

    /// The GGUF files that a commit has, as the hub listed them.
    pub(super) fn listing(&self, commit: &str) -> Option<Vec<String>> {
        let text = fs::read_to_string(self.listing_file(commit)).ok()?;
        Some(text.lines().filter(|name| is_safe(name)).map(String::from).collect())
    }

    /// Keeps that list. Python's library knows no such file and leaves it alone. If the cache is not writable, the hub
    /// is simply asked again next time.
    pub(super) fn set_listing(&self, commit: &str, names: &[String]) {
        let path = self.listing_file(commit);
        let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
        let _ = make_parent(&path).and_then(|()| files::write_whole(&path, |out| out.write_all(lines.as_bytes())));
    }

    fn listing_file(&self, commit: &str) -> PathBuf {
        self.root.join(".candle-lens").join(format!("{commit}.gguf-files"))
    }

    /// The files of a commit that are cached.
    pub(super) fn cached(&self, commit: &str) -> Vec<String> {
        names_below(&self.root.join("snapshots").join(commit))
    }

    /// Where the complete file with this etag is, or will be.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(etag)
    }

    /// Where the bytes downloaded so far are kept.
    pub(super) fn part(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// Makes a blob appear under its name in a commit. What another process has put there meanwhile stays: it may be
    /// reading it.
    ///
    /// # Errors
    /// [`Error::File`] if the folder cannot be written.
    pub(super) fn link(&self, commit: &str, name: &str, etag: &str) -> Result<PathBuf> {
        let path = self.root.join("snapshots").join(commit).join(name);
        if path.is_file() {
            return Ok(path);
        }
        let blob = self.blob(etag);
        make_parent(&path)?;
        // From the file's folder up to the model's: one level for the commit, one for "snapshots", one for each
        // subfolder.
        let up = "../".repeat(2 + name.matches('/').count());
        // A link to a file that is gone would block the new one.
        let _ = fs::remove_file(&path);
        let made = symlink(&PathBuf::from(format!("{up}blobs/{etag}")), &path);
        if made.is_ok() || path.is_file() {
            return Ok(path);
        }
        let mut whole = File::open(&blob).map_err(|error| unwritable(&blob, &error))?;
        files::write_whole(&path, |out| io::copy(&mut whole, out).map(drop))?;
        Ok(path)
    }

    /// Records which commit a revision points to. This is the last step, once all its files are cached.
    ///
    /// # Errors
    /// [`Error::File`] if the folder cannot be written.
    pub(super) fn set_commit(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit || self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.root.join("refs").join(revision);
        make_parent(&path)?;
        files::write_whole(&path, |out| out.write_all(commit.as_bytes()))
    }

    /// Locks this blob against other processes (Python included) while it is fetched; dropping the file unlocks it.
    ///
    /// # Errors
    /// [`Error::File`] if the folder cannot be written, or another process takes too long.
    pub(super) fn lock(&self, etag: &str) -> Result<File> {
        let path = self.locks.join(format!("{etag}.lock"));
        make_parent(&path)?;
        make_parent(&self.blob(etag))?;
        let file = File::create(&path).map_err(|error| unwritable(&path, &error))?;
        let _waiting = Progress::opaque("waiting for another process that is fetching the same file");
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) if started.elapsed() < PATIENCE => {
                    interrupt::wait(Duration::from_millis(100))?;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::file(
                        path,
                        format!(
                            "is locked by another process, which has been fetching the same file for {} minutes: wait \
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

/// Whether a text is a commit hash, which is always safe to use in a path.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.chars().all(|c| c.is_ascii_hexdigit())
}

/// Whether a name is safe to join to a folder: the result never leads out of that folder.
pub(in crate::storage) fn is_safe(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            // A colon leads to another drive or stream on Windows, and is in names of files on the hub.
            && !part.chars().any(|c| c.is_control() || "\\*?\"<>|".contains(c) || (cfg!(windows) && c == ':'))
    };
    name.len() < 300 && name.split('/').all(part)
}

fn make_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(folder) => fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error)),
        None => Ok(()),
    }
}

/// The error for a file of the cache that cannot be read or written.
pub(super) fn unwritable(path: &Path, error: &io::Error) -> Error {
    Error::file(
        path,
        format!(
            "in the cache of downloaded models could not be read or written ({error}): check permissions and disk \
             space, or set HF_HOME to another folder."
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

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_linked_is_not_linked_again() {
        let folder = std::env::temp_dir().join(format!("candle-lens-links-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let cache = RepoCache::new(&folder, "a/b");
        let target = || {
            let path = cache.link("0", "below/x.json", "etag").expect("the folder can be written");
            fs::read_link(path).expect("it is a link")
        };
        let blob = cache.blob("etag");
        make_parent(&blob).expect("the folder can be written");
        fs::write(&blob, "{}").expect("the folder can be written");
        let path = folder.join("models--a--b/snapshots/0/below/x.json");
        make_parent(&path).expect("the folder can be written");
        symlink(Path::new("gone"), &path).expect("the folder can be written");
        assert_eq!(target(), Path::new("../../../blobs/etag"), "a link to nothing is replaced");
        // Another way to say the same, by which it can be told whether it is still the one that was there.
        fs::remove_file(&path).expect("it is there");
        symlink(&blob, &path).expect("the folder can be written");
        assert_eq!(target(), blob);
        fs::remove_dir_all(&folder).expect("it is there");
    }
}
