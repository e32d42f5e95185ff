//! Atomic file writes: a file is written under a temporary name in the same folder and renamed once it is on disk.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// How many temporary files ("parts") this process has begun.
static PARTS: AtomicU64 = AtomicU64::new(0);

/// The longest file name that the name of its part contains in full: file systems allow 255 bytes.
const LONGEST_NAME: usize = 190;

/// The maximum number of links that are followed in a row, as in operating systems.
const LINKS: usize = 40;

/// Writes a file under a temporary name in the same folder, waits until it is on disk, and renames it: whatever
/// interrupts this, `path` is the old file or the new one, never a partial one. The new file keeps the old one's
/// permissions; if
/// `path` is a link, its target is replaced and the link stays.
///
/// # Errors
/// [`Error::File`] if the file cannot be written.
pub(crate) fn write_whole(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    Part::write(path, write)?.give_name()
}

/// A file that is complete and on disk, but does not have its final name yet. It is removed on drop unless it gets it.
#[derive(Debug)]
#[must_use = "the file is removed unless it is given its name"]
pub(crate) struct Part {
    /// The path that the caller gave, for messages.
    asked: PathBuf,
    /// The final path: `asked` with its links followed.
    place: PathBuf,
    part: PathBuf,
    /// Kept open for its lock, which shows that the writer is alive.
    file: File,
}

impl Part {
    /// Writes what will become the file at `path`.
    ///
    /// # Errors
    /// As [`write_whole`].
    pub(crate) fn write(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<Self> {
        // What `write` reports of an interrupt stays one.
        let failed = |error: io::Error| error.downcast::<Error>().unwrap_or_else(|error| unwritten(path, &error));
        path.file_name().ok_or_else(|| Error::file(path, "is not a file name: give one."))?;
        let place = led_to(path).map_err(failed)?;
        let old = match fs::metadata(&place) {
            Ok(old) if !old.is_file() => {
                let kind = if old.is_dir() { "a folder" } else { "not an ordinary file" };
                return Err(Error::file(path, format!("is {kind}: give the name of a file.")));
            }
            old => old.ok(),
        };
        let name = place
            .file_name()
            .ok_or_else(|| Error::file(path, "leads to something that is not a file name: give one."))?;
        let (folder, stem) = (folder_of(&place), stem(name));
        remove_dead_parts(folder, &stem);
        let (part, file) = new_part(folder, &stem).map_err(failed)?;
        let written = Self { asked: path.into(), place, part, file };
        let fill = || {
            if let Some(old) = &old {
                written.file.set_permissions(old.permissions())?;
            }
            let mut out = BufWriter::new(&written.file);
            write(&mut out)?;
            out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
        };
        fill().map_err(failed)?;
        Ok(written)
    }

    /// Gives the file its final name, replacing any file that had it.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be renamed.
    pub(crate) fn give_name(mut self) -> Result<()> {
        fs::rename(&self.part, &self.place)
            .map_err(|error| Error::file(&self.asked, format!("was written but could not be renamed ({error}).")))?;
        self.part.clear();
        sync_folder(&self.place);
        Ok(())
    }

    /// Removes the file that this one will replace.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be removed.
    pub(crate) fn clear_place(&self) -> Result<()> {
        match fs::remove_file(&self.place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unwritten(&self.asked, &error)),
            _ => {
                sync_folder(&self.place);
                Ok(())
            }
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Nothing more can be done about a part that cannot be removed.
        let _ = fs::remove_file(&self.part);
    }
}

fn unwritten(path: &Path, error: &io::Error) -> Error {
    Error::file(path, format!("could not be written ({error}); nothing was changed."))
}

/// Syncs the folder, so that the new name is on disk; skipped on systems that cannot open folders.
fn sync_folder(place: &Path) {
    if let Ok(folder) = File::open(folder_of(place)) {
        let _ = folder.sync_all();
    }
}

fn folder_of(place: &Path) -> &Path {
    place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The path with its links followed; the last link may be dangling.
fn led_to(path: &Path) -> io::Result<PathBuf> {
    let mut place = path.to_path_buf();
    for _ in 0..=LINKS {
        match fs::symlink_metadata(&place) {
            Ok(found) if found.is_symlink() => place = folder_of(&place).join(fs::read_link(&place)?),
            _ => return Ok(place),
        }
    }
    Err(io::Error::other(format!("it is a link through more than {LINKS} others")))
}

/// What the names of a file's parts contain: its own name or, if that is too long or not UTF-8, the beginning of it and
/// a hash (64-bit FNV-1a).
fn stem(name: &OsStr) -> String {
    let text = name.to_string_lossy();
    if name.to_str().is_some() && text.len() <= LONGEST_NAME {
        return text.into_owned();
    }
    let bytes = name.as_encoded_bytes();
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{}~{hash:016x}", &text[..text.floor_char_boundary(LONGEST_NAME - 17)])
}

/// Creates a new file under a name of this process, locked for as long as it is open. An existing link of that name is
/// not followed.
fn new_part(folder: &Path, stem: &str) -> io::Result<(PathBuf, File)> {
    loop {
        // Two threads or two notebooks may write the same file.
        let count = PARTS.fetch_add(1, Ordering::Relaxed);
        let part = folder.join(format!(".{stem}.{}-{count}.part", std::process::id()));
        let file = match OpenOptions::new().write(true).create_new(true).open(&part) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            file => file?,
        };
        // If another process holds the lock, it took this part for a dead writer's and is removing it. On file systems
        // without locks, no part is ever removed.
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) => continue,
            _ if part.exists() => return Ok((part, file)),
            _ => continue,
        }
    }
}

