//! Attribution graphs.

mod held;
mod parity;
mod sums;
