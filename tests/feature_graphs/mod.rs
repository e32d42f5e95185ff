//! Attribution graphs.

mod chained;
mod edits;
mod held;
mod parity;
mod predicted;
mod scale;
mod sums;
mod supernodes;
