//! One prompt of a task: its clean and corrupted texts, the answers, and the words and positions that its template names.

use std::sync::Arc;

use super::{Question, Split, pieces};

/// A clean and a corrupted prompt with the answers of the clean one.
///
/// Answers are texts, so that a data set fits any tokenizer; token ids in a file are checked against the text where the
/// model's tokenizer is GPT-2's.
///
/// ```
/// use candle_lens::prelude::*;
/// let prompts = Task::Ioi.prompts(tasks::Split::Train, 1, 0)?;
/// let prompt = &prompts.prompts[0];
/// let words = tasks::pieces(&prompt.clean);
/// assert_eq!(words[prompt.position("io").unwrap()], prompt.right[0]);
/// assert_eq!(prompt.right[0].trim(), prompt.word("io").unwrap());
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TaskPrompt {
    /// The prompt.
    pub clean: String,
    /// The prompt with which patching compares it, of the same number of words.
    pub corrupted: String,
    /// For IOI, the corrupted prompt whose right answer is the wrong one here.
    pub corrupted_hard: Option<String>,
    /// The answers that are right, as they follow the prompt, with their space. Long lists are shared between prompts.
    pub right: Arc<[String]>,
    /// The answers that are compared with them.
    pub wrong: Arc<[String]>,
    /// For agreement, whether the subject of the clean prompt is in the plural.
    pub plural: Option<bool>,
    /// The split that it belongs to, where that is known.
    pub split: Option<Split>,
    /// Its template's index in [`Task::templates`](super::Task::templates) of its split, where that is known.
    pub template: Option<usize>,
    /// The words that its template was filled with, by name and without space:
    ///
    /// | task | names |
    /// |---|---|
    /// | IOI | io, s, third, place, object |
    /// | greater-than | noun, century, year (its last two digits) |
    /// | gender bias | profession, person |
    /// | capital-country | capital, country, corrupted_capital, corrupted_country |
    /// | agreement | subject, other |
    /// | hypernymy | member, category, corrupted_member, corrupted_category |
    ///
    /// A prompt from a file has only those that the file names.
    pub words: Vec<(String, String)>,
    /// Names of positions with the index of the word or punctuation mark there ([`pieces`]), without BOS. There are always
    /// "changed", the first in which the prompts differ, and "end"; for IOI also "io", "s1" and "s2".
    /// A [`TaskBatch`](crate::metrics::TaskBatch) counts them in the model's tokens.
    pub positions: Vec<(String, usize)>,
    /// GPT-2's ids of the right and the wrong answers, where the file has them.
    pub gpt2_ids: Option<(Vec<u32>, Vec<u32>)>,
    /// The probability difference that the file gives for it.
    pub prob_diff: Option<f32>,
    /// Where it comes from: "ioi.csv, line 12", or its number among the prompts that were made.
    pub row: String,
}

impl TaskPrompt {
    pub(super) fn of(clean: String, corrupted: String, right: Arc<[String]>, wrong: Arc<[String]>) -> Self {
        let mut prompt = Self {
            clean,
            corrupted,
            corrupted_hard: None,
            right,
            wrong,
            plural: None,
            split: None,
            template: None,
            words: Vec::new(),
            positions: Vec::new(),
            gpt2_ids: None,
            prob_diff: None,
            row: String::new(),
        };
        prompt.place();
        prompt
    }

    /// The prompt of a question with its corrupted form.
    pub(super) fn asking(question: Question, corrupted: String) -> Self {
        Self::of(question.prompt, corrupted, question.right.into(), question.wrong.into())
    }

    /// The same, with what a generator knows of it.
    pub(super) fn made_of<const N: usize>(self, split: Split, template: usize, words: [(&str, &str); N]) -> Self {
        let words = words.map(|(name, word)| (name.to_string(), word.to_string())).into();
        Self { split: Some(split), template: Some(template), words, ..self }
    }

    /// Sets the positions that every prompt has.
    pub(super) fn place(&mut self) {
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

    /// One of [`words`](Self::words), by its name.
    pub fn word(&self, name: &str) -> Option<&str> {
        self.words.iter().find(|(of, _)| of == name).map(|(_, word)| word.as_str())
    }

    /// One of [`positions`](Self::positions), by its name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.positions.iter().find(|(of, _)| of == name).map(|(_, at)| *at)
    }

    /// Its template, and its named positions in the order in which they come.
    pub(super) fn group(&self) -> (Option<usize>, Vec<&str>) {
        let mut named: Vec<(usize, &str)> = self.positions.iter().map(|(name, at)| (*at, name.as_str())).collect();
        named.retain(|(_, name)| *name != "changed" && *name != "end");
        named.sort_unstable();
        (self.template, named.into_iter().map(|(_, name)| name).collect())
    }
}
