//! The names of architectures.

use std::fmt;

use super::parts::{Activation, DictionaryParts};

/// What kind of dictionary it is, by SAELens' names where it has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// ReLU.
    Standard,
    /// A gate decides which features are active, and another path how much.
    Gated,
    /// The `k` largest of each position.
    TopK,
    /// The `k` largest in absolute value.
    AbsTopK,
    /// The largest of each group.
    GroupMax,
    /// A threshold for each feature; batch top-k and Matryoshka dictionaries are this at inference.
    JumpRelu,
    /// Greedy, feature after feature.
    MatchingPursuit,
    /// Reads one point and writes another.
    Transcoder,
    /// As [`Architecture::Transcoder`], plus a linear map of the input.
    SkipTranscoder,
    /// Reads one layer and writes this and all later ones.
    CrossLayerTranscoder,
}

impl Architecture {
    pub(super) fn of(parts: &DictionaryParts) -> Self {
        if parts.w_dec.rank() == 3 {
            return Self::CrossLayerTranscoder;
        }
        if parts.w_skip.is_some() {
            return Self::SkipTranscoder;
        }
        if parts.expects.is_transcoder() {
            return Self::Transcoder;
        }
        match parts.activation {
            Activation::Relu => Self::Standard,
            Activation::JumpRelu { .. } => Self::JumpRelu,
            Activation::TopK { .. } => Self::TopK,
            Activation::AbsTopK { .. } => Self::AbsTopK,
            Activation::GroupMax { .. } => Self::GroupMax,
            Activation::Gated { .. } => Self::Gated,
            Activation::MatchingPursuit { .. } => Self::MatchingPursuit,
        }
    }

    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Gated => "gated",
            Self::TopK => "topk",
            Self::AbsTopK => "abstopk",
            Self::GroupMax => "groupmax",
            Self::JumpRelu => "jumprelu",
            Self::MatchingPursuit => "matching_pursuit",
            Self::Transcoder => "transcoder",
            Self::SkipTranscoder => "skip_transcoder",
            Self::CrossLayerTranscoder => "cross_layer_transcoder",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
