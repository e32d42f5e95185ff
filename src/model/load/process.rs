//! Weight processing: changes of the weights that leave the model's predictions as they are and make its inside
//! easier to read. The order is part of the contract.
//!
//! Reference: TransformerLens `ProcessWeights`. After `fold_ln` and `center_writing_weights` the logits are the same
//! up to rounding; `center_unembed` shifts all logits of a position by one number, so log-probabilities stay;
//! `fold_value_biases` changes v and z only; `refactor_factored_attn_matrices` changes q, k, v and z only.

use std::sync::Arc;

use candle_core::{D, DType, Tensor};

use super::allowed::{centres_all, check, placed_behind_norm, shift_meets_gate};
use super::refactor::refactor;
use crate::error::Result;
use crate::model::config::{HookedTransformerConfig, NormalizationType};
use crate::model::layers::norm::{NormRule, norm};
use crate::model::level::Level;
use crate::model::transformer::HookedTransformer;
use crate::model::weights::{BlockWeights, MlpWeights, NormWeights, Weights, for_each_head};
use crate::progress::Progress;
use crate::wide::wide_type;

/// The processing that a model gets or has had.
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
            center_writing_weights: centres_all(cfg),
            center_unembed: cfg.output_logits_soft_cap.is_none(),
            fold_value_biases: true,
            refactor_factored_attn_matrices: false,
        }
    }

    /// The flags with their names, in the order in which they are applied.
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

/// Steps on the weights of a model, part by part. A part of half precision, or one that is to become so, is processed
/// in f32 and rounded once.
pub(in crate::model) struct Process {
    steps: Processing,
    /// The model's config before the steps.
    cfg: HookedTransformerConfig,
    /// The dtype of the result.
    dtype: DType,
}

impl Process {
    /// # Errors
    /// [`Error::Config`] for a step that the architecture does not allow.
    pub(in crate::model) fn new(steps: Processing, cfg: HookedTransformerConfig, dtype: DType) -> Result<Self> {
        check(&steps, &cfg)?;
        Ok(Self { steps, cfg, dtype })
    }

    pub(in crate::model) fn cfg(&self) -> &HookedTransformerConfig {
        &self.cfg
    }

    /// The embedding, `[d_vocab, d_model]`, after it has been multiplied by `scale` and has gone through a layer norm.
    pub(in crate::model) fn embedding(
        &self,
        w_e: Tensor,
        scale: f64,
        layer_norm: Option<&NormWeights>,
    ) -> Result<Tensor> {
        let rule = NormRule { kind: NormalizationType::LN, eps: self.cfg.eps, is_frozen: false };
        let made = |rows: Tensor| {
            let rows = if scale == 1.0 { rows } else { (rows * scale)? };
            match layer_norm {
                Some(_) => norm(&rows, layer_norm, rule, None),
                None => Ok(rows),
            }
        };
        match (self.steps.center_writing_weights, scale, layer_norm) {
            (true, ..) => self.in_slices(w_e, 0, |rows| centred(&made(rows)?)),
            (false, 1.0, None) => Ok(w_e.to_dtype(self.dtype)?),
            (false, ..) => self.in_slices(w_e, 0, made),
        }
    }

    /// The position embeddings, `[n_ctx, d_model]`.
    pub(in crate::model) fn positions(&self, w_pos: Tensor) -> Result<Tensor> {
        // Where positions enter after the norm, nothing subtracts their mean again.
        if self.steps.center_writing_weights && !placed_behind_norm(&self.cfg) {
            return self.in_slices(w_pos, 0, |rows| centred(&rows));
        }
        Ok(w_pos.to_dtype(self.dtype)?)
    }

    pub(in crate::model) fn block(&self, mut block: BlockWeights) -> Result<BlockWeights> {
        if self.steps != Processing::NONE {
            block.cast(wide_type(self.dtype))?;
            process_block(&mut block, &self.steps, &self.cfg)?;
        }
        block.cast(self.dtype)?;
        Ok(block)
    }

