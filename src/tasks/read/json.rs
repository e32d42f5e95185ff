//! circuit-finder's files: `{"word_idxs": {"IO": 2, ..}, "prompts": [{"clean", "corrupt", "answers", "wrong_answers"}]}`.
//!
//! Its positions are counted without BOS, as ours are; where prompts are run with one, 1 is added then.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::tasks::{Question, Task, TaskPrompt, pieces};

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    word_idxs: BTreeMap<String, usize>,
    prompts: Vec<Prompt>,
}

#[derive(Deserialize)]
struct Prompt {
    clean: String,
    corrupt: String,
    answers: Vec<String>,
    wrong_answers: Vec<String>,
}

pub(super) fn prompts(task: Task, text: &str) -> Result<Vec<TaskPrompt>, String> {
    let file: File = serde_json::from_str(text).map_err(|error| format!("it is not a file of prompts: {error}."))?;
    let read = |(number, prompt): (usize, Prompt)| {
        let count = (prompt.answers.len(), prompt.wrong_answers.len());
        if count.0 == 0 || count.1 == 0 || (task.is_logit_diff() && count != (1, 1)) {
            return Err(format!(
                "prompt {number} has {} answers and {} wrong answers, but {task} needs {}.",
                count.0,
                count.1,
                if task.is_logit_diff() { "one of each" } else { "at least one of each" }
            ));
        }
        let words = pieces(&prompt.clean).len();
        if let Some((name, place)) = file.word_idxs.iter().find(|(_, place)| **place >= words) {
            return Err(format!(
                "prompt {number} has {words} words and punctuation marks, so its position {name:?} cannot be {place}: \
                 positions of word_idxs count from 0, without BOS."
            ));
        }
        // As in the other files: a word that follows a text has its space, and without it would be another token.
        let spaced = |words: Vec<String>| match task {
            Task::GreaterThan => words,
            _ => words.iter().map(|word| format!(" {}", word.trim_start())).collect(),
        };
        let question =
            Question { prompt: prompt.clean, right: spaced(prompt.answers), wrong: spaced(prompt.wrong_answers) };
        let mut prompt = TaskPrompt::asking(question, prompt.corrupt);
        let places = file.word_idxs.iter().filter(|(name, _)| *name != "end");
        prompt.positions.splice(0..0, places.map(|(name, place)| (name.to_lowercase(), *place)));
        Ok(prompt)
    };
    file.prompts.into_iter().enumerate().map(read).collect()
}
