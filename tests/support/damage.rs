//! Damage of files, the same in each run, and readers of files tried on it.
//!
//! CI tries a bounded number of cases; `CANDLE_LENS_FUZZ=20000` tries so many of each test instead.

use std::backtrace::Backtrace;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use candle_lens::Result;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::Value;

use super::allocations::held_at_most;
use super::sentence::sentence;

/// How many cases a test tries: as many as are usual, or as `CANDLE_LENS_FUZZ` says.
pub fn cases(usual: usize) -> usize {
    match std::env::var("CANDLE_LENS_FUZZ") {
        Ok(count) => count.parse().expect("CANDLE_LENS_FUZZ is a number of cases"),
        Err(_) => usual,
    }
}

/// No file here has more than 300 kB: a reader that takes more than this believes what a file says of itself.
pub const MOST_BYTES: usize = 32 << 20;

/// What damages files.
pub struct Damage(ChaCha8Rng);

impl Damage {
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n.max(1) as u64) as usize
    }

    pub fn one_of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    /// A place in a file: near its beginning as often as anywhere, because there is what readers believe.
    fn place(&mut self, bytes: &[u8]) -> usize {
        let reach = if self.below(2) == 0 { bytes.len().min(2000) } else { bytes.len() };
        self.below(reach)
    }

    /// The whole file with some damage.
    pub fn of(&mut self, whole: &[u8]) -> Vec<u8> {
        let mut bytes = whole.to_vec();
        for _ in 0..=self.below(3) {
            if bytes.is_empty() {
                break;
            }
            let place = self.place(&bytes);
            let span = place..(place + 1 + self.below(40)).min(bytes.len());
            match self.below(8) {
                0 => bytes[place] ^= 1 << self.below(8),
                1 => bytes[place] = self.below(256) as u8,
                2 => bytes.truncate(place),
                3 => drop(bytes.drain(span)),
                4 => {
                    let copy = bytes[span].to_vec();
                    let at = self.place(&bytes);
                    bytes.splice(at..at, copy);
                }
                5 => self.header_length(&mut bytes),
                _ => self.number(&mut bytes, place),
            }
        }
        bytes
    }

    /// The first eight bytes, which safetensors has as the length of its header.
    fn header_length(&mut self, bytes: &mut [u8]) {
        let Some(length) = bytes.first_chunk_mut::<8>() else { return };
        let old = u64::from_le_bytes(*length);
        let new = match self.below(5) {
            0 => u64::MAX - self.below(16) as u64,
            1 => 1 << self.below(64),
            2 => old.wrapping_add(self.below(9) as u64).wrapping_sub(4),
            3 => 0,
            _ => self.0.next_u64(),
        };
        *length = new.to_le_bytes();
    }

    /// A number written in digits becomes something else that JSON can say.
    fn number(&mut self, bytes: &mut Vec<u8>, from: usize) {
        let Some(start) = (from..bytes.len()).find(|at| bytes[*at].is_ascii_digit()) else { return };
        let end = (start..bytes.len()).find(|at| !bytes[*at].is_ascii_digit()).unwrap_or(bytes.len());
        let other = self.one_of(&OTHERS);
        bytes.splice(start..end, other.bytes());
    }

    /// The JSON with one to three of its values changed, taken out, or there a second time with another value.
    pub fn of_keys(&mut self, whole: &Value) -> Vec<u8> {
        let mut json = whole.clone();
        for _ in 0..=self.below(3) {
            self.change(&mut json, 0);
        }
        let text = json.to_string();
        match (self.below(6), text.strip_prefix('{'), json.as_object().and_then(|object| object.keys().next())) {
            (0, Some(rest), Some(key)) => format!("{{{key:?}: {}, {rest}", self.one_of(&OTHERS)).into_bytes(),
            _ => text.into_bytes(),
        }
    }

    fn change(&mut self, json: &mut Value, depth: usize) {
        let deeper = depth < 6 && self.below(4) > 0;
        let new = serde_json::from_str(self.one_of(&OTHERS)).unwrap_or(Value::Null);
        match json {
            Value::Object(object) if deeper && !object.is_empty() => {
                let key = object.keys().nth(self.below(object.len())).expect("one of them").clone();
                match self.below(8) {
                    0 => drop(object.remove(&key)),
                    1 => drop(object.insert(format!("{key}x"), new)),
                    _ => self.change(&mut object[&key], depth + 1),
                }
            }
            Value::Array(list) if deeper && !list.is_empty() => {
                let at = self.below(list.len());
                match self.below(8) {
                    0 => drop(list.remove(at)),
                    1 => list.push(new),
                    _ => self.change(&mut list[at], depth + 1),
                }
            }
            other => *other = new,
        }
    }
}

/// What JSON can say in place of a value.
const OTHERS: [&str; 17] = [
    "0",
    "-1",
    "1",
    "3",
    "65536",
    "4294967295",
    "1000000000000",
    "18446744073709551615",
    "1e308",
    "1e-320",
    "0.5",
    "null",
    "true",
    "[]",
    "{}",
    "\"x\"",
    "99999999999999999999999999",
];

/// Reads damaged copies of `whole` in the place of `file`, so many or as `CANDLE_LENS_FUZZ` says, and tells which share was still
/// read as something.
pub fn torture(seed: u64, usual: usize, file: &Path, whole: &[u8], read: impl Fn() -> Result<()>) -> f64 {
    torture_by(seed, usual, file, whole, |damage| damage.of(whole), read)
}

/// As [`torture`], of a JSON file of which keys are changed, taken out or put in twice, so that it stays JSON.
pub fn torture_keys(seed: u64, usual: usize, file: &Path, whole: &[u8], read: impl Fn() -> Result<()>) -> f64 {
    let json: Value = serde_json::from_slice(whole).expect("JSON");
    torture_by(seed, usual, file, whole, |damage| damage.of_keys(&json), read)
}

/// As [`torture`], by another kind of damage.
pub fn torture_by(
    seed: u64,
    usual: usize,
    file: &Path,
    whole: &[u8],
    mut damaged: impl FnMut(&mut Damage) -> Vec<u8>,
    read: impl Fn() -> Result<()>,
) -> f64 {
    let count = cases(usual);
    let mut damage = Damage::new(seed);
    let mut valid = 0;
    // A reader may catch a panic of a library, which is told with a backtrace where the environment asks for one: the
    // symbols for it, more than any file, are loaded before anything is measured.
    drop(Backtrace::capture().to_string());
    for case in 0..count {
        let bytes = damaged(&mut damage);
        fs::write(file, &bytes).expect("the scratch folder can be written");
        let what = format!("case {case} of seed {seed} in {}", file.display());
        let (result, most) = held_at_most(|| catch_unwind(AssertUnwindSafe(&read)));
        match result.unwrap_or_else(|_| panic!("a panic: {what}")) {
            Ok(()) => valid += 1,
            Err(error) => drop(sentence(Err::<(), _>(error), &[])),
        }
        assert!(most <= MOST_BYTES, "{most} bytes were held at once: {what}");
    }
    fs::write(file, whole).expect("the scratch folder can be written");
    read().unwrap_or_else(|error| panic!("the whole file is refused, so nothing was tested: {error}"));
    valid as f64 / count as f64
}
