//! Attribution graphs.

mod held;
mod parity;
mod scale;
mod scores;
mod sums;
