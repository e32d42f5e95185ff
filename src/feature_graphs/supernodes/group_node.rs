//! A group, and what a graph of groups is made of.

use std::fmt;

use super::super::node::GraphNode;
use crate::visible::visible;

/// Nodes taken together under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supernode {
    /// What it is called.
    pub name: String,
    /// Its members, in the order in which they were given.
    pub nodes: Vec<GraphNode>,
}

impl fmt::Display for Supernode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<String> = self.nodes.iter().map(GraphNode::to_string).collect();
        write!(f, "{}: {}", visible(&self.name), nodes.join(", "))
    }
}

/// A node of a [`GroupGraph`](super::GroupGraph). A text is the name of a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupNode {
    /// A group, by its name.
    Group(String),
    /// A node in no group.
    Node(GraphNode),
    /// All nodes that are in no group and not pinned, together.
    Rest,
}

impl From<&str> for GroupNode {
    fn from(name: &str) -> Self {
        Self::Group(name.into())
    }
}

impl From<String> for GroupNode {
    fn from(name: String) -> Self {
        Self::Group(name)
    }
}

impl From<GraphNode> for GroupNode {
    fn from(node: GraphNode) -> Self {
        Self::Node(node)
    }
}

impl fmt::Display for GroupNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(name) => write!(f, "{}", visible(name)),
            Self::Node(node) => write!(f, "{node}"),
            Self::Rest => f.write_str("the rest"),
        }
    }
}

/// An edge of a [`GroupGraph`](super::GroupGraph).
#[derive(Clone, Debug, PartialEq)]
pub struct GroupEdge {
    /// Where it comes from.
    pub source: GroupNode,
    /// Where it goes; the source itself for the edges between members of one group.
    pub target: GroupNode,
    /// The sum of the edges between their members.
    pub weight: f32,
    /// The part of what comes into the target from outside of it, with its sign: what circuit-tracer's frontend draws for a graph
    /// [without biases](super::super::AttributionGraph::without_biases).
    pub share: f64,
    /// Of what reaches the targets, the share that takes these edges.
    pub influence: f64,
}

impl fmt::Display for GroupEdge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, target, weight, share, .. } = self;
        write!(f, "{source} -> {target}: {weight:+.4} ({:+.1} % of what comes in)", 100.0 * share)
    }
}
