//! Edges of chained graphs.

use std::fmt;

use super::super::node::GraphNode;

/// What an edge goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EdgeVia {
    /// Into what an MLP's features read, at the same position.
    Mlp,
    /// Into values: along the pattern, from a key position to the query position of the attention feature.
    Ov,
    /// Into queries: the source changes where the feature's position looks.
    Q,
    /// Into keys: the source changes how much it is looked at.
    K,
    /// To the metric, through the final norm alone.
    Direct,
}

impl fmt::Display for EdgeVia {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mlp => "mlp",
            Self::Ov => "ov",
            Self::Q => "q",
            Self::K => "k",
            Self::Direct => "direct",
        })
    }
}

/// An edge of a [`ChainedGraph`](super::ChainedGraph).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChainedEdge {
    /// Where it comes from.
    pub source: GraphNode,
    /// Where it goes.
    pub target: GraphNode,
    /// What it goes through.
    pub via: EdgeVia,
    /// By how much the source moves the target's pre-activation (the metric, for a direct edge) along this edge.
    pub local: f32,
    /// By how much the source moves the metric along this edge and everything behind it.
    pub metric: f32,
}

impl fmt::Display for ChainedEdge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} ({}): {:+.4} of the metric", self.source, self.target, self.via, self.metric)
    }
}
