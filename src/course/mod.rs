//! Exercises in cells, judged at once: what is wrong, where, and most likely why.
//!
//! An exercise is a function to write. `ex::attention_pattern().check(my_pattern)` runs it on small inputs beside the reference and gives
//! a [`Verdict`], which shows itself and is never an error: an error would drop the cell's variables. Each exercise also holds **wrong
//! answers that are code**: where a function computes what one of them computes, the verdict says which mistake that is.
//!
//! Inputs are small, and there are two of different sizes and, where a model runs, of models of different shapes, so that a number of
//! prompts, positions, layers or heads that was written into the code fails.
//!
//! Each check, hint and solution is noted in `progress.jsonl` beside the notebooks, from which [`progress`] counts. A teacher chooses how
//! much is told by `CANDLE_LENS_COURSE` in the environment: `open` (hints at any time, a solution after a pass or three tries), `locked`
//! (a solution after a pass) or `exam` (neither, and a check says only whether it was passed).
//!
//! Limits: a function that never returns is reported as running but not interrupted; what a function prints is not looked at.

mod answer;
mod anywhere;
mod brackets;
mod choice;
mod data;
mod exercise;
mod guard;
mod help;
mod journal;
mod judge;
mod known;
mod locate;
mod meaning;
mod mode;
mod models;
mod notebook;
mod sections;
mod seed;
mod standing;
mod verdict;
mod weights;

pub use brackets::bracket_strings;
pub use data::{LANGUAGES, MODULUS, WORDS, modular_pairs, translation_prompt};
pub use exercise::About;
pub use help::Help;
pub use notebook::{For, Part, Section, made_for_version};
pub use sections::{ex, sections};
pub use standing::{Standing, progress};
pub use verdict::{Outcome, Verdict};
pub use weights::{AttnWeights, BlockWeights, MlpWeights, UnembedWeights, block_weights, unembed_weights};
