//! Subject-verb agreement: "The keys on the cabinet" wants a verb in the plural.
//!
//! The corrupted form has the subject in the other number. The second noun, nearer to the verb, is a distractor
//! whose number is free.
//!
//! Source: Newman et al., "Refining Targeted Syntactic Evaluation of Language Models" (NAACL 2021),
//! <https://arxiv.org/abs/2104.09635>. The templates, nouns and verbs are this crate's own.

use std::sync::{Arc, LazyLock};

use super::template::fill;
use super::words::{NOUNS, VERBS};
use super::{Split, TaskPrompt};
use crate::random::Random;

/// [`Split::Combinations`] are pairs of nouns.
pub(super) const SPLITS: [Split; 3] = [Split::Train, Split::Combinations, Split::Templates];

/// Templates of the training text.
pub(super) const TEMPLATES: [&str; 8] = [
    "The {subject} on the {other}",
    "The {subject} near the {other}",
    "The {subject} behind the {other}",
    "The {subject} beside the {other}",
    "The {subject} under the {other}",
    "The {subject} that I saw near the {other}",
    "I know that the {subject} by the {other}",
    "The {subject}",
];

/// Templates that the training text lacks.
pub(super) const HELD_OUT_TEMPLATES: [&str; 3] = [
    "The old {subject} near the {other}",
    "I know that the {subject} behind the {other}",
    "The {subject} that I saw behind the {other}",
];

/// Every verb in the singular and in the plural, with its space: the answers of all prompts.
static ANSWERS: LazyLock<[Arc<[String]>; 2]> = LazyLock::new(|| {
    [VERBS.map(|verb| format!(" {}", verb.singular)).into(), VERBS.map(|verb| format!(" {}", verb.plural)).into()]
});

/// The verbs that agree with a subject in this number, and the others.
pub(super) fn answers(plural: bool) -> [Arc<[String]>; 2] {
    [ANSWERS[usize::from(plural)].clone(), ANSWERS[usize::from(!plural)].clone()]
}

/// One prompt: the subject in its number, and in the other one.
pub(super) fn draw(split: Split, random: &mut Random) -> TaskPrompt {
    let (subject, other) = loop {
        let (i, j) = (random.below(NOUNS.len()), random.below(NOUNS.len()));
        if i != j && split.allows(i, j) {
            break (NOUNS[i], NOUNS[j]);
        }
    };
    let templates = split.templates(&TEMPLATES, &HELD_OUT_TEMPLATES);
    let template = random.below(templates.len());
    let plural = random.chance(0.5);
    let other = if random.chance(0.5) { other.1 } else { other.0 };
    let subject_in = |plural: bool| if plural { subject.1 } else { subject.0 };
    let about = |plural: bool| fill(templates[template], &[("subject", subject_in(plural)), ("other", other)]);
    let [right, wrong] = answers(plural);
    let mut prompt = TaskPrompt::of(about(plural), about(!plural), right, wrong);
    prompt.plural = Some(plural);
    prompt.made_of(split, template, [("subject", subject_in(plural)), ("other", other)])
}
