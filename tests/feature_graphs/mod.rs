//! Attribution graphs.

mod held;
mod parity;
mod scores;
||||||| f936164
mod scale;
mod sums;
