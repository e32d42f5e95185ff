//! What a run left: activations by name, and the residual stream taken apart.

mod io;
mod options;
mod resid;
mod run;
mod stack;
mod store;

pub use options::{AccumulatedOptions, Components, DecomposeOptions, HeadOptions, LnOptions};
pub use stack::ResidualStack;
pub use store::{ActivationCache, Provenance};
