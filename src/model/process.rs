//! Weight processing: changes of the weights that leave the model's predictions as they are and make its inside
//! easier to read. The order is part of the contract.
//!
//! Reference: TransformerLens `ProcessWeights`. After `fold_ln` and `center_writing_weights` the logits are the same
//! up to rounding; `center_unembed` shifts all logits of a position by one number, so log-probabilities stay;
//! `fold_value_biases` changes v and z only; `refactor_factored_attn_matrices` changes q, k, v and z only.

use candle_core::{D, Tensor};

use super::config::{HookedTransformerConfig, NormalizationType, PositionalEmbeddingType};
use super::refactor::refactor;
use super::transformer::HookedTransformer;
use super::weights::{NormWeights, for_each_head};
use crate::error::{Error, Result};

/// Which processing a model gets, or has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processing {
    /// Folds the norms' scale and shift into the weights that read them, and centres those weights.
    pub fold_ln: bool,
    /// Centres what is written to the residual stream, so that its mean over `d_model` is 0 throughout.
    pub center_writing_weights: bool,
    /// Centres the unembedding over the vocabulary, so that a position's logits have mean 0 over it.
    pub center_unembed: bool,
    /// Moves `b_V` through `W_O` into `b_O`; possible because a row of the pattern sums to 1.
    pub fold_value_biases: bool,
    /// Rewrites `W_Q W_K^T` and `W_V W_O` in the bases of their singular vectors.
    pub refactor_factored_attn_matrices: bool,
}

impl Processing {
    /// Nothing: the weights as they are stored.
    pub const NONE: Self = Self {
        fold_ln: false,
        center_writing_weights: false,
        center_unembed: false,
        fold_value_biases: false,
        refactor_factored_attn_matrices: false,
    };

    /// What TransformerLens does by default, as far as the architecture allows it.
    pub fn default_for(cfg: &HookedTransformerConfig) -> Self {
        Self {
            fold_ln: cfg.normalization_type.has_weights() && !shift_meets_gate(cfg) && !placed_behind_norm(cfg),
            center_writing_weights: cfg.normalization_type.centres(),
            center_unembed: cfg.output_logits_soft_cap.is_none(),
            fold_value_biases: true,
            refactor_factored_attn_matrices: false,
        }
    }

    /// The flags with their names, in the order in which they act.
    pub fn flags(&self) -> [(&'static str, bool); 5] {
        [
            ("fold_ln", self.fold_ln),
            ("center_writing_weights", self.center_writing_weights),
            ("center_unembed", self.center_unembed),
            ("fold_value_biases", self.fold_value_biases),
            ("refactor_factored_attn_matrices", self.refactor_factored_attn_matrices),
        ]
    }
}

impl Default for Processing {
    /// TransformerLens' defaults for a model with layer norms.
    fn default() -> Self {
        Self {
            fold_ln: true,
            center_writing_weights: true,
            center_unembed: true,
            fold_value_biases: true,
            refactor_factored_attn_matrices: false,
        }
    }
}

impl HookedTransformer {
    /// The model with its weights processed; predictions stay (see the module's head for what each step guarantees).
    /// Steps that were done before are not done again.
    ///
    /// # Errors
    /// [`Error::Config`] for a step that the architecture does not allow.
    pub fn process(mut self, wanted: &Processing) -> Result<Self> {
        let norm = self.cfg.normalization_type;
        if wanted.fold_ln && !self.processing.fold_ln && !norm.has_weights() {
            return Err(Error::config(format!(
                "fold_ln needs norms with weights, but this model's normalization_type is {norm:?}: set fold_ln: false."
            )));
        }
        if wanted.fold_ln && !self.processing.fold_ln && shift_meets_gate(&self.cfg) {
            return Err(Error::config(
                "fold_ln cannot fold the shift of a layer norm into an MLP with a gate, which has no bias for it: set \
                 fold_ln: false.",
            ));
        }
        if wanted.fold_ln && !self.processing.fold_ln && placed_behind_norm(&self.cfg) {
            return Err(Error::config(
                "fold_ln cannot fold a norm into queries and keys of a shortformer, whose positions are added behind the \
                 norm: set fold_ln: false.",
            ));
        }
        if wanted.center_writing_weights && !norm.centres() {
            return Err(Error::config(
                "center_writing_weights needs layer norms, which take the mean out again; this model has none: \
                 set center_writing_weights: false.",
            ));
        }
        if wanted.center_unembed && self.cfg.output_logits_soft_cap.is_some() {
            return Err(Error::config(
                "center_unembed shifts all logits of a position by one number, which the soft cap of this model's logits \
                 does not take out again: set center_unembed: false.",
            ));
        }
        if wanted.fold_ln && !self.processing.fold_ln {
            self.fold_ln()?;
        }
        if wanted.center_writing_weights {
            self.center_writing_weights()?;
        }
        if wanted.center_unembed {
            self.weights.w_u = centred(&self.weights.w_u)?;
            self.weights.b_u = centred(&self.weights.b_u)?;
        }
        if wanted.fold_value_biases {
            self.fold_value_biases()?;
        }
        if wanted.refactor_factored_attn_matrices {
            if self.dims().rotary || self.cfg.use_qk_norm || self.cfg.n_key_value_heads() != self.cfg.n_heads {
                return Err(Error::config(
                    "refactor_factored_attn_matrices changes the basis of queries and keys, which this model turns by \
                     position, normalises or shares between heads: set refactor_factored_attn_matrices: false.",
                ));
            }
            refactor(&mut self.weights, &self.cfg)?;
        }
        let had = self.processing;
        self.processing = Processing {
            fold_ln: had.fold_ln || wanted.fold_ln,
            center_writing_weights: had.center_writing_weights || wanted.center_writing_weights,
            center_unembed: had.center_unembed || wanted.center_unembed,
            fold_value_biases: had.fold_value_biases || wanted.fold_value_biases,
            refactor_factored_attn_matrices: had.refactor_factored_attn_matrices
                || wanted.refactor_factored_attn_matrices,
        };
        Ok(self)
    }

