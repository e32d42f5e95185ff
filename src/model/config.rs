//! The configuration of a model, in TransformerLens' names.
//!
//! Reference: TransformerLens `HookedTransformerConfig`. Fields of architectures that are
//! not supported yet do not exist here, so a config can never promise what the forward pass does not do.

use serde::{Deserialize, Serialize};

use crate::dims::Dims;
use crate::error::{Error, Result};

/// The layer norm of each block and before the unembedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NormalizationType {
    /// Centre, divide by the standard deviation, scale and shift.
    LN,
    /// Centre and divide; scale and shift are folded into the weights that read the result.
    LNPre,
    /// No norm.
    None,
}

/// The MLP's activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x Phi(x)` by the error function.
    Gelu,
    /// GPT-2's approximation of gelu by tanh.
    GeluNew,
    /// `max(x, 0)`.
    Relu,
    /// `x sigmoid(x)`.
    Silu,
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
}

/// Sizes and kinds of a model.
///
/// ```
/// use candle_lens::prelude::*;
/// let cfg = HookedTransformerConfig { n_layers: 2, d_model: 32, n_heads: 4, d_vocab: 100, n_ctx: 16, ..Default::default() };
/// assert_eq!(cfg.d_head(), 8);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HookedTransformerConfig {
    /// What the model is called.
    pub model_name: String,
    /// Blocks.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// The longest context, in tokens.
    pub n_ctx: usize,
    /// Heads of each block.
    pub n_heads: usize,
    /// Width of a head; `None` means `d_model / n_heads`.
    pub d_head: Option<usize>,
    /// Neurons of each MLP; `None` means `4 d_model`.
    pub d_mlp: Option<usize>,
    /// Tokens the embedding knows.
    pub d_vocab: usize,
    /// Logits of each position; `None` means `d_vocab`.
    pub d_vocab_out: Option<usize>,
    /// The MLP's activation function.
    pub act_fn: Activation,
    /// The norm.
    pub normalization_type: NormalizationType,
    /// Added to the variance inside the norm's square root.
    pub eps: f64,
    /// Blocks have no MLP.
    pub attn_only: bool,
    /// Which positions may be attended to.
    pub attention_dir: AttentionDir,
    /// What scores are divided by; `None` means `sqrt(d_head)`.
    pub attn_scale: Option<f64>,
    /// Scores are also divided by the layer's number, counted from 1.
    pub scale_attn_by_inverse_layer_idx: bool,
    /// How positions enter.
    pub positional_embedding_type: PositionalEmbeddingType,
    /// Texts are tokenised with a BOS token in front unless a call says otherwise.
    pub default_prepend_bos: bool,
    /// Standard deviation of new weights; `None` means `0.8 / sqrt(d_model)`.
    pub initializer_range: Option<f64>,
}

impl Default for HookedTransformerConfig {
    /// GPT-2 small.
    fn default() -> Self {
        Self {
            model_name: "custom".into(),
            n_layers: 12,
            d_model: 768,
            n_ctx: 1024,
            n_heads: 12,
            d_head: None,
            d_mlp: None,
            d_vocab: 50257,
            d_vocab_out: None,
            act_fn: Activation::GeluNew,
            normalization_type: NormalizationType::LN,
            eps: 1e-5,
            attn_only: false,
            attention_dir: AttentionDir::Causal,
            attn_scale: None,
            scale_attn_by_inverse_layer_idx: false,
            positional_embedding_type: PositionalEmbeddingType::Standard,
            default_prepend_bos: true,
            initializer_range: None,
        }
    }
}

impl HookedTransformerConfig {
    /// Width of a head.
    pub fn d_head(&self) -> usize {
        self.d_head.unwrap_or(self.d_model / self.n_heads.max(1))
    }

    /// Neurons of each MLP; 0 without MLPs.
    pub fn d_mlp(&self) -> usize {
        if self.attn_only { 0 } else { self.d_mlp.unwrap_or(4 * self.d_model) }
    }

    /// Logits of each position.
    pub fn d_vocab_out(&self) -> usize {
        self.d_vocab_out.unwrap_or(self.d_vocab)
    }

    /// What the scores of `layer` are divided by.
    pub fn attn_scale(&self, layer: usize) -> f64 {
        let scale = self.attn_scale.unwrap_or((self.d_head() as f64).sqrt());
        if self.scale_attn_by_inverse_layer_idx { scale * (layer + 1) as f64 } else { scale }
    }

    /// Weights in attention and MLP matrices; embeddings, biases and norms are not counted, as in TransformerLens.
    pub fn n_params(&self) -> usize {
        let attention = 4 * self.d_model * self.d_head() * self.n_heads;
        self.n_layers * (attention + 2 * self.d_model * self.d_mlp())
    }

    /// The plain numbers.
    pub fn dims(&self) -> Dims {
        Dims {
            n_layers: self.n_layers,
            n_heads: self.n_heads,
            d_model: self.d_model,
            d_head: self.d_head(),
            d_mlp: self.d_mlp(),
            d_vocab: self.d_vocab,
            d_vocab_out: self.d_vocab_out(),
            n_ctx: self.n_ctx,
            attn_only: self.attn_only,
            has_norm: self.normalization_type != NormalizationType::None,
        }
    }

    /// Whether the sizes can be those of a model.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, its value and what is valid.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("d_model", self.d_model, 1 << 17),
            ("n_ctx", self.n_ctx, 1 << 24),
            ("n_heads", self.n_heads, 1 << 12),
            ("d_head", self.d_head(), 1 << 14),
            ("d_vocab", self.d_vocab, 1 << 24),
            ("d_vocab_out", self.d_vocab_out(), 1 << 24),
        ];
        for (name, value, most) in sizes {
            if value == 0 || value > most {
                return Err(Error::config(format!("{name} is {value}, but 1 to {most} is valid: correct the config.")));
            }
        }
        if self.n_layers > 1 << 12 || self.d_mlp() > 1 << 20 {
            return Err(Error::config(format!(
                "n_layers is {} and d_mlp is {}: at most {} and {} are valid, correct the config.",
                self.n_layers,
                self.d_mlp(),
                1 << 12,
                1 << 20
            )));
        }
        if self.d_head.is_none() && !self.d_model.is_multiple_of(self.n_heads) {
            return Err(Error::config(format!(
                "d_model {} is no multiple of n_heads {}, so d_head cannot be derived: set d_head.",
                self.d_model, self.n_heads
            )));
        }
        if !(self.eps > 0.0 && self.eps < 1.0) {
            return Err(Error::config(format!("eps is {}, but a number between 0 and 1 is needed.", self.eps)));
        }
        if self.attn_scale.is_some_and(|scale| !(scale > 0.0 && scale.is_finite())) {
            return Err(Error::config("attn_scale must be a positive number: scores are divided by it."));
        }
        Ok(())
    }
}
