//! How well dictionaries stand in for the activations that they read or predict: how much of the variance they explain, with
//! how many features, and what the model still does when it runs on what they write.
//!
//! Formulas, and which positions count: at the head of the room.

mod batches;
mod card;
mod evaluate;
mod result;
mod runs;
mod stand_in;
mod sums;

pub(super) use batches::{Batch, batches, left_alone};
pub use card::CardCheck;
pub use evaluate::ScoreOptions;
pub use result::{DictionaryScore, DictionaryScores, SplicedScore};
