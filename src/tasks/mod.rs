//! Tasks: prompts whose right answer is known, in clean and corrupted forms.
//!
//! A generator makes prompts from the [`words`] and templates of this crate, from a seed: the same seed gives the
//! same prompts on every machine. Each prompt comes as the pair (or triple) that patching needs: a clean text,
//! and a corrupted text of the same number of words in which the answer differs.
//!
//! | module | clean prompt | answer |
//! |---|---|---|
//! | [`ioi`] | When John and Mary went to the shops, John gave the bag to | Mary |
//! | [`greater_than`] | The war lasted from the year 1741 to the year 17 | 42 to 99 |
//! | [`gender_bias`] | The nurse said that | she, if the model is biased |
//! | [`capital_country`] | Tirana, the capital of | Albania |
//! | [`sva`] | The keys on the cabinet | are, have, ... |
//! | [`hypernymy`] | diamonds, and other | gems, gemstones |
//! | [`repeated`] | random tokens, then the same tokens again | the token that came next before |
//!
//! [`Task`] and [`TaskDataset`] hold all of them in one form, with which a model is measured and patched; files that others
//! wrote are read into the same form.
//!
//! # Held out
//! The embedded model is trained on [`Split::Train`] only ([`corpus`] is its training text), so that what it does on
//! the other splits is generalisation. Prompts of every split are written in the tokens of any GPT-2-like tokenizer:
//! an answer starts with its space.

pub mod capital_country;
pub mod corpus;
pub mod datasets;
mod exam;
pub mod gender_bias;
pub mod greater_than;
pub mod hypernymy;
mod introductions;
pub mod ioi;
mod read;
pub mod repeated;
mod split;
pub mod sva;
mod task;
mod template;
mod vocabulary;
pub mod words;

pub use exam::{ExamPaper, exam, repeated_exam};
pub use read::VerbList;
pub use split::Split;
pub use task::{LeftOut, Task, TaskDataset, TaskPrompt};
pub use template::pieces;
pub use vocabulary::vocabulary;

/// A prompt with the answers that are right and wrong: what a score on a task needs to know.
///
/// An answer is written as it follows the prompt, with its space: `" Mary"`; only the two-digit years have none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The text up to the answer.
    pub prompt: String,
    /// The answers that are right, at least one.
    pub right: Vec<String>,
    /// The answers to hold against them, at least one.
    pub wrong: Vec<String>,
}
