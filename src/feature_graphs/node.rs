//! Nodes of a graph and edges between them.

use std::fmt;

/// What writes into the residual stream without being a feature, an error or a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BiasOf {
    /// `b_V` and `b_O` of the heads; `b_Q` and `b_K` too, in a [`ChainedGraph`](super::ChainedGraph).
    Attention,
    /// The shifts of norms whose weights are not folded.
    Norms,
    /// The biases that dictionaries decode with.
    Decoders,
    /// The biases of the target itself: a feature's encoder, a logit's `b_U`.
    Target,
    /// What MLPs, and in chained graphs attention, write at the first positions, where no features are looked at ([`GraphOptions::first_position`]).
    ///
    /// [`GraphOptions::first_position`]: super::GraphOptions::first_position
    FirstPositions,
}

impl BiasOf {
    pub(super) const ALL: [Self; 5] =
        [Self::Attention, Self::Norms, Self::Decoders, Self::Target, Self::FirstPositions];

    pub(super) fn column(self) -> usize {
        self as usize
    }
}

/// A node of an [`AttributionGraph`](super::AttributionGraph). Nodes are ordered by kind as they are here, then by layer, position
/// and index: the order in which graphs have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GraphNode {
    /// An active feature of a layer's dictionary at a position.
    Feature {
        /// The layer that it reads.
        layer: usize,
        /// The position.
        pos: usize,
        /// Its index in the dictionary.
        feature: usize,
    },
    /// What the dictionaries miss of what a layer's MLP writes at a position.
    Error {
        /// The layer.
        layer: usize,
        /// The position.
        pos: usize,
    },
    /// An active feature of a layer's dictionary of attention outputs (`hook_z`) at a position, in a
    /// [`ChainedGraph`](super::ChainedGraph).
    AttnFeature {
        /// The layer.
        layer: usize,
        /// The position.
        pos: usize,
        /// Its index in the dictionary.
        feature: usize,
    },
    /// What the dictionaries miss of what a layer's attention writes at a position, in a [`ChainedGraph`](super::ChainedGraph).
    AttnError {
        /// The layer.
        layer: usize,
        /// The position.
        pos: usize,
    },
    /// The embedding of the token at a position.
    Token {
        /// The position.
        pos: usize,
    },
    /// The embedding of a position, where positions have vectors that are added to the residual stream.
    Position {
        /// The position.
        pos: usize,
    },
    /// Biases.
    Bias(BiasOf),
    /// Active features that the graph has no room for ([`GraphOptions::most_features`](super::GraphOptions::most_features)), together.
    LeftOut,
    /// A target, by its number: a logit, a difference of two, a direction.
    Target {
        /// Its number among the targets.
        number: usize,
    },
}

impl GraphNode {
    /// Whether it is a feature, of an MLP or of attention: what can be edited.
    pub fn is_feature(&self) -> bool {
        matches!(self, Self::Feature { .. } | Self::AttnFeature { .. })
    }
}

impl fmt::Display for GraphNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Feature { layer, pos, feature } => write!(f, "feature {layer}/{feature} at {pos}"),
            Self::Error { layer, pos } => write!(f, "error of layer {layer} at {pos}"),
            Self::AttnFeature { layer, pos, feature } => write!(f, "attention feature {layer}/{feature} at {pos}"),
            Self::AttnError { layer, pos } => write!(f, "attention error of layer {layer} at {pos}"),
            Self::Token { pos } => write!(f, "token at {pos}"),
            Self::Position { pos } => write!(f, "position {pos}"),
            Self::LeftOut => f.write_str("features left out"),
            Self::Bias(of) => f.write_str(match of {
                BiasOf::Attention => "biases of attention",
                BiasOf::Norms => "shifts of norms",
                BiasOf::Decoders => "biases of decoders",
                BiasOf::Target => "bias of the target itself",
                BiasOf::FirstPositions => "what is written at the first positions",
            }),
            Self::Target { number } => write!(f, "target {number}"),
        }
    }
}

/// An edge: how much of the target's pre-activation, or of its logit, comes from the source along paths without another feature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GraphEdge {
    /// Where it comes from.
    pub source: GraphNode,
    /// Where it goes.
    pub target: GraphNode,
    /// How much.
    pub weight: f32,
}

impl fmt::Display for GraphEdge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}: {:+.4}", self.source, self.target, self.weight)
    }
}
