//! Attribution graphs.

mod chained;
mod held;
mod means;
mod parity;
mod scale;
mod sums;
mod supernodes;