    /// The unembedding, `[d_model, d_vocab_out]`; its bias, the norm before it (gone once folded) and the level change
    /// with it.
    pub(in crate::model) fn unembedding(
        &self,
        w_u: Tensor,
        b_u: &mut Tensor,
        ln_final: &mut Option<NormWeights>,
        level: &mut Option<Level>,
    ) -> Result<Tensor> {
        let mut norm = if self.steps.fold_ln { ln_final.take() } else { None };
        if let Some(norm) = &mut norm {
            norm.cast(wide_type(self.dtype))?;
            if let Some(Level { w, b }) = level {
                fold(norm, w, b)?;
            }
        }
        let w_u = match (&norm, self.steps.center_unembed) {
            (None, false) => w_u.to_dtype(self.dtype)?.contiguous()?,
            (_, centre) if self.keeps(&w_u) => {
                let mut w_u = w_u.contiguous()?;
                if let Some(norm) = &norm {
                    fold(norm, &mut w_u, b_u)?;
                }
                if centre {
                    Level::add(level, w_u.mean_keepdim(1)?, b_u.mean_keepdim(0)?)?;
                    (w_u, *b_u) = (centred(&w_u)?, centred(b_u)?);
                }
                w_u
            }
            (_, centre) => self.unembedding_in_slices(&w_u, (b_u, level), norm.as_ref(), centre)?,
        };
        *b_u = b_u.to_dtype(self.dtype)?;
        if let Some(norm) = ln_final {
            norm.cast(self.dtype)?;
        }
        Ok(w_u)
    }

    /// Its means over the vocabulary are known only when all of it has been folded, so it is folded twice rather than
    /// rounded twice.
    fn unembedding_in_slices(
        &self,
        w_u: &Tensor,
        (b_u, level): (&mut Tensor, &mut Option<Level>),
        norm: Option<&NormWeights>,
        centre: bool,
    ) -> Result<Tensor> {
        let wide = wide_type(self.dtype);
        let folded = |mut part: Tensor| -> Result<(Tensor, Tensor)> {
            let mut shift = Tensor::zeros(part.dim(1)?, wide, part.device())?;
            if let Some(norm) = norm {
                fold(norm, &mut part, &mut shift)?;
            }
            Ok((part, shift))
        };
        let mut sum = Tensor::zeros((w_u.dim(0)?, 1), wide, w_u.device())?;
        let mut shifts = Vec::new();
        for (start, length) in slices(w_u, 1)? {
            let (part, shift) = folded(w_u.narrow(1, start, length)?.to_dtype(wide)?.contiguous()?)?;
            sum = (sum + part.sum_keepdim(1)?)?;
            shifts.push(shift);
        }
        let mean = (sum / w_u.dim(1)? as f64)?;
        let shifted = (b_u.to_dtype(wide)? + Tensor::cat(&shifts, 0)?)?;
        if centre {
            Level::add(level, mean.clone(), shifted.mean_keepdim(0)?)?;
        }
        *b_u = if centre { centred(&shifted)? } else { shifted };
        self.in_slices(w_u.clone(), 1, |part| {
            let (part, _) = folded(part)?;
            if centre { Ok(part.broadcast_sub(&mean)?) } else { Ok(part) }
        })
    }

    /// Whether nothing is rounded on the way from `x` to what comes of it.
    fn keeps(&self, x: &Tensor) -> bool {
        x.dtype() == self.dtype && self.dtype == wide_type(self.dtype)
    }

    /// `work` done on `x`: where numbers are rounded, in f32, slice by slice along an axis along which `work` needs
    /// nothing but the slice, so that never all of it is wide once more.
    fn in_slices(&self, x: Tensor, axis: usize, work: impl Fn(Tensor) -> Result<Tensor>) -> Result<Tensor> {
        if self.keeps(&x) {
            return work(x);
        }
        let done = Tensor::zeros(x.shape(), self.dtype, x.device())?;
        for (start, length) in slices(&x, axis)? {
            let part = work(x.narrow(axis, start, length)?.to_dtype(wide_type(self.dtype))?.contiguous()?)?;
            done.slice_set(&part.to_dtype(self.dtype)?.contiguous()?, axis, start)?;
        }
        Ok(done)
    }
}

