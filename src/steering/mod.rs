//! Steering: directions at a hook point, where they come from, and what the model does when they are added or removed.
//!
//! A [`SteeringVector`] is a direction at one point of one model. It comes from a [`Contrast`] of prompts, from the heads that
//! carry a function, from a feature of a dictionary, from a probe, or from numbers of your own. `vector.steer(scale)` and
//! `vector.ablate()` say what is done with it and where: a plan for runs, text that is generated under it, or a sweep over layers
//! and scales.
//!
//! Limits: that a direction changes what the model writes does not show that the model uses it; compare it with random directions
//! of its norm. A large scale breaks the model rather than steering it.

mod contrast;
mod feature;
mod function;
mod generate;
mod states;
mod steer;
mod sweep;
mod transplant;
mod vector;

pub use contrast::Contrast;
pub use function::IndirectEffects;
pub use generate::SteeredText;
pub use steer::Steering;
pub use transplant::Transplant;
pub use vector::SteeringVector;
