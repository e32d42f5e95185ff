//! The prompts of a data set that one process computes.

use super::{TaskDataset, TaskPrompt};
use crate::shard::{Cut, Kept, Shard};

/// Prompts of one shard of a data set, with what distinguishes that data set from others. Made by [`TaskDataset::shard`].
#[derive(Debug, Clone, PartialEq)]
pub struct DatasetShard {
    /// The prompts of the shard, in the order of the whole.
    pub data: TaskDataset,
    pub(crate) cut: Cut,
    pub(crate) kept: Kept,
}

impl TaskDataset {
    /// The prompts of one shard. What is written in a prompt decides which one it belongs to (its two forms and the answers), so the
    /// same prompts are in the same shard in whatever order they come; equal prompts stay together, and shards are balanced on
    /// average ([`shard`](mod@crate::shard)). Make the data set in the same way in each process, filters included, and take the shard
    /// last.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompts = Task::Ioi.prompts(tasks::Split::Train, 60, 0)?.one_length(&model)?;
    /// let part = prompts.shard(Shard::from_env()?);
    /// assert_eq!(part.data.prompts, prompts.prompts, "without CANDLE_LENS_SHARD it is the whole");
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn shard(&self, shard: Shard) -> DatasetShard {
        let cut = Cut::new(shard, self.prompts.iter().map(TaskPrompt::content));
        let prompts = cut.places.iter().map(|&place| self.prompts[place].clone()).collect();
        DatasetShard { data: self.with(prompts, format!("shard {shard}")), cut, kept: Kept::default() }
    }
}

impl TaskPrompt {
    /// What its shard is chosen by. It never changes: parts of earlier versions go on with later ones.
    fn content(&self) -> Vec<&str> {
        let forms = [self.clean.as_str(), &self.corrupted];
        let answers = [&self.right, &self.wrong].into_iter().flat_map(|list| {
            let texts = list.iter().map(String::as_str);
            std::iter::once("").chain(texts)
        });
        forms.into_iter().chain(answers).collect()
    }
}

impl DatasetShard {
    /// How many prompts the shard has.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether the shard has none.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The shard.
    pub fn shard(&self) -> Shard {
        self.cut.shard
    }
}
