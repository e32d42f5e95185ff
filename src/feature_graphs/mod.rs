//! Attribution graphs: which features, errors and tokens a feature's activation or a logit comes from.
//!
//! With attention patterns, the scales of norms and what dictionaries miss held at their values in one run, a model whose MLPs are
//! replaced by transcoders is affine between features: the pre-activation of a feature is the sum, over the features, tokens and
//! errors before it, of `a_s d_s . g`, where `a_s d_s` is what a source writes into the residual stream and g the gradient of the
//! pre-activation there. What no source writes, biases, is a source of its own here, so that **the edges into a node sum to its
//! pre-activation**.
//!
//! Limits: one prompt; attention patterns are not explained; dictionaries replace MLPs. A [chained graph](ChainedGraph) has none of them:
//! it says through which features of attention and MLPs a metric of some prompts comes about, along gradients, with patterns live.
//!
//! References: Dunefsky et al. 2024 (arXiv 2406.11944); Ameisen et al. 2025, "Circuit Tracing"
//! (<https://transformer-circuits.pub/2025/attribution-graphs/methods.html>); the order of nodes, influence, pruning and scores are those
//! of circuit-tracer 0.5.

mod affine;
mod build;
mod chained;
mod circuit;
mod contract;
mod edits;
mod explore;
mod files;
mod folded;
mod graph;
mod incoming;
mod influence;
mod keep;
mod node;
mod node_id;
mod options;
mod prune;
mod pull;
mod scores;
mod sources;
mod supernodes;
mod targets;
mod transcoders;

pub use chained::{
    ChainOptions, ChainedEdge, ChainedGraph, ChainedNode, EdgeCounts, EdgeVia, EdgesLeftOut, ErrorNodes,
};
pub use circuit::{ErrorsOutside, FeatureCircuit, FeatureCircuits, NodeRanking};
pub use edits::{ChainedTest, EditMode, FeatureEditOptions, FeatureEditRun, FeatureEdits, GraphChange};
pub use graph::AttributionGraph;
pub use influence::Influence;
pub use node::{BiasOf, GraphEdge, GraphNode};
pub use options::{GraphOptions, GraphTargets};
pub use scores::ScoreAttribution;
pub use supernodes::{GroupEdge, GroupGraph, GroupNode, Supernode, Supernodes};
