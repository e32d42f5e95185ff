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

impl EdgeVia {
    pub(super) const ALL: [Self; 5] = [Self::Ov, Self::Q, Self::K, Self::Mlp, Self::Direct];
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

/// An edge of a [`ChainedGraph`](super::ChainedGraph), the mean over prompts; 0 counts for those in which one of its nodes is not there.
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

/// How many edges a [`ChainedGraph`](super::ChainedGraph) has of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EdgeCounts {
    /// Through values.
    pub ov: usize,
    /// Through queries.
    pub q: usize,
    /// Through keys.
    pub k: usize,
    /// Into MLPs.
    pub mlp: usize,
    /// To the metric.
    pub direct: usize,
}

impl EdgeCounts {
    pub(super) fn of<'a>(edges: impl IntoIterator<Item = &'a ChainedEdge>) -> Self {
        let mut counts = Self::default();
        for edge in edges {
            *match edge.via {
                EdgeVia::Ov => &mut counts.ov,
                EdgeVia::Q => &mut counts.q,
                EdgeVia::K => &mut counts.k,
                EdgeVia::Mlp => &mut counts.mlp,
                EdgeVia::Direct => &mut counts.direct,
            } += 1;
        }
        counts
    }

    /// All of them.
    pub fn total(&self) -> usize {
        self.ov + self.q + self.k + self.mlp + self.direct
    }
}

impl fmt::Display for EdgeCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ov, q, k, mlp, direct } = self;
        write!(f, "{} edges: {ov} ov, {q} q, {k} k, {mlp} mlp, {direct} direct", self.total())
    }
}
