//! Indirect object identification: "When John and Mary went to the shops, John gave the bag to" wants " Mary".
//!
//! A prompt names two people, the indirect object (IO) and the subject (S); S acts and is named a second time.
//! Where IO comes first the order is called ABBA, where S comes first BABA.
//!
//! Two corrupted forms keep everything but the second subject (S2):
//! - `corrupted`: S2 is a third person, so that neither name is the answer;
//! - `corrupted_hard`: S2 is the IO, so that the answer is the other name.
//!
//! Source: Wang et al., "Interpretability in the Wild: a Circuit for Indirect Object Identification in GPT-2 small",
//! <https://arxiv.org/abs/2211.00593>. The templates and lists are this crate's own.

use super::template::fill;
use super::words::{HELD_OUT_NAMES, NAMES, OBJECTS, PLACES};
use super::{Question, Split, TaskPrompt, pieces};
use crate::random::Random;

/// [`Split::Words`] are held-out names.
pub(super) const SPLITS: [Split; 4] = [Split::Train, Split::Combinations, Split::Templates, Split::Words];

/// Templates of the training text: `{A}` and `{B}` are the two people as they come, `{S}` is the second subject.
pub(super) const TEMPLATES: [&str; 26] = [
    "When {A} and {B} went to the {place}, {S} gave {object} to",
    "After {A} and {B} went to the {place}, {S} gave {object} to",
    "While {A} and {B} were at the {place}, {S} handed {object} to",
    "By chance {A} and {B} met at the {place}, so {S} passed {object} to",
    "Yesterday {A} and {B} walked to the {place}, and {S} showed {object} to",
    "Because {A} and {B} were early at the {place}, {S} offered {object} to",
    "As soon as {A} and {B} got to the {place}, {S} sold {object} to",
    "Once {A} and {B} had left the {place}, {S} sent {object} to",
    "On Sunday {A} and {B} ate at the {place}. Later {S} brought {object} to",
    "Since {A} and {B} were bored at the {place}, {S} threw {object} to",
    "Last week {A} and {B} found {object} at the {place}, and {S} gave it to",
    "When {A} and {B} bought {object} at the {place}, {S} wanted to leave it to",
    "Outside the {place} {A} and {B} fell out, and it was {S} who shouted at",
    "The day {A} and {B} came to the {place}, {S} lent {object} to",
    "Before {A} and {B} left the {place}, {S} returned {object} to",
    "In the morning {A} and {B} sat at the {place}, and {S} read a poem to",
    "My friends {A} and {B} were at the {place}, where {S} wrote a letter to",
    "If {A} and {B} ever meet at the {place}, {S} will give {object} to",
    "During the day {A} and {B} were near the {place}, and {S} brought {object} to",
    "One evening {A} and {B} talked at the {place}, and then {S} gave {object} to",
    "Although {A} and {B} were bored at the {place}, {S} showed {object} to",
    "On the trip {A} and {B} had dinner at the {place}. {S} handed {object} to",
    "At the {place} {A} and {B} were waiting for a while, so {S} passed {object} to",
    "Today {A} and {B} drove to the {place}, where {S} offered {object} to",
    "Later {A} and {B} stopped near the {place}, and {S} wanted to give {object} to",
    "For a while {A} and {B} were tired, and at the {place} {S} sent {object} to",
];

/// Templates that the training text lacks.
pub(super) const HELD_OUT_TEMPLATES: [&str; 6] = [
    "During the trip {A} and {B} stopped at the {place}, and {S} gave {object} to",
    "One evening {A} and {B} drove to the {place}. {S} handed {object} to",
    "Although {A} and {B} were tired at the {place}, {S} offered {object} to",
    "At the {place} {A} and {B} talked for a while, and {S} passed {object} to",
    "While {A} and {B} were waiting near the {place}, {S} wanted to give {object} to",
    "Today {A} and {B} had dinner at the {place}, and then {S} showed {object} to",
];

/// One prompt, in either order.
pub(super) fn draw(split: Split, random: &mut Random) -> TaskPrompt {
    let names: &[&'static str] = if split == Split::Words { &HELD_OUT_NAMES } else { &NAMES };
    let (io, s) = loop {
        let (i, j) = (random.below(names.len()), random.below(names.len()));
        if i != j && split.allows(i, j) {
            break (names[i], names[j]);
        }
    };
    let third = loop {
        let name = *random.pick(names);
        if name != io && name != s {
            break name;
        }
    };
    let templates = split.templates(&TEMPLATES, &HELD_OUT_TEMPLATES);
    let template = random.below(templates.len());
    let io_first = random.chance(0.5);
    let (a, b) = if io_first { (io, s) } else { (s, io) };
    let place = *random.pick(&PLACES);
    let object = *random.pick(&OBJECTS);
    let with = |second: &str| {
        let words = [("A", a), ("B", b), ("S", second), ("place", place), ("object", object)];
        fill(templates[template], &words)
    };
    // Every name is one piece, so the pieces before it are those of the template up to it, with the object filled in.
    let before = |key: &str| {
        let text = fill(templates[template], &[("object", object)]);
        let start = text.split(key).next().unwrap_or_default();
        if start.is_empty() { 0 } else { pieces(start.trim_end()).len() }
    };
    let (first, second) = (before("{A}"), before("{B}"));
    let (io_position, s1) = if io_first { (first, second) } else { (second, first) };
    let question = Question { prompt: with(s), right: vec![format!(" {io}")], wrong: vec![format!(" {s}")] };
    let mut prompt = TaskPrompt::asking(question, with(third));
    prompt.corrupted_hard = Some(with(io));
    let positions = [("io", io_position), ("s1", s1), ("s2", before("{S}"))];
    prompt.positions.extend(positions.map(|(name, at)| (name.to_string(), at)));
    prompt.made_of(split, template, [("io", io), ("s", s), ("third", third), ("place", place), ("object", object)])
}
