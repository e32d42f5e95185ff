//! The kinds of parts that a model can have, in TransformerLens' names.
//!
//! Reference: TransformerLens `HookedTransformerConfig`.

use serde::{Deserialize, Serialize};

/// The layer norm of each block and before the unembedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NormalizationType {
    /// Centre, divide by the standard deviation, scale and shift.
    LN,
    /// Centre and divide; scale and shift are folded into the weights that read the result.
    LNPre,
    /// Divide by the root of the mean square and scale (Zhang and Sennrich 2019).
    RMS,
    /// Divide; the scale is folded into the weights that read the result.
    RMSPre,
    /// No norm.
    None,
}

impl NormalizationType {
    /// Whether the norm subtracts the mean of its input.
    pub fn centres(self) -> bool {
        matches!(self, Self::LN | Self::LNPre)
    }

    /// Whether the norm has weights of its own, not folded.
    pub fn has_weights(self) -> bool {
        matches!(self, Self::LN | Self::RMS)
    }

    /// The same norm with its weights folded away.
    pub fn folded(self) -> Self {
        match self {
            Self::LN => Self::LNPre,
            Self::RMS => Self::RMSPre,
            other => other,
        }
    }
}

/// Which norm queries and keys have in a model with `use_qk_norm`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum QkNormType {
    /// Divide by the root of the mean square and scale, all heads alike (Qwen 3).
    #[default]
    RMS,
    /// A layer norm, all heads alike (Phi).
    LN,
    /// A layer norm with a scale for each head and no shift (StableLM 2).
    LNPerHead,
    /// Divide by the root of the mean square over all heads of a layer, and scale (OLMo 2).
    RMSAcrossHeads,
}

impl QkNormType {
    /// Whether the norm subtracts the mean of its input.
    pub fn centres(self) -> bool {
        match self {
            Self::RMS | Self::RMSAcrossHeads => false,
            Self::LN | Self::LNPerHead => true,
        }
    }

    /// Whether it adds a shift.
    pub(in crate::model) fn shifts(self) -> bool {
        match self {
            Self::RMS | Self::LNPerHead | Self::RMSAcrossHeads => false,
            Self::LN => true,
        }
    }

    /// The shape of its scale for `heads` heads of this width.
    pub(in crate::model) fn shape(self, heads: usize, d_head: usize) -> Vec<usize> {
        match self {
            Self::RMS | Self::LN => vec![d_head],
            Self::LNPerHead | Self::RMSAcrossHeads => vec![heads, d_head],
        }
    }
}

/// The MLP's activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActFn {
    /// `x Phi(x)` by the error function.
    Gelu,
    /// GPT-2's approximation of gelu by tanh.
    #[serde(alias = "gelu_fast", alias = "gelu_pytorch_tanh")]
    GeluNew,
    /// `max(x, 0)`.
    Relu,
    /// `x sigmoid(x)`.
    Silu,
    /// `x sigmoid(1.702 x)`, an approximation of gelu (Hendrycks and Gimpel 2016).
    QuickGelu,
    /// `x softmax(x)` over the neurons (Elhage et al. 2022, "Softmax Linear Units").
    Solu,
    /// The same with a layer norm of the neurons behind it, which shows `mlp.hook_mid` before and `mlp.ln` inside.
    SoluLn,
}

/// Which positions a position may attend to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttentionDir {
    /// Itself and earlier ones.
    Causal,
    /// All.
    Bidirectional,
}

/// How positions enter the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PositionalEmbeddingType {
    /// A learned vector for each position, added to the token's.
    Standard,
    /// Queries and keys are rotated by an angle that grows with the position (Su et al. 2021, RoPE).
    Rotary,
    /// A learned vector for each position, added to what queries and keys are made of, behind the norm, and so never to
    /// the residual stream (Press et al. 2021, "Shortformer").
    Shortformer,
    /// Attention scores fall with the distance between query and key, in each head at a slope of its own (Press et al.
    /// 2021, ALiBi). Where the number of heads is not a power of two, the slopes are those of the paper's code, not
    /// TransformerLens'.
    Alibi,
}

impl PositionalEmbeddingType {
    /// Whether each position has a learned vector.
    pub fn has_vectors(self) -> bool {
        match self {
            Self::Standard | Self::Shortformer => true,
            Self::Rotary | Self::Alibi => false,
        }
    }
}

/// Whether a layer's attention is global or local.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttentionType {
    /// All positions that the direction allows.
    Global,
    /// Only the last `window_size` of these, the query's own position included.
    Local,
}
