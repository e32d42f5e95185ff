//! Which prompts of a data set can be answered in a model's tokens, and why the others cannot.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::tasks::{Task, TaskDataset, TaskPrompt};
use crate::tokens::Tokenizer;

/// GPT-2's id of " she", which distinguishes its vocabulary from others of the same size.
const SHE: u32 = 673;

type Ids = (Vec<u32>, Vec<u32>);

impl TaskDataset {
    /// The prompts that can be evaluated in this model's tokens: each answer is one token (of a country's name, the first one
    /// counts), and the right answers differ from the wrong ones. `source` says how many were kept, `left_out` lists the others
    /// with the reason for each.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let path = std::env::temp_dir().join("gems.csv");
    /// let rows = "clean,corrupted,answers,corrupted_answers\n\
    ///     \"rubies, and other\",\"cars, and other\",['gems'],['vehicles']\n\
    ///     \"rubies, and other\",\"cars, and other\",['gemstones unknown here'],['vehicles']\n";
    /// std::fs::write(&path, rows)?;
    /// let prompts = TaskDataset::read(Task::Hypernymy, &path)?.answerable(&model)?;
    /// assert_eq!((prompts.len(), prompts.left_out.len()), (1, 1));
    /// assert!(prompts.left_out[0].row.ends_with("gems.csv, line 3"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// No prompt that can be answered; ids in the file that are not GPT-2's ids of the answers, which is a mistake in the file.
    pub fn answerable(&self, model: &HookedTransformer) -> Result<Self> {
        let mut progress = Progress::of("looking answers up", self.len() as u64, "prompts");
        let mut answering = Answering::new(model, self.task)?;
        let find = |prompt| answering.find(prompt).and_then(|found| progress.step(1).map(|()| found));
        let found: Vec<_> = self.prompts.iter().map(find).collect::<Result<_>>()?;
        self.kept("answers that are tokens of this model", |number| found[number].as_ref().err().cloned())
    }
}

/// Looks answers up in a model's vocabulary, each text once.
pub(super) struct Answering<'a> {
    tokenizer: &'a Tokenizer,
    task: Task,
    is_gpt2: bool,
    known: HashMap<String, std::result::Result<u32, String>>,
}

impl<'a> Answering<'a> {
    pub fn new(model: &'a HookedTransformer, task: Task) -> Result<Self> {
        let tokenizer = model.own_tokenizer()?;
        let is_gpt2 = tokenizer.vocab_size() == 50257 && tokenizer.to_single_token(" she").ok() == Some(SHE);
        Ok(Self { tokenizer, task, is_gpt2, known: HashMap::new() })
    }

    /// The ids of the right and of the wrong answers.
    ///
    /// # Errors
    /// A prompt that cannot be answered, with its row; ids in the file that are not GPT-2's.
    pub fn ids(&mut self, prompt: &TaskPrompt) -> Result<Ids> {
        self.find(prompt)?.map_err(|why| {
            let instead = match self.task {
                Task::Sva => "VerbList::single_tokens keeps the verbs that are one token",
                _ => {
                    "TaskDataset::answerable leaves such prompts out and lists them; Experiment::for_each_answer_token \
                     takes answers of several tokens"
                }
            };
            Error::tokens(format!(
                "{}: the prompt {:?} cannot be evaluated in this model's tokens, because {why}. {instead}.",
                prompt.row, prompt.clean
            ))
        })
    }

    /// The ids, or why the prompt cannot be answered.
    fn find(&mut self, prompt: &TaskPrompt) -> Result<std::result::Result<Ids, String>> {
        let mut sides = [Vec::new(), Vec::new()];
        for (ids, answers) in sides.iter_mut().zip([&prompt.right, &prompt.wrong]) {
            for answer in answers.iter() {
                match self.token(answer)? {
                    Ok(id) => ids.push(id),
                    Err(why) => return Ok(Err(why)),
                }
            }
        }
        let [right, wrong] = sides;
        if right.is_empty() || wrong.is_empty() {
            return Ok(Err(format!("it has no {} answers", if right.is_empty() { "right" } else { "wrong" })));
        }
        if self.is_gpt2 {
            check_ids(self.task, prompt, [&right, &wrong])?;
        }
        Ok(match self.clash(prompt, &right, &wrong)? {
            Some(why) => Err(why),
            None => Ok((right, wrong)),
        })
    }

