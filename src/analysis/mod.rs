//! Analyses: one method a file, each with its formula and source.

mod answers;
mod logit_lens;
mod score;

pub use answers::Answers;
pub use logit_lens::residual_stack_to_logit_diff;
pub use score::{Score, Scorecard, score_questions, score_repeated, scorecard};
