//! A task with its prompts as one value: the same for prompts made here and for files that others wrote.
//!
//! Answers are texts, so that a data set fits any tokenizer; token ids in a file are checked against the text where the
//! model's tokenizer is GPT-2's.

use std::fmt;
use std::sync::Arc;

use super::{Question, Split, capital_country, gender_bias, greater_than, hypernymy, ioi, pieces, sva};
use crate::error::{Error, Result};
use crate::random::Random;

/// One of the six tasks, and so how its answers are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Task {
    /// Indirect object identification: logit difference of two names (Wang et al. 2022).
    Ioi,
    /// Years above a start: probability difference of two-digit years (Hanna et al. 2023).
    GreaterThan,
    /// " she" or " he": logit difference (Vig et al. 2020).
    GenderBias,
    /// Capital and country: logit difference of the first tokens of two countries (Hanna et al. 2024).
    CapitalCountry,
    /// Subject-verb agreement: probability difference of verbs in the right and in the wrong number (Newman et al. 2021).
    Sva,
    /// Words and their categories: probability difference of two lists of answers (Hanna et al. 2024).
    Hypernymy,
}

impl Task {
    /// All six.
    pub const ALL: [Self; 6] =
        [Self::Ioi, Self::GreaterThan, Self::GenderBias, Self::CapitalCountry, Self::Sva, Self::Hypernymy];

    /// Whether it is judged by the difference of two logits, one for each answer; else by the difference in probability of
    /// two sets of tokens.
    pub fn is_logit_diff(self) -> bool {
        matches!(self, Self::Ioi | Self::GenderBias | Self::CapitalCountry)
    }

    /// `count` prompts of a split from the generators of this crate, as a data set.
    ///
    /// # Errors
    /// A split that the task does not have, or that holds fewer prompts than that.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let prompts = Task::Ioi.prompts(tasks::Split::Templates, 20, 0)?.hard()?;
    /// assert_eq!(prompts.len(), 20);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn prompts(self, split: Split, count: usize, seed: u64) -> Result<TaskDataset> {
        macro_rules! made {
            ($module:ident) => {
                $module::prompts(split, count, seed)?
                    .into_iter()
                    .map(|p| TaskPrompt::asking(p.question(), p.corrupted))
                    .collect()
            };
        }
        let prompts: Vec<TaskPrompt> = match self {
            Self::Ioi => ioi::prompts(split, count, seed)?.iter().map(TaskPrompt::of_ioi).collect(),
            Self::GreaterThan => made!(greater_than),
            Self::GenderBias => made!(gender_bias),
            Self::CapitalCountry => made!(capital_country),
            Self::Sva => {
                let made = sva::prompts(split, count, seed)?.into_iter();
                made.map(|p| TaskPrompt { plural: Some(p.plural), ..TaskPrompt::asking(p.question(), p.corrupted) })
                    .collect()
            }
            Self::Hypernymy => made!(hypernymy),
        };
        Ok(TaskDataset::of(self, format!("{self}, split {split}, seed {seed}"), prompts))
    }
}

impl fmt::Display for Task {
    /// The name of its module in [`tasks`](crate::tasks).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ioi => "ioi",
            Self::GreaterThan => "greater_than",
            Self::GenderBias => "gender_bias",
            Self::CapitalCountry => "capital_country",
            Self::Sva => "sva",
            Self::Hypernymy => "hypernymy",
        })
    }
}

/// A clean and a corrupted prompt with the answers of the clean one.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskPrompt {
    /// The prompt.
    pub clean: String,
    /// The prompt with which patching holds it up.
    pub corrupted: String,
    /// Of IOI, the corrupted prompt whose right answer is the wrong one here.
    pub corrupted_hard: Option<String>,
    /// The answers that are right, as they follow the prompt, with their space. Long lists are shared between prompts.
    pub right: Arc<[String]>,
    /// The answers to hold against them.
    pub wrong: Arc<[String]>,
    /// Of agreement, whether the clean prompt's subject is in the plural.
    pub plural: Option<bool>,
    /// Names of places with the index of the word or punctuation mark there ([`pieces`]), without BOS. Always there are
    /// "changed", the first in which the prompts differ, and "end".
    pub positions: Vec<(String, usize)>,
    /// GPT-2's ids of the right and the wrong answers, where the file has them.
    pub gpt2_ids: Option<(Vec<u32>, Vec<u32>)>,
    /// The probability difference that the file has for it.
    pub prob_diff: Option<f32>,
    /// Where it comes from: "ioi.csv, line 12", or its number among the prompts that were made.
    pub row: String,
}

/// A prompt that a filter took out of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Where the prompt comes from: file and line, or its number among the prompts that were made.
    pub row: String,
    /// The clean prompt.
    pub prompt: String,
    /// Why it was left out.
    pub why: String,
}

