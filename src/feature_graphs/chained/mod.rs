//! Chained graphs: how features move a metric through each other, query and key edges included.
//!
//! In the model with dictionaries spliced in, errors and the scales of norms are held and attention patterns are not. An edge from
//! source s to target t has a local gradient `n(s, t) = d pre_t / d a_s` along the path without another feature between them, and
//! moves the metric by `G_t g_t n(s, t) da_s`, where `G_t` is the total gradient of the metric at the target, `g_t` whether it is
//! active and `da_s` its activation, or the difference to the corrupted run. **The total gradient of a feature is the sum over its
//! outgoing edges**: `G_s = sum over t of G_t g_t n(s, t)`, direct edges to the metric included.
//!
//! Targets read the residual stream, and with scales held what reaches them is affine along MLPs and values. A score of attention moves a
//! feature with encoder `w` by `A (w . v - m)`, where `m` is the mean of `w . v` under the pattern `A`: along queries and keys an edge is
//! the first-order change. Norms of queries and keys are held like others; rotary embeddings, key/value heads that are shared, soft caps, norms
//! after attention, parallel blocks and skip connections of transcoders are followed exactly.
//!
//! Sources are features, errors (what dictionaries miss; of a part of a layer without a dictionary all that it writes), the tokens, the positions
//! where they have vectors, biases, and what parts of layers write at a BOS, where no features are looked at. So with a
//! baseline of zero **the edges into a feature along its MLP or its values sum to its pre-activation, and direct edges to the metric**; those along queries sum to what those along
//! keys sum to. Biases do not change between two runs, so the graph of a difference has none.
//!
//! Over several prompts all of it is computed prompt by prompt and averaged afterwards, aligned by layer, position and index.
//!
//! Limits: prompts of one length; gradients are those of the clean run, so that an edge is not what an intervention finds: patterns, gates and scales change with large
//! changes. `g_t` is 1 for features that are active in the clean run and 0 for others: what a change would switch on is not seen. Nothing
//! passes through errors and scales, nor through parts of layers without a dictionary.
//!
//! Reference: the method of LEAP (<https://github.com/dtch1997/circuit-finder>), with its defects corrected: there the pattern's derivative is not centred,
//! keys are divided by the scale of the norm at the query position, and total gradients are those of the model without dictionaries.

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
