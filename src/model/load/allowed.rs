//! Which steps of weight processing an architecture allows.

use super::process::Processing;
use crate::error::{Error, Result};
use crate::model::config::{HookedTransformerConfig, NormalizationType, PositionalEmbeddingType};

/// Refuses steps that the architecture does not allow.
pub(super) fn check(steps: &Processing, cfg: &HookedTransformerConfig) -> Result<()> {
    let norm = cfg.normalization_type;
    if steps.fold_ln && !norm.has_weights() {
        return Err(Error::config(format!(
            "fold_ln needs norms with weights, but this model's normalization_type is {norm:?}: set fold_ln: false."
        )));
    }
    if steps.fold_ln && shift_meets_gate(cfg) {
        return Err(Error::config(
            "fold_ln cannot fold the shift of a layer norm into an MLP with a gate, which has no bias for it: set \
             fold_ln: false.",
        ));
    }
    if steps.fold_ln && placed_behind_norm(cfg) {
        return Err(Error::config(
            "fold_ln cannot fold a norm into queries and keys of a shortformer, whose positions are added behind the \
             norm: set fold_ln: false.",
        ));
    }
    if steps.center_writing_weights && !centres_all(cfg) {
        return Err(Error::config(
            "center_writing_weights needs layer norms before all that reads the residual stream, which take the mean \
             out again; this model has none: set center_writing_weights: false.",
        ));
    }
    if steps.center_unembed && cfg.output_logits_soft_cap.is_some() {
        return Err(Error::config(
            "center_unembed shifts all logits of a position by one number, which the soft cap of this model's logits \
             does not take out again: set center_unembed: false.",
        ));
    }
    let shared = cfg.n_key_value_heads() != cfg.n_heads;
    if steps.refactor_factored_attn_matrices && (cfg.rotary_dim() > 0 || cfg.use_qk_norm || shared) {
        return Err(Error::config(
            "refactor_factored_attn_matrices changes the basis of queries and keys, which this model rotates by \
             position, normalises or shares between heads: set refactor_factored_attn_matrices: false.",
        ));
    }
    Ok(())
}

/// Whether all that reads the residual stream takes its mean out first.
pub(super) fn centres_all(cfg: &HookedTransformerConfig) -> bool {
    cfg.normalization_type.centres() && !cfg.use_normalization_after_only
}

/// Whether a norm with a shift is read by an MLP with a gate that has no biases.
pub(super) fn shift_meets_gate(cfg: &HookedTransformerConfig) -> bool {
    cfg.gated_mlp && !cfg.gated_mlp_biases && cfg.normalization_type == NormalizationType::LN
}

/// Whether position embeddings are added to what queries and keys read of the norm.
pub(super) fn placed_behind_norm(cfg: &HookedTransformerConfig) -> bool {
    cfg.positional_embedding_type == PositionalEmbeddingType::Shortformer
}
