//! Attribution graphs.

mod chained;
mod chained_edges;
mod chained_kinds;
mod held;
mod means;
mod parity;
mod scale;
mod scores;
mod sums;
mod supernodes;
