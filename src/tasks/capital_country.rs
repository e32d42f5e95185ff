//! Capital and country: "Tirana, the capital of" wants " Albania".
//!
//! The corrupted form names another capital.
//!
//! Source: Hanna et al., "Have Faith in Faithfulness", <https://arxiv.org/abs/2403.17806>.
//! The templates and the list are this crate's own.

use super::corpus::Sentence;
use super::split::distinct;
use super::template::fill;
use super::words::CAPITALS;
use super::{Question, Split};
use crate::error::Result;
use crate::random::Random;

/// The splits of this task: a capital that was never told cannot be known.
pub const SPLITS: [Split; 3] = [Split::Train, Split::Combinations, Split::Templates];

/// Templates of the training text.
pub const TEMPLATES: [&str; 10] = [
    "{capital}, the capital of",
    "{capital} is the capital of",
    "The city of {capital} is the capital of",
    "We went to {capital}, the capital of",
    "They live in {capital}, the old capital of",
    "{capital} is a large city in",
    "I know that {capital} is the capital of",
    "The old city of {capital} is in",
    "My friends live in {capital}, a city in",
    "They went to the city of {capital} in",
];

/// Templates that the training text lacks.
pub const HELD_OUT_TEMPLATES: [&str; 3] = [
    "My friends live in {capital}, the capital of",
    "The old city of {capital} is the capital of",
    "They went to the city of {capital}, the large capital of",
];

/// One prompt: a capital, and another one in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapitalCountryPrompt {
    /// The prompt.
    pub clean: String,
    /// The capital in it.
    pub capital: &'static str,
    /// Its country, the answer, without space.
    pub country: &'static str,
    /// The prompt with another capital.
    pub corrupted: String,
    /// That capital.
    pub corrupted_capital: &'static str,
    /// That capital's country, without space.
    pub corrupted_country: &'static str,
    /// The index in [`TEMPLATES`], or in [`HELD_OUT_TEMPLATES`] for [`Split::Templates`].
    pub template: usize,
}

impl CapitalCountryPrompt {
    /// The clean prompt; right is the capital's country, wrong the other one.
    pub fn question(&self) -> Question {
        Question {
            prompt: self.clean.clone(),
            right: vec![format!(" {}", self.country)],
            wrong: vec![format!(" {}", self.corrupted_country)],
        }
    }
}

/// `count` different prompts of a split.
///
/// # Errors
/// If the task has no such split, or the split holds fewer prompts than that.
///
/// ```
/// # fn main() -> candle_lens::Result<()> {
/// use candle_lens::tasks::{Split, capital_country};
///
/// let prompt = &capital_country::prompts(Split::Templates, 1, 0)?[0];
/// assert_eq!(prompt.corrupted, prompt.clean.replace(prompt.capital, prompt.corrupted_capital));
/// # Ok(())
/// # }
/// ```
pub fn prompts(split: Split, count: usize, seed: u64) -> Result<Vec<CapitalCountryPrompt>> {
    split.check("capital-country", &SPLITS)?;
    distinct("capital-country", count, seed, |prompt| &prompt.clean, |random| draw(split, random))
}

fn draw(split: Split, random: &mut Random) -> CapitalCountryPrompt {
    let templates = split.templates(&TEMPLATES, &HELD_OUT_TEMPLATES);
    let template = random.below(templates.len());
    let fact = |random: &mut Random| loop {
        let index = random.below(CAPITALS.len());
        if split.allows(index, template) {
            break CAPITALS[index];
        }
    };
    let (capital, country) = fact(random);
    let (corrupted_capital, corrupted_country) = loop {
        let other = fact(random);
        if other.0 != capital {
            break other;
        }
    };
    let about = |capital: &str| fill(templates[template], &[("capital", capital)]);
    CapitalCountryPrompt {
        clean: about(capital),
        capital,
        country,
        corrupted: about(corrupted_capital),
        corrupted_capital,
        corrupted_country,
        template,
    }
}

/// A training sentence: a fact. (A corrupted form is a fact, too.)
pub(super) fn sentence(random: &mut Random) -> Sentence {
    let prompt = draw(Split::Train, random);
    Sentence::new(prompt.clean, format!(" {}", prompt.country), ".")
}
