//! Experiments: what is compared, what takes an activation's place, and how effects are reported.
//!
//! An [`Experiment`] is a clean run, a [`Baseline`] that takes the place of activations, and a metric. Sweeps of patches, path
//! patching, attribution, integrated gradients and edges of circuits are its methods, in the rooms of these names, so all of
//! them take the same baselines and report an [`Effect`] of which the convention is known; [`Comparison`] says how well one
//! estimates another.

mod baseline;
mod compare;
mod effect;
#[allow(clippy::module_inception)]
mod experiment;
mod frozen;
mod per_prompt;
mod prompts;
mod quadrature;
mod runs;
mod several;
mod source;
mod spliced;
mod task;

pub use baseline::Baseline;
pub use compare::{Compare, Comparison, Miss};
pub(crate) use effect::Levels;
pub use effect::{Effect, Scale};
pub use experiment::Experiment;
pub(crate) use per_prompt::PerPrompt;
pub(crate) use prompts::EffectNumbers;
pub use quadrature::Quadrature;
pub(crate) use runs::{NodeRun, copied};
pub(crate) use several::{check_difference, index_of};
pub(crate) use source::{Source, captured};
