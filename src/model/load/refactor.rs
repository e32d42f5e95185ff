//! `W_Q W_K^T` and `W_V W_O` rewritten in the bases of their singular vectors.
//!
//! With the biases as one more row, `Q K^T = U S V^T` of rank `d_head`; then `W_Q = U sqrt(S)`, `W_K = V sqrt(S)`, and
//! for the values `W_V = U S`, `W_O = V^T`, where `b_V` has first been folded into `b_O`. Patterns, head outputs and
//! logits stay; q, k, v and z change basis, and the signs of their axes are arbitrary.
//!
//! Reference: TransformerLens `refactor_factored_attn_matrices`. Computed in f64 by nalgebra.

use candle_core::Tensor;
use nalgebra::DMatrix;

use crate::error::{Error, Result};
use crate::factored_matrix::{from_matrix, product_svd, to_matrix};
use crate::model::config::HookedTransformerConfig;
use crate::model::weights::AttentionWeights;

/// Rewrites every head of a block.
pub(in crate::model) fn refactor(attn: &mut AttentionWeights, cfg: &HookedTransformerConfig) -> Result<()> {
    let (n_heads, d_head) = (cfg.n_heads, cfg.d_head());
    if cfg.d_model < d_head {
        return Err(Error::config(format!(
            "refactor_factored_attn_matrices needs d_model of at least d_head ({d_head}): leave it off for this model."
        )));
    }
    let through = attn.b_v.unsqueeze(0)?.matmul(&attn.w_o)?.squeeze(0)?;
    attn.b_o = (&attn.b_o + through)?;
    attn.b_v = attn.b_v.zeros_like()?;
    let with_bias =
        |w: &Tensor, b: &Tensor| -> Result<DMatrix<f64>> { to_matrix(&Tensor::cat(&[w, &b.unsqueeze(0)?], 0)?) };
    let (q, k) = (with_bias(&attn.w_q, &attn.b_q)?, with_bias(&attn.w_k, &attn.b_k)?);
    let (v, o) = (to_matrix(&attn.w_v)?, to_matrix(&attn.w_o)?);
    let (mut new_q, mut new_k, mut new_v, mut new_o) = (q.clone(), k.clone(), v.clone(), o.clone());
    for head in 0..n_heads {
        let columns = (head * d_head, d_head);
        let (left, singular, right) =
            product_svd(q.columns(columns.0, columns.1).into_owned(), k.columns(columns.0, columns.1).into_owned())?;
        let root = DMatrix::from_diagonal(&singular.map(f64::sqrt));
        new_q.columns_mut(columns.0, columns.1).copy_from(&(&left * &root));
        new_k.columns_mut(columns.0, columns.1).copy_from(&(&right * &root));
        let (left, singular, right) =
            product_svd(v.columns(columns.0, columns.1).into_owned(), o.rows(columns.0, columns.1).transpose())?;
        new_v.columns_mut(columns.0, columns.1).copy_from(&(&left * DMatrix::from_diagonal(&singular)));
        new_o.rows_mut(columns.0, columns.1).copy_from(&right.transpose());
    }
    let d_model = cfg.d_model;
    let like = Tensor::clone(&attn.w_q);
    let to_tensor = |m: DMatrix<f64>| from_matrix(&m, &like);
    attn.w_q = to_tensor(new_q.rows(0, d_model).into_owned())?.into();
    attn.b_q = to_tensor(new_q.rows(d_model, 1).into_owned())?.squeeze(0)?;
    attn.w_k = to_tensor(new_k.rows(0, d_model).into_owned())?.into();
    attn.b_k = to_tensor(new_k.rows(d_model, 1).into_owned())?.squeeze(0)?;
    attn.w_v = to_tensor(new_v)?.into();
    attn.w_o = to_tensor(new_o)?.into();
    Ok(())
}
