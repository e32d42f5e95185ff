//! What a run left: activations by name, and the residual stream taken apart.

mod full;
mod io;
mod made_by;
mod neurons;
mod options;
mod readout;
mod resid;
mod run;
mod stack;
mod store;

pub use options::{
    AccumulatedOptions, Components, DecomposeOptions, FullOptions, HeadOptions, LnOptions, NeuronOptions,
};
pub use stack::ResidualStack;
pub use store::{ActivationCache, Provenance};
