//! Sentences that only introduce people. They are no task: they tell a model which words are names, the held-out ones
//! among them, which occur nowhere else.

use super::Random;
use super::corpus::Sentence;
use super::words::{HELD_OUT_NAMES, NAMES};

/// Beginnings of the sentences; a name follows.
pub(super) const BEGINNINGS: [&str; 6] =
    ["My name is", "I know", "We met", "My friend is", "They talked about", "You know"];

/// A beginning and any name; half of the time the name has just been introduced by another beginning.
pub(super) fn sentence(random: &mut Random) -> Sentence {
    let index = random.below(NAMES.len() + HELD_OUT_NAMES.len());
    let name = NAMES.iter().chain(&HELD_OUT_NAMES).nth(index).unwrap_or(&NAMES[0]);
    let last = *random.pick(&BEGINNINGS);
    let prompt = match random.chance(0.5) {
        true => format!("{} {name}. {last}", random.pick(&BEGINNINGS)),
        false => last.to_owned(),
    };
    Sentence::new(prompt, format!(" {name}"), ".")
}
