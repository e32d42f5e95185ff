//! Capital and country: "Tirana, the capital of" wants " Albania".
//!
//! The corrupted form names another capital.
//!
//! Source: Hanna et al., "Have Faith in Faithfulness", <https://arxiv.org/abs/2403.17806>.
//! The templates and the list are this crate's own.

use super::template::fill;
use super::words::CAPITALS;
use super::{Question, Split, TaskPrompt};
use crate::random::Random;

/// A capital that the training text never names cannot be known.
pub(super) const SPLITS: [Split; 3] = [Split::Train, Split::Combinations, Split::Templates];

/// Templates of the training text.
pub(super) const TEMPLATES: [&str; 10] = [
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
pub(super) const HELD_OUT_TEMPLATES: [&str; 3] = [
    "My friends live in {capital}, the capital of",
    "The old city of {capital} is the capital of",
    "They went to the city of {capital}, the large capital of",
];

/// One prompt: a capital, and another one in its place.
pub(super) fn draw(split: Split, random: &mut Random) -> TaskPrompt {
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
    let question = Question {
        prompt: about(capital),
        right: vec![format!(" {country}")],
        wrong: vec![format!(" {corrupted_country}")],
    };
    let words = [
        ("capital", capital),
        ("country", country),
        ("corrupted_capital", corrupted_capital),
        ("corrupted_country", corrupted_country),
    ];
    TaskPrompt::asking(question, about(corrupted_capital)).made_of(split, template, words)
}
