//! The experiment of a task's prompts.

use super::experiment::Experiment;
use crate::error::Result;
use crate::hooks::HookPlan;
use crate::metrics::TaskBatch;
use crate::model::HookedTransformer;

impl TaskBatch {
    /// The experiment with these clean and corrupted prompts and the task's metric.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompts = Task::Sva.prompts(tasks::Split::Combinations, 20, 0)?.aligned(&model)?;
    /// let experiment = prompts.batches(&model, 8)?[0].experiment(&model)?;
    /// assert!(experiment.clean() > experiment.corrupted());
    /// assert!(experiment.edges()?.clean() > 0.0);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Experiment::new`]; prompts whose clean and corrupted forms have different token counts
    /// ([`TaskDataset::aligned`](crate::tasks::TaskDataset::aligned) leaves them out).
    pub fn experiment(&self, model: &HookedTransformer) -> Result<Experiment> {
        Experiment::new(model, &self.clean, &self.corrupted, self.metric.clone())
    }

    /// The same with what the plan splices into the model in every run, as [`Experiment::with_splices`], at which there is an
    /// example of a splice.
    ///
    /// # Errors
    /// As [`Experiment::with_splices`].
    pub fn experiment_with_splices(&self, model: &HookedTransformer, plan: &HookPlan) -> Result<Experiment> {
        Experiment::with_splices(model, plan, &self.clean, &self.corrupted, self.metric.clone())
    }
}
