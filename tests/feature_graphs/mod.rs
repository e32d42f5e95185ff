//! Attribution graphs.

mod chained;
mod held;
mod means;
mod parity;
mod scale;
mod scores;
mod sums;
mod supernodes;
