//! Checks that a file is the one that the hub described. The hub identifies a file by a hash of its contents, the etag:
//! for a large file (Git LFS) the SHA-256 of its bytes, for any other the git object id, the SHA-1 of `blob <length>\0`
//! and the bytes.
//!
//! An etag of another form, which a mirror may send, says nothing about the contents.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use ring::digest::{Algorithm, Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// The hash of a file that is being written, to be checked against its etag.
pub(super) struct FileHash {
    expected: Option<Expected>,
    context: Context,
    /// How many bytes from the start of the file `context` covers.
    hashed: u64,
    /// The assumed length of the file.
    length: u64,
}

#[derive(Clone)]
struct Expected {
    hex: String,
    is_git_blob: bool,
}

impl Expected {
    fn of_etag(etag: &str) -> Option<Self> {
        let is_hash = matches!(etag.len(), 40 | 64) && etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hash.then(|| Self { hex: etag.to_ascii_lowercase(), is_git_blob: etag.len() == 40 })
    }

    fn algorithm(&self) -> &'static Algorithm {
        if self.is_git_blob { &SHA1_FOR_LEGACY_USE_ONLY } else { &SHA256 }
    }

    /// The initial hash state for a file of this length.
    fn start(&self, length: u64) -> Context {
        let mut context = Context::new(self.algorithm());
        if self.is_git_blob {
            context.update(format!("blob {length}\0").as_bytes());
        }
        context
    }
}

impl FileHash {
    pub(super) fn new(etag: &str, length: u64) -> Self {
        let expected = Expected::of_etag(etag);
        let context = expected.as_ref().map_or(Context::new(&SHA256), |expected| expected.start(length));
        Self { expected, context, hashed: 0, length }
    }

    /// Whether the etag is a hash, so that it identifies the contents.
    pub(super) fn is_known(&self) -> bool {
        self.expected.is_some()
    }

    /// Adds the next bytes of the file.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        if self.is_known() {
            self.context.update(bytes);
            self.hashed += bytes.len() as u64;
        }
    }

    /// Hashes the first `kept` bytes of a file whose final length is `length`, unless exactly these are hashed already.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn begin(&mut self, file: &mut File, kept: u64, length: u64) -> io::Result<()> {
        let is_done = (self.hashed, self.length) == (kept, length);
        let Some(expected) = self.expected.as_ref().filter(|_| !is_done) else { return Ok(()) };
        (self.context, self.hashed, self.length) = (expected.start(length), 0, length);
        file.seek(SeekFrom::Start(0))?;
        let mut rest = file.take(kept);
        let mut buffer = vec![0; 1 << 16];
        loop {
            match rest.read(&mut buffer)? {
                0 => return Ok(()),
                count => {
                    self.context.update(&buffer[..count]);
                    self.hashed += count as u64;
                }
            }
        }
    }

    /// Whether the hashed bytes are the file that the hub described; always true if the etag is not a hash.
    pub(super) fn is_right(&self) -> bool {
        let Some(expected) = &self.expected else { return true };
        let digest = self.context.clone().finish();
        let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        hex == expected.hex
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_right(etag: &str, bytes: &[u8]) -> bool {
        let mut hash = FileHash::new(etag, bytes.len() as u64);
        bytes.chunks(3).for_each(|part| hash.update(part));
        hash.is_right()
    }

    #[test]
    fn etags_are_the_hashes_of_git_and_of_its_large_files() {
        // `printf 'hello\n' | git hash-object --stdin`, and `| sha256sum`.
        let blob = "ce013625030ba8dba906f756967f9e9ca394464a";
        let large = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        for etag in [blob, large, &large.to_uppercase()] {
            assert!(is_right(etag, b"hello\n"), "{etag}");
            assert!(!is_right(etag, b"hellO\n"), "{etag}");
            assert!(!is_right(etag, b""), "{etag}");
            assert!(FileHash::new(etag, 0).is_known());
        }
        assert!(!FileHash::new("0123456789abcdef", 0).is_known());
        assert!(!FileHash::new(&"g".repeat(64), 0).is_known());
    }

    #[test]
    fn a_part_that_is_there_is_hashed_before_the_rest() {
        let path = std::env::temp_dir().join(format!("candle-lens-hash-{}", std::process::id()));
        std::fs::write(&path, b"hello and more").expect("a file");
        let mut file = File::open(&path).expect("a file");
        let mut hash = FileHash::new("ce013625030ba8dba906f756967f9e9ca394464a", 6);
        hash.update(b"another beginning");
        hash.begin(&mut file, 4, 6).expect("it can be read");
        hash.update(b"o\n");
        assert!(hash.is_right());
        std::fs::remove_file(path).expect("it is ours");
    }
}
