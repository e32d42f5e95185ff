//! Hypernymy: "diamonds, and other" wants " gems" or " gemstones".
//!
//! The corrupted form names a member of another category.
//!
//! Source: Hanna et al., "Have Faith in Faithfulness", <https://arxiv.org/abs/2403.17806>.
//! The templates and categories are this crate's own.

use super::corpus::Sentence;
use super::split::distinct;
use super::template::fill;
use super::words::{CATEGORIES, Category};
use super::{Question, Split};
use crate::error::Result;
use crate::random::Random;

/// The splits of this task: the category of an unknown word cannot be known.
pub const SPLITS: [Split; 3] = [Split::Train, Split::Combinations, Split::Templates];

/// Templates of the training text.
pub const TEMPLATES: [&str; 8] = [
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
pub const HELD_OUT_TEMPLATES: [&str; 3] =
    ["We talked about {member}, and other", "I know that {member} are a type of", "They saw {member} and many other"];

/// One prompt: a member of a category, and a member of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HypernymyPrompt {
    /// The prompt.
    pub clean: String,
    /// The member in it.
    pub member: &'static str,
    /// The member's category, with the right answers.
    pub category: Category,
    /// The prompt with a member of another category.
    pub corrupted: String,
    /// That member.
    pub corrupted_member: &'static str,
    /// That member's category.
    pub corrupted_category: Category,
    /// The index in [`TEMPLATES`], or in [`HELD_OUT_TEMPLATES`] for [`Split::Templates`].
    pub template: usize,
}

impl HypernymyPrompt {
    /// The clean prompt; right are its category's names, wrong the other category's.
    pub fn question(&self) -> Question {
        let names = |category: &Category| category.answers.iter().map(|answer| format!(" {answer}")).collect();
        Question { prompt: self.clean.clone(), right: names(&self.category), wrong: names(&self.corrupted_category) }
    }
}

/// `count` different prompts of a split.
///
/// # Errors
/// If the task has no such split, or the split holds fewer prompts than that.
///
/// ```
/// # fn main() -> candle_lens::Result<()> {
/// use candle_lens::tasks::{Split, hypernymy};
///
/// let prompt = &hypernymy::prompts(Split::Train, 1, 0)?[0];
/// assert_ne!(prompt.category, prompt.corrupted_category);
/// # Ok(())
/// # }
/// ```
pub fn prompts(split: Split, count: usize, seed: u64) -> Result<Vec<HypernymyPrompt>> {
    split.check("hypernymy", &SPLITS)?;
    distinct("hypernymy", count, seed, |prompt| &prompt.clean, |random| draw(split, random))
}

fn draw(split: Split, random: &mut Random) -> HypernymyPrompt {
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
    HypernymyPrompt {
        clean: about(name),
        member: name,
        category,
        corrupted: about(corrupted_member),
        corrupted_member,
        corrupted_category,
        template,
    }
}

/// A training sentence: any of the category's names. (A corrupted form is such a sentence, too.)
pub(super) fn sentence(random: &mut Random) -> Sentence {
    let prompt = draw(Split::Train, random);
    let answer = random.pick(prompt.category.answers);
    Sentence::new(prompt.clean, format!(" {answer}"), ".")
}
