//! Attribution graphs.

mod held;
mod parity;
mod scale;
mod sums;
