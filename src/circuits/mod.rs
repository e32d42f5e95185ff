//! Circuits of edges: which connections between heads and MLPs carry a task.
//!
//! A head or MLP reads the sum of everything written before it, so each earlier node is joined by an edge to each of its
//! inputs. An edge is tested by corrupting it alone: the reader gets what the writer would have written in another prompt.
//! Brute force does this for every edge; edge attribution patching estimates all edges at once from two forward passes and a
//! backward pass (Syed et al. 2023, <https://arxiv.org/abs/2310.10348>), with integrated gradients where that estimate
//! fails (Hanna et al. 2024, <https://arxiv.org/abs/2403.17806>). A circuit chosen by these scores is evaluated by running the
//! model with all other edges corrupted. [`Experiment::edges`](crate::experiment::Experiment::edges) is where it begins.
//!
//! Names, files and definitions are those of the EAP-IG repository, where a definition there is sound. Whole nodes are scored
//! by the same methods. Edges are scored by position or by span as well
//! ([`Edges::attribute_by_position`], [`Edges::attribute_by_span`]), and circuits are found by removing edges one by one
//! ([`Edges::acdc`]). Random circuits ([`Edges::random_curves`]) and resampled prompts ([`Edges::stability`]) say what a found circuit
//! is worth.
//!
//! # Limits
//! Nodes are whole heads and MLPs, and a circuit has an edge at all positions or at none. Models in which a head's output goes through a norm together
//! with the other heads' (Gemma 2) have no such edges; giving one returns an error.

mod acdc;
mod attribute;
mod budget;
mod by_position;
mod chance;
mod circuit;
mod curves;
mod edges;
mod effects;
mod evaluate;
mod exact;
mod exact_by_position;
mod faithfulness;
mod gradient_path;
mod gradients;
mod json;
mod layout;
mod node;
mod nodes;
mod outputs;
mod position_scores;
mod prompts;
mod pt;
mod routes;
mod select;
mod spans;
mod stability;

pub use attribute::{Aggregation, EdgeMethod};
pub use chance::RandomCurves;
pub use circuit::Circuit;
pub use curves::FaithfulnessCurves;
pub use edges::Edges;
pub use faithfulness::{CircuitScore, CircuitUnit, FaithfulnessCurve};
pub(crate) use faithfulness::{completeness, faithfulness};
pub(crate) use layout::Layout;
pub use node::{Edge, Node, Qkv};
pub use nodes::NodeScores;
pub use position_scores::{PositionScore, PositionScores};
pub(crate) use prompts::Scored;
pub use select::RankBy;
pub use spans::Spans;
pub use stability::Stability;
