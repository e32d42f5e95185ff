//! Attribution graphs.

mod chained;
mod circuit;
mod circuit_by_hand;
mod circuit_kinds;
mod held;
mod means;
mod parity;
mod scale;
mod scores;
mod sums;
mod supernodes;
