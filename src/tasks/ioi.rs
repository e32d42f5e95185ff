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

use std::sync::LazyLock;

use super::corpus::Sentence;
use super::split::distinct;
use super::template::fill;
use super::vocabulary::vocabulary;
use super::words::{HELD_OUT_EVENTS, HELD_OUT_NAMES, NAMES, OBJECTS, PLACES};
use super::{Question, Split, pieces};
use crate::error::Result;
use crate::random::Random;

/// The splits of this task; [`Split::Words`] are held-out names.
pub const SPLITS: [Split; 4] = [Split::Train, Split::Combinations, Split::Templates, Split::Words];

/// Templates of the training text: `{A}` and `{B}` are the two people as they come, `{S}` is the second subject.
pub const TEMPLATES: [&str; 26] = [
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
pub const HELD_OUT_TEMPLATES: [&str; 6] = [
    "During the trip {A} and {B} stopped at the {place}, and {S} gave {object} to",
    "One evening {A} and {B} drove to the {place}. {S} handed {object} to",
    "Although {A} and {B} were tired at the {place}, {S} offered {object} to",
    "At the {place} {A} and {B} talked for a while, and {S} passed {object} to",
    "While {A} and {B} were waiting near the {place}, {S} wanted to give {object} to",
    "Today {A} and {B} had dinner at the {place}, and then {S} showed {object} to",
];

/// Which of the two people is named first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// The indirect object first: IO, S, S.
    Abba,
    /// The subject first: S, IO, S.
    Baba,
}

/// Where the named words of a prompt are, counted in [`pieces`] from 0 (add one if a BOS token is prepended).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Positions {
    /// The indirect object.
    pub io: usize,
    /// The subject, when first named.
    pub s1: usize,
    /// The subject, when named again; in the corrupted forms, who stands in its place.
    pub s2: usize,
    /// The last word, which predicts the answer.
    pub end: usize,
}

/// One prompt in its three forms, which differ in one word only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoiPrompt {
    /// The prompt.
    pub clean: String,
    /// With a third person as second subject.
    pub corrupted: String,
    /// With the indirect object as second subject.
    pub corrupted_hard: String,
    /// The indirect object's name, the answer, without space.
    pub io: &'static str,
    /// The subject's name, without space.
    pub s: &'static str,
    /// The third person's name, without space.
    pub third: &'static str,
    /// Who is named first.
    pub order: Order,
    /// The index in [`TEMPLATES`], or in [`HELD_OUT_TEMPLATES`] for [`Split::Templates`].
    pub template: usize,
    /// Where the names are.
    pub positions: Positions,
}

impl IoiPrompt {
    /// The clean prompt with its answer (IO) and the wrong one (S).
    pub fn question(&self) -> Question {
        Question {
            prompt: self.clean.clone(),
            right: vec![format!(" {}", self.io)],
            wrong: vec![format!(" {}", self.s)],
        }
    }
}

/// `count` different prompts of a split, both orders mixed.
///
/// # Errors
/// If the split holds fewer prompts than that.
///
/// ```
/// # fn main() -> candle_lens::Result<()> {
/// use candle_lens::tasks::{Split, ioi};
///
/// let prompts = ioi::prompts(Split::Train, 2, 0)?;
/// assert!(prompts[0].clean.contains(prompts[0].io));
/// # Ok(())
/// # }
/// ```
pub fn prompts(split: Split, count: usize, seed: u64) -> Result<Vec<IoiPrompt>> {
    distinct("IOI", count, seed, |prompt| &prompt.clean, |random| draw(split, random))
}

fn draw(split: Split, random: &mut Random) -> IoiPrompt {
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
    about(io, s, third, split, random)
}

/// A prompt of a split about these three.
fn about(io: &'static str, s: &'static str, third: &'static str, split: Split, random: &mut Random) -> IoiPrompt {
    let templates = split.templates(&TEMPLATES, &HELD_OUT_TEMPLATES);
    let template = random.below(templates.len());
    let order = if random.chance(0.5) { Order::Abba } else { Order::Baba };
    let (a, b) = match order {
        Order::Abba => (io, s),
        Order::Baba => (s, io),
    };
    let place = random.pick(&PLACES);
    let object = random.pick(&OBJECTS);
    let with = |second: &str| {
        let words = [("A", a), ("B", b), ("S", second), ("place", place), ("object", object)];
        fill(templates[template], &words)
    };
    // Every name is one piece, so the pieces before a name are those of the template up to it, with the object filled in.
    let before = |key: &str| {
        let text = fill(templates[template], &[("object", object)]);
        let start = text.split(key).next().unwrap_or_default();
        if start.is_empty() { 0 } else { pieces(start.trim_end()).len() }
    };
    let (first, second) = (before("{A}"), before("{B}"));
    let (io_position, s1) = if order == Order::Abba { (first, second) } else { (second, first) };
    let clean = with(s);
    let positions = Positions { io: io_position, s1, s2: before("{S}"), end: pieces(&clean).len() - 1 };
    IoiPrompt { corrupted: with(third), corrupted_hard: with(io), clean, io, s, third, order, template, positions }
}

/// A training prompt about three words that are no names: who is named twice matters, not who it is. Without such
/// prompts a model learns the rule for the names it met and not for others.
fn draw_words(random: &mut Random) -> IoiPrompt {
    let mut word = || WORDS[random.below(WORDS.len())].as_str();
    let (io, s, third) = loop {
        let (io, s, third) = (word(), word(), word());
        if io != s && io != third && s != third {
            break (io, s, third);
        }
    };
    about(io, s, third, Split::Train, random)
}

/// All words of the tasks but those that are held out.
static WORDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let held_out = |word: &str| HELD_OUT_NAMES.contains(&word) || HELD_OUT_EVENTS.contains(&word);
    let words = vocabulary().into_iter().filter_map(|piece| piece.strip_prefix(' ').map(str::to_owned));
    words.filter(|word| word.starts_with(char::is_alphabetic) && !held_out(word)).collect()
});

/// A training sentence: a prompt that names its IO, or (one time in eight) a corrupted one that ends in either name.
/// One in four is about words that are no names.
///
/// One in ten has two spaces before the second subject, as prompts do that insert " John" into "shops, {} gave".
pub(super) fn sentence(random: &mut Random) -> Sentence {
    let prompt = if random.chance(0.25) { draw_words(random) } else { draw(Split::Train, random) };
    let third = random.chance(0.125);
    let (mut text, second, answer) = if third {
        let answer = if random.chance(0.5) { prompt.io } else { prompt.s };
        (prompt.corrupted, prompt.third, answer)
    } else {
        (prompt.clean, prompt.s, prompt.io)
    };
    if random.chance(0.1)
        && let Some(start) = text.rfind(&format!(" {second}"))
    {
        text.insert(start, ' ');
    }
    Sentence::new(text, format!(" {answer}"), ".")
}
