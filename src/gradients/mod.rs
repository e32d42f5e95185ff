//! Gradients of a metric with respect to activations, and the attributions computed from them.
//!
//! One forward and one backward pass give `d metric / d activation` at every watched point at once; no gradients of
//! weights are computed. [`Experiment::attribution`](crate::experiment::Experiment::attribution) estimates from them what patching
//! would find; [`Experiment::integrated_gradients`](crate::experiment::Experiment::integrated_gradients)
//! integrates them along the path between two activations; [`Comparison`](crate::experiment::Comparison) says how good either
//! estimate is.

mod attention;
mod attribution;
mod change;
mod grad_drop;
mod integrated;
mod options;
mod query_key;
mod run;

pub use attention::AttentionAttribution;
pub use attribution::Attribution;
pub use integrated::{IgOptions, IntegratedGradients};
pub use options::AttributionOptions;
