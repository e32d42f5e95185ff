//! The weights, laid out for wide products, and TransformerLens' stacked views of them.
//!
//! Inside, the heads of `W_Q`, `W_K`, `W_V` lie side by side, `[d_model, n_heads * d_head]`, so that one product
//! serves all heads; the public views are `[n_layers, n_heads, d_model, d_head]` as in TransformerLens.

use candle_core::{DType, Device, Tensor};

use super::level::Level;
use super::matrix::Matrix;
use super::transformer::HookedTransformer;
use crate::error::Result;
use crate::variables::holds;
use crate::wide::spread;

/// Scale and shift of a norm; the shift is missing where the norm has none.
#[derive(Clone)]
pub(crate) struct NormWeights {
    pub w: Tensor,
    pub b: Option<Tensor>,
}

/// One attention layer.
#[derive(Clone)]
pub(crate) struct AttentionWeights {
    /// `[d_model, n_heads * d_head]`; of `w_k` and `w_v` with `n_key_value_heads`.
    pub w_q: Matrix,
    pub w_k: Matrix,
    pub w_v: Matrix,
    /// `[n_heads * d_head]`, or with `n_key_value_heads`.
    pub b_q: Tensor,
    pub b_k: Tensor,
    pub b_v: Tensor,
    /// `[n_heads * d_head, d_model]`.
    pub w_o: Matrix,
    /// `[d_model]`.
    pub b_o: Tensor,
    /// The norms of queries and keys, `[d_head]`, or `[n_heads, d_head]` and `[n_key_value_heads, d_head]`.
    pub qk_norm: Option<(NormWeights, NormWeights)>,
}

/// One MLP.
#[derive(Clone)]
pub(crate) struct MlpWeights {
    /// `[d_model, d_mlp]`.
    pub w_in: Matrix,
    /// `[d_model, d_mlp]` of a gated MLP.
    pub w_gate: Option<Matrix>,
    /// `[d_mlp]` each: what is added to the gate and to what it multiplies, in a model with `gated_mlp_biases`.
    pub gate_biases: Option<(Tensor, Tensor)>,
    /// `[d_mlp]`.
    pub b_in: Tensor,
    /// `[d_mlp]` each: the norm behind the activation function of a model with `solu_ln`, where it is not folded.
    pub ln: Option<NormWeights>,
    /// `[d_mlp, d_model]`.
    pub w_out: Matrix,
    /// `[d_model]`.
    pub b_out: Tensor,
}

/// One block.
#[derive(Clone)]
pub(crate) struct BlockWeights {
    pub ln1: Option<NormWeights>,
    pub attn: AttentionWeights,
    pub ln1_post: Option<NormWeights>,
    pub ln2: Option<NormWeights>,
    pub ln2_post: Option<NormWeights>,
    pub mlp: Option<MlpWeights>,
}

/// The whole model.
#[derive(Clone)]
pub(crate) struct Weights {
    /// `[d_vocab, d_model]`.
    pub w_e: Tensor,
    /// `[n_ctx, d_model]`; none where positions have no vectors.
    pub w_pos: Option<Tensor>,
    pub blocks: Vec<BlockWeights>,
    pub ln_final: Option<NormWeights>,
    /// `[d_model, d_vocab_out]`.
    pub w_u: Matrix,
    /// `[d_vocab_out]`.
    pub b_u: Tensor,
    /// None where the unembedding has not been centred.
    pub level: Option<Level>,
}

holds! {
    NormWeights { w, b }
    AttentionWeights { w_q, w_k, w_v, b_q, b_k, b_v, w_o, b_o, qk_norm }
    MlpWeights { w_in, w_gate, gate_biases, b_in, ln, w_out, b_out }
    BlockWeights { ln1, attn, ln1_post, ln2, ln2_post, mlp }
    Level { w, b }
    Weights { w_e, w_pos, blocks, ln_final, w_u, b_u, level }
}

impl Weights {
    pub(crate) fn device(&self) -> &Device {
        self.w_e.device()
    }

    pub(super) fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        let Self { w_e, w_pos, blocks, ln_final, w_u, b_u, level } = self;
        let mut all: Vec<&mut Tensor> = vec![w_e, w_u, b_u];
        all.extend(w_pos);
        all.extend(level.iter_mut().flat_map(|Level { w, b }| [w, b]));
        all.extend(ln_final.iter_mut().flat_map(NormWeights::tensors_mut));
        all.extend(blocks.iter_mut().flat_map(BlockWeights::tensors_mut));
        all
    }
}

impl Weights {
    /// As [`Matrix::may_change`], of every matrix.
    fn may_change(&mut self) {
        self.w_u.may_change();
        for block in &mut self.blocks {
            let AttentionWeights { w_q, w_k, w_v, w_o, .. } = &mut block.attn;
            let mlp =
                block.mlp.iter_mut().flat_map(|mlp| [&mut mlp.w_in, &mut mlp.w_out].into_iter().chain(&mut mlp.w_gate));
            [w_q, w_k, w_v, w_o].into_iter().chain(mlp).for_each(Matrix::may_change);
        }
    }
}

