//! What a dictionary is worth, and what its features mean.

mod score;

pub use score::{CardCheck, DictionaryScore, DictionaryScores, ScoreOptions, SplicedScore};
