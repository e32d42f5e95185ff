//! Repeated random tokens: the next token can be predicted only from its first occurrence.
//!
//! A model that continues them has induction heads.
//!
//! Source: Olsson et al., "In-context Learning and Induction Heads", <https://arxiv.org/abs/2209.11895>.

use crate::error::{Error, Result};
use crate::random::Random;

/// A row of tokens that repeats a random part of it until its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepeatedTokens {
    /// The tokens: `bos`, then `period` random tokens over and over.
    pub ids: Vec<u32>,
    /// How many tokens differ before they repeat.
    pub period: usize,
}

impl RepeatedTokens {
    /// The positions whose next token is known: from the second occurrence of the first token on.
    pub fn predictable(&self) -> std::ops::Range<usize> {
        1 + self.period..self.ids.len() - 1
    }
}

/// A row of `length` ids: `bos`, then `period` different tokens of `vocabulary`, repeated to the end.
///
/// # Errors
/// If the period is 0, does not fit twice into the row, or is longer than the vocabulary.
///
/// ```
/// # fn main() -> candle_lens::Result<()> {
/// use candle_lens::random::Random;
/// use candle_lens::tasks::repeated::repeated_tokens;
///
/// let row = repeated_tokens(&[5, 6, 7, 8], 0, 3, 7, &mut Random::new(1))?;
/// assert_eq!(row.ids[1..4], row.ids[4..7]);
/// # Ok(())
/// # }
/// ```
pub fn repeated_tokens(
    vocabulary: &[u32],
    bos: u32,
    period: usize,
    length: usize,
    random: &mut Random,
) -> Result<RepeatedTokens> {
    if period == 0 || length.saturating_sub(1) / 2 < period || period > vocabulary.len() {
        return Err(Error::argument(format!(
            "a row of {length} tokens cannot repeat {period} of {} tokens: the period must be at least 1, fit twice \
             beside the BOS token and not exceed the vocabulary.",
            vocabulary.len()
        )));
    }
    let mut ids = Vec::new();
    if ids.try_reserve_exact(length).is_err() {
        return Err(Error::argument(format!("a row of {length} tokens does not fit in memory: give a shorter one.")));
    }
    let drawn = draw(vocabulary.to_vec(), period, random);
    ids.extend(std::iter::once(bos).chain((0..length - 1).map(|i| drawn[i % period])));
    Ok(RepeatedTokens { ids, period })
}

/// The first `count` elements of a shuffled list, or all of them.
fn draw<T>(mut list: Vec<T>, count: usize, random: &mut Random) -> Vec<T> {
    let count = count.min(list.len());
    for i in 0..count {
        let j = i + random.below(list.len() - i);
        list.swap(i, j);
    }
    list.truncate(count);
    list
}
