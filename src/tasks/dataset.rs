//! A task with its prompts as one value: the same for prompts made here and for files that others wrote.

use std::collections::{BTreeMap, BTreeSet};

use super::{Task, TaskPrompt};
use crate::error::{Error, Result};
use crate::random::Random;

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
    /// Prompts of one source; each is identified by the row that it has, or by its number.
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
        Random::new(seed).shuffle(&mut prompts);
        self.with(prompts, format!("shuffled with seed {seed}"))
    }

    /// Corrupted prompts whose right answer is the other one (of IOI: the second subject is the indirect object), in
    /// place of those without a right answer.
    ///
    /// # Errors
    /// A prompt without such a form: only IOI has one.
    pub fn hard(&self) -> Result<Self> {
        let hardened = |prompt: &TaskPrompt| {
            let Some(hard) = &prompt.corrupted_hard else {
                return Err(Error::argument(format!(
                    "{}: the prompt {:?} has no corrupted_hard: only IOI has one, and not every file. Use the data set \
                     as it is.",
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

    /// The prompts that satisfy a condition, which `what` names; the others are listed in `left_out`.
    ///
    /// # Errors
    /// Where no prompt is left.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let prompts = Task::Ioi.prompts(tasks::Split::Train, 50, 0)?;
    /// let abba = prompts.filter("the indirect object first", |p| p.position("io") < p.position("s1"))?;
    /// assert_eq!(abba.len() + abba.left_out.len(), 50);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn filter(&self, what: &str, keep: impl Fn(&TaskPrompt) -> bool) -> Result<Self> {
        self.kept(what, |number| (!keep(&self.prompts[number])).then(|| format!("not {what}")))
    }

    /// The prompts of these templates ([`TaskPrompt::template`]).
    ///
    /// # Errors
    /// Where no prompt is left; a prompt of a file that does not say its template.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let prompts = Task::Ioi.prompts(tasks::Split::Train, 100, 0)?.of_templates(0..3)?;
    /// assert!(prompts.prompts.iter().all(|prompt| prompt.template < Some(3)));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn of_templates(&self, templates: impl IntoIterator<Item = usize>) -> Result<Self> {
        let templates: BTreeSet<usize> = templates.into_iter().collect();
        if let Some(prompt) = self.prompts.iter().find(|prompt| prompt.template.is_none()) {
            return Err(Error::argument(format!(
                "{} does not say its template, so prompts cannot be chosen by it: use `filter`, or set `template` of \
                 each prompt.",
                prompt.row
            )));
        }
        let list: Vec<String> = templates.iter().map(ToString::to_string).collect();
        self.kept(&format!("one of the templates {}", list.join(", ")), |number| {
            let template = self.prompts[number].template?;
            (!templates.contains(&template)).then(|| format!("template {template}"))
        })
    }

    /// For each prompt the number of its group: prompts of one template whose named words come in the same order (of
    /// IOI, where the indirect object or the subject may come first, ABBA or BABA). Means over a group keep what its
    /// prompts share, as the ablations of Wang et al. 2022 do. Prompts without template or named positions are one
    /// group.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let groups = Task::Ioi.prompts(tasks::Split::Train, 200, 0)?.of_templates([4])?.groups();
    /// assert_eq!((groups.iter().min(), groups.iter().max()), (Some(&0), Some(&1)));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn groups(&self) -> Vec<usize> {
        let mut known = BTreeMap::new();
        let number = |prompt| {
            let next = known.len();
            *known.entry(TaskPrompt::group(prompt)).or_insert(next)
        };
        self.prompts.iter().map(number).collect()
    }

    /// The prompts for which there is no reason to leave them out.
    pub(crate) fn kept(&self, what: &str, against: impl Fn(usize) -> Option<String>) -> Result<Self> {
        let (mut prompts, mut left_out) = (Vec::new(), self.left_out.clone());
        for (number, prompt) in self.prompts.iter().enumerate() {
            match against(number) {
                None => prompts.push(prompt.clone()),
                Some(why) => left_out.push(LeftOut { row: prompt.row.clone(), prompt: prompt.clean.clone(), why }),
            }
        }
        if prompts.is_empty() {
            let first = left_out.get(self.left_out.len()).map(|left| format!(" ({}: {})", left.row, left.why));
            return Err(Error::argument(format!(
                "no prompt of {} has {what}: nothing is left{}.",
                self.task,
                first.unwrap_or_default()
            )));
        }
        let done = format!("{} of {} with {what}", prompts.len(), self.len());
        Ok(Self { left_out, ..self.with(prompts, done) })
    }

    /// The same with other prompts, and what was done to them.
    pub(crate) fn with(&self, prompts: Vec<TaskPrompt>, done: String) -> Self {
        let mut source = self.source.clone();
        source.push(done);
        Self { task: self.task, source, prompts, left_out: self.left_out.clone() }
    }
}
