//! What every step of the launcher has in common: it says what it does and how long it took, is never taken for done
//! when it was interrupted, and never runs twice at once.

use crate::trouble::Trouble;
use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

/// Says what is being done, does it, and says how long it took.
pub fn step<T>(doing: &str, work: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
    println!("==> {doing}");
    let start = Instant::now();
    let done = work()?;
    // Other steps may have begun meanwhile.
    let what = doing.split(" (").next().unwrap_or(doing);
    println!("    done in {}: {what}", words(start.elapsed()));
    Ok(done)
}

/// A duration for people: `0.42 s`, `12.3 s`, `3 min 07 s`.
pub fn words(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        s if s < 10.0 => format!("{s:.2} s"),
        s if s < 60.0 => format!("{s:.1} s"),
        s => format!("{} min {:02} s", (s / 60.0) as u64, s as u64 % 60),
    }
}

/// Waits until no other launcher holds the lock file, and holds it until the returned file is dropped.
///
/// The system lets go of the lock when a process dies, however it dies.
pub fn lock(path: &Path, doing: &str) -> Result<File, Trouble> {
    let file = open_lock(path)?;
    let locked = match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            println!("Another launcher is {doing}; waiting for it.");
            file.lock()
        }
        Err(TryLockError::Error(source)) => Err(source),
    };
    locked.map_err(|source| Trouble::file("Locking", path, &source))?;
    Ok(file)
}

/// Opens a lock file, made if it is missing.
pub fn open_lock(path: &Path) -> Result<File, Trouble> {
    make_folder(path.parent().unwrap_or(path))?;
    let opened = File::options().create(true).truncate(false).write(true).open(path);
    // In another user's folder a lock is only read, which is enough to wait for it.
    opened.or_else(|source| File::open(path).map_err(|_| Trouble::file("Opening", path, &source)))
}

/// Makes a folder and those above it.
pub fn make_folder(path: &Path) -> Result<(), Trouble> {
    fs::create_dir_all(path).map_err(|source| Trouble::file("Making the folder", path, &source))
}

/// Removes a folder and all in it; it may be missing.
pub fn remove_folder(path: &Path) -> Result<(), Trouble> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Trouble::file("Removing", path, &source)),
        _ => Ok(()),
    }
}

/// Writes a file so that a reader finds the old or the new content, never a part; an equal file is left untouched,
/// because cargo goes by modification times.
pub fn write(path: &Path, content: &str) -> Result<(), Trouble> {
    if fs::read(path).is_ok_and(|old| old == content.as_bytes()) {
        return Ok(());
    }
    make_folder(path.parent().unwrap_or(path))?;
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    fs::write(&part, content)
        .and_then(|()| fs::rename(&part, path))
        .map_err(|source| Trouble::file("Writing", path, &source))
}

/// A short name for some content: 16 hex digits (FNV-1a), the same on every machine and with every compiler.
pub fn digest(content: &[u8]) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in content {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!(words(Duration::from_millis(420)), "0.42 s");
        assert_eq!(words(Duration::from_millis(12_340)), "12.3 s");
        assert_eq!(words(Duration::from_secs(187)), "3 min 07 s");
    }

    #[test]
    fn of_two_launchers_one_waits_for_the_other() {
        let folder = std::env::temp_dir().join(format!("candle-lens-lab-lock-{}", std::process::id()));
        let path = folder.join("set-up.lock");
        let first = lock(&path, "setting up").unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| lock(&path, "setting up").map(|_| Instant::now()));
            std::thread::sleep(Duration::from_millis(50));
            assert!(!second.is_finished());
            let over = Instant::now();
            drop(first);
            assert!(second.join().unwrap().unwrap() >= over);
        });
        remove_folder(&folder).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_named_and_nothing_is_half_written() {
        let folder = std::env::temp_dir().join(format!("candle-lens-lab-full-{}", std::process::id()));
        write(&folder.join("a.txt"), "old").unwrap();
        // A device on which there is never room.
        std::os::unix::fs::symlink("/dev/full", folder.join("a.txt.part")).unwrap();
        let message = write(&folder.join("a.txt"), "new").unwrap_err().to_string();
        assert!(message.contains("No space left") && message.contains("Check that the disk is not full"), "{message}");
        assert_eq!(fs::read_to_string(folder.join("a.txt")).unwrap(), "old");
        remove_folder(&folder).unwrap();
    }

    #[test]
    fn the_digest_is_fnv_1a() {
        // The published test values of the function.
        assert_eq!(digest(b""), "cbf29ce484222325");
        assert_eq!(digest(b"foobar"), "85944171f73967e8");
    }

    #[test]
    fn writing_leaves_an_equal_file_untouched() {
        let folder = std::env::temp_dir().join(format!("candle-lens-lab-write-{}", std::process::id()));
        let file = folder.join("a.txt");
        write(&file, "one").unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        File::options().write(true).open(&file).unwrap().set_modified(old).unwrap();
        write(&file, "one").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), old);
        write(&file, "two").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "two");
        remove_folder(&folder).unwrap();
        remove_folder(&folder).unwrap();
    }
}