/// Removes the parts of this file that are not locked: their writers died.
fn remove_dead_parts(folder: &Path, stem: &str) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| is_part(name, stem)) && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let Ok(file) = File::open(entry.path()) else { continue };
            if file.try_lock().is_ok() {
                // Another process may have removed it first, or the folder may not be writable.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Whether [`new_part`] could have given this name.
fn is_part(name: &str, stem: &str) -> bool {
    let inner = name.strip_prefix('.').and_then(|name| name.strip_prefix(stem)).and_then(|name| name.strip_prefix('.'));
    let numbers = inner.and_then(|name| name.strip_suffix(".part")).and_then(|name| name.split_once('-'));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers.is_some_and(|(process, count)| is_number(process) && is_number(count))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// An empty folder of this process.
    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("candle-lens-whole-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    fn put(path: &Path, text: &str) {
        write_whole(path, |out| out.write_all(text.as_bytes())).expect("it can be written");
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("the folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn an_interrupted_write_leaves_the_old_file_and_nothing_else() {
        let folder = scratch("interrupted");
        let path = folder.join("value");
        put(&path, "old");
        let interrupted = write_whole(&path, |out| {
            out.write_all(b"half of the ne")?;
            out.flush()?;
            Err(io::Error::other("the disk is full"))
        });
        let message = interrupted.expect_err("it was interrupted").to_string();
        assert!(message.contains("the disk is full") && message.contains("nothing was changed"), "{message}");
        drop(Part::write(&path, |out| out.write_all(b"without a name")).expect("it can be written"));
        assert_eq!((fs::read(&path).expect("the old file"), names(&folder)), (b"old".to_vec(), vec!["value".into()]));
        for wrong in [folder.clone(), folder.join("no/such"), folder.join(".."), "/".into()] {
            assert!(write_whole(&wrong, |_| Ok(())).is_err(), "{}", wrong.display());
        }
        fs::remove_dir_all(&folder).expect("the folder is ours");
    }

    #[test]
    fn parts_of_the_dead_go_and_those_of_the_living_stay() {
        let folder = scratch("dead");
        let path = folder.join("value");
        let others = [
            ".value.1-x.part",
            ".value.part",
            ".value.7-.part",
            ".other.7-0.part",
            "value.7-0.part",
            ".value.x.7-0.part",
        ];
        for name in others.iter().chain(&[".value.7-0.part", ".value.4194304-12.part"]) {
            fs::write(folder.join(name), "half").expect("a file");
        }
        let living = Part::write(&path, |out| out.write_all(b"slow")).expect("it can be written");
        put(&path, "quick");
        let mut left: Vec<String> = others.iter().map(|name| (*name).to_string()).collect();
        left.extend(["value".to_string(), living.part.file_name().expect("a name").to_string_lossy().into_owned()]);
        left.sort();
        assert_eq!(names(&folder), left);
        living.give_name().expect("its part is still there");
        assert_eq!(fs::read(&path).expect("the file"), b"slow");
        fs::remove_dir_all(&folder).expect("the folder is ours");
    }

    #[test]
    fn writers_at_the_same_time_do_not_disturb_each_other() {
        let folder = scratch("together");
        let path = folder.join("value");
        let end = Instant::now() + Duration::from_millis(300);
        std::thread::scope(|scope| {
            for text in ["a", "b", "c", "d"] {
                let path = &path;
                scope.spawn(move || {
                    while Instant::now() < end {
                        put(path, &text.repeat(5000))
                    }
                });
            }
        });
        let text = fs::read_to_string(&path).expect("the file");
        assert!(text.len() == 5000 && text.bytes().all(|byte| byte == text.as_bytes()[0]));
        assert_eq!(names(&folder), ["value"]);
        fs::remove_dir_all(&folder).expect("the folder is ours");
    }

    #[test]
    fn names_as_long_as_the_disk_takes_are_written() {
        let folder = scratch("long");
        for name in ["x".repeat(255), "é".repeat(127), "猫".repeat(85), "y".repeat(190), "z".repeat(191)] {
            put(&folder.join(&name), "whole");
            assert_eq!(names(&folder), [name.as_str()]);
            fs::write(folder.join(format!(".{}.7-0.part", stem(OsStr::new(&name)))), "half")
                .expect("a part of the dead");
            put(&folder.join(&name), "again");
            assert_eq!(names(&folder), [name.as_str()]);
            fs::remove_file(folder.join(&name)).expect("the file");
        }
        assert_ne!(stem(OsStr::new(&"x".repeat(254))), stem(OsStr::new(&"x".repeat(255))));
        fs::remove_dir_all(&folder).expect("the folder is ours");
    }

    #[cfg(unix)]
    #[test]
    fn permissions_and_links_are_kept() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = scratch("links");
        let mode = |path: &Path| fs::metadata(path).expect("the file").permissions().mode() & 0o777;
        let target = folder.join("target");
        put(&target, "old");
        for wanted in [0o600, 0o640, 0o444] {
            fs::set_permissions(&target, fs::Permissions::from_mode(wanted)).expect("it is ours");
            put(&target, "again");
            assert_eq!(mode(&target), wanted);
        }
        let (near, far, dangling) = (folder.join("near"), folder.join("far"), folder.join("dangling"));
        fs::create_dir(folder.join("deep")).expect("a folder");
        symlink("../target", folder.join("deep/link")).expect("a link");
        symlink("deep/link", &near).expect("a link");
        symlink(&near, &far).expect("a link");
        symlink("made", &dangling).expect("a link");
        put(&far, "through links");
        put(&dangling, "new");
        assert_eq!(fs::read_to_string(&target).expect("the file"), "through links");
        assert_eq!(fs::read_to_string(folder.join("made")).expect("the file"), "new");
        for link in [&near, &far, &dangling] {
            assert!(fs::symlink_metadata(link).expect("the link").is_symlink());
        }
        symlink("circle", folder.join("circle")).expect("a link");
        assert!(write_whole(&folder.join("circle"), |_| Ok(())).is_err());
        fs::remove_dir_all(&folder).expect("the folder is ours");
    }

    /// An attacker who knows the process id and guesses the count can plant a link under the name of the next part.
    #[cfg(unix)]
    #[test]
    fn a_planted_link_is_not_followed() {
        let folder = scratch("planted");
        let victim = folder.join("victim");
        fs::write(&victim, "precious").expect("a file");
        let next = PARTS.load(Ordering::Relaxed);
        for count in next..next + 2000 {
            let part = folder.join(format!(".value.{}-{count}.part", std::process::id()));
            std::os::unix::fs::symlink(&victim, part).expect("a link");
        }
        put(&folder.join("value"), "ours");
        assert_eq!(fs::read_to_string(&victim).expect("the victim"), "precious");
        assert_eq!(fs::read_to_string(folder.join("value")).expect("the file"), "ours");
        assert!(!fs::symlink_metadata(folder.join("value")).expect("the file").is_symlink());
        fs::remove_dir_all(&folder).expect("the folder is ours");
    }
}
