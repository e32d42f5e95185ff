//! The sizes of a model, which any room may know without knowing the model.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::slice::bound;

/// The most blocks that a model may have; configs with more are refused.
pub(crate) const MOST_LAYERS: usize = 1 << 12;

/// Sizes and parts of a transformer, in TransformerLens' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dims {
    /// Blocks.
    pub n_layers: usize,
    /// Attention heads of each block.
    pub n_heads: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Width of one head's query, key and value.
    pub d_head: usize,
    /// Neurons of each MLP; 0 where there are none.
    pub d_mlp: usize,
    /// Tokens the embedding knows.
    pub d_vocab: usize,
    /// Logits of each position.
    pub d_vocab_out: usize,
    /// The longest context.
    pub n_ctx: usize,
    /// Key/value heads of each layer; fewer than `n_heads` with grouped-query attention.
    pub n_key_value_heads: usize,
    /// Blocks have attention only: no MLP, no second norm, no `hook_resid_mid`.
    pub attn_only: bool,
    /// Attention and MLP read the same residual stream: no `hook_resid_mid`.
    pub parallel_attn_mlp: bool,
    /// MLPs have a gate, and so `mlp.hook_pre_linear`.
    pub gated_mlp: bool,
    /// Attention and MLP outputs go through norms: there are `ln1_post` and `ln2_post`.
    pub norms_after: bool,
    /// Attention and MLP read the residual stream without a norm: there are no `ln1` and `ln2`.
    #[serde(default)]
    pub reads_unnormed: bool,
    /// Rotary embeddings: no `hook_pos_embed`, but `attn.hook_rot_q` and `attn.hook_rot_k`.
    pub rotary: bool,
    /// Position embeddings enter queries and keys only, never the residual stream.
    #[serde(default)]
    pub shortformer: bool,
    /// Attention scores fall with the distance between query and key; positions have no vectors.
    #[serde(default)]
    pub alibi: bool,
    /// Queries and keys have norms: there are `attn.q_norm` and `attn.k_norm`.
    #[serde(default)]
    pub qk_norm: bool,
    /// A norm follows the activation function of the MLP: there are `mlp.hook_mid` and `mlp.ln`.
    #[serde(default)]
    pub neuron_norm: bool,
    /// There are layer norms (folded or not).
    pub has_norm: bool,
}

impl Dims {
    /// Whether position embeddings are added to the residual stream: not with rotary embeddings or ALiBi, nor in a
    /// shortformer, where only queries and keys see them.
    pub fn adds_positions(&self) -> bool {
        !self.rotary && !self.shortformer && !self.alibi
    }

    /// The absolute number of `layer`; negative counts from the end.
    ///
    /// # Errors
    /// [`Error::LayerOutOfRange`] outside `-n_layers..n_layers`.
    pub fn layer(&self, layer: isize) -> Result<usize> {
        let n_layers = self.n_layers;
        bound(layer, n_layers).filter(|place| *place < n_layers).ok_or(Error::LayerOutOfRange { layer, n_layers })
    }

    /// Refuses sizes that no model has, before its layers are listed.
    ///
    /// # Errors
    /// [`Error::Argument`] for more layers than a model may have.
    pub(crate) fn check_layers(&self) -> Result<()> {
        if self.n_layers <= MOST_LAYERS {
            return Ok(());
        }
        Err(Error::argument(format!(
            "these sizes have {} layers, but a model may have at most {MOST_LAYERS}: give the sizes of a model.",
            self.n_layers
        )))
    }
}

/// A point in the residual stream, named by what reads it there: a block, the MLP of a block, or the end of the model. Negative
/// layers count from the end, so that `Block(-1)` is the last block and not, like `layer=-1` in TransformerLens, the end.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let (_, cache) = model.run_with_cache("The keys on the cabinet")?;
/// // What was written before the MLP of layer 1 sums to `resid_mid`.
/// let parts = cache.stack(&model, Stack::components().read_by(ReadBy::Mlp(1)))?;
/// let apart = (parts.sum()? - cache.get(("resid_mid", 1))?)?.abs()?.max_all()?.to_scalar::<f32>()?;
/// assert!(apart < 1e-4);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadBy {
    /// The final norm and the unembedding.
    #[default]
    End,
    /// This block: `resid_pre`. The number of layers means the end.
    Block(isize),
    /// The MLP of this block: `resid_mid`.
    Mlp(isize),
}

/// A [`ReadBy`] of a model that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reader {
    /// The block; the number of layers at the end.
    pub layer: usize,
    /// Whether its MLP reads.
    pub is_mlp: bool,
}

impl ReadBy {
    /// # Errors
    /// [`Error::LayerOutOfRange`]; [`Error::Argument`] for MLPs that read what attention reads.
    pub(crate) fn resolve(self, dims: &Dims) -> Result<Reader> {
        match self {
            Self::End => Ok(Reader { layer: dims.n_layers, is_mlp: false }),
            Self::Block(layer) if usize::try_from(layer) == Ok(dims.n_layers) => Self::End.resolve(dims),
            Self::Block(layer) => Ok(Reader { layer: dims.layer(layer)?, is_mlp: false }),
            Self::Mlp(_) if dims.parallel_attn_mlp => Err(Error::argument(
                "the residual stream between attention and MLP was requested, but in this model both read the same \
                 input: use the residual stream before a block (ReadBy::Block, or .before()).",
            )),
            Self::Mlp(layer) => Ok(Reader { layer: dims.layer(layer)?, is_mlp: true }),
        }
    }
}
