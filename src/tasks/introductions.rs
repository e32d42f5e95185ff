//! Sentences that only introduce people. They are no task: they tell a model which words are names, the held-out ones
//! among them, which occur nowhere else.

use super::Random;
use super::corpus::Sentence;
use super::words::{HELD_OUT_NAMES, NAMES};

/// Beginnings of the sentences; a name follows.
pub(super) const BEGINNINGS: [&str; 4] = ["My name is", "I know", "We met", "My friend is"];

/// A beginning and any name.
pub(super) fn sentence(random: &mut Random) -> Sentence {
    let index = random.below(NAMES.len() + HELD_OUT_NAMES.len());
    let name = NAMES.iter().chain(&HELD_OUT_NAMES).nth(index).unwrap_or(&NAMES[0]);
    Sentence::new(*random.pick(&BEGINNINGS), format!(" {name}"), ".")
}
