//! From a batch of a task to its experiment.

use super::experiment::Patching;
use crate::error::Result;
use crate::metrics::TaskBatch;
use crate::model::HookedTransformer;

impl TaskBatch {
    /// The experiment in which clean activations are put into the corrupted run.
    ///
    /// # Errors
    /// As [`Patching::new`]; prompts whose clean and corrupted forms have different token counts
    /// ([`TaskDataset::aligned`](crate::tasks::TaskDataset::aligned) leaves them out).
    pub fn patching(&self, model: &HookedTransformer) -> Result<Patching> {
        Patching::new(model, &self.clean, &self.corrupted, self.metric.clone())
    }
}
