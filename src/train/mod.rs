//! Training of dictionaries and probes.

mod dictionary;

pub use dictionary::{CrossLayerTrainer, DictionaryTrainer, Recipe, Sparsity, StepReport};
