//! Attribution graphs.

mod chained;
mod files;
mod files_bad;
mod held;
mod parity;
mod scale;
mod sums;
mod supernodes;
