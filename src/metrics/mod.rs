//! Metrics: one number for each prompt by which a run is evaluated, computed from its logits.
//!
//! A [`Metric`] is a value that says which logits it reads: at which [`Positions`] of each prompt, and of which tokens. No others
//! are computed for it. Each metric has its own file, with formula and source. Here data sets of tasks become batches with the
//! metric of their task, and [`score_questions`] scores a model on many prompts.

mod accuracy;
mod answerable;
mod answers;
mod best;
mod bound;
mod custom;
mod kl;
mod log_prob;
mod logit;
mod logit_diff;
mod loss;
mod metric;
mod pairs;
mod positions;
mod prob;
mod prob_diff;
mod rank;
mod score;
mod several;
mod targets;
mod task;

pub use answers::Answers;
pub(crate) use bound::BoundMetric;
pub use metric::{Direction, Metric};
pub use positions::Positions;
pub use score::{Score, score_questions};
pub(crate) use several::BoundMetrics;
pub use several::Metrics;
pub use task::TaskBatch;

/// The mean over prompts.
pub(crate) fn mean(values: &[f32]) -> f32 {
    (values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len().max(1) as f64) as f32
}
