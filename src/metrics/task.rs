//! Data sets of tasks as batches that can be run: tokens of one length, the task's metric, positions of interest.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

use super::answerable::Answering;
use super::mean;
use super::metric::Metric;
use super::score::{SCORES, scores};
use crate::error::{Error, Result};
use crate::labelled::{Axis, Labelled};
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::tasks::{Task, TaskDataset, TaskPrompt, pieces};
use crate::tokens::Tokens;

/// Prompts of a data set that all have the same number of tokens, with the metric of their task.
#[derive(Clone, Debug)]
pub struct TaskBatch {
    /// The task.
    pub task: Task,
    /// Which prompts of the data set these are.
    pub prompts: Vec<usize>,
    /// The clean prompts; none is padded, so that position -1 is the last token of each.
    pub clean: Tokens,
    /// The corrupted prompts; none is padded.
    pub corrupted: Tokens,
    /// The task's metric: logit difference or probability difference, by the answers of these prompts.
    pub metric: Metric,
    /// The positions of interest by name ("end", "changed", "io", ..), one for each prompt, BOS counted where there is one.
    /// Of a word of several tokens it is the last.
    pub positions: BTreeMap<String, Vec<usize>>,
    /// The group of each prompt ([`TaskDataset::groups`]).
    pub groups: Vec<usize>,
}

impl TaskDataset {
    /// The prompts in batches of at most `size`, those of the same token counts together, so that nothing is padded.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let batches = Task::GreaterThan.prompts(tasks::Split::Templates, 20, 0)?.batches(&model, 8)?;
    /// assert!(batches.iter().all(|batch| batch.clean.batch() <= 8 && !batch.clean.is_padded()));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// No prompts, a size of 0; a prompt that this model's tokens cannot answer ([`TaskDataset::answerable`] leaves such
    /// out); ids in the file that are not GPT-2's of the answers. Both name the row.
    pub fn batches(&self, model: &HookedTransformer, size: usize) -> Result<Vec<TaskBatch>> {
        if size == 0 || self.is_empty() {
            return Err(Error::argument(format!(
                "batches of {size} prompts were asked of a data set of {}: at least one of each is needed.",
                self.len()
            )));
        }
        let mut progress = Progress::of("grouping prompts", 3, "steps");
        let mut buckets: Vec<((usize, usize), Vec<usize>)> = Vec::new();
        let rows = self.rows(model)?;
        progress.step(1)?;
        for (number, (clean, corrupted)) in rows.iter().enumerate() {
            let counts = (clean.len(), corrupted.len());
            match buckets.iter_mut().find(|(of, _)| *of == counts) {
                Some((_, numbers)) => numbers.push(number),
                None => buckets.push((counts, vec![number])),
            }
        }
        let answers = self.answers(model)?;
        progress.step(1)?;
        let mut grouped = Progress::of("grouping prompts", self.len() as u64, "prompts");
        let chunks = buckets.iter().flat_map(|(_, numbers)| numbers.chunks(size));
        let batch = |numbers: &[usize]| {
            self.batch_of(model, numbers, &rows, &answers)
                .and_then(|found| grouped.step(numbers.len() as u64).map(|()| found))
        };
        chunks.map(batch).collect()
    }

    /// All prompts as one batch.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompts = Task::Ioi.prompts(tasks::Split::Train, 200, 0)?.of_length(&model, 16)?.head(8);
    /// let batch = prompts.batch(&model)?;
    /// assert_eq!((batch.clean.batch(), batch.clean.pos()), (8, 16));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`TaskDataset::batches`]; prompts of several token counts, which [`TaskDataset::of_length`] chooses among.
    pub fn batch(&self, model: &HookedTransformer) -> Result<TaskBatch> {
        let mut batches = self.batches(model, self.len().max(1))?;
        if batches.len() > 1 {
            let counts = |batch: &TaskBatch| format!("{} of {}", batch.prompts.len(), batch.clean.pos());
            let counts: Vec<String> = batches.iter().map(counts).collect();
            return Err(Error::argument(format!(
                "prompts of several token counts cannot be one batch without padding ({} tokens): choose one with \
                 `of_length`, or take `batches`.",
                counts.join(", ")
            )));
        }
        Ok(batches.remove(0))
    }

    /// The prompts whose clean and corrupted forms both have this number of the model's tokens, with its usual BOS; the
    /// others are listed in `left_out`.
    ///
    /// # Errors
    /// A text that the model's tokenizer refuses; where no prompt is left.
    pub fn of_length(&self, model: &HookedTransformer, tokens: usize) -> Result<Self> {
        self.of_counted(&self.rows(model)?, tokens)
    }