    /// The token of an answer; of a country's name, the first.
    fn token(&mut self, answer: &str) -> Result<std::result::Result<u32, String>> {
        if let Some(known) = self.known.get(answer) {
            return Ok(known.clone());
        }
        let found = match &self.tokenizer.continuation(answer)?[..] {
            [first, ..] if self.task == Task::CapitalCountry => Ok(*first),
            [id] => Ok(*id),
            ids => {
                let parts: Vec<String> = ids.iter().map(|&id| self.tokenizer.piece(id)).collect();
                Err(format!("the answer {answer:?} is not one token but {}: {parts:?}", ids.len()))
            }
        };
        self.known.insert(answer.into(), found.clone());
        Ok(found)
    }

    /// Why the tokens of right and wrong answers do not distinguish them, if they do not.
    fn clash(&self, prompt: &TaskPrompt, right: &[u32], wrong: &[u32]) -> Result<Option<String>> {
        let sorted = |ids: &[u32]| {
            let mut ids = ids.to_vec();
            ids.sort_unstable();
            ids
        };
        let clash = match self.task.is_logit_diff() {
            true => right[0] == wrong[0],
            false => sorted(right) == sorted(wrong),
        };
        if !clash {
            return Ok(None);
        }
        let token = self.tokenizer.piece(right[0]);
        Ok(Some(match right.len() {
            1 => format!(
                "the right answer {:?} and the wrong answer {:?} both begin with the token {token:?}, which cannot \
                 distinguish them",
                prompt.right[0], prompt.wrong[0]
            ),
            _ => format!("its right answers {:?} are also its wrong ones", prompt.right),
        }))
    }
}

/// Checks the ids of a file against GPT-2's ids of the answers.
fn check_ids(task: Task, prompt: &TaskPrompt, found: [&[u32]; 2]) -> Result<()> {
    let (Some(given), Some(columns)) = (&prompt.gpt2_ids, task.id_columns()) else { return Ok(()) };
    let sides = [(&given.0, &prompt.right), (&given.1, &prompt.wrong)];
    for (((given, answers), found), column) in sides.into_iter().zip(found).zip(columns) {
        if given[..] != *found {
            return Err(Error::tokens(format!(
                "{}, column {column:?}: it is {given:?}, but in GPT-2's tokens {answers:?} is {found:?} (the prompt is \
                 {:?}). Correct the file, or leave its columns of ids out.",
                prompt.row, prompt.clean
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::tasks::{Split, Task};

    #[test]
    fn ids_of_a_file_are_checked_against_the_answers() {
        let mut prompt = Task::GenderBias.prompts(Split::Train, 1, 0).unwrap().prompts[0].clone();
        prompt.row = "bias.csv, line 7".into();
        let (she, he): (&[u32], &[u32]) = (&[673], &[339]);
        assert!(super::check_ids(Task::GenderBias, &prompt, [she, he]).is_ok(), "no ids, nothing to check");
        prompt.gpt2_ids = Some((vec![673], vec![339]));
        assert!(super::check_ids(Task::GenderBias, &prompt, [she, he]).is_ok());
        prompt.gpt2_ids = Some((vec![673], vec![340]));
        let message = super::check_ids(Task::GenderBias, &prompt, [she, he]).unwrap_err().to_string();
        assert!(message.contains("bias.csv, line 7, column \"corrupted_answer_idx\": it is [340]"), "{message}");
    }
}
