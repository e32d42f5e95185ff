//! The bytes of a header in order, each length of which is compared with what is left before anything is allocated.

use std::io::{BufReader, Read};

use crate::storage::stored::{Outcome, Source};

/// The longest header that is read, in bytes; that of a vocabulary of 262,144 tokens has about 15 million.
const LONGEST_HEADER: u64 = 1 << 28;

/// A header while it is read.
pub(super) struct Reader<'a> {
    bytes: BufReader<Box<dyn Read + 'a>>,
    /// The offset of the next byte.
    at: u64,
    /// The offset that no header may reach beyond.
    end: u64,
    /// Why it may not, for messages.
    limit: &'static str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        let len = source.len();
        let (end, limit) = match len > LONGEST_HEADER {
            true => (LONGEST_HEADER, "a header may have at most 256 MiB"),
            false => (len, "the file is too short"),
        };
        Self { bytes: BufReader::with_capacity(1 << 16, source.reader(0, end)), at: 0, end, limit }
    }

    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Checks that `count` items of at least `size` bytes each can follow.
    pub(super) fn check(&self, what: &str, count: u64, size: u64) -> Outcome<()> {
        match count.checked_mul(size).filter(|bytes| *bytes <= self.end - self.at) {
            Some(_) => Ok(()),
            None => Err(format!("it claims {count} {what}, but {}", self.limit)),
        }
    }

    /// The next `count` bytes, which are known to fit.
    pub(super) fn bytes(&mut self, count: u64) -> Outcome<Vec<u8>> {
        self.check("bytes of a value", count, 1)?;
        let mut bytes = vec![0; usize::try_from(count).map_err(|error| error.to_string())?];
        self.bytes.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        self.at += count;
        Ok(bytes)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        if self.end - self.at < N as u64 {
            return Err(format!("its header goes on at byte {}, but {}", self.at, self.limit));
        }
        let mut bytes = [0; N];
        self.bytes.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        self.at += N as u64;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self) -> Outcome<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Outcome<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Appends a text to `all`.
    pub(super) fn text_into(&mut self, all: &mut String) -> Outcome<()> {
        let length = self.u64()?;
        let bytes = self.bytes(length)?;
        all.push_str(std::str::from_utf8(&bytes).map_err(|_| "a text in it is not UTF-8")?);
        Ok(())
    }

    pub(super) fn text(&mut self) -> Outcome<String> {
        let mut text = String::new();
        self.text_into(&mut text)?;
        Ok(text)
    }
}
