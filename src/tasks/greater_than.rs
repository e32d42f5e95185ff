//! Greater-than: "The war lasted from the year 1741 to the year 17" wants a year after 41.
//!
//! The corrupted form starts in the year 01, after which every later year is right.
//!
//! Source: Hanna et al., "How does GPT-2 compute greater-than?", <https://arxiv.org/abs/2305.00586>.
//! The templates and nouns are this crate's own.

use super::template::fill;
use super::words::{CENTURIES, EVENTS, HELD_OUT_EVENTS};
use super::{Question, Split, TaskPrompt};
use crate::random::Random;

/// [`Split::Words`] are held-out nouns, [`Split::Combinations`] held-out years.
pub(super) const SPLITS: [Split; 4] = [Split::Train, Split::Combinations, Split::Templates, Split::Words];

/// Templates of the training text.
pub(super) const TEMPLATES: [&str; 13] = [
    "The {noun} lasted from the year {start} to the year {century}",
    "The {noun} started in the year {start} and ended in the year {century}",
    "The {noun} went on from the year {start} until the year {century}",
    "The {noun} of the year {start} was over in the year {century}",
    "In the year {start} the {noun} started, and it ended in the year {century}",
    "The {noun} that started in {start} was over by the year {century}",
    "From {start} the {noun} went on, and it lasted until {century}",
    "It was the year {start} when the {noun} started, and it lasted to the year {century}",
    "The {noun} lasted from {start} to {century}",
    "The {noun} started in {start} and went on until {century}",
    "The {noun} that started in the year {start} ended in {century}",
    "From the year {start} the {noun} lasted to {century}",
    "The {noun} started in the year {start}, and it was over by {century}",
];

/// Templates that the training text lacks.
pub(super) const HELD_OUT_TEMPLATES: [&str; 3] = [
    "The {noun} started in the year {start} and was over in the year {century}",
    "From the year {start} the {noun} went on until the year {century}",
    "The {noun} that started in the year {start} lasted until {century}",
];

/// One prompt: the same century twice; answers above the two digits of the first year are right.
pub(super) fn draw(split: Split, random: &mut Random) -> TaskPrompt {
    let nouns: &[&'static str] = if split == Split::Words { &HELD_OUT_EVENTS } else { &EVENTS };
    let noun = *random.pick(nouns);
    let (century, year) = loop {
        let (century, year) = (*random.pick(&CENTURIES), 2 + random.below(97) as u32);
        if split.allows(century as usize, year as usize) {
            break (century, year);
        }
    };
    let templates = split.templates(&TEMPLATES, &HELD_OUT_TEMPLATES);
    let template = random.below(templates.len());
    let starting = |year: u32| {
        let (start, century) = (format!("{century}{year:02}"), century.to_string());
        fill(templates[template], &[("noun", noun), ("start", &start), ("century", &century)])
    };
    let years = |range: std::ops::RangeInclusive<u32>| range.map(|year| format!("{year:02}")).collect();
    let question = Question { prompt: starting(year), right: years(year + 1..=99), wrong: years(0..=year) };
    let words = [("noun", noun), ("century", &century.to_string()), ("year", &format!("{year:02}"))];
    TaskPrompt::asking(question, starting(1)).made_of(split, template, words)
}
