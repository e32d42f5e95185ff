//! An attention head by its layer and its number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// One attention head. It is parsed and printed like the labels of results, "L3H6"; EAP-IG's "a3.h6" is parsed as well.
///
/// Heads sort by layer, then by number.
///
/// ```
/// use candle_lens::prelude::*;
/// let head = Head::new(3, 6);
/// assert_eq!(head.to_string(), "L3H6");
/// assert_eq!("L3H6".parse::<Head>()?, head);
/// assert_eq!("a3.h6".parse::<Head>()?, head);
/// assert_eq!(Head::from((3, 6)), head);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Head {
    /// The layer, from 0.
    pub layer: usize,
    /// The head within its layer, from 0.
    pub head: usize,
}

impl Head {
    /// The head `head` of layer `layer`.
    pub const fn new(layer: usize, head: usize) -> Self {
        Self { layer, head }
    }

    /// The head that a label names; none for other labels.
    pub(crate) fn named(label: &str) -> Option<Self> {
        let (layer, head) = match label.strip_prefix('L') {
            Some(rest) => rest.split_once('H')?,
            None => label.strip_prefix('a')?.split_once(".h")?,
        };
        // `parse` also takes a sign, which no label has.
        let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        Some(Self { layer: number(layer)?, head: number(head)? })
    }
}

impl From<(usize, usize)> for Head {
    fn from((layer, head): (usize, usize)) -> Self {
        Self { layer, head }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("L{}H{}", self.layer, self.head))
    }
}

impl fmt::Debug for Head {
    /// As `Display`, so that a list of heads reads `[L3H6, L2H6]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Head {
    type Err = Error;

    /// # Errors
    /// [`Error::Argument`] for a text that does not name a head.
    fn from_str(text: &str) -> Result<Self> {
        Self::named(text).ok_or_else(|| {
            Error::argument(format!("{text:?} is not a head: write layer and head as \"L3H6\" or \"a3.h6\"."))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_head_is_read_as_it_is_printed() {
        for layer in [0, 1, 9, 10, 123] {
            for head in [0, 7, 11, 100] {
                let it = Head::new(layer, head);
                assert_eq!(it.to_string().parse::<Head>().expect("its own text"), it);
                assert_eq!(format!("a{layer}.h{head}").parse::<Head>().expect("EAP-IG's text"), it);
            }
        }
        assert!(Head::new(2, 11) < Head::new(10, 0), "heads sort by number, not by text");
        assert_eq!(format!("{:>6}|", Head::new(1, 2)), "  L1H2|");
    }

    #[test]
    fn what_is_not_a_head_is_refused_with_the_way_to_write_one() {
        for text in ["", "L3", "L3H", "LH6", "L3H6 ", "l3h6", "L-1H2", "L+1H2", "L3N6", "a3.h", "a3h6", "L3H6H7", "m3"]
        {
            let error = text.parse::<Head>().expect_err(text).to_string();
            assert!(error.contains(&format!("{text:?}")) && error.contains("\"L3H6\""), "{error}");
        }
        assert!(format!("L0H{}0", usize::MAX).parse::<Head>().is_err(), "a number that is too large");
    }
}
