//! A part of many prompts, for when one machine is not enough: which rows belong to which part.
//!
//! A row belongs to the part `floor(h(content) * parts / 2^64)`, where `h` is FNV-1a (64 bits,
//! <http://www.isthe.com/chongo/tech/comp/fnv/>) followed by the last step of MurmurHash3, which spreads its bits
//! (<https://github.com/aappleby/smhasher>). Only the content of the row counts: the same row is in the same shard in whatever order
//! the rows come, whatever rows there are besides, on every machine and in every version. Equal rows stay together.
//!
//! # Limits
//! Shards are balanced on average, not exactly: of `n` different rows in `parts` shards, one has `n / parts`, give or take the root of
//! that. The largest of 100 shards of 10,000 rows has about 125.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::variables::holds;
use crate::visible::visible;

/// The variable that says which shard a process computes.
const SHARD: &str = "CANDLE_LENS_SHARD";

/// The variable that says where its results go.
const OUT: &str = "CANDLE_LENS_OUT";

/// More shards than anybody has machines for.
const MOST: usize = 1_000_000;

/// Which part of the prompts a process computes: `3/16` is the third of sixteen, `1/1` the whole.
///
/// ```
/// use candle_lens::prelude::*;
/// let prompts = Task::Ioi.prompts(tasks::Split::Train, 100, 0)?;
/// let parts = (1..=4).map(|number| Ok(prompts.shard(Shard::new(number, 4)?))).collect::<Result<Vec<_>>>()?;
/// assert_eq!(parts.iter().map(|part| part.len()).sum::<usize>(), 100);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    number: usize,
    of: usize,
}

impl Shard {
    /// The shard of this number, counted from 1, of so many.
    ///
    /// # Errors
    /// A number that is not from 1 to `of`; more than a million shards.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// assert_eq!(Shard::new(3, 16)?.to_string(), "3/16");
    /// assert!(Shard::new(0, 16).is_err());
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn new<N: TryInto<usize> + fmt::Display + Copy>(number: N, of: N) -> Result<Self> {
        let wrong = || {
            Error::argument(format!(
                "there is no shard {number}/{of}: write NUMBER/SHARDS with a number from 1 to the number of shards, which is at \
                 most {MOST}, such as 3/16."
            ))
        };
        match (number.try_into(), of.try_into()) {
            (Ok(number), Ok(of)) if (1..=of).contains(&number) && of <= MOST => Ok(Self { number, of }),
            _ => Err(wrong()),
        }
    }

    /// The shard that `CANDLE_LENS_SHARD` names, such as `3/16`; the whole where it is not set or empty. `cargo lab submit` sets
    /// it for each process.
    ///
    /// # Errors
    /// A value that is not a shard.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// assert_eq!(Shard::from_env()?, Shard::whole());
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn from_env() -> Result<Self> {
        match std::env::var_os(SHARD) {
            None => Ok(Self::whole()),
            Some(text) => Self::of_variable(&text.to_string_lossy()),
        }
    }

    fn of_variable(text: &str) -> Result<Self> {
        match text.trim() {
            "" => Ok(Self::whole()),
            text => text.parse().map_err(|error: Error| {
                Error::argument(format!("the variable {SHARD} does not name a shard: {}", error.sentence()))
            }),
        }
    }

    /// All rows: `1/1`.
    pub fn whole() -> Self {
        Self { number: 1, of: 1 }
    }

    /// Its number, from 1.
    pub fn number(&self) -> usize {
        self.number
    }

    /// How many shards there are.
    pub fn of(&self) -> usize {
        self.of
    }

    /// Whether the row with this content belongs to the shard.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let row = "When John and Mary went to the shops, John gave the bag to";
    /// let shards = (1..=16).map(|number| Shard::new(number, 16)).collect::<Result<Vec<_>>>()?;
    /// assert_eq!(shards.iter().filter(|shard| shard.holds(row)).count(), 1);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn holds(&self, content: impl AsRef<[u8]>) -> bool {
        self.holds_hash(hash([content.as_ref()]))
    }

    fn holds_hash(&self, hash: u64) -> bool {
        let part = (u128::from(hash) * self.of as u128) >> 64;
        part == self.number as u128 - 1
    }

    /// Of some texts, those of this shard.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let texts = ["The keys on the cabinet", "Tirana, the capital of", "diamonds, and other"];
    /// let part = Shard::new(1, 2)?.texts(texts);
    /// assert_eq!(part.len() + Shard::new(2, 2)?.texts(texts).len(), 3);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn texts<T: Into<String>>(self, texts: impl IntoIterator<Item = T>) -> TextShard {
        let texts: Vec<String> = texts.into_iter().map(Into::into).collect();
        let cut = Cut::new(self, texts.iter().map(|text| [text.as_bytes()]));
        let mut places = cut.places.iter().peekable();
        let own = texts.into_iter().enumerate().filter(|(place, _)| places.next_if_eq(&place).is_some());
        TextShard { texts: own.map(|(_, text)| text).collect(), cut, kept: Kept::default() }
    }
}

impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers = text.split_once('/').and_then(|(number, of)| {
            let read = |text: &str| text.trim().parse::<usize>().ok();
            read(number).zip(read(of))
        });
        match numbers {
            Some((number, of)) => Self::new(number, of),
            None => Err(Error::argument(format!(
                "{:?} is not a shard: write NUMBER/SHARDS, such as 3/16 for the third of sixteen.",
                visible(text)
            ))),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl TryFrom<String> for Shard {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

/// The folder in which processes leave their results: `CANDLE_LENS_OUT`, which `cargo lab submit` sets, or `results`.
///
/// ```
/// use candle_lens::prelude::*;
/// assert_eq!(results_folder().join("heads"), std::path::Path::new("results/heads"));
/// ```
pub fn results_folder() -> PathBuf {
    std::env::var_os(OUT).filter(|value| !value.is_empty()).map_or_else(|| "results".into(), PathBuf::from)
}

/// Texts of one shard, made by [`Shard::texts`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextShard {
    /// The texts of the shard, in the order of all.
    pub texts: Vec<String>,
    pub(crate) cut: Cut,
    pub(crate) kept: Kept,
}

holds! {
    TextShard { texts, cut }
    Cut { places }
}

impl TextShard {
    /// How many texts the shard has.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether the shard has none, as one of more shards than texts may.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The shard.
    pub fn shard(&self) -> Shard {
        self.cut.shard
    }
}

/// Where the results of a shard are kept, and what is said of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub folder: Option<PathBuf>,
    pub about: String,
}

/// Which rows of a list a shard has, and which list it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cut {
    pub shard: Shard,
    /// The places in the list of the shard's rows, ascending.
    pub places: Vec<usize>,
    /// How many rows the list has.
    pub count: usize,
    /// By which lists of the same rows in the same order are recognised.
    pub fingerprint: String,
}

impl Cut {
    /// Of rows, each of which is a list of parts.
    pub fn new<P: AsRef<[u8]>>(shard: Shard, rows: impl IntoIterator<Item = impl IntoIterator<Item = P>>) -> Self {
        let (mut places, mut count, mut all) = (Vec::new(), 0, BASIS);
        for row in rows {
            let own = hash(row);
            if shard.holds_hash(own) {
                places.push(count);
            }
            all = add(all, &own.to_le_bytes());
            count += 1;
        }
        Self { shard, places, count, fingerprint: format!("{:016x}", spread(all)) }
    }
}

const BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// The hash of a row of several parts; of one part, of its bytes alone.
fn hash<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> u64 {
    let mut state = BASIS;
    for (number, part) in parts.into_iter().enumerate() {
        if number > 0 {
            // Not a byte of UTF-8, so that no text can look like two.
            state = add(state, &[0xff]);
        }
        state = add(state, part.as_ref());
    }
    spread(state)
}

/// FNV-1a.
fn add(state: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(state, |state, byte| (state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The last step of MurmurHash3: each bit of the result depends on each bit of `x`.
fn spread(mut x: u64) -> u64 {
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These never change: parts of an earlier version go on with this one.
    #[test]
    fn the_hash_is_what_it_always_was() {
        assert_eq!(add(BASIS, b"foobar"), 0x8594_4171_f739_67e8, "FNV-1a's own test value");
        assert_eq!(spread(1), 0xb456_bcfc_34c2_cb2c, "MurmurHash3's fmix64");
        let shard = |text: &str| (1..=16).find(|&number| Shard::new(number, 16).is_ok_and(|shard| shard.holds(text)));
        assert_eq!(["", "a", "The keys on the cabinet"].map(shard), [Some(15), Some(9), Some(12)]);
    }

    #[test]
    fn texts_that_are_shards_and_texts_that_are_not() {
        assert_eq!(Shard::of_variable(" 3/16 ").expect("a shard"), Shard { number: 3, of: 16 });
        assert_eq!(Shard::of_variable("").expect("the whole"), Shard::whole());
        for wrong in ["3", "0/4", "5/4", "1/0", "-1/4", "a/b", "1/2/3", "1/99999999", "1/16\u{1b}[31m"] {
            let message = Shard::of_variable(wrong).expect_err(wrong).to_string();
            assert!(message.contains("NUMBER/SHARDS") && message.contains(SHARD), "{message}");
            assert!(!message.contains('\u{1b}'), "{message}");
        }
    }

    #[test]
    fn parts_of_a_row_are_not_run_together() {
        assert_ne!(hash(["ab", "c"]), hash(["a", "bc"]));
        assert_eq!(hash(["abc"]), hash([b"abc"]));
    }
}
