//! Per-head inputs: separate keys and values for each head, and gradients at each head's inputs.

use std::sync::Arc;

use candle_core::Tensor;

use super::transformer::HookedTransformer;
use super::weights::for_each_head;
use crate::error::Result;
use crate::model::layers::norm::norm_gradient;
use crate::wide::matmul;

impl HookedTransformer {
    /// The same model with keys and values for each head, where heads share them (TransformerLens'
    /// `ungroup_grouped_query_attention`): each head can then be given keys and values of its own. Its outputs are
    /// unchanged.
    pub(crate) fn ungrouped(&self) -> Result<Self> {
        let mut model = self.clone();
        let (heads, d_head) = (self.cfg.n_heads, self.cfg.d_head());
        if self.cfg.n_key_value_heads() == heads {
            return Ok(model);
        }
        for block in &mut model.weights.blocks {
            let attn = &mut block.attn;
            for w in [&mut attn.w_k, &mut attn.w_v] {
                let d_model = w.dim(0)?;
                *w = for_each_head(&w.reshape((d_model, (), d_head))?, 1, heads)?
                    .reshape((d_model, heads * d_head))?
                    .into();
            }
            for b in [&mut attn.b_k, &mut attn.b_v] {
                *b = for_each_head(&b.reshape(((), d_head))?, 0, heads)?.flatten_all()?;
            }
            if let Some((_, of_k)) = attn.qk_norm.as_mut().filter(|(_, of_k)| of_k.w.rank() == 2) {
                of_k.w = for_each_head(&of_k.w, 0, heads)?;
            }
        }
        Arc::make_mut(&mut model.cfg).n_key_value_heads = None;
        Ok(model)
    }

    /// How a number changes with what each head's queries, keys and values are made of (`hook_q_input`, ..), from how
    /// it changes with the queries, keys and values themselves. The model must be [ungrouped](Self::ungrouped).
    ///
    /// One stream feeds them all, so the norm is undone once for all heads, and no head needs a stream of its own.
    ///
    /// # Shapes
    /// `resid_pre [batch, pos, d_model]`, each gradient `[batch, pos, head, d_head]`; the result is
    /// `[input, batch * pos, d_model]`, the inputs of all queries, then keys, then values; f32 of a half-precision
    /// model.
    pub(crate) fn head_input_gradients(&self, layer: usize, resid_pre: &Tensor, qkv: &[Tensor; 3]) -> Result<Tensor> {
        let block = &self.weights.blocks[layer];
        let d_model = self.cfg.d_model;
        let back = |gradient: &Tensor, w: &Tensor| -> Result<Tensor> {
            let (batch, pos, heads, d_head) = gradient.dims4()?;
            let rows = gradient.permute((2, 0, 1, 3))?.reshape((heads, batch * pos, d_head))?.contiguous()?;
            let w = w.reshape((d_model, heads, d_head))?.permute((1, 2, 0))?.contiguous()?;
            Ok(matmul(&rows, &w)?)
        };
        let [q, k, v] = qkv;
        let (attn, rule) = (&block.attn, self.cfg.norm_before(self.frozen.scales));
        let behind = Tensor::cat(&[back(q, &attn.w_q)?, back(k, &attn.w_k)?, back(v, &attn.w_v)?], 0)?;
        norm_gradient(&resid_pre.flatten_to(1)?, block.ln1.as_ref(), rule, &behind)
    }
}
