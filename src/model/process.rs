//! Weight processing: changes of the weights that leave the model's predictions as they are and make its inside
//! easier to read. The order is part of the contract.
//!
//! Reference: TransformerLens `ProcessWeights`. After `fold_ln` and `center_writing_weights` the logits are the same
//! up to rounding; `center_unembed` shifts all logits of a position by one number, so log-probabilities stay;
//! `fold_value_biases` changes v and z only; `refactor_factored_attn_matrices` changes q, k, v and z only.

use candle_core::{D, DType, Tensor};

use super::config::{HookedTransformerConfig, NormalizationType, PositionalEmbeddingType};
use super::refactor::refactor;
use super::transformer::HookedTransformer;
use super::weights::{BlockWeights, NormWeights, Weights, for_each_head};
use crate::error::{Error, Result};
use crate::progress::Progress;

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
    /// Steps that were done before are not done again. Weights of half precision are processed in f32, one block after the
    /// other, and rounded once.
    ///
    /// # Errors
    /// [`Error::Config`] for a step that the architecture does not allow.
    pub fn process(mut self, wanted: &Processing) -> Result<Self> {
        let had = self.processing;
        let steps = Processing { fold_ln: wanted.fold_ln && !had.fold_ln, ..*wanted };
        check(&steps, &self.cfg)?;
        if steps != Processing::NONE {
            let mut progress = Progress::new("processing weights", self.weights.blocks.len() as u64, "layers");
            let dtype = self.dtype();
            for block in &mut self.weights.blocks {
                block.cast(wide(dtype))?;
                process_block(block, &steps, &self.cfg)?;
                block.cast(dtype)?;
                progress.step(1);
            }
            self.process_outside(&steps)?;
        }
        if steps.fold_ln {
            self.cfg.normalization_type = self.cfg.normalization_type.folded();
        }
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

    /// The embeddings, the final norm and the unembedding.
    fn process_outside(&mut self, steps: &Processing) -> Result<()> {
        let Weights { w_e, w_pos, ln_final, w_u, b_u, .. } = &mut self.weights;
        if steps.center_writing_weights {
            *w_e = in_slices(w_e, 0, |rows| centred(&rows))?;
            // Where positions enter behind the norm, nothing takes their mean out again.
            if let Some(w_pos) = w_pos.as_mut().filter(|_| !placed_behind_norm(&self.cfg)) {
                *w_pos = in_slices(w_pos, 0, |rows| centred(&rows))?;
            }
        }
        let mut norm = if steps.fold_ln { ln_final.take() } else { None };
        if let Some(norm) = &mut norm {
            norm.cast(wide(w_u.dtype()))?;
        }
        if w_u.dtype() != wide(w_u.dtype()) {
            return unembed_in_slices(w_u, b_u, norm.as_ref(), steps.center_unembed);
        }
        if let Some(norm) = &norm {
            fold(norm, w_u, b_u)?;
        }
        if steps.center_unembed {
            *w_u = centred(w_u)?;
            *b_u = centred(b_u)?;
        }
        Ok(())
    }
}

/// Folds the norm into an unembedding of half precision and centres it over the vocabulary. Its means are known only when
/// all of it has been folded, so it is folded twice rather than rounded twice.
fn unembed_in_slices(w_u: &mut Tensor, b_u: &mut Tensor, norm: Option<&NormWeights>, centre: bool) -> Result<()> {
    let dtype = w_u.dtype();
    let folded = |mut part: Tensor| -> Result<(Tensor, Tensor)> {
        let mut shift = Tensor::zeros(part.dim(1)?, part.dtype(), part.device())?;
        if let Some(norm) = norm {
            fold(norm, &mut part, &mut shift)?;
        }
        Ok((part, shift))
    };
    let mut sum = Tensor::zeros((w_u.dim(0)?, 1), wide(dtype), w_u.device())?;
    let mut shifts = Vec::new();
    for (start, length) in slices(w_u, 1)? {
        let (part, shift) = folded(w_u.narrow(1, start, length)?.to_dtype(wide(dtype))?)?;
        sum = (sum + part.sum_keepdim(1)?)?;
        shifts.push(shift);
    }
    let mean = (sum / w_u.dim(1)? as f64)?;
    *w_u = in_slices(w_u, 1, |part| {
        let (part, _) = folded(part)?;
        if centre { Ok(part.broadcast_sub(&mean)?) } else { Ok(part) }
    })?;
    let shifted = (b_u.to_dtype(wide(dtype))? + Tensor::cat(&shifts, 0)?)?;
    *b_u = if centre { centred(&shifted)? } else { shifted }.to_dtype(dtype)?;
    Ok(())
}