impl HookedTransformer {
    /// The model with its weights processed; predictions stay (see the module's head for what each step guarantees).
    /// Steps that were done before are not done again. Weights of half precision are processed in f32, one block after
    /// the other, and rounded once.
    ///
    /// # Errors
    /// [`crate::Error::Config`] for a step that the architecture does not allow.
    pub fn process(mut self, wanted: Processing) -> Result<Self> {
        let had = self.processing;
        // The others do nothing the second time; a new basis would have other signs.
        let steps = Processing {
            fold_ln: wanted.fold_ln && !had.fold_ln,
            refactor_factored_attn_matrices: wanted.refactor_factored_attn_matrices
                && !had.refactor_factored_attn_matrices,
            ..wanted
        };
        let process = Process::new(steps, (*self.cfg).clone(), self.dtype())?;
        if steps != Processing::NONE {
            let mut progress = Progress::of("processing weights", 2 + self.weights.blocks.len() as u64, "parts");
            let Weights { w_e, w_pos, blocks, ln_final, w_u, b_u, level } = &mut self.weights;
            *w_u = process.unembedding(Tensor::clone(w_u), b_u, ln_final, level)?.into();
            progress.step(1)?;
            *w_e = process.embedding(w_e.clone(), 1.0, None)?;
            *w_pos = w_pos.take().map(|w_pos| process.positions(w_pos)).transpose()?;
            progress.step(1)?;
            *blocks = std::mem::take(blocks)
                .into_iter()
                .map(|block| process.block(block).and_then(|found| progress.step(1).map(|()| found)))
                .collect::<Result<_>>()?;
        }
        Ok(self.processed_by(&process))
    }

    /// The model, with these steps recorded in its provenance.
    pub(in crate::model) fn processed_by(mut self, process: &Process) -> Self {
        let (had, steps) = (self.processing, &process.steps);
        if steps.fold_ln {
            let norm = self.cfg.normalization_type.folded();
            Arc::make_mut(&mut self.cfg).normalization_type = norm;
        }
        self.processing = Processing {
            fold_ln: had.fold_ln || steps.fold_ln,
            center_writing_weights: had.center_writing_weights || steps.center_writing_weights,
            center_unembed: had.center_unembed || steps.center_unembed,
            fold_value_biases: had.fold_value_biases || steps.fold_value_biases,
            refactor_factored_attn_matrices: had.refactor_factored_attn_matrices
                || steps.refactor_factored_attn_matrices,
        };
        self
    }
}

/// Where the slices of `x` begin along this axis, and how long they are: about a million numbers each.
fn slices(x: &Tensor, axis: usize) -> Result<Vec<(usize, usize)>> {
    let size = x.dim(axis)?;
    let step = ((1 << 20) * size / x.elem_count().max(1)).max(1);
    Ok((0..size).step_by(step).map(|start| (start, step.min(size - start))).collect())
}

fn process_block(block: &mut BlockWeights, steps: &Processing, cfg: &HookedTransformerConfig) -> Result<()> {
    if steps.fold_ln {
        fold_norms(block)?;
    }
    let attn = &mut block.attn;
    if steps.center_writing_weights {
        (attn.w_o, attn.b_o) = (centred(&attn.w_o)?.into(), centred(&attn.b_o)?);
        if let Some(mlp) = &mut block.mlp {
            (mlp.w_out, mlp.b_out) = (centred(&mlp.w_out)?.into(), centred(&mlp.b_out)?);
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

/// `norm(x) w W + norm(x)-independent b W` becomes one weight and one bias. What reads a norm sees centred input, so
/// the mean of each of its columns never matters and is taken out.
fn fold_norms(block: &mut BlockWeights) -> Result<()> {
    if let Some(norm) = block.ln1.take() {
        let attn = &mut block.attn;
        for (w, b) in [(&mut attn.w_q, &mut attn.b_q), (&mut attn.w_k, &mut attn.b_k), (&mut attn.w_v, &mut attn.b_v)] {
            fold(&norm, w, b)?;
        }
    }
    let Some(mlp) = &mut block.mlp else { return Ok(()) };
    let MlpWeights { w_in, w_gate, gate_biases, b_in, ln, w_out, b_out } = mlp;
    if let Some(norm) = block.ln2.take() {
        // Where a gate has no bias, its norm has no shift: the other kind was refused.
        let mut unshifted = b_in.clone();
        let (b_gate, b_in) = match gate_biases {
            Some((gate, linear)) => (gate, linear),
            None => (&mut unshifted, b_in),
        };
        if let Some(w_gate) = w_gate {
            fold(&norm, w_gate, b_gate)?;
        }
        fold(&norm, w_in, b_in)?;
    }
    match ln.take() {
        Some(norm) => fold(&norm, w_out, b_out),
        None => Ok(()),
    }
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
