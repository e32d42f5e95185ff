//! Attribution graphs.

pub mod chained;
mod chained_edges;
mod chained_kinds;
mod circuit;
mod circuit_by_hand;
mod circuit_kinds;
mod edits;
mod files;
mod graph_files;
mod graph_files_bad;
mod held;
mod interventions;
mod means;
mod parity;
mod predicted;
mod progress;
mod scale;
mod scores;
pub mod sums;
mod supernodes;
