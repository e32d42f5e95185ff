//! Attribution graphs.

mod chained;
mod held;
mod parity;
mod scale;
mod sums;
mod supernodes;
