//! circuit-finder's files: `{"word_idxs": {"IO": 2, ..}, "prompts": [{"clean", "corrupt", "answers",
//! "wrong_answers"}]}`.
//!
//! Its positions are counted without BOS, as ours are; where prompts are run with one, 1 is added then.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::files::read_json;
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
    let file: File = read_json(text.as_bytes()).map_err(|error| format!("it is not a file of prompts: {error}."))?;
    let (lines, count) = (lines_of_prompts(text), file.prompts.len());
    let read = |(number, prompt): (usize, Prompt)| {
        let row = match lines.get(number) {
            Some(line) if lines.len() == count => format!("line {line}, prompt {number}"),
            _ => format!("prompt {number}"),
        };
        let answers = (prompt.answers.len(), prompt.wrong_answers.len());
        if answers.0 == 0 || answers.1 == 0 || (task.is_logit_diff() && answers != (1, 1)) {
            return Err(format!(
                "{row} has {} answers and {} wrong answers, but {task} needs {}.",
                answers.0,
                answers.1,
                if task.is_logit_diff() { "one of each" } else { "at least one of each" }
            ));
        }
        let words = pieces(&prompt.clean).len();
        if let Some((name, place)) = file.word_idxs.iter().find(|(_, place)| **place >= words) {
            return Err(format!(
                "{row} has {words} words and punctuation marks, so its position {name:?} cannot be {place}: \
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
        prompt.row = row;
        Ok(prompt)
    };
    file.prompts.into_iter().enumerate().map(read).collect()
}

/// The lines on which the objects of the list "prompts" begin, in a text that is JSON.
fn lines_of_prompts(text: &str) -> Vec<usize> {
    let (mut lines, mut line, mut depth, mut key) = (Vec::new(), 1, 0, "");
    let mut characters = text.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            '\n' => line += 1,
            '"' => {
                let mut end = place + 1;
                while let Some((at, character)) = characters.next() {
                    end = at;
                    match character {
                        '"' => break,
                        '\\' => drop(characters.next()),
                        _ => {}
                    }
                }
                if depth == 1 {
                    key = &text[place + 1..end];
                }
            }
            '{' | '[' => {
                if character == '{' && depth == 2 && key == "prompts" {
                    lines.push(line);
                }
                depth += 1;
            }
            '}' | ']' => depth -= 1,
            _ => {}
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::lines_of_prompts;

    #[test]
    fn lines_are_those_of_the_prompts() {
        let text = "{\n\"word_idxs\": {\"a{\": 1},\n\"other\": [{\"x\": [{}]}],\n\"prompts\": [\n{\"clean\": \"a \\\" {\",\n\"more\": {}},\n\n{}, {}]}";
        assert_eq!(lines_of_prompts(text), [5, 8, 8]);
    }
}
