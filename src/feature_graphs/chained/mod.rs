//! Chained graphs: how features move a metric through each other, query and key edges included.
//!
//! In the model with dictionaries spliced in, errors and the scales of norms are held and attention patterns are not. An edge from
//! source s to target t has a local gradient `n(s, t) = d pre_t / d a_s` along the path without another feature between them, and
//! moves the metric by `G_t g_t n(s, t) da_s`, where `G_t` is the total gradient of the metric at the target, `g_t` whether it is
//! active and `da_s` its activation, or the difference to the corrupted run. **The total gradient of a feature is the sum over its
//! outgoing edges**: `G_s = sum over t of G_t g_t n(s, t)`, direct edges to the metric included.
//!
//! Reference: the method of the LEAP repository, with its defects corrected.

mod build;
mod eap;
mod edge;
mod fitted;
mod graph;
mod heads;
mod names;
mod node;
mod options;
mod places;
mod prompt;
mod rows;
mod select;
mod slope;
mod sources;
mod trace;
mod union;

pub use edge::{ChainedEdge, EdgeCounts, EdgeVia};
pub use graph::ChainedGraph;
pub use node::{ChainedNode, EdgesLeftOut};
pub use options::{ChainOptions, ErrorNodes};
