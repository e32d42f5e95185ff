use std::collections::BTreeSet;
use std::fmt;

use super::TaskPrompt;
use crate::error::{Error, Result};
use crate::random::Random;

/// Which parts of a prompt the embedded model saw in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Split {
    /// Words, templates and combinations of the training text.
    Train,
    /// Words and templates of the training text, in combinations (two names, a noun and a template, ...) that it lacks.
    Combinations,
    /// Words of the training text in phrasings that it lacks.
    Templates,
    /// Phrasings of the training text with words that no sentence of any task has there; the names among them are only
    /// introduced ("My name is Keith.").
    Words,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Combinations => "combinations",
            Self::Templates => "templates",
            Self::Words => "words",
        })
    }
}

impl Split {
    /// The templates of this split.
    pub(super) fn templates(
        self,
        train: &'static [&'static str],
        held_out: &'static [&'static str],
    ) -> &'static [&'static str] {
        if self == Self::Templates { held_out } else { train }
    }

    /// Whether two numbered things (two names, a word and a template, ...) may meet in a prompt of this split:
    /// one combination in eight is held out of training.
    ///
    /// The rule is symmetric, so that a pair of names is held out in both orders.
    pub fn allows(self, i: usize, j: usize) -> bool {
        let held_out = (i + j) % 8 == 3;
        match self {
            Self::Train => !held_out,
            Self::Combinations => held_out,
            Self::Templates | Self::Words => true,
        }
    }

    /// Refuses a split that a task does not have.
    pub(super) fn check(self, task: &str, valid: &[Split]) -> Result<()> {
        if valid.contains(&self) {
            return Ok(());
        }
        let valid: Vec<String> = valid.iter().map(|split| format!("{split:?}")).collect();
        Err(Error::argument(format!(
            "the {task} task has no split {self:?}: what it asks for cannot be known without those words. \
             Use one of {}.",
            valid.join(", ")
        )))
    }
}

/// This many draws in a row without a new prompt, plus ten for each prompt found, mean that there are no more.
const IN_VAIN: usize = 5000;

/// The maximum number of prompts that are made at once.
const MOST: usize = 1_000_000;

/// How many are drawn to find out how few a split has, where more were asked for than can be made at once.
const PROBE: usize = 20_000;

/// `count` prompts with different clean texts, in the order in which `draw` produced them.
pub(super) fn distinct(
    task: &str,
    count: usize,
    seed: u64,
    draw: impl Fn(&mut Random) -> TaskPrompt,
) -> Result<Vec<TaskPrompt>> {
    let mut random = Random::new(seed);
    let mut seen = BTreeSet::new();
    let mut prompts = Vec::new();
    let wanted = if count > MOST { PROBE } else { count };
    let mut in_vain = 0;
    while prompts.len() < wanted && in_vain < IN_VAIN + 10 * prompts.len() {
        let prompt = draw(&mut random);
        in_vain += 1;
        if seen.insert(prompt.clean.clone()) {
            prompts.push(prompt);
            in_vain = 0;
        }
    }
    if prompts.len() == wanted && wanted < count {
        return Err(Error::argument(format!(
            "{count} different {task} prompts were asked for, but at most {MOST} are made at once: ask for fewer, with \
             several seeds."
        )));
    }
    if prompts.len() < count {
        return Err(Error::argument(format!(
            "{count} different {task} prompts were asked for, but this split gave only {}; ask for at most that many.",
            prompts.len()
        )));
    }
    Ok(prompts)
}
