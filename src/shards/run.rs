//! The prompts of a shard, one after the other, with what was found of each kept in a file.

use std::path::{Path, PathBuf};

use super::by_prompt::ByPrompt;
use super::file::path_in;
use super::made::Made;
use super::numbers::Numbers;
use super::result::ShardResult;
use crate::error::{Error, Result};
use crate::hooks::check_free;
use crate::interrupt::uninterrupted;
use crate::metrics::TaskBatch;
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::shard::{Cut, Kept, TextShard};
use crate::tasks::DatasetShard;

/// How often a shard with a folder saves.
const SAVES: usize = 20;

macro_rules! keeping {
    ($($kind:ty),+) => {$(
        impl $kind {
            /// Keeps what was found in this folder as the work goes on, in a file for each shard. A shard that was interrupted goes on
            /// from its file when it is run again with the same folder; one that was finished is read from it. Each piece of work
            /// needs a folder of its own.
            pub fn save_to(mut self, folder: impl AsRef<Path>) -> Self {
                self.kept.folder = Some(folder.as_ref().into());
                self
            }

            /// Describes the work where its results do not: settings of the program, a version of its own. Parts that are described
            /// otherwise are not joined.
            pub fn about(mut self, text: impl Into<String>) -> Self {
                self.kept.about = text.into();
                self
            }
        }
    )+};
}
keeping!(DatasetShard, TextShard);

impl DatasetShard {
    /// Computes something of each prompt, which comes as a batch of one, and keeps it, to be joined by [`gather`](super::gather):
    /// a sweep, an effect, scores of edges or nodes, or numbers ([`ByPrompt`]).
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let part = Task::Ioi.prompts(tasks::Split::Templates, 6, 0)?.aligned(&model)?.shard(Shard::new(2, 3)?);
    /// let scores = part.each_prompt(&model, |batch| batch.experiment(&model)?.edges()?.attribute_each(EdgeMethod::Eap))?;
    /// assert_eq!(scores.len(), part.len());
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// What `work` returns, after what was done before it is saved; as [`TaskDataset::batches`](crate::tasks::TaskDataset::batches);
    /// results that differ in kind, title or axes from prompt to prompt, as by position of prompts of several lengths; more results
    /// than there is memory for; a file of other work in the folder.
    pub fn each_prompt<R: ByPrompt>(
        &self,
        model: &HookedTransformer,
        mut work: impl FnMut(&TaskBatch) -> Result<R>,
    ) -> Result<ShardResult> {
        let mut batches = if self.is_empty() { Vec::new() } else { self.data.batches(model, 1)? };
        batches.sort_by_key(|batch| batch.prompts[0]);
        let row = |number: usize| self.data.prompts[number].row.clone();
        each(model, (&self.cut, &self.kept), row, |number| work(&batches[number]))
    }
}

impl TextShard {
    /// Computes something of each text, as [`DatasetShard::each_prompt`] of each prompt.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let texts = ["The keys on the cabinet are", "Tirana, the capital of Albania"];
    /// let losses = Shard::from_env()?.texts(texts).each_text(&model, |text| model.loss(text)?.to_scalar::<f32>().map_err(Into::into))?;
    /// assert_eq!(losses.numbers()?.shape(), [2]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`DatasetShard::each_prompt`].
    pub fn each_text<R: ByPrompt>(
        &self,
        model: &HookedTransformer,
        mut work: impl FnMut(&str) -> Result<R>,
    ) -> Result<ShardResult> {
        let row = |number: usize| format!("text {}", self.cut.places[number]);
        each(model, (&self.cut, &self.kept), row, |number| work(&self.texts[number]))
    }
}

/// The results of each row of a shard; `row` is what errors call it.
fn each<R: ByPrompt>(
    model: &HookedTransformer,
    (cut, kept): (&Cut, &Kept),
    row: impl Fn(usize) -> String,
    mut work: impl FnMut(usize) -> Result<R>,
) -> Result<ShardResult> {
    let total = cut.places.len();
    let mut progress = Progress::of(format!("shard {}", cut.shard), total as u64, "prompts");
    let path = kept.folder.as_deref().map(|folder| begun(folder, cut)).transpose()?;
    let (cut, made) = (cut.clone(), Made::by(model, &kept.about)?);
    let mut result = ShardResult { cut, made, about: None, numbers: Numbers::default() };
    if let Some(path) = path.as_deref().filter(|path| path.exists()) {
        result = resumed(path, result)?;
    }
    progress.step(result.len() as u64)?;
    // What was done is kept, also by an interrupt.
    let save = |result: &ShardResult| uninterrupted(|| path.as_deref().map_or(Ok(()), |path| result.save(path)));
    let piece = total.div_ceil(SAVES).max(1);
    for number in result.len()..total {
        if let Err(error) = work(number).and_then(|found| result.add(&found)) {
            // The first error is the one to report.
            let _ = save(&result);
            return Err(of_row(error, &row(number)).kept_in(path.as_deref()));
        }
        if number == 0 {
            let bytes = 2 * total as u64 * result.numbers.row_bytes();
            check_free(
                bytes,
                &format!("the results of {total} prompts"),
                "take more shards, or fewer results of each prompt",
            )?;
        }
        if (number + 1) % piece == 0 || number + 1 == total {
            save(&result)?;
        }
        if let Err(error) = progress.step(1) {
            let _ = save(&result);
            return Err(error.kept_in(path.as_deref()));
        }
    }
    if total == 0 {
        save(&result)?;
    }
    Ok(result)
}

/// The file of the shard, in a folder that is there.
fn begun(folder: &Path, cut: &Cut) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).map_err(|error| {
        Error::file(folder, format!("cannot be made into a folder for the results of shards ({error})."))
    })?;
    Ok(path_in(folder, cut.shard))
}

/// What the file has of the same work.
///
/// # Errors
/// A file of other work.
fn resumed(path: &Path, empty: ShardResult) -> Result<ShardResult> {
    let found = ShardResult::load(path)?;
    let mut differences = found.made.differences(&empty.made);
    if (&found.cut.fingerprint, found.cut.count) != (&empty.cut.fingerprint, empty.cut.count) {
        differences
            .push(format!("it is of other prompts, or of the same in another order ({} of them)", found.cut.count));
    } else if found.cut != empty.cut {
        differences.push("it has other prompts of the whole".into());
    }
    match &differences[..] {
        [] => Ok(found),
        [..] => Err(Error::file(
            path,
            format!(
                "holds other work, which this cannot go on with: {}. Give each piece of work its own folder, or remove the file.",
                differences.join("; ")
            ),
        )),
    }
}

/// The same error, with the prompt that it is of.
fn of_row(error: Error, row: &str) -> Error {
    match error {
        Error::Argument { message } => Error::argument(format!("{row}: {message}")),
        other => other,
    }
}

impl ShardResult {
    /// Adds what was found of the next prompt.
    fn add(&mut self, found: &impl ByPrompt) -> Result<()> {
        let (about, numbers) = found.of_prompt()?;
        let about = serde_json::from_str(&about)
            .map_err(|error| Error::argument(format!("results are not known: {error}.")))?;
        let mut all = self.about.clone().unwrap_or_else(|| Clone::clone(&about));
        all.join(&about).map_err(|why| {
            Error::argument(format!(
                "the results of the prompts of a shard must be of one kind, with the same axes: {why}."
            ))
        })?;
        self.numbers.push(numbers)?;
        self.about = Some(all);
        Ok(())
    }
}
