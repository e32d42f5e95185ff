//! Attribution graphs.

pub mod chained;
mod chained_edges;
mod chained_kinds;
mod held;
mod means;
mod parity;
mod scale;
mod scores;
pub mod sums;
mod supernodes;