    /// `norm(x) w W + norm(x)-independent b W` becomes one weight and one bias. What reads a norm sees centred input,
    /// so the mean of each of its columns never matters and is taken out.
    fn fold_ln(&mut self) -> Result<()> {
        for block in &mut self.weights.blocks {
            if let Some(norm) = block.ln1.take() {
                let attn = &mut block.attn;
                for (w, b) in
                    [(&mut attn.w_q, &mut attn.b_q), (&mut attn.w_k, &mut attn.b_k), (&mut attn.w_v, &mut attn.b_v)]
                {
                    fold(&norm, w, b)?;
                }
            }
            if let (Some(norm), Some(mlp)) = (block.ln2.take(), &mut block.mlp) {
                // Its norm has no shift: the other kind was refused.
                if let Some(w_gate) = &mut mlp.w_gate {
                    fold(&norm, w_gate, &mut mlp.b_in.clone())?;
                }
                fold(&norm, &mut mlp.w_in, &mut mlp.b_in)?;
                if let Some(norm) = mlp.ln.take() {
                    fold(&norm, &mut mlp.w_out, &mut mlp.b_out)?;
                }
            }
        }
        if let Some(norm) = self.weights.ln_final.take() {
            fold(&norm, &mut self.weights.w_u, &mut self.weights.b_u)?;
        }
        self.cfg.normalization_type = self.cfg.normalization_type.folded();
        Ok(())
    }

    fn center_writing_weights(&mut self) -> Result<()> {
        let weights = &mut self.weights;
        weights.w_e = centred(&weights.w_e)?;
        // Where positions enter behind the norm, nothing takes their mean out again.
        if !placed_behind_norm(&self.cfg) {
            weights.w_pos = weights.w_pos.as_ref().map(centred).transpose()?;
        }
        for block in &mut weights.blocks {
            block.attn.w_o = centred(&block.attn.w_o)?;
            block.attn.b_o = centred(&block.attn.b_o)?;
            if let Some(mlp) = &mut block.mlp {
                mlp.w_out = centred(&mlp.w_out)?;
                mlp.b_out = centred(&mlp.b_out)?;
            }
        }
        Ok(())
    }

    fn fold_value_biases(&mut self) -> Result<()> {
        for block in &mut self.weights.blocks {
            let attn = &mut block.attn;
            let b_v = for_each_head(&attn.b_v.reshape(((), self.cfg.d_head()))?, 0, self.cfg.n_heads)?;
            let through = b_v.flatten_all()?.unsqueeze(0)?.matmul(&attn.w_o)?.squeeze(0)?;
            attn.b_o = (&attn.b_o + through)?;
            attn.b_v = attn.b_v.zeros_like()?;
        }
        Ok(())
    }
}

/// Whether a norm with a shift is read by an MLP with a gate.
fn shift_meets_gate(cfg: &HookedTransformerConfig) -> bool {
    cfg.gated_mlp && cfg.normalization_type == NormalizationType::LN
}

/// Whether position embeddings are added to what queries and keys read of the norm.
fn placed_behind_norm(cfg: &HookedTransformerConfig) -> bool {
    cfg.positional_embedding_type == PositionalEmbeddingType::Shortformer
}

/// Folds a norm into the weight `[d_model, n]` and bias `[n]` that read it; one without shift does not centre either.
fn fold(norm: &NormWeights, w: &mut Tensor, b: &mut Tensor) -> Result<()> {
    if let Some(shift) = &norm.b {
        *b = (&*b + shift.unsqueeze(0)?.matmul(w)?.squeeze(0)?)?;
    }
    // Each step frees what it read: never three of a large matrix are in memory.
    *w = w.broadcast_mul(&norm.w.unsqueeze(1)?)?;
    if norm.b.is_some() {
        *w = w.broadcast_sub(&w.mean_keepdim(0)?)?;
    }
    Ok(())
}

/// `x` minus its mean over the last axis.
fn centred(x: &Tensor) -> Result<Tensor> {
    Ok(x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?)
}