    /// Those with so many ids in `rows`.
    fn of_counted(&self, rows: &[(Vec<u32>, Vec<u32>)], tokens: usize) -> Result<Self> {
        self.kept(&format!("{tokens} tokens"), |number| {
            let (clean, corrupted) = (rows[number].0.len(), rows[number].1.len());
            (clean != tokens || corrupted != tokens).then(|| format!("{clean} tokens clean and {corrupted} corrupted"))
        })
    }

    /// The prompts of the most frequent token count among those whose clean and corrupted forms have the same: as
    /// [`TaskDataset::of_length`] with that count. Ties go to the shorter prompts.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompts = Task::Ioi.prompts(tasks::Split::Combinations, 40, 0)?.one_length(&model)?;
    /// let batch = prompts.batch(&model)?;
    /// assert_eq!((batch.clean.batch(), batch.clean.is_padded()), (prompts.len(), false));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A text that the model's tokenizer refuses; no prompt whose two forms have the same number of tokens.
    pub fn one_length(&self, model: &HookedTransformer) -> Result<Self> {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        let rows = self.rows(model)?;
        for (clean, _) in rows.iter().filter(|(clean, corrupted)| clean.len() == corrupted.len()) {
            *counts.entry(clean.len()).or_default() += 1;
        }
        match counts.into_iter().max_by_key(|&(length, count)| (count, Reverse(length))) {
            Some((length, _)) => self.of_counted(&rows, length),
            None => Err(Error::argument(format!(
                "no prompt of {} has the same number of tokens clean and corrupted, as patching needs: make the two \
                 forms equally long.",
                self.task
            ))),
        }
    }

    /// The prompts whose clean and corrupted forms have the same number of tokens, as patching needs; the others are
    /// listed in `left_out`.
    ///
    /// # Errors
    /// A text that the model's tokenizer refuses; where no prompt is left.
    pub fn aligned(&self, model: &HookedTransformer) -> Result<Self> {
        let rows = self.rows(model)?;
        self.kept("clean and corrupted of one token count", |number| {
            let (clean, corrupted) = (rows[number].0.len(), rows[number].1.len());
            (clean != corrupted).then(|| format!("{clean} tokens clean and {corrupted} corrupted"))
        })
    }

    /// The metric of each clean prompt, in the order of the data set.
    ///
    /// # Errors
    /// As [`TaskDataset::batches`].
    pub fn measure(&self, model: &HookedTransformer) -> Result<Vec<f32>> {
        let mut values = vec![0.; self.len()];
        let mut progress = Progress::of("measuring the task", self.len() as u64, "prompts");
        for batch in self.batches(model, 64)? {
            progress.together(batch.prompts.len());
            let of_batch = batch.metric.bind(&batch.clean, model.cfg().d_vocab_out())?.of_run(model, &batch.clean)?;
            batch.prompts.iter().zip(of_batch).for_each(|(&number, value)| values[number] = value);
            progress.step(batch.prompts.len() as u64)?;
        }
        Ok(values)
    }

    /// How well the model does each clean prompt, by the four numbers of [`score_questions`](super::score_questions): accuracy,
    /// preference, logit difference and probability difference. Of a country's name the first token counts, as everywhere
    /// in a data set.
    ///
    /// # Shapes
    /// `[score, prompt]`, prompts in the order of the data set.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let scores = Task::Ioi.prompts(tasks::Split::Templates, 20, 0)?.scores(&model)?;
    /// let (mean, error) = (scores.mean_over("prompt")?, scores.standard_error_over("prompt")?);
    /// assert!(mean.get(&["logit difference"])? > 2.0 * error.get(&["logit difference"])?);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`TaskDataset::batches`].
    pub fn scores(&self, model: &HookedTransformer) -> Result<Labelled> {
        let mut values = vec![0.; SCORES.len() * self.len()];
        let answers = self.answers(model)?;
        let mut progress = Progress::of("scoring the task", self.len() as u64, "prompts");
        for batch in self.batches(model, 64)? {
            progress.together(batch.prompts.len());
            let (right, wrong) = batch.prompts.iter().map(|&number| answers[number].clone()).unzip();
            for (kind, of_batch) in scores(model, &batch.clean, right, wrong)?.into_iter().enumerate() {
                let places = batch.prompts.iter().map(|&number| kind * self.len() + number);
                places.zip(of_batch).for_each(|(place, value)| values[place] = value);
            }
            progress.step(batch.prompts.len() as u64)?;
        }
        let axes = vec![Axis::new("score", SCORES), Axis::numbered("prompt", self.len())];
        Labelled::new(format!("scores on {}", self.task), axes, values)
    }

