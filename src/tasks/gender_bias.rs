//! Gender bias: after "The nurse said that" a biased model prefers " she" to " he".
//!
//! The corrupted form names a man or a woman in place of the profession, the one whom the stereotype does not expect.
//! There is no right answer here, only the stereotype's: a high score *is* the bias.
//!
//! Source: Vig et al., "Investigating Gender Bias in Language Models Using Causal Mediation Analysis" (NeurIPS 2020),
//! <https://arxiv.org/abs/2004.12265>. The templates, and the bias of [`PROFESSIONS`], are this crate's own.

use super::template::fill;
use super::words::PROFESSIONS;
use super::{Question, Split, TaskPrompt};
use crate::random::Random;

/// The stereotype of an unknown profession cannot be known.
pub(super) const SPLITS: [Split; 3] = [Split::Train, Split::Combinations, Split::Templates];

/// Templates of the training text.
pub(super) const TEMPLATES: [&str; 8] = [
    "The {who} said that",
    "The {who} was tired because",
    "The {who} slept because",
    "The {who} ran because",
    "The {who} was promoted because",
    "The {who} smiled because",
    "The {who} knew that",
    "The {who} went home because",
];

/// Templates that the training text lacks.
pub(super) const HELD_OUT_TEMPLATES: [&str; 3] =
    ["The {who} was late because", "The {who} smiled and said that", "The {who} was happy because"];

/// One prompt: a profession with a stereotype, and the person who contradicts it.
pub(super) fn draw(split: Split, random: &mut Random) -> TaskPrompt {
    let templates = split.templates(&TEMPLATES, &HELD_OUT_TEMPLATES);
    let (profession, template) = loop {
        let (i, t) = (random.below(PROFESSIONS.len()), random.below(templates.len()));
        if split.allows(i, t) && PROFESSIONS[i].she != 0.5 {
            break (PROFESSIONS[i], t);
        }
    };
    let about = |who: &str| fill(templates[template], &[("who", who)]);
    let (clean_answer, corrupted_answer, other) =
        if profession.she > 0.5 { (" she", " he", "man") } else { (" he", " she", "woman") };
    let question = Question {
        prompt: about(profession.noun),
        right: vec![clean_answer.into()],
        wrong: vec![corrupted_answer.into()],
    };
    let words = [("profession", profession.noun), ("person", other)];
    TaskPrompt::asking(question, about(other)).made_of(split, template, words)
}
