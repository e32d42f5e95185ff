//! The training text of the embedded model: sentences of every task, [`Split::Train`](super::Split) only, and
//! introductions ("My name is Keith."), from which alone it knows the held-out names.

use super::{capital_country, gender_bias, greater_than, hypernymy, introductions, ioi, sva};
use crate::random::Random;

/// A sentence of the training text, cut where the task's answer starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// The words before the answer.
    pub prompt: String,
    /// The answer, one token, with its space.
    pub answer: String,
    /// What follows it.
    pub rest: String,
}

impl Sentence {
    pub(super) fn new(prompt: impl Into<String>, answer: impl Into<String>, rest: impl Into<String>) -> Self {
        Self { prompt: prompt.into(), answer: answer.into(), rest: rest.into() }
    }

    /// The whole sentence.
    pub fn text(&self) -> String {
        format!("{}{}{}", self.prompt, self.answer, self.rest)
    }
}

/// The next sentence of the training text, corrupted forms among them.
pub fn sentence(random: &mut Random) -> Sentence {
    // Of 40 sentences; the tasks that need more of the model come more often.
    match random.below(40) {
        0..16 => ioi::sentence(random),
        16..21 => greater_than::sentence(random),
        21..23 => gender_bias::sentence(random),
        23..26 => capital_country::sentence(random),
        26..31 => sva::sentence(random),
        31..34 => hypernymy::sentence(random),
        _ => introductions::sentence(random),
    }
}
