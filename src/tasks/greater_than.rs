//! Greater-than: "The war lasted from the year 1741 to the year 17" wants a year after 41.
//!
//! The corrupted form starts in the year 01, after which every end is possible.
//!
//! Source: Hanna et al., "How does GPT-2 compute greater-than?", <https://arxiv.org/abs/2305.00586>.
//! The templates and nouns are this crate's own.

use super::corpus::Sentence;
use super::split::distinct;
use super::template::fill;
use super::words::{CENTURIES, EVENTS, HELD_OUT_EVENTS};
use super::{Question, Split};
use crate::error::Result;
use crate::random::Random;

/// The splits of this task; [`Split::Words`] are held-out nouns, [`Split::Combinations`] held-out years.
pub const SPLITS: [Split; 4] = [Split::Train, Split::Combinations, Split::Templates, Split::Words];

/// Templates of the training text.
pub const TEMPLATES: [&str; 13] = [
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
pub const HELD_OUT_TEMPLATES: [&str; 3] = [
    "The {noun} started in the year {start} and was over in the year {century}",
    "From the year {start} the {noun} went on until the year {century}",
    "The {noun} that started in the year {start} lasted until {century}",
];

/// One prompt: the same century twice, and the two digits of the first year.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GreaterThanPrompt {
    /// The prompt.
    pub clean: String,
    /// With 01 in place of the year's last two digits.
    pub corrupted: String,
    /// The last two digits of the first year, 2 to 98: answers above it are right.
    pub year: u32,
    /// The first two digits of both years.
    pub century: u32,
    /// The noun.
    pub noun: &'static str,
    /// The index in [`TEMPLATES`], or in [`HELD_OUT_TEMPLATES`] for [`Split::Templates`].
    pub template: usize,
}

impl GreaterThanPrompt {
    /// The clean prompt; right are the two-digit years after its own, wrong its own and those before.
    pub fn question(&self) -> Question {
        let years = |range: std::ops::RangeInclusive<u32>| range.map(|year| format!("{year:02}")).collect();
        Question { prompt: self.clean.clone(), right: years(self.year + 1..=99), wrong: years(0..=self.year) }
    }
}

/// `count` different prompts of a split.
///
/// # Errors
/// If the split holds fewer prompts than that.
///
/// ```
/// # fn main() -> candle_lens::Result<()> {
/// use candle_lens::tasks::{Split, greater_than};
///
/// let prompt = &greater_than::prompts(Split::Train, 1, 0)?[0];
/// assert_eq!(prompt.question().wrong.last(), Some(&format!("{:02}", prompt.year)));
/// # Ok(())
/// # }
/// ```
pub fn prompts(split: Split, count: usize, seed: u64) -> Result<Vec<GreaterThanPrompt>> {
    distinct("greater-than", count, seed, |prompt| &prompt.clean, |random| draw(split, random))
}

fn draw(split: Split, random: &mut Random) -> GreaterThanPrompt {
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
    GreaterThanPrompt { clean: starting(year), corrupted: starting(1), year, century, noun, template }
}

/// A training sentence: any later year, all equally likely; one time in twenty from the corrupted form.
pub(super) fn sentence(random: &mut Random) -> Sentence {
    let prompt = draw(Split::Train, random);
    let (text, year) = if random.chance(0.05) { (prompt.corrupted, 1) } else { (prompt.clean, prompt.year) };
    let end = year as usize + 1 + random.below(99 - year as usize);
    Sentence::new(text, format!("{end:02}"), ".")
}