    /// The prompts on which the model's metric is at least `least`: hypernymy is usually asked where the probability
    /// difference is 0.1 or more (Hanna et al. 2024). The others are listed in `left_out`.
    ///
    /// # Errors
    /// As [`TaskDataset::batches`]; where no prompt is left.
    pub fn filter_by_metric(&self, model: &HookedTransformer, least: f32) -> Result<Self> {
        let values = self.measure(model)?;
        let kept = self.kept(&format!("a metric of at least {least}"), |number| {
            // A metric that is NaN is not a reason to keep a prompt.
            (!values[number].partial_cmp(&least).is_some_and(Ordering::is_ge))
                .then(|| format!("a metric of {:.4}", values[number]))
        });
        kept.map_err(|_| {
            Error::argument(format!(
                "no prompt of {} has a metric of {least} or more: the mean is {:.4}. Ask for less, or another model.",
                self.task,
                mean(&values)
            ))
        })
    }

    /// The ids of each clean and corrupted prompt.
    fn rows(&self, model: &HookedTransformer) -> Result<Vec<(Vec<u32>, Vec<u32>)>> {
        let ids = |text: &str| -> Result<Vec<u32>> { Ok(model.to_tokens(text)?.row(0).to_vec()) };
        let mut progress = Progress::of("reading prompts as tokens", self.len() as u64, "prompts");
        let both = |prompt: &TaskPrompt| {
            let both = (ids(&prompt.clean)?, ids(&prompt.corrupted)?);
            progress.step(1)?;
            Ok(both)
        };
        self.prompts.iter().map(both).collect()
    }

    fn batch_of(
        &self,
        model: &HookedTransformer,
        numbers: &[usize],
        rows: &[(Vec<u32>, Vec<u32>)],
        answers: &[(Vec<u32>, Vec<u32>)],
    ) -> Result<TaskBatch> {
        let prompts: Vec<&TaskPrompt> = numbers.iter().map(|&number| &self.prompts[number]).collect();
        let mut positions: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (place, prompt) in prompts.iter().enumerate() {
            for (name, word) in &prompt.positions {
                let found = positions.entry(name.clone()).or_default();
                if found.len() == place {
                    found.push(last_token_of(model, &prompt.clean, *word)?);
                }
            }
        }
        let prompts_of = self.with(prompts.into_iter().cloned().collect(), "a batch".into());
        // A name that not every prompt has says nothing about the batch.
        positions.retain(|_, found| found.len() == numbers.len());
        Ok(TaskBatch {
            task: self.task,
            prompts: numbers.to_vec(),
            clean: Tokens::from_rows(numbers.iter().map(|&number| rows[number].0.clone()).collect())?,
            corrupted: Tokens::from_rows(numbers.iter().map(|&number| rows[number].1.clone()).collect())?,
            metric: self.metric_of(model, numbers.iter().map(|&number| &answers[number]))?,
            positions,
            groups: prompts_of.groups(),
        })
    }

    /// The ids of the right and of the wrong answers of each prompt.
    fn answers(&self, model: &HookedTransformer) -> Result<Vec<(Vec<u32>, Vec<u32>)>> {
        let mut answering = Answering::new(model, self.task)?;
        let mut progress = Progress::of("looking answers up", self.len() as u64, "prompts");
        self.prompts
            .iter()
            .map(|prompt| answering.ids(prompt).and_then(|found| progress.step(1).map(|()| found)))
            .collect()
    }

    fn metric_of<'a>(
        &self,
        model: &HookedTransformer,
        answers: impl Iterator<Item = &'a (Vec<u32>, Vec<u32>)>,
    ) -> Result<Metric> {
        if self.task.is_logit_diff() {
            return Ok(Metric::logit_diff(&model.answers(answers.map(|(right, wrong)| (right[0], wrong[0])))?));
        }
        let (right, wrong): (Vec<_>, Vec<_>) = answers.cloned().unzip();
        Metric::prob_diff(model, right, wrong)
    }
}

/// The position of a word's last token, in the model's own tokens with its usual BOS.
fn last_token_of(model: &HookedTransformer, text: &str, word: usize) -> Result<usize> {
    let up_to: String = pieces(text).into_iter().take(word + 1).collect();
    Ok(model.to_tokens(up_to)?.pos() - 1)
}
