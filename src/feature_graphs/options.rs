//! What a graph explains, and how large it may become.

use std::path::PathBuf;

use candle_core::Tensor;

use crate::tokens::TokenRef;

/// What a graph explains at the last position: logits, differences of logits, or directions. In a model with a soft cap on its logits
/// (Gemma 2) these are the logits before it.
#[derive(Clone, Debug)]
pub enum GraphTargets {
    /// The most probable tokens, until their probabilities sum to `probability`, at most `most` of them; each logit less the mean of all,
    /// weighted by its probability.
    Top {
        /// The most tokens.
        most: usize,
        /// The probability that they reach together.
        probability: f64,
    },
    /// The logits of these tokens, each less the mean of all, weighted by their probabilities.
    Tokens(Vec<TokenRef>),
    /// The logit of one token less that of another.
    Difference(TokenRef, TokenRef),
    /// A direction of what the unembedding reads, with a name.
    Direction {
        /// What figures call it.
        name: String,
        /// `[d_model]`.
        direction: Tensor,
    },
}

impl GraphTargets {
    /// circuit-tracer's: at most 10 tokens, up to 0.95 of probability.
    pub fn top() -> Self {
        Self::Top { most: 10, probability: 0.95 }
    }

    /// The logits of these tokens.
    pub fn tokens<T: Into<TokenRef>>(tokens: impl IntoIterator<Item = T>) -> Self {
        Self::Tokens(tokens.into_iter().map(Into::into).collect())
    }

    /// The logit of a token less that of another: `(" Mary", " John")`.
    pub fn difference(correct: impl Into<TokenRef>, incorrect: impl Into<TokenRef>) -> Self {
        Self::Difference(correct.into(), incorrect.into())
    }
}

/// How large a graph may become, and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphOptions {
    /// How many features become targets; those with the most influence first, as circuit-tracer's `max_feature_nodes`. All by default.
    pub most_features: Option<usize>,
    /// How many targets are computed at once.
    pub batch_size: usize,
    /// The first position at which features and errors are looked at. What MLPs write before it is one source,
    /// [`BiasOf::FirstPositions`](super::BiasOf::FirstPositions). By default 1 where the prompt begins with a BOS, on which dictionaries are
    /// not trained, and otherwise 0; circuit-tracer leaves out position 0 always.
    pub first_position: Option<usize>,
    /// A file that the rows are saved to while the graph is made, a tenth of them at a time: an interrupted one that is made again with the
    /// same file goes on from there, to the same numbers. A file of another graph is refused.
    pub save_to: Option<PathBuf>,
}

impl Default for GraphOptions {
    fn default() -> Self {
        Self { most_features: None, batch_size: 64, first_position: None, save_to: None }
    }
}
