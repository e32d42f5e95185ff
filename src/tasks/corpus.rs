//! The training text of the embedded model: sentences of every task, [`Split::Train`](super::Split) only.

use super::{Random, capital_country, gender_bias, greater_than, hypernymy, ioi, sva};

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
    // Of 28 sentences; the tasks that need more of the model come more often.
    match random.below(28) {
        0..10 => ioi::sentence(random),
        10..15 => greater_than::sentence(random),
        15..17 => gender_bias::sentence(random),
        17..20 => capital_country::sentence(random),
        20..24 => sva::sentence(random),
        _ => hypernymy::sentence(random),
    }
}
