//! Hypernymy: "diamonds, and other" wants " gems" or " gemstones".
//!
//! The corrupted form names a member of another category.
//!
//! Source: Hanna et al., "Have Faith in Faithfulness", <https://arxiv.org/abs/2403.17806>.
//! The templates and categories are this crate's own.

use super::template::fill;
use super::words::{CATEGORIES, Category};
use super::{Question, Split, TaskPrompt};
use crate::random::Random;

/// The category of an unknown word cannot be known.
pub(super) const SPLITS: [Split; 3] = [Split::Train, Split::Combinations, Split::Templates];

/// Templates of the training text.
pub(super) const TEMPLATES: [&str; 8] = [
    "{member}, and other",
    "{member} and other",
    ", {member} and other",
    "{member} are a type of",
    "I saw {member}, and other",
    "They talked about {member} and other",
    "We know that {member} are a type of",
    "There were {member}, and many other",
];

/// Templates that the training text lacks.
pub(super) const HELD_OUT_TEMPLATES: [&str; 3] =
    ["We talked about {member}, and other", "I know that {member} are a type of", "They saw {member} and many other"];

/// One prompt: a member of a category, and a member of another.
pub(super) fn draw(split: Split, random: &mut Random) -> TaskPrompt {
    let templates = split.templates(&TEMPLATES, &HELD_OUT_TEMPLATES);
    let template = random.below(templates.len());
    let member = |random: &mut Random| loop {
        let kind = random.below(CATEGORIES.len());
        let index = random.below(CATEGORIES[kind].members.len());
        if split.allows(kind + index, template) {
            break (CATEGORIES[kind], CATEGORIES[kind].members[index]);
        }
    };
    let (category, name) = member(random);
    let (corrupted_category, corrupted_member) = loop {
        let other = member(random);
        if other.0 != category {
            break other;
        }
    };
    let about = |member: &str| fill(templates[template], &[("member", member)]);
    let names = |category: Category| category.answers.iter().map(|answer| format!(" {answer}")).collect();
    let question = Question { prompt: about(name), right: names(category), wrong: names(corrupted_category) };
    let words = [
        ("member", name),
        ("category", category.name),
        ("corrupted_member", corrupted_member),
        ("corrupted_category", corrupted_category.name),
    ];
    TaskPrompt::asking(question, about(corrupted_member)).made_of(split, template, words)
}
