//! The download of one file: it resumes where it was interrupted, gives up when no more data arrives, and keeps the
//! file only if it is the one that the hub described.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::client::{Client, Description, Failure, TRIES, wait_for};
use super::hash::FileHash;
use crate::error::human_bytes;
use crate::interrupt::check_interrupt;
use crate::progress::Progress;

/// A transfer that brings fewer bytes than this within [`PATIENCE`] has stalled.
const LEAST: u64 = 64 * 1024;

/// How long a transfer may take to bring [`LEAST`] bytes.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The maximum size of a file whose length the hub does not report; it does for all large files.
const LENGTH_UNKNOWN: u64 = 256 * 1024 * 1024;

/// A file of the hub.
#[derive(Clone, Copy)]
pub(super) struct Remote<'a> {
    /// The id of its model.
    pub id: &'a str,
    pub name: &'a str,
    pub described: &'a Description,
}

/// The data of a file, as a host sends it.
pub(super) struct Sent {
    pub reader: Box<dyn Read>,
    /// The byte of the file that it begins with: 0 if the host cannot begin anywhere else.
    pub from: u64,
    /// Whether the host says how much it sends, so that a cut transfer is an error of the reader.
    pub has_length: bool,
}

/// A file that is being downloaded.
pub(super) struct Transfer<'a> {
    pub client: &'a Client,
    pub file: Remote<'a>,
    /// Where it is written; the first part of it may be there already.
    pub part: &'a Path,
    /// Its name in progress lines.
    pub what: &'a str,
}

impl Transfer<'_> {
    /// Fetches the file; retries once if the result is not what the hub described.
    pub(super) fn run(&self) -> Result<(), Failure> {
        if self.file.described.size.is_none() && !self.hash().is_known() {
            return Err(Failure::Refused(
                "the hub reports neither the length of the file nor its hash, so a complete download cannot be verified"
                    .into(),
            ));
        }
        for _ in 0..2 {
            if self.fill()? {
                return Ok(());
            }
            // A faulty file is not kept, so that no later transfer resumes from it.
            let _ = fs::remove_file(self.part);
        }
        Err(Failure::Refused(
            "what arrived is not the file that the hub describes: its hash differs, twice; nothing was kept".into(),
        ))
    }

    fn hash(&self) -> FileHash {
        FileHash::new(&self.file.described.etag, self.file.described.size.unwrap_or(0))
    }

    /// Fetches what is missing; returns whether the complete file has the expected hash.
    fn fill(&self) -> Result<bool, Failure> {
        // It also reports while the request waits for an answer.
        let _fetching = Progress::opaque(format!("fetching {}", self.what));
        let disk = |error: io::Error| Failure::of(self.part, error);
        let size = self.file.described.size;
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(self.part).map_err(disk)?;
        let (mut hash, mut progress) = (self.hash(), None);
        // Without a hash, a partial file that another program left cannot be trusted: some write the end of a file
        // first.
        let mut have = if hash.is_known() { file.metadata().map_err(disk)?.len() } else { 0 };
        let (mut longest, mut barren) = (have, 0);
        while size != Some(have) {
            if size.is_none_or(|size| have > size) {
                have = 0;
            }
            let tried = self.one_try(&mut file, &mut have, &mut hash, &mut progress);
            let ended = tried.map_err(|failure| match failure {
                Failure::Interrupted(error) if hash.is_known() => Failure::Interrupted(error.kept_in(Some(self.part))),
                failure => failure,
            })?;
            if ended == Ended::Whole {
                break;
            }
            barren = if have > longest && ended == Ended::Cut { 0 } else { barren + 1 };
            longest = longest.max(have);
            if barren >= TRIES {
                return Err(Failure::Unreachable(format!(
                    "the transfer was interrupted or stalled {TRIES} times; {} of it are kept, and the next attempt \
                     resumes from there if the hub allows it",
                    human_bytes(have)
                )));
            }
            wait_for(Duration::from_millis(250 << barren))?;
        }
        hash.begin(&mut file, have, size.unwrap_or(have)).map_err(disk)?;
        Ok(hash.is_right())
    }

    /// One request for what follows the first `have` bytes; updates `have` to the number of bytes that are there
    /// afterwards.
    fn one_try(
        &self,
        file: &mut File,
        have: &mut u64,
        hash: &mut FileHash,
        progress: &mut Option<Progress>,
    ) -> Result<Ended, Failure> {
        let disk = |error: io::Error| Failure::of(self.part, error);
        let size = self.file.described.size;
        let Some(sent) = self.client.send(self.file, *have)? else {
            *have = 0;
            return Ok(Ended::Stalled);
        };
        *have = sent.from;
        hash.begin(file, *have, size.unwrap_or(0)).map_err(disk)?;
        file.set_len(*have).and_then(|()| file.seek(SeekFrom::Start(*have))).map_err(disk)?;
        let progress = match progress {
            Some(progress) => progress,
            None => {
                let what = format!("fetching {}", self.what);
                let begun = progress.insert(Progress::of(what, size.unwrap_or(0), Progress::BYTES));
                begun.step(*have).map_err(Failure::Interrupted)?;
                begun
            }
        };
        let started = Instant::now();
        let may_end_anywhere = size.is_none() || sent.has_length;
        let limits = Limits { most: size.unwrap_or(LENGTH_UNKNOWN), may_end_anywhere };
        let ended = pour(
            sent.reader,
            file,
            limits,
            || started.elapsed(),
            |bytes| {
                *have += bytes.len() as u64;
                hash.update(bytes);
                progress.step(bytes.len() as u64).map_err(io::Error::other)
            },
        );
        file.sync_all().map_err(disk)?;
        match (ended.map_err(disk)?, size) {
            (Ended::TooMuch, _) => Err(self.wrong_size("more")),
            (Ended::Whole, Some(size)) if *have != size => Err(self.wrong_size(&format!("{have} bytes"))),
            (ended, _) => Ok(ended),
        }
    }

    /// The failure for a file of the wrong length, which is removed so that no later transfer resumes from it.
    fn wrong_size(&self, got: &str) -> Failure {
        let _ = fs::remove_file(self.part);
        let said = match self.file.described.size {
            Some(size) => format!("the hub says that it has {size} bytes"),
            None => format!("a file of unknown length may have at most {}", human_bytes(LENGTH_UNKNOWN)),
        };
        Failure::Refused(format!("{got} arrived, but {said}; nothing was kept"))
    }
}