impl BlockWeights {
    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        let Self { ln1, attn, ln1_post, ln2, ln2_post, mlp } = self;
        let AttentionWeights { w_q, w_k, w_v, b_q, b_k, b_v, w_o, b_o, qk_norm } = attn;
        let mut all: Vec<&mut Tensor> = vec![w_q, w_k, w_v, b_q, b_k, b_v, w_o, b_o];
        let mut norms: Vec<&mut NormWeights> = [ln1, ln1_post, ln2, ln2_post].into_iter().flatten().collect();
        norms.extend(qk_norm.iter_mut().flat_map(|(q, k)| [q, k]));
        if let Some(MlpWeights { w_in, w_gate, gate_biases, b_in, ln, w_out, b_out }) = mlp {
            all.extend::<[&mut Tensor; 4]>([w_in, b_in, w_out, b_out]);
            all.extend(w_gate.iter_mut().map(|w| &mut **w));
            all.extend(gate_biases.iter_mut().flat_map(|(gate, linear)| [gate, linear]));
            norms.extend(ln);
        }
        all.extend(norms.into_iter().flat_map(NormWeights::tensors_mut));
        all
    }

    /// Converts every tensor to this dtype, one after the other.
    ///
    /// # Errors
    /// candle's, when the device cannot hold it.
    pub(super) fn cast(&mut self, dtype: DType) -> Result<()> {
        cast(self.tensors_mut(), dtype)
    }
}

impl NormWeights {
    fn tensors_mut(&mut self) -> impl Iterator<Item = &mut Tensor> {
        [&mut self.w].into_iter().chain(&mut self.b)
    }

    /// As [`BlockWeights::cast`].
    pub(super) fn cast(&mut self, dtype: DType) -> Result<()> {
        cast(self.tensors_mut(), dtype)
    }
}

fn cast<'a>(tensors: impl IntoIterator<Item = &'a mut Tensor>, dtype: DType) -> Result<()> {
    tensors.into_iter().filter(|tensor| tensor.dtype() != dtype).try_for_each(|tensor| {
        *tensor = tensor.to_dtype(dtype)?;
        Ok(())
    })
}

/// `x` with each entry of axis `dim` repeated until the axis has `n_heads` of them.
pub(super) fn for_each_head(x: &Tensor, dim: usize, n_heads: usize) -> Result<Tensor> {
    let repeats = n_heads / x.dim(dim)?.max(1);
    if repeats <= 1 {
        return Ok(x.clone());
    }
    let mut shape = x.dims().to_vec();
    shape.insert(dim + 1, repeats);
    Ok(spread(&x.unsqueeze(dim + 1)?, &shape)?.flatten(dim, dim + 1)?.contiguous()?)
}

impl HookedTransformer {
    /// The same model, whose runs keep nothing for a backward pass to its weights. A model that can be trained keeps
    /// every number that it computes, which costs memory and time where only the forward pass is wanted.
    pub fn without_weight_gradients(&self) -> Self {
        let mut model = self.clone();
        let mut tensors = model.weights.tensors_mut();
        if !tensors.iter().any(|tensor| tensor.is_variable() || tensor.track_op()) {
            return self.clone();
        }
        for tensor in &mut tensors {
            **tensor = tensor.detach();
        }
        model.weights.may_change();
        model
    }

    /// Output weights of one layer's neurons, `[d_mlp, d_model]`.
    pub(crate) fn w_out_of(&self, layer: usize) -> Result<Tensor> {
        let mlp = self.weights.blocks[layer].mlp.as_ref();
        mlp.map(|mlp| Tensor::clone(&mlp.w_out)).ok_or_else(attention_only)
    }
}

fn attention_only() -> crate::Error {
    crate::Error::argument("the model has attention only: it has no MLP weights.")
}

/// The stacked views, under TransformerLens' names.
#[allow(non_snake_case)]
impl HookedTransformer {
    fn stacked(&self, part: impl Fn(&BlockWeights) -> Result<Tensor>) -> Result<Tensor> {
        let parts = self.weights.blocks.iter().map(part).collect::<Result<Vec<_>>>()?;
        if parts.is_empty() {
            return Err(crate::Error::argument("the model has no blocks, so it has no such weights."));
        }
        Ok(Tensor::stack(&parts, 0)?)
    }

    fn mlp_part(&self, part: impl Fn(&MlpWeights) -> &Tensor) -> Result<Tensor> {
        self.stacked(|block| match &block.mlp {
            Some(mlp) => Ok(part(mlp).clone()),
            None => Err(attention_only()),
        })
    }

