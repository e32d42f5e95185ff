//! Attribution graphs.

mod chained;
mod circuit;
mod circuit_by_hand;
mod circuit_kinds;
mod edits;
mod held;
mod interventions;
mod means;
mod parity;
mod predicted;
mod scale;
mod scores;
mod sums;
mod supernodes;
