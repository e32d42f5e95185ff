//! Training: what every recipe needs, whether it trains a dictionary or a small model in a notebook.
//!
//! | what | in it |
//! |---|---|
//! | [`AdamW`] | the optimiser, in place over slices of f32, for gradients that are written out or candle's |
//! | [`Schedule`] | the learning rate of each step: warm-up, plateau, decay |
//! | [`clip_gradients`] | gradients whose norm is bounded |
//! | [`Texts`], [`ActivationStore`] | texts, and the activations at some points of a model that reads them, shuffled |
//! | [`DictionaryTrainer`], [`CrossLayerTrainer`] | recipes for autoencoders, transcoders and cross-layer transcoders |
//! | [`Checkpoint`] | what an interrupted training goes on from, bit for bit |
//! | [`TrainingLog`] | loss, L0 and whatever else is recorded, by step |
//!
//! Nothing here is random without a seed: the same seed gives the same numbers on the same machine.

mod adamw;
mod checkpoint;
mod clip;
mod dictionary;
mod log;
mod resume;
mod schedule;
mod shuffled;
mod store;
mod texts;

pub use adamw::{AdamW, AdamWOptions};
pub use checkpoint::Checkpoint;
pub use clip::clip_gradients;
pub use dictionary::{CrossLayerTrainer, DictionaryTrainer, Recipe, Sparsity, StepReport};
pub use log::TrainingLog;
pub use schedule::{Decay, Schedule};
pub use store::{ActivationBatch, ActivationStore, SkipTokens, StoreOptions};
pub use texts::Texts;