/// How one attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Whole,
    Cut,
    Stalled,
    TooMuch,
}

/// How long a file may become.
struct Limits {
    most: u64,
    /// Whether an earlier end of the data counts as the end of the file; its length or hash is checked later.
    may_end_anywhere: bool,
}

/// Appends the data from `reader` to a file and passes each part to `written` once it is on disk; `clock` is the
/// elapsed time.
///
/// # Errors
/// I/O errors of the file; what `written` returns, and an interrupt.
fn pour(
    mut reader: impl Read,
    file: &mut File,
    Limits { most, may_end_anywhere }: Limits,
    mut clock: impl FnMut() -> Duration,
    mut written: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Ended> {
    let mut buffer = vec![0; 1 << 16];
    let mut length = file.stream_position()?;
    let (mut since, mut lately) = (clock(), 0);
    loop {
        match reader.read(&mut buffer) {
            Ok(0) if may_end_anywhere || length >= most => return Ok(Ended::Whole),
            Ok(0) => return Ok(Ended::Cut),
            Ok(count) => {
                length += count as u64;
                lately += count as u64;
                if length > most {
                    return Ok(Ended::TooMuch);
                }
                file.write_all(&buffer[..count])?;
                written(&buffer[..count])?;
            }
            // A signal ends a read that was waiting.
            Err(error) => {
                check_interrupt().map_err(io::Error::other)?;
                if error.kind() != io::ErrorKind::Interrupted {
                    return Ok(Ended::Cut);
                }
            }
        }
        let now = clock();
        if now >= since + PATIENCE {
            if lately < LEAST && length < most {
                return Ok(Ended::Stalled);
            }
            (since, lately) = (now, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Zeros, this many at a time.
    struct Slowly(usize);

    impl Read for Slowly {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.min(buffer.len());
            buffer[..count].fill(0);
            Ok(count)
        }
    }

    /// How the transfer of one megabyte ends if it arrives in pieces of this size, one each second, and how much
    /// arrived.
    fn poured(piece: usize) -> (Ended, u64) {
        let path = std::env::temp_dir().join(format!("candle-lens-pour-{}-{piece}", std::process::id()));
        let mut file = File::create(&path).expect("a file");
        let (mut seconds, mut came) = (0, 0);
        let clock = || {
            seconds += 1;
            Duration::from_secs(seconds)
        };
        let limits = Limits { most: 1 << 20, may_end_anywhere: false };
        let reader = Slowly(piece).take(1 << 20);
        let ended = pour(reader, &mut file, limits, clock, |bytes| {
            came += bytes.len() as u64;
            Ok(())
        });
        let ended = ended.expect("it can be written");
        fs::remove_file(path).expect("it is ours");
        (ended, came)
    }

    #[test]
    fn a_transfer_that_hardly_moves_has_stalled() {
        assert_eq!(poured(1), (Ended::Stalled, 60), "a byte a second would take days");
        assert_eq!(poured(4096), (Ended::Whole, 1 << 20), "a slow line is waited for as long as the file is");
    }
}
