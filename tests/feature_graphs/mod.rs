//! Attribution graphs.

mod held;
mod parity;
mod scores;
mod sums;
