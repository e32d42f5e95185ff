//! Gradients of a metric along activations, and the attributions made of them.
//!
//! One forward and one backward pass give `d metric / d activation` at every watched point at once; no gradients of
//! weights are computed. [`Patching::attribution`](crate::patching::Patching::attribution) makes of them what patching
//! would find, to first order; [`HookedTransformer::integrated_gradients`](crate::model::HookedTransformer::integrated_gradients)
//! follows them along a way between two activations; [`Comparison`] says how near either comes to the truth.

mod attention;
mod attribution;
mod compare;
mod integrated;
mod rule;
mod run;

pub use attention::AttentionAttribution;
pub use attribution::Attribution;
pub use compare::{Comparison, Miss};
pub use integrated::{IgBaseline, IgOptions, IntegratedGradients};
pub use rule::IgRule;
