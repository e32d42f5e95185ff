//! The activations of a run by name, and the decomposition of its residual stream.

mod collect;
mod full;
mod io;
mod ln;
mod made_by;
mod neurons;
mod query;
mod readout;
mod resid;
mod run;
mod sink;
mod stack;
mod store;
mod target;

pub(crate) use collect::{check_rows, collected};
pub use ln::LnScale;
pub use query::{Accumulated, Components, Everything, Heads, Neurons, Point, Stack, StackKind};
pub use sink::Sink;
pub use stack::ResidualStack;
pub use store::{ActivationCache, Provenance};
pub use target::Target;
