//! Attribution graphs.

mod chained;
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