impl TaskPrompt {
    /// The prompt of a question with its corrupted form.
    pub(super) fn asking(question: Question, corrupted: String) -> Self {
        let mut prompt = Self {
            clean: question.prompt,
            corrupted,
            corrupted_hard: None,
            right: question.right.into(),
            wrong: question.wrong.into(),
            plural: None,
            positions: Vec::new(),
            gpt2_ids: None,
            prob_diff: None,
            row: String::new(),
        };
        prompt.place();
        prompt
    }

    fn of_ioi(made: &ioi::IoiPrompt) -> Self {
        let mut prompt = Self::asking(made.question(), made.corrupted.clone());
        prompt.corrupted_hard = Some(made.corrupted_hard.clone());
        let at = made.positions;
        prompt.positions.extend([("io", at.io), ("s1", at.s1), ("s2", at.s2)].map(|(name, at)| (name.to_string(), at)));
        prompt
    }

    /// Sets the positions that every prompt has.
    fn place(&mut self) {
        let (clean, corrupted) = (pieces(&self.clean), pieces(&self.corrupted));
        let end = clean.len().saturating_sub(1);
        let changed = clean.iter().zip(&corrupted).position(|(a, b)| a != b).unwrap_or(end);
        self.positions.retain(|(name, _)| name != "changed" && name != "end");
        self.positions.extend([("changed".to_string(), changed), ("end".to_string(), end)]);
    }

    /// The prompt and its answers.
    pub fn question(&self) -> Question {
        Question { prompt: self.clean.clone(), right: self.right.to_vec(), wrong: self.wrong.to_vec() }
    }
}

/// Prompts of one task. Each method gives a new data set, so that it can be used again.
///
/// ```
/// use candle_lens::prelude::*;
/// let prompts = Task::Sva.prompts(tasks::Split::Train, 50, 0)?.shuffle(7).head(10);
/// assert_eq!(prompts.len(), 10);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TaskDataset {
    /// The task.
    pub task: Task,
    /// Where the prompts come from, and what was left out since.
    pub source: Vec<String>,
    /// The prompts.
    pub prompts: Vec<TaskPrompt>,
    /// The prompts that [`TaskDataset::answerable`] and the other filters took out, with the reason of each.
    pub left_out: Vec<LeftOut>,
}

impl TaskDataset {
    /// Prompts of one source; each is told apart by the row that it has, or by its number.
    pub(super) fn of(task: Task, source: String, mut prompts: Vec<TaskPrompt>) -> Self {
        for (number, prompt) in prompts.iter_mut().enumerate() {
            prompt.row = match &prompt.row[..] {
                "" => format!("{source}, prompt {number}"),
                row => format!("{source}, {row}"),
            };
        }
        Self { task, source: vec![source], prompts, left_out: Vec::new() }
    }

    /// How many prompts there are.
    pub fn len(&self) -> usize {
        self.prompts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.prompts.is_empty()
    }

    /// The first `count` prompts, or all where there are fewer.
    pub fn head(&self, count: usize) -> Self {
        let prompts = self.prompts.iter().take(count).cloned().collect();
        self.with(prompts, format!("the first {count}"))
    }

    /// The prompts in another order; the same seed gives the same order on every machine.
    pub fn shuffle(&self, seed: u64) -> Self {
        let mut prompts = self.prompts.clone();
        let mut random = Random::new(seed);
        for last in (1..prompts.len()).rev() {
            prompts.swap(last, random.below(last + 1));
        }
        self.with(prompts, format!("shuffled with seed {seed}"))
    }

    /// Corrupted prompts whose right answer is the other one (of IOI: the second subject is the indirect object), in place
    /// of those without a right answer.
    ///
    /// # Errors
    /// A prompt without such a form: only IOI has one.
    pub fn hard(&self) -> Result<Self> {
        let hardened = |prompt: &TaskPrompt| {
            let Some(hard) = &prompt.corrupted_hard else {
                return Err(Error::argument(format!(
                    "{}: the prompt {:?} has no corrupted_hard: only IOI has one, and not every file. Use the data set as it is.",
                    prompt.row, prompt.clean
                )));
            };
            let mut prompt = TaskPrompt { corrupted: hard.clone(), ..prompt.clone() };
            prompt.place();
            Ok(prompt)
        };
        let prompts = self.prompts.iter().map(hardened).collect::<Result<_>>()?;
        Ok(self.with(prompts, "corrupted_hard".into()))
    }

    /// The same with other prompts, and what was done to them.
    pub(crate) fn with(&self, prompts: Vec<TaskPrompt>, done: String) -> Self {
        let mut source = self.source.clone();
        source.push(done);
        Self { task: self.task, source, prompts, left_out: self.left_out.clone() }
    }
}
