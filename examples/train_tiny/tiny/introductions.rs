//! Sentences that only introduce people. They are not a task: they tell a model which words are names, among them
//! the held-out ones, which occur nowhere else.

use candle_lens::random::Random;
use candle_lens::tasks::words::{HELD_OUT_NAMES, NAMES};

use super::corpus::{Sentence, pick};

/// Beginnings of the sentences; a name follows.
pub(super) const BEGINNINGS: [&str; 6] =
    ["My name is", "I know", "We met", "My friend is", "They talked about", "You know"];

/// A beginning and any name. One time in three it is alone; one in three the name has just been introduced by
/// another beginning; one in three a pair is named twice, so that a name is known by the one before it.
pub(super) fn sentence(random: &mut Random) -> Sentence {
    let (name, other) = (any(random), any(random));
    let (first, last) = (pick(&BEGINNINGS, random), pick(&BEGINNINGS, random));
    let prompt = match random.below(3) {
        0 => last.to_owned(),
        1 => format!("{first} {name}. {last}"),
        _ => format!("{first} {other} and {name}. {last} {other} and"),
    };
    Sentence::new(prompt, format!(" {name}"), ".")
}

fn any(random: &mut Random) -> &'static str {
    let index = random.below(NAMES.len() + HELD_OUT_NAMES.len());
    NAMES.iter().chain(&HELD_OUT_NAMES).nth(index).unwrap_or(&NAMES[0])
}
