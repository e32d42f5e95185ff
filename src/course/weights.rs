//! The weights of one part of a model, as functions that are written by hand take them. They have TransformerLens' names and axes.
//!
//! Limits: models of GPT-2's form, with layer norms, learnt positions and an MLP without gate, whose norms are not folded.

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::model::{HookedTransformer, NormalizationType, PositionalEmbeddingType};
use crate::visible::visible;

/// The weights of one attention layer.
#[derive(Clone, Debug)]
#[allow(non_snake_case, reason = "TransformerLens' names")]
pub struct AttnWeights {
    /// `[n_heads, d_model, d_head]`, for queries.
    pub W_Q: Tensor,
    /// `[n_heads, d_head]`.
    pub b_Q: Tensor,
    /// `[n_heads, d_model, d_head]`, for keys.
    pub W_K: Tensor,
    /// `[n_heads, d_head]`.
    pub b_K: Tensor,
    /// `[n_heads, d_model, d_head]`, for values.
    pub W_V: Tensor,
    /// `[n_heads, d_head]`.
    pub b_V: Tensor,
    /// `[n_heads, d_head, d_model]`, from the heads' results to the residual stream.
    pub W_O: Tensor,
    /// `[d_model]`, once for all heads.
    pub b_O: Tensor,
}

/// The weights of one MLP.
#[derive(Clone, Debug)]
#[allow(non_snake_case, reason = "TransformerLens' names")]
pub struct MlpWeights {
    /// `[d_model, d_mlp]`.
    pub W_in: Tensor,
    /// `[d_mlp]`.
    pub b_in: Tensor,
    /// `[d_mlp, d_model]`.
    pub W_out: Tensor,
    /// `[d_model]`.
    pub b_out: Tensor,
}

/// The weights of one block: two layer norms, attention and MLP.
#[derive(Clone, Debug)]
pub struct BlockWeights {
    /// `[d_model]`, the scale of the norm before attention.
    pub ln1_w: Tensor,
    /// `[d_model]`, the shift of that norm.
    pub ln1_b: Tensor,
    /// Attention.
    pub attn: AttnWeights,
    /// `[d_model]`, the scale of the norm before the MLP.
    pub ln2_w: Tensor,
    /// `[d_model]`, the shift of that norm.
    pub ln2_b: Tensor,
    /// The MLP.
    pub mlp: MlpWeights,
    /// Added to the variance in both norms.
    pub eps: f64,
}

/// The weights from the last residual stream to logits.
#[derive(Clone, Debug)]
#[allow(non_snake_case, reason = "TransformerLens' names")]
pub struct UnembedWeights {
    /// `[d_model]`, the scale of the final norm.
    pub ln_final_w: Tensor,
    /// `[d_model]`, the shift of that norm.
    pub ln_final_b: Tensor,
    /// Added to the variance in that norm.
    pub eps: f64,
    /// `[d_model, d_vocab]`.
    pub W_U: Tensor,
    /// `[d_vocab]`.
    pub b_U: Tensor,
}

/// The weights of one block of a model that was loaded without processing.
///
/// ```
/// use candle_lens::course::*;
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained_no_processing("tiny")?;
/// let block = block_weights(&model, 0)?;
/// let cfg = model.cfg();
/// assert_eq!(block.attn.W_Q.dims(), [cfg.n_heads, cfg.d_model, cfg.d_head()]);
/// # Ok::<(), candle_lens::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] for a layer or weights that the model does not have, and for a model of another form than GPT-2's.
pub fn block_weights(model: &HookedTransformer, layer: usize) -> Result<BlockWeights> {
    check_form(model)?;
    let weight = |name: &str| model.weight(&format!("blocks.{layer}.{name}"));
    Ok(BlockWeights {
        ln1_w: weight("ln1.w")?,
        ln1_b: weight("ln1.b")?,
        attn: AttnWeights {
            W_Q: weight("attn.W_Q")?,
            b_Q: weight("attn.b_Q")?,
            W_K: weight("attn.W_K")?,
            b_K: weight("attn.b_K")?,
            W_V: weight("attn.W_V")?,
            b_V: weight("attn.b_V")?,
            W_O: weight("attn.W_O")?,
            b_O: weight("attn.b_O")?,
        },
        ln2_w: weight("ln2.w")?,
        ln2_b: weight("ln2.b")?,
        mlp: MlpWeights {
            W_in: weight("mlp.W_in")?,
            b_in: weight("mlp.b_in")?,
            W_out: weight("mlp.W_out")?,
            b_out: weight("mlp.b_out")?,
        },
        eps: model.cfg().eps,
    })
}

/// The final norm and the unembedding of a model that was loaded without processing.
///
/// # Errors
/// As [`block_weights`].
pub fn unembed_weights(model: &HookedTransformer) -> Result<UnembedWeights> {
    check_form(model)?;
    Ok(UnembedWeights {
        ln_final_w: model.weight("ln_final.w")?,
        ln_final_b: model.weight("ln_final.b")?,
        eps: model.cfg().eps,
        W_U: model.weight("unembed.W_U")?,
        b_U: model.weight("unembed.b_U")?,
    })
}

/// These weights are all there is only in a model of this form.
fn check_form(model: &HookedTransformer) -> Result<()> {
    let cfg = model.cfg();
    let other = [
        (
            cfg.normalization_type != NormalizationType::LN,
            "has no layer norms with weights (from_pretrained_no_processing keeps them)",
        ),
        (cfg.positional_embedding_type != PositionalEmbeddingType::Standard, "does not add embeddings of positions"),
        (cfg.attn_only, "has no MLP"),
        (cfg.parallel_attn_mlp, "computes attention and MLP side by side"),
        (cfg.gated_mlp, "has an MLP with a gate"),
    ];
    match other.iter().find(|(is, _)| *is) {
        Some((_, why)) => Err(Error::argument(format!(
            "these functions are for models of GPT-2's form, and {} {why}.",
            visible(&cfg.model_name)
        ))),
        None => Ok(()),
    }
}
