//! Attribution graphs.

mod chained;
mod held;
mod parity;
mod scale;
mod scores;
mod sums;
mod supernodes;
