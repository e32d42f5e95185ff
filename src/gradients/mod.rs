//! Gradients of a metric along activations, and the attributions made of them.
//!
//! One forward and one backward pass give `d metric / d activation` at every watched point at once; no gradients of
//! weights are computed. [`Experiment::attribution`](crate::experiment::Experiment::attribution) makes of them what patching
//! would find, to first order; [`Experiment::integrated_gradients`](crate::experiment::Experiment::integrated_gradients)
//! follows them along a way between two activations; [`Comparison`](crate::experiment::Comparison) says how near either comes to the truth.

mod attention;
mod attribution;
mod integrated;
mod run;

pub use attention::AttentionAttribution;
pub use attribution::Attribution;
pub use integrated::{IgOptions, IntegratedGradients};
