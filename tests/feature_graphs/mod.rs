//! Attribution graphs.

mod edits;
mod held;
mod parity;
mod predicted;
mod scale;
mod sums;