    /// `[d_model, n_heads * d_head]` as `[n_heads, d_model, d_head]`; shared keys and values are repeated for each
    /// head.
    fn by_head(&self, w: &Tensor) -> Result<Tensor> {
        let by_head = w.reshape((self.cfg.d_model, (), self.cfg.d_head()))?.transpose(0, 1)?;
        for_each_head(&by_head.contiguous()?, 0, self.cfg.n_heads)
    }

    fn bias_by_head(&self, b: &Tensor) -> Result<Tensor> {
        for_each_head(&b.reshape(((), self.cfg.d_head()))?, 0, self.cfg.n_heads)
    }

    /// Token embeddings, `[d_vocab, d_model]`.
    pub fn W_E(&self) -> Tensor {
        self.weights.w_e.clone()
    }

    /// Position embeddings, `[n_ctx, d_model]`.
    ///
    /// # Errors
    /// When positions enter the model in another way.
    pub fn W_pos(&self) -> Result<Tensor> {
        self.weights.w_pos.clone().ok_or_else(|| {
            let instead = match self.dims().alibi {
                true => "its attention scores fall with the distance between query and key instead",
                false => "it rotates queries and keys instead",
            };
            crate::Error::argument(format!("the model has no position embeddings: {instead}."))
        })
    }

    /// Unembedding, `[d_model, d_vocab_out]`.
    pub fn W_U(&self) -> Tensor {
        Tensor::clone(&self.weights.w_u)
    }

    /// Bias of the logits, `[d_vocab_out]`.
    pub fn b_U(&self) -> Tensor {
        self.weights.b_u.clone()
    }

    /// Query weights, `[n_layers, n_heads, d_model, d_head]`.
    ///
    /// # Errors
    /// When the model has no blocks; so for all stacked weights.
    pub fn W_Q(&self) -> Result<Tensor> {
        self.stacked(|block| self.by_head(&block.attn.w_q))
    }

    /// Key weights, `[n_layers, n_heads, d_model, d_head]`; those that heads share are repeated, as in TransformerLens.
    pub fn W_K(&self) -> Result<Tensor> {
        self.stacked(|block| self.by_head(&block.attn.w_k))
    }

    /// Value weights, `[n_layers, n_heads, d_model, d_head]`; those that heads share are repeated.
    pub fn W_V(&self) -> Result<Tensor> {
        self.stacked(|block| self.by_head(&block.attn.w_v))
    }

    /// Output weights, `[n_layers, n_heads, d_head, d_model]`.
    pub fn W_O(&self) -> Result<Tensor> {
        let shape = (self.cfg.n_heads, self.cfg.d_head(), self.cfg.d_model);
        self.stacked(|block| Ok(block.attn.w_o.reshape(shape)?))
    }

    /// Query biases, `[n_layers, n_heads, d_head]`.
    pub fn b_Q(&self) -> Result<Tensor> {
        self.stacked(|block| self.bias_by_head(&block.attn.b_q))
    }

    /// Key biases, `[n_layers, n_heads, d_head]`.
    pub fn b_K(&self) -> Result<Tensor> {
        self.stacked(|block| self.bias_by_head(&block.attn.b_k))
    }

    /// Value biases, `[n_layers, n_heads, d_head]`.
    pub fn b_V(&self) -> Result<Tensor> {
        self.stacked(|block| self.bias_by_head(&block.attn.b_v))
    }

    /// Output biases, `[n_layers, d_model]`.
    pub fn b_O(&self) -> Result<Tensor> {
        self.stacked(|block| Ok(block.attn.b_o.clone()))
    }

    /// Input weights of the neurons, `[n_layers, d_model, d_mlp]`.
    ///
    /// # Errors
    /// When the model has attention only; so for all MLP weights.
    pub fn W_in(&self) -> Result<Tensor> {
        self.mlp_part(|mlp| &mlp.w_in)
    }

    /// Gate weights of the neurons, `[n_layers, d_model, d_mlp]`.
    ///
    /// # Errors
    /// When the MLPs have no gate.
    pub fn W_gate(&self) -> Result<Tensor> {
        self.stacked(|block| {
            let gate = block.mlp.as_ref().and_then(|mlp| mlp.w_gate.as_deref().cloned());
            gate.ok_or_else(|| crate::Error::argument("the model's MLPs have no gate, so it has no W_gate."))
        })
    }

    /// Biases of the neurons, `[n_layers, d_mlp]`.
    pub fn b_in(&self) -> Result<Tensor> {
        self.mlp_part(|mlp| &mlp.b_in)
    }

    /// Output weights of the neurons, `[n_layers, d_mlp, d_model]`.
    pub fn W_out(&self) -> Result<Tensor> {
        self.mlp_part(|mlp| &mlp.w_out)
    }

    /// Biases of what the MLPs add, `[n_layers, d_model]`.
    pub fn b_out(&self) -> Result<Tensor> {
        self.mlp_part(|mlp| &mlp.b_out)
    }
}
