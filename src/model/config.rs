//! The configuration of a model, in TransformerLens' names.
//!
//! Reference: TransformerLens `HookedTransformerConfig`. Fields of architectures that are
//! not supported yet do not exist here, so a config can never promise what the forward pass does not do.

use serde::{Deserialize, Serialize};

use crate::dims::{Dims, MOST_LAYERS};
use crate::error::{Error, Result};
use crate::model::layers::frequencies::{LongRope, RotaryScaling, read_scaling};

pub use super::kinds::{ActFn, AttentionDir, AttentionType, NormalizationType, PositionalEmbeddingType, QkNormType};

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
    /// Number of blocks.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// The longest context, in tokens.
    pub n_ctx: usize,
    /// Heads of each block.
    pub n_heads: usize,
    /// Key/value heads of each block, each shared by `n_heads / n_key_value_heads` heads; `None` means `n_heads`.
    pub n_key_value_heads: Option<usize>,
    /// Width of a head; `None` means `d_model / n_heads`.
    pub d_head: Option<usize>,
    /// Neurons of each MLP; `None` means `4 d_model`.
    pub d_mlp: Option<usize>,
    /// Tokens the embedding knows.
    pub d_vocab: usize,
    /// Logits of each position; `None` means `d_vocab`.
    pub d_vocab_out: Option<usize>,
    /// The MLP's activation function.
    pub act_fn: ActFn,
    /// The norm.
    pub normalization_type: NormalizationType,
    /// Added to the variance inside the norm's square root.
    pub eps: f64,
    /// Blocks have no MLP.
    pub attn_only: bool,
    /// Attention and MLP both read the residual stream that enters the block.
    pub parallel_attn_mlp: bool,
    /// The MLP is `(act(x W_gate) * (x W_in) + b_in) W_out + b_out`.
    pub gated_mlp: bool,
    /// The MLP is `(act(x W_gate + b_gate) * (x W_in + b_pre_linear) + b_in) W_out + b_out`, where it has a gate.
    pub gated_mlp_biases: bool,
    /// Which positions may be attended to.
    pub attention_dir: AttentionDir,
    /// What scores are divided by; `None` means `sqrt(d_head)`.
    pub attn_scale: Option<f64>,
    /// Scores are also divided by the layer's number, counted from 1.
    pub scale_attn_by_inverse_layer_idx: bool,
    /// Attention and MLP outputs each go through a norm before they are added to the residual stream.
    pub use_normalization_before_and_after: bool,
    /// The only norms of a block are those of what attention and MLP write: both read the residual stream as it is
    /// (OLMo 2).
    pub use_normalization_after_only: bool,
    /// Queries and keys go through a norm before positions enter.
    pub use_qk_norm: bool,
    /// Which norm that is.
    pub qk_norm_type: QkNormType,
    /// Scores are `cap * tanh(score / cap)`.
    pub attn_scores_soft_cap: Option<f64>,
    /// Logits are `cap * tanh(logit / cap)`.
    pub output_logits_soft_cap: Option<f64>,
    /// How far local attention reaches, in positions.
    pub window_size: Option<usize>,
    /// Whether each layer's attention is local or global; `None` means local where `window_size` is set, else global.
    pub attn_types: Option<Vec<AttentionType>>,
    /// How positions enter.
    pub positional_embedding_type: PositionalEmbeddingType,
    /// How many of a head's dimensions are rotated, an even number; `None` means all.
    pub rotary_dim: Option<usize>,
    /// Neighbouring dimensions rotate together, as in GPT-J, instead of dimension `i` with `i + rotary_dim / 2`.
    pub rotary_adjacent_pairs: bool,
    /// The base of the rotation frequencies `base^(-2 i / rotary_dim)`.
    pub rotary_base: f64,
    /// The base in layers of local attention, whose frequencies are then not changed by what follows; `None` means that
    /// they rotate as the others do.
    pub rotary_base_local: Option<f64>,
    /// A change of these frequencies for longer contexts.
    #[serde(deserialize_with = "read_scaling")]
    pub rotary_scaling: Option<RotaryScaling>,
    /// Phi-3's change of these frequencies.
    pub long_rope: Option<LongRope>,
    /// Texts are tokenised with a BOS token in front by default.
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
            n_key_value_heads: None,
            d_head: None,
            d_mlp: None,
            d_vocab: 50257,
            d_vocab_out: None,
            act_fn: ActFn::GeluNew,
            normalization_type: NormalizationType::LN,
            eps: 1e-5,
            attn_only: false,
            parallel_attn_mlp: false,
            gated_mlp: false,
            gated_mlp_biases: false,
            attention_dir: AttentionDir::Causal,
            attn_scale: None,
            scale_attn_by_inverse_layer_idx: false,
            use_normalization_before_and_after: false,
            use_normalization_after_only: false,
            use_qk_norm: false,
            qk_norm_type: QkNormType::RMS,
            attn_scores_soft_cap: None,
            output_logits_soft_cap: None,
            window_size: None,
            attn_types: None,
            positional_embedding_type: PositionalEmbeddingType::Standard,
            rotary_dim: None,
            rotary_adjacent_pairs: false,
            rotary_base: 10000.0,
            rotary_base_local: None,
            rotary_scaling: None,
            long_rope: None,
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

    /// Key/value heads of each block.
    pub fn n_key_value_heads(&self) -> usize {
        self.n_key_value_heads.unwrap_or(self.n_heads)
    }

    /// How many of a head's dimensions are rotated by position; 0 without rotary embeddings.
    pub fn rotary_dim(&self) -> usize {
        match self.positional_embedding_type {
            PositionalEmbeddingType::Rotary => self.rotary_dim.unwrap_or(self.d_head()),
            PositionalEmbeddingType::Standard
            | PositionalEmbeddingType::Shortformer
            | PositionalEmbeddingType::Alibi => 0,
        }
    }

    /// How far the attention of `layer` reaches; `None` means all positions.
    pub fn window(&self, layer: usize) -> Option<usize> {
        let types = self.attn_types.as_ref();
        let local = types.is_none_or(|types| types.get(layer) == Some(&AttentionType::Local));
        self.window_size.filter(|_| local)
    }

    /// Whether what attention and MLP write goes through a norm of its own.
    pub(crate) fn norms_after(&self) -> bool {
        self.use_normalization_before_and_after || self.use_normalization_after_only
    }

    /// Neurons of each MLP; 0 without MLPs.
    pub fn d_mlp(&self) -> usize {
        if self.attn_only { 0 } else { self.d_mlp.unwrap_or(self.d_model.saturating_mul(4)) }
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
        let heads = self.n_heads.saturating_add(self.n_key_value_heads()).saturating_mul(2);
        let mlp = self.d_mlp().saturating_mul(if self.gated_mlp { 3 } else { 2 });
        let row = heads.saturating_mul(self.d_head()).saturating_add(mlp);
        self.n_layers.saturating_mul(self.d_model).saturating_mul(row)
    }

    /// The sizes alone.
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
            n_key_value_heads: self.n_key_value_heads(),
            attn_only: self.attn_only,
            parallel_attn_mlp: self.parallel_attn_mlp,
            gated_mlp: self.gated_mlp,
            norms_after: self.norms_after(),
            reads_unnormed: self.use_normalization_after_only,
            rotary: self.positional_embedding_type == PositionalEmbeddingType::Rotary,
            shortformer: self.positional_embedding_type == PositionalEmbeddingType::Shortformer,
            alibi: self.positional_embedding_type == PositionalEmbeddingType::Alibi,
            qk_norm: self.use_qk_norm,
            neuron_norm: self.act_fn == ActFn::SoluLn && !self.attn_only,
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
        if self.n_layers > MOST_LAYERS || self.d_mlp() > 1 << 20 {
            let (layers, neurons) = (self.n_layers, self.d_mlp());
            return Err(Error::config(format!(
                "n_layers is {layers} and d_mlp is {neurons}: at most {MOST_LAYERS} and 1048576 are valid, correct the \
                 config."
            )));
        }
        if self.d_mlp() == 0 && !self.attn_only {
            return Err(Error::config("d_mlp is 0: give 1 or more, or set attn_only for a model without MLPs."));
        }
        if self.d_head.is_none() && !self.d_model.is_multiple_of(self.n_heads) {
            return Err(Error::config(format!(
                "d_model {} is not a multiple of n_heads {}, so d_head cannot be derived: set d_head.",
                self.d_model, self.n_heads
            )));
        }
        self.check_attention()?;
        if self.use_normalization_after_only && self.use_normalization_before_and_after {
            return Err(Error::config(
                "use_normalization_after_only and use_normalization_before_and_after exclude each other: drop one.",
            ));
        }
        if !(self.eps > 0.0 && self.eps < 1.0) {
            return Err(Error::config(format!("eps is {}, but a number between 0 and 1 is needed.", self.eps)));
        }
        if self.gated_mlp && self.act_fn == ActFn::SoluLn {
            return Err(Error::config(
                "an MLP with a gate has no place for the norm of solu_ln: drop gated_mlp or use solu.",
            ));
        }
        if self.gated_mlp_biases && !self.gated_mlp {
            return Err(Error::config(
                "gated_mlp_biases are biases of an MLP with a gate: set gated_mlp, or drop them.",
            ));
        }
        if self.attn_scale.is_some_and(|scale| !(scale > 0.0 && scale.is_finite())) {
            return Err(Error::config("attn_scale must be a positive number: scores are divided by it."));
        }
        Ok(())
    }

    fn check_attention(&self) -> Result<()> {
        let groups = self.n_key_value_heads();
        if groups == 0 || !self.n_heads.is_multiple_of(groups) {
            return Err(Error::config(format!(
                "n_key_value_heads is {groups}, but it must divide n_heads {}: each key and value serves as many \
                 heads.",
                self.n_heads
            )));
        }
        let turned = self.rotary_dim();
        let turns = self.positional_embedding_type == PositionalEmbeddingType::Rotary;
        if turned > self.d_head() || !turned.is_multiple_of(2) || (turns && turned == 0) {
            return Err(Error::config(format!(
                "rotary_dim is {turned}, but an even number from 2 to d_head {} is needed.",
                self.d_head()
            )));
        }
        for (name, base) in [("rotary_base", Some(self.rotary_base)), ("rotary_base_local", self.rotary_base_local)] {
            if let Some(base) = base.filter(|base| !(*base > 0.0 && base.is_finite())) {
                return Err(Error::config(format!("{name} is {base}, but a positive number is needed.")));
            }
        }
        if let Some(scaling) = &self.rotary_scaling {
            scaling.check(turned, self.rotary_base)?;
        }
        if let Some(long_rope) = &self.long_rope {
            long_rope.check(turned)?;
        }
        if self.window_size == Some(0) || self.attn_types.as_ref().is_some_and(|types| types.len() != self.n_layers) {
            return Err(Error::config(format!(
                "window_size must be at least 1 and attn_types must name each of the {} layers: correct the config.",
                self.n_layers
            )));
        }
        let caps = [self.attn_scores_soft_cap, self.output_logits_soft_cap];
        if caps.into_iter().flatten().any(|cap| !(cap > 0.0 && cap.is_finite())) {
            return Err(Error::config("a soft cap must be a positive number: scores and logits are divided by it."));
        }
        Ok(())
    }
}
