//! The words in which the table says what a site reads: where it is in the computation, which parts of the model it needs,
//! and what kind of numbers it holds. What other rooms need to know about a site follows from these columns, by matches without a
//! default: the compiler points whoever adds a stage to each of them.

use crate::dims::Dims;

/// Where in the forward pass a site is, and so what it can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Before the first block: tokens and embeddings.
    Embedding,
    /// The residual stream that enters a block.
    Entering,
    /// What queries, keys and values are all made of.
    AttentionInput,
    /// Queries and what only they are made of.
    Query,
    /// Keys, values and what only they are made of.
    KeyValue,
    /// Attention scores and patterns: one row for each query.
    Pattern,
    /// Values mixed by the pattern. From here to the end of the block, positions no longer see each other.
    Mixed,
    /// What attention makes of the mixed values.
    AttentionOutput,
    /// The residual stream between attention and the MLP.
    Between,
    /// What the MLP reads, and its neurons before the last of them.
    MlpInput,
    /// The MLP's neurons as its output weights read them.
    Neurons,
    /// What the MLP makes of its neurons.
    MlpOutput,
    /// The residual stream that leaves a block.
    Leaving,
    /// Behind the last block: final norm and unembedding.
    Final,
}

impl Stage {
    /// Every stage, in the order of the forward pass.
    pub const ALL: [Self; 14] = [
        Self::Embedding,
        Self::Entering,
        Self::AttentionInput,
        Self::Query,
        Self::KeyValue,
        Self::Pattern,
        Self::Mixed,
        Self::AttentionOutput,
        Self::Between,
        Self::MlpInput,
        Self::Neurons,
        Self::MlpOutput,
        Self::Leaving,
        Self::Final,
    ];

    /// Whether attention of the same block carries what is here to other positions.
    pub(crate) fn is_carried(self) -> bool {
        match self {
            Self::Embedding | Self::Entering | Self::AttentionInput | Self::KeyValue => true,
            Self::Query
            | Self::Pattern
            | Self::Mixed
            | Self::AttentionOutput
            | Self::Between
            | Self::MlpInput
            | Self::Neurons
            | Self::MlpOutput
            | Self::Leaving
            | Self::Final => false,
        }
    }

    /// Whether the mixing of attention comes after it in its block.
    pub(crate) fn is_before_mixing(self) -> bool {
        match self {
            Self::Embedding | Self::Entering | Self::AttentionInput | Self::Query | Self::KeyValue | Self::Pattern => {
                true
            }
            Self::Mixed
            | Self::AttentionOutput
            | Self::Between
            | Self::MlpInput
            | Self::Neurons
            | Self::MlpOutput
            | Self::Leaving
            | Self::Final => false,
        }
    }
}

/// A part or property of a model without which a site does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Needs {
    /// Blocks with MLPs.
    Mlp,
    /// An MLP that reads what attention has added to.
    MlpAfterAttention,
    /// MLPs with a gate.
    Gate,
    /// A norm after the activation function (`solu_ln`).
    NeuronNorm,
    /// Layer norms, folded or not.
    Norm,
    /// Norms before attention and MLPs.
    NormsBefore,
    /// Norms after attention and MLPs.
    NormsAfter,
    /// Norms of queries and keys.
    QkNorm,
    /// Rotary embeddings.
    Rotary,
    /// Embeddings of positions.
    PositionEmbedding,
    /// Separate keys and values for each head.
    KeysOfEachHead,
}

impl Needs {
    /// Why a model of these `dims` lacks it, or `None` where it has it.
    pub(crate) fn missing(self, dims: &Dims) -> Option<&'static str> {
        let (is_there, why) = match self {
            Self::Mlp => (!dims.attn_only, "its blocks have attention only"),
            Self::MlpAfterAttention => (!dims.parallel_attn_mlp, "its attention and MLP read the same residual stream"),
            Self::Gate => (dims.gated_mlp, "its MLPs have no gate"),
            Self::NeuronNorm => (dims.neuron_norm, "no norm follows its activation function"),
            Self::Norm => (dims.has_norm, "it has no layer norms"),
            Self::NormsBefore => {
                (!dims.reads_unnormed, "its attention and MLPs read the residual stream without a norm")
            }
            Self::NormsAfter => (dims.norms_after, "no norm follows its attention and MLPs"),
            Self::QkNorm => (dims.qk_norm, "its queries and keys have no norms"),
            Self::Rotary => (dims.rotary, "it has no rotary embedding of queries and keys"),
            Self::PositionEmbedding => (
                !dims.rotary && !dims.alibi,
                match dims.alibi {
                    true => "its attention scores fall with the distance between query and key instead",
                    false => "it rotates queries and keys by their position instead",
                },
            ),
            Self::KeysOfEachHead => (
                dims.n_key_value_heads == dims.n_heads,
                "its heads share keys and values: q_input, k_input and v_input are the separate inputs",
            ),
        };
        (!is_there).then_some(why)
    }
}

/// What kind of numbers a site holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Token ids.
    Ids,
    /// Directions, neurons or features: zero means that nothing is there.
    Vector,
    /// Scores before a softmax: zero is a score as any other, minus infinity is masked.
    Score,
    /// Shares that sum to 1.
    Share,
    /// What a norm divides by.
    Scale,
    /// Logits.
    Logits,
}

impl Kind {
    /// Whether zero means the absence of what is there, so that it can be a baseline.
    pub(crate) fn has_zero(self) -> bool {
        match self {
            Self::Vector | Self::Share => true,
            Self::Ids | Self::Score | Self::Scale | Self::Logits => false,
        }
    }

    /// Whether there are gradients along it.
    pub(crate) fn has_gradient(self) -> bool {
        match self {
            Self::Ids => false,
            Self::Vector | Self::Score | Self::Share | Self::Scale | Self::Logits => true,
        }
    }
}
