//! Training of dictionaries and probes.

mod dictionary;

pub use dictionary::{DictionaryTrainer, Recipe, Sparsity, StepReport};
