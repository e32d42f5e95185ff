//! The weights, laid out for wide products, and TransformerLens' stacked views of them.
//!
//! Inside, the heads of `W_Q`, `W_K`, `W_V` lie side by side, `[d_model, n_heads * d_head]`, so that one product
//! serves all heads; the public views are `[n_layers, n_heads, d_model, d_head]` as in TransformerLens.

use candle_core::{DType, Device, Tensor};

use super::transformer::HookedTransformer;
use crate::error::Result;

/// Scale and shift of a norm; `None` after folding.
#[derive(Clone)]
pub(crate) struct NormWeights {
    pub w: Tensor,
    pub b: Tensor,
}

/// One attention layer.
#[derive(Clone)]
pub(crate) struct AttentionWeights {
    /// `[d_model, n_heads * d_head]` each.
    pub w_q: Tensor,
    pub w_k: Tensor,
    pub w_v: Tensor,
    /// `[n_heads * d_head]` each.
    pub b_q: Tensor,
    pub b_k: Tensor,
    pub b_v: Tensor,
    /// `[n_heads * d_head, d_model]`.
    pub w_o: Tensor,
    /// `[d_model]`.
    pub b_o: Tensor,
}

/// One MLP.
#[derive(Clone)]
pub(crate) struct MlpWeights {
    /// `[d_model, d_mlp]`.
    pub w_in: Tensor,
    /// `[d_mlp]`.
    pub b_in: Tensor,
    /// `[d_mlp, d_model]`.
    pub w_out: Tensor,
    /// `[d_model]`.
    pub b_out: Tensor,
}

/// One block.
#[derive(Clone)]
pub(crate) struct BlockWeights {
    pub ln1: Option<NormWeights>,
    pub attn: AttentionWeights,
    pub ln2: Option<NormWeights>,
    pub mlp: Option<MlpWeights>,
}

/// The whole model.
#[derive(Clone)]
pub(crate) struct Weights {
    /// `[d_vocab, d_model]`.
    pub w_e: Tensor,
    /// `[n_ctx, d_model]`.
    pub w_pos: Tensor,
    pub blocks: Vec<BlockWeights>,
    pub ln_final: Option<NormWeights>,
    /// `[d_model, d_vocab_out]`.
    pub w_u: Tensor,
    /// `[d_vocab_out]`.
    pub b_u: Tensor,
}

impl Weights {
    pub(crate) fn device(&self) -> &Device {
        self.w_e.device()
    }

    /// Turns every tensor into this type, one after the other, so that never two models are in memory.
    ///
    /// # Errors
    /// candle's, when the device cannot hold it.
    pub(super) fn cast(&mut self, dtype: DType) -> Result<()> {
        let Self { w_e, w_pos, blocks, ln_final, w_u, b_u } = self;
        let mut all = vec![w_e, w_pos, w_u, b_u];
        let mut norms: Vec<&mut NormWeights> = ln_final.iter_mut().collect();
        for BlockWeights { ln1, attn, ln2, mlp } in blocks {
            let AttentionWeights { w_q, w_k, w_v, b_q, b_k, b_v, w_o, b_o } = attn;
            all.extend([w_q, w_k, w_v, b_q, b_k, b_v, w_o, b_o]);
            norms.extend(ln1.iter_mut().chain(ln2));
            all.extend(mlp.iter_mut().flat_map(|mlp| [&mut mlp.w_in, &mut mlp.b_in, &mut mlp.w_out, &mut mlp.b_out]));
        }
        all.extend(norms.into_iter().flat_map(|norm| [&mut norm.w, &mut norm.b]));
        all.into_iter().filter(|tensor| tensor.dtype() != dtype).try_for_each(|tensor| {
            *tensor = tensor.to_dtype(dtype)?;
            Ok(())
        })
    }
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
            None => Err(crate::Error::argument("the model has attention only: it has no MLP weights.")),
        })
    }

    /// `[d_model, n_heads * d_head]` as `[n_heads, d_model, d_head]`.
    fn by_head(&self, w: &Tensor) -> Result<Tensor> {
        let (d_model, n_heads) = (self.cfg.d_model, self.cfg.n_heads);
        Ok(w.reshape((d_model, n_heads, self.cfg.d_head()))?.transpose(0, 1)?.contiguous()?)
    }

    fn bias_by_head(&self, b: &Tensor) -> Result<Tensor> {
        Ok(b.reshape((self.cfg.n_heads, self.cfg.d_head()))?)
    }

    /// Token embeddings, `[d_vocab, d_model]`.
    pub fn W_E(&self) -> Tensor {
        self.weights.w_e.clone()
    }

    /// Position embeddings, `[n_ctx, d_model]`.
    pub fn W_pos(&self) -> Tensor {
        self.weights.w_pos.clone()
    }

    /// Unembedding, `[d_model, d_vocab_out]`.
    pub fn W_U(&self) -> Tensor {
        self.weights.w_u.clone()
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

    /// Key weights, `[n_layers, n_heads, d_model, d_head]`.
    pub fn W_K(&self) -> Result<Tensor> {
        self.stacked(|block| self.by_head(&block.attn.w_k))
    }

    /// Value weights, `[n_layers, n_heads, d_model, d_head]`.
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
