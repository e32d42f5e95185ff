//! Supernodes: nodes of a graph taken together under a name, and the graph of these.
//!
//! The edge from a group S to a group T is `w(S, T) = sum over s in S, t in T of w(s, t)`, so the edges into a group, those from its own
//! members included, sum to the sum of its members' values as the edges into a node sum to its value. The influence that takes it is
//! `sum of N[t, s] (influence_t + weight_t)` over the same pairs ([`influence`](super::Influence)): what flows out of a group is the
//! influence of its members, and what flows in is the same, where none of them is a leaf or a target. circuit-tracer's frontend draws
//! a third number, a share of what comes into T from outside of it:
//!
//! `share(S, T) = sum over t of (sum over s of w(s, t)) / in(t)  /  sum over t of out(t) / in(t)`
//!
//! where `in(t)` is the sum of the absolute edges into t and `out(t)` of those from outside T.
//!
//! Limits: pre-activations of different features are in different units, and a sum adds them as they are; groups may lead to each other
//! both ways, so a graph of groups has an influence of its edges but no paths to follow.
//!
//! References: `initCgSubgraph` of circuit-tracer 0.5's frontend, for shares, groups and pins.

mod collapse;
mod group_node;
mod value;

pub use collapse::GroupGraph;
pub use group_node::{GroupEdge, GroupNode, Supernode};
pub use value::Supernodes;
