//! Verbs in both numbers, by which agreement is evaluated: the table that goes with Newman et al. 2021
//! (<https://arxiv.org/abs/2104.09635>) and that Hanna et al. 2024 use for their agreement task.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::{csv, text_of};
use crate::error::{Error, Result};
use crate::tasks::{Task, TaskDataset, TaskPrompt};
use crate::tokens::Tokenizer;

/// Verbs of the present tense in the singular and in the plural, each with its space.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let path = std::env::temp_dir().join("verbs.csv");
/// std::fs::write(&path, "idx,sing,plur,freq\n_,is,are,_\n_,undulates,undulate,_\n")?;
/// let verbs = VerbList::read(&path)?.single_tokens(&model.tokenizer()?)?;
/// assert_eq!((&verbs.singular[..], verbs.left_out.len()), (&[" is".to_string()][..], 2));
/// let prompts = Task::Sva.prompts(tasks::Split::Train, 20, 0)?.with_verbs(&verbs)?;
/// println!("{:.3}", prompts.measure(&model)?[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerbList {
    /// Where the verbs come from, and how many were left out since.
    pub source: String,
    /// After "the key".
    pub singular: Vec<String>,
    /// After "the keys".
    pub plural: Vec<String>,
    /// The verbs that [`VerbList::single_tokens`] left out, each with the number of its tokens.
    pub left_out: Vec<(String, usize)>,
}

impl VerbList {
    /// Reads a table with the columns `sing` and `plur`, as `combined_verb_list.csv` of the data sets of "Have Faith in
    /// Faithfulness". Its other columns, `idx` and `freq`, are placeholders there and are not read. A verb that is in
    /// the table twice counts once.
    ///
    /// # Errors
    /// [`Error::File`] with line and column: a missing column, a row of another length, an empty field, a verb in both
    /// columns, which agrees with everything.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = text_of(path)?;
        let [singular, plural] = parse(&text).map_err(|sentence| Error::file(path, sentence))?;
        Ok(Self { source: path.display().to_string(), singular, plural, left_out: Vec::new() })
    }

    /// The verbs that are one token each, as answers must be: the others are listed in `left_out`. A verb stays even
    /// if its form in the other number goes.
    ///
    /// # Errors
    /// Where no verb of a number is left.
    pub fn single_tokens(&self, tokenizer: &Tokenizer) -> Result<Self> {
        let mut left_out = self.left_out.clone();
        let mut kept = |verbs: &[String]| -> Result<Vec<String>> {
            let mut kept = Vec::new();
            for verb in verbs {
                match tokenizer.continuation(verb)?.len() {
                    1 => kept.push(verb.clone()),
                    count => left_out.push((verb.clone(), count)),
                }
            }
            Ok(kept)
        };
        let (singular, plural) = (kept(&self.singular)?, kept(&self.plural)?);
        if singular.is_empty() || plural.is_empty() {
            return Err(Error::tokens(format!(
                "of the verbs of {} {} in the singular and {} in the plural are one token of this tokenizer, but at \
                 least one of each is needed: give other verbs.",
                self.source,
                singular.len(),
                plural.len()
            )));
        }
        let source = format!(
            "{}: {} of {} verbs in the singular and {} of {} in the plural, those of one token",
            self.source,
            singular.len(),
            self.singular.len(),
            plural.len(),
            self.plural.len()
        );
        Ok(Self { source, singular, plural, left_out })
    }
}

/// The verbs of both columns, each once and with its space.
fn parse(text: &str) -> Result<[Vec<String>; 2], String> {
    const COLUMNS: [&str; 2] = ["sing", "plur"];
    let table = csv::parse(text)?;
    let mut verbs = [Vec::new(), Vec::new()];
    let mut seen: HashMap<String, (usize, usize)> = HashMap::new();
    for row in table.rows() {
        for (number, column) in COLUMNS.into_iter().enumerate() {
            let verb = format!(" {}", row.get(column)?.trim());
            match seen.get(&verb) {
                Some((before, _)) if *before == number => {}
                Some((before, line)) => {
                    let other = COLUMNS[*before];
                    let what = format!("is {:?}, which is a verb of the column {other:?} on line {line}", verb.trim());
                    return Err(row.wrong(column, &format!("{what}: remove it from one of the two")));
                }
                None => {
                    seen.insert(verb.clone(), (number, row.line));
                    verbs[number].push(verb);
                }
            }
        }
    }
    match verbs[0].is_empty() {
        true => Err("it has no verbs: give a file with at least one row.".into()),
        false => Ok(verbs),
    }
}

impl TaskDataset {
    /// Prompts of agreement, evaluated with these verbs: `sum p(verbs that agree) - sum p(the others)`.
    ///
    /// # Errors
    /// A list without verbs of one number; another task; a prompt that does not say the number of its subject.
    pub fn with_verbs(&self, verbs: &VerbList) -> Result<Self> {
        if verbs.singular.is_empty() || verbs.plural.is_empty() {
            return Err(Error::argument(format!(
                "{} has {} singular and {} plural verbs: to be evaluated with them, prompts need at least one of each.",
                verbs.source,
                verbs.singular.len(),
                verbs.plural.len()
            )));
        }
        let [singular, plural]: [Arc<[String]>; 2] = [verbs.singular.clone().into(), verbs.plural.clone().into()];
        let judged = |prompt: &TaskPrompt| match (self.task, prompt.plural) {
            (Task::Sva, Some(true)) => {
                Ok(TaskPrompt { right: plural.clone(), wrong: singular.clone(), ..prompt.clone() })
            }
            (Task::Sva, Some(false)) => {
                Ok(TaskPrompt { right: singular.clone(), wrong: plural.clone(), ..prompt.clone() })
            }
            (Task::Sva, None) => Err(Error::argument(format!(
                "{} does not say the number of its subject, so its right verbs are not known: read it from a CSV with \
                 the column plural, or set `plural` of the prompt.",
                prompt.row
            ))),
            _ => Err(Error::argument(format!(
                "{} is not evaluated with verbs ({}): give a data set of Task::Sva, whose prompts say the number of their \
                 subject.",
                self.task, prompt.row
            ))),
        };
        let prompts = self.prompts.iter().map(judged).collect::<Result<_>>()?;
        Ok(self.with(prompts, format!("verbs of {}", verbs.source)))
    }
}
