//! Subject-verb agreement: "The keys on the cabinet" wants a verb in the plural.
//!
//! The corrupted form has the subject in the other number. The second noun, nearer to the verb, is a distractor
//! whose number is free.
//!
//! Source: Newman et al., "Refining Targeted Syntactic Evaluation of Language Models" (NAACL 2021),
//! <https://arxiv.org/abs/2104.09635>. The templates, nouns and verbs are this crate's own.

use super::corpus::Sentence;
use super::split::distinct;
use super::template::fill;
use super::words::{NOUNS, VERBS};
use super::{Question, Split};
use crate::error::Result;
use crate::random::Random;

/// The splits of this task; [`Split::Combinations`] are pairs of nouns.
pub const SPLITS: [Split; 3] = [Split::Train, Split::Combinations, Split::Templates];

/// Templates of the training text.
pub const TEMPLATES: [&str; 8] = [
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
pub const HELD_OUT_TEMPLATES: [&str; 3] = [
    "The old {subject} near the {other}",
    "I know that the {subject} behind the {other}",
    "The {subject} that I saw behind the {other}",
];

/// One prompt: the subject in its number, and in the other one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SvaPrompt {
    /// The prompt.
    pub clean: String,
    /// With the subject in the other number.
    pub corrupted: String,
    /// Whether the clean prompt's subject is in the plural.
    pub plural: bool,
    /// The index in [`TEMPLATES`], or in [`HELD_OUT_TEMPLATES`] for [`Split::Templates`].
    pub template: usize,
}

impl SvaPrompt {
    /// The clean prompt; right are the verbs that agree with its subject, wrong the others.
    pub fn question(&self) -> Question {
        let verbs = |plural: bool| VERBS.map(|v| format!(" {}", if plural { v.plural } else { v.singular })).into();
        Question { prompt: self.clean.clone(), right: verbs(self.plural), wrong: verbs(!self.plural) }
    }
}

/// `count` different prompts of a split.
///
/// # Errors
/// If the task has no such split, or the split holds fewer prompts than that.
///
/// ```
/// # fn main() -> candle_lens::Result<()> {
/// use candle_lens::tasks::{Split, sva};
///
/// let prompt = &sva::prompts(Split::Train, 1, 0)?[0];
/// assert_eq!(prompt.question().right.contains(&" are".to_string()), prompt.plural);
/// # Ok(())
/// # }
/// ```
pub fn prompts(split: Split, count: usize, seed: u64) -> Result<Vec<SvaPrompt>> {
    split.check("subject-verb agreement", &SPLITS)?;
    distinct("subject-verb agreement", count, seed, |prompt| &prompt.clean, |random| draw(split, random))
}

fn draw(split: Split, random: &mut Random) -> SvaPrompt {
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
    let about = |plural: bool| {
        fill(templates[template], &[("subject", if plural { subject.1 } else { subject.0 }), ("other", other)])
    };
    SvaPrompt { clean: about(plural), corrupted: about(!plural), plural, template }
}

/// A training sentence: any verb that agrees. (A corrupted form is such a sentence, too.)
pub(super) fn sentence(random: &mut Random) -> Sentence {
    let prompt = draw(Split::Train, random);
    let verb = random.pick(&VERBS);
    let answer = if prompt.plural { verb.plural } else { verb.singular };
    Sentence::new(prompt.clean, format!(" {answer}"), format!(" {}.", verb.rest))
}
