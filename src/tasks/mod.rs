//! Tasks: prompts whose right answer is known, in clean and corrupted forms.
//!
//! [`Task`] is the door: [`Task::prompts`] makes prompts from the [`words`] and templates of this crate, from a seed:
//! the same seed gives the same prompts on every machine. [`TaskDataset::read`] reads files that others wrote into the
//! same form. Each [`TaskPrompt`] comes as the pair that patching needs: a clean text, and a corrupted text of the same
//! number of words in which the answer differs. A [`TaskDataset`] is filtered, and then batched for a model, measured
//! and patched ([`TaskDataset::batches`]).
//!
//! | task | clean prompt | answer |
//! |---|---|---|
//! | [`Task::Ioi`] | When John and Mary went to the shops, John gave the bag to | Mary |
//! | [`Task::GreaterThan`] | The war lasted from the year 1741 to the year 17 | 42 to 99 |
//! | [`Task::GenderBias`] | The nurse said that | she, if the model is biased |
//! | [`Task::CapitalCountry`] | Tirana, the capital of | Albania |
//! | [`Task::Sva`] | The keys on the cabinet | are, have, ... |
//! | [`Task::Hypernymy`] | diamonds, and other | gems, gemstones |
//! | [`repeated`] | random tokens, then the same tokens again | the token that came next before |
//!
//! # Held out
//! The embedded model is trained on [`Split::Train`] only (`examples/train_tiny`), so that what it does on the other
//! splits is generalisation. Prompts of every split are written in the tokens of any GPT-2-like tokenizer: an answer
//! starts with its space.

mod capital_country;
mod dataset;
mod gender_bias;
mod greater_than;
mod hypernymy;
mod ioi;
mod prompt;
mod read;
pub mod repeated;
mod shard;
mod split;
mod sva;
mod task;
mod template;
pub mod words;

pub use dataset::{LeftOut, TaskDataset};
pub use prompt::TaskPrompt;
pub use read::VerbList;
pub use shard::DatasetShard;
pub use split::Split;
pub use task::Task;
pub use template::pieces;

/// A prompt with the answers that are right and wrong: what a score on a task needs to know.
///
/// An answer is written as it follows the prompt, with its space: `" Mary"`; only the two-digit years have none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The text up to the answer.
    pub prompt: String,
    /// The answers that are right, at least one.
    pub right: Vec<String>,
    /// The answers that are compared with them, at least one.
    pub wrong: Vec<String>,
}
