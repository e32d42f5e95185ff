//! Attribution graphs.

mod chained;
mod files;
mod files_bad;
mod held;
mod means;
mod parity;
mod scale;
mod scores;
mod sums;
mod supernodes;
