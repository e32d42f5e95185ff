//! Analyses: what a model's numbers mean.

mod score;

pub use score::{Score, score_questions, score_repeated};