/// Where the slices of `x` begin along this axis, and how long they are: about a million numbers each.
fn slices(x: &Tensor, axis: usize) -> Result<Vec<(usize, usize)>> {
    let size = x.dim(axis)?;
    let step = ((1 << 20) * size / x.elem_count().max(1)).max(1);
    Ok((0..size).step_by(step).map(|start| (start, step.min(size - start))).collect())
}

/// `work` done on `x`; of half precision in f32, slice by slice along an axis along which `work` needs nothing but the
/// slice, so that never all of it is wide.
fn in_slices(x: &Tensor, axis: usize, work: impl Fn(Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let dtype = x.dtype();
    if dtype == wide(dtype) {
        return work(x.clone());
    }
    let done = Tensor::zeros(x.shape(), dtype, x.device())?;
    for (start, length) in slices(x, axis)? {
        let part = work(x.narrow(axis, start, length)?.to_dtype(wide(dtype))?)?;
        done.slice_set(&part.to_dtype(dtype)?.contiguous()?, axis, start)?;
    }
    Ok(done)
}

/// The type in which weights of this type are processed.
fn wide(dtype: DType) -> DType {
    if matches!(dtype, DType::BF16 | DType::F16) { DType::F32 } else { dtype }
}

/// Refuses steps that the architecture does not allow.
fn check(steps: &Processing, cfg: &HookedTransformerConfig) -> Result<()> {
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
    if steps.center_writing_weights && !norm.centres() {
        return Err(Error::config(
            "center_writing_weights needs layer norms, which take the mean out again; this model has none: \
             set center_writing_weights: false.",
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
            "refactor_factored_attn_matrices changes the basis of queries and keys, which this model turns by \
             position, normalises or shares between heads: set refactor_factored_attn_matrices: false.",
        ));
    }
    Ok(())
}

fn process_block(block: &mut BlockWeights, steps: &Processing, cfg: &HookedTransformerConfig) -> Result<()> {
    if steps.fold_ln {
        fold_norms(block)?;
    }
    let attn = &mut block.attn;
    if steps.center_writing_weights {
        (attn.w_o, attn.b_o) = (centred(&attn.w_o)?, centred(&attn.b_o)?);
        if let Some(mlp) = &mut block.mlp {
            (mlp.w_out, mlp.b_out) = (centred(&mlp.w_out)?, centred(&mlp.b_out)?);
        }
    }
    if steps.fold_value_biases {
        let b_v = for_each_head(&attn.b_v.reshape(((), cfg.d_head()))?, 0, cfg.n_heads)?;
        let through = b_v.flatten_all()?.unsqueeze(0)?.matmul(&attn.w_o)?.squeeze(0)?;
        attn.b_o = (&attn.b_o + through)?;
        attn.b_v = attn.b_v.zeros_like()?;
    }
    if steps.refactor_factored_attn_matrices {
        refactor(attn, cfg)?;
    }
    Ok(())
}

/// `norm(x) w W + norm(x)-independent b W` becomes one weight and one bias. What reads a norm sees centred input, so the
/// mean of each of its columns never matters and is taken out.
fn fold_norms(block: &mut BlockWeights) -> Result<()> {
    if let Some(norm) = block.ln1.take() {
        let attn = &mut block.attn;
        for (w, b) in [(&mut attn.w_q, &mut attn.b_q), (&mut attn.w_k, &mut attn.b_k), (&mut attn.w_v, &mut attn.b_v)] {
            fold(&norm, w, b)?;
        }
    }
    let Some(mlp) = &mut block.mlp else { return Ok(()) };
    if let Some(norm) = block.ln2.take() {
        // Its norm has no shift: the other kind was refused.
        if let Some(w_gate) = &mut mlp.w_gate {
            fold(&norm, w_gate, &mut mlp.b_in.clone())?;
        }
        fold(&norm, &mut mlp.w_in, &mut mlp.b_in)?;
    }
    match mlp.ln.take() {
        Some(norm) => fold(&norm, &mut mlp.w_out, &mut mlp.b_out),
        None => Ok(()),
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
