//! The axes of activations by name.

use serde::{Deserialize, Serialize};

use crate::dims::Dims;

/// An axis of an activation, or of a sweep over activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AxisName {
    /// Blocks of the model: an axis of sweeps, not of a single activation.
    Layer,
    /// Prompts of the batch.
    Batch,
    /// Token positions. In selections and sweeps of patterns and scores, the query position.
    Pos,
    /// Token positions that attend (destination).
    QPos,
    /// Token positions that are attended to (source).
    KPos,
    /// Attention heads.
    Head,
    /// Key/value heads, fewer than attention heads with grouped-query attention.
    KeyValueHead,
    /// The residual stream.
    DModel,
    /// One head's inner width.
    DHead,
    /// MLP neurons.
    DMlp,
    /// Features of what is spliced into the model, such as a sparse dictionary.
    Feature,
    /// What a sparse dictionary reads or writes where the model has two axes for it: all heads, one behind the other.
    DIn,
    /// Tokens that have a logit.
    DVocab,
    /// An axis of size 1.
    One,
}

impl AxisName {
    /// The size of the axis in a run of `batch` prompts and `pos` positions; `None` for [`AxisName::Feature`] and
    /// [`AxisName::DIn`], whose size the [splice](super::Splice) gives.
    pub fn size(self, dims: &Dims, batch: usize, pos: usize) -> Option<usize> {
        Some(match self {
            Self::Layer => dims.n_layers,
            Self::Batch => batch,
            Self::Pos | Self::QPos | Self::KPos => pos,
            Self::Head => dims.n_heads,
            Self::KeyValueHead => dims.n_key_value_heads,
            Self::DModel => dims.d_model,
            Self::DHead => dims.d_head,
            Self::DMlp => dims.d_mlp,
            Self::DVocab => dims.d_vocab_out,
            Self::One => 1,
            Self::Feature | Self::DIn => return None,
        })
    }

    /// The name as written in shapes: `batch`, `pos`, `q_pos`, `head`, `d_model`, ...
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::Batch => "batch",
            Self::Pos => "pos",
            Self::QPos => "q_pos",
            Self::KPos => "k_pos",
            Self::Head | Self::KeyValueHead => "head",
            Self::DModel => "d_model",
            Self::DHead => "d_head",
            Self::DMlp => "d_mlp",
            Self::Feature => "d_sae",
            Self::DIn => "d_in",
            Self::DVocab => "d_vocab_out",
            Self::One => "1",
        }
    }

    /// The axis under which a selection stores this one: query positions are positions, and key/value heads are heads.
    pub(crate) fn key(self) -> Self {
        match self {
            Self::QPos => Self::Pos,
            Self::KeyValueHead => Self::Head,
            axis => axis,
        }
    }

    /// The method of a selection that selects along it: `.key_pos(..)`.
    pub(crate) fn word(self) -> &'static str {
        match self.key() {
            Self::Layer => "layer",
            Self::Batch => "batch",
            Self::Pos | Self::QPos => "pos",
            Self::KPos => "key_pos",
            Self::Head | Self::KeyValueHead => "head",
            Self::DModel => "d_model",
            Self::DHead => "d_head",
            Self::DMlp => "neuron",
            Self::Feature => "feature",
            Self::DIn => "d_in",
            Self::DVocab => "token",
            Self::One => "1",
        }
    }

    /// What one index along it is, in an error.
    pub(crate) fn one(self) -> &'static str {
        match self.key() {
            Self::Batch => "batch row",
            Self::Pos | Self::QPos => "position",
            Self::KPos => "key position",
            Self::DModel => "dimension of the residual stream",
            Self::DHead => "dimension of a head",
            Self::DIn => "dimension of all heads",
            axis => axis.word(),
        }
    }
}

impl std::fmt::Display for AxisName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
