//! Wrong norms, embeddings, masks, attention layers and MLPs.

use candle_core::{D, Tensor};

use super::super::{apply_causal_mask, attention, embed, layer_norm, mlp, pos_embed};
use crate::course::weights::{AttnWeights, MlpWeights};
use crate::error::Result;
use crate::model::ops::softmax;
use crate::tensors::{TensorWords, einsum};
use crate::tokens::Tokens;

fn zeros(like: &Tensor) -> Result<Tensor> {
    Ok(like.zeros_like()?)
}

/// `(x - mean) / scale * w + b` with a scale of one's own, of the centred numbers.
fn norm_by(x: &Tensor, w: &Tensor, b: &Tensor, scale: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    Ok(centred.broadcast_div(&scale(&centred)?)?.broadcast_mul(w)?.broadcast_add(b)?)
}

pub(crate) fn eps_outside(x: &Tensor, w: &Tensor, b: &Tensor, eps: f64) -> Result<Tensor> {
    norm_by(x, w, b, |centred| Ok((centred.sqr()?.mean_keepdim(D::Minus1)?.sqrt()? + eps)?))
}

pub(crate) fn unbiased(x: &Tensor, w: &Tensor, b: &Tensor, eps: f64) -> Result<Tensor> {
    norm_by(x, w, b, |centred| Ok((centred.var_keepdim(D::Minus1)? + eps)?.sqrt()?))
}

pub(crate) fn no_root(x: &Tensor, w: &Tensor, b: &Tensor, eps: f64) -> Result<Tensor> {
    norm_by(x, w, b, |centred| Ok((centred.sqr()?.mean_keepdim(D::Minus1)? + eps)?))
}

pub(crate) fn not_centred(x: &Tensor, w: &Tensor, b: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let scale = (centred.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    Ok(x.broadcast_div(&scale)?.broadcast_mul(w)?.broadcast_add(b)?)
}

pub(crate) fn root_mean_square(x: &Tensor, w: &Tensor, b: &Tensor, eps: f64) -> Result<Tensor> {
    let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    Ok(x.broadcast_div(&scale)?.broadcast_mul(w)?.broadcast_add(b)?)
}

pub(crate) fn no_eps(x: &Tensor, w: &Tensor, b: &Tensor, _eps: f64) -> Result<Tensor> {
    layer_norm(x, w, b, 0.0)
}

pub(crate) fn no_w(x: &Tensor, w: &Tensor, b: &Tensor, eps: f64) -> Result<Tensor> {
    layer_norm(x, &w.ones_like()?, b, eps)
}

pub(crate) fn no_b(x: &Tensor, w: &Tensor, b: &Tensor, eps: f64) -> Result<Tensor> {
    layer_norm(x, w, &zeros(b)?, eps)
}

pub(crate) fn over_positions(x: &Tensor, w: &Tensor, b: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(1)?)?;
    let scale = (centred.sqr()?.mean_keepdim(1)? + eps)?.sqrt()?;
    Ok(centred.broadcast_div(&scale)?.broadcast_mul(w)?.broadcast_add(b)?)
}

pub(crate) fn one_long_list(tokens: &Tokens, w_e: &Tensor) -> Result<Tensor> {
    Ok(embed(tokens, w_e)?.flatten(0, 1)?)
}

pub(crate) fn axes_mixed_up(tokens: &Tokens, w_e: &Tensor) -> Result<Tensor> {
    let (batch, pos) = (tokens.batch(), tokens.pos());
    Ok(embed(tokens, w_e)?.reshape((pos, batch, w_e.dim(1)?))?.transpose(0, 1)?)
}

/// Row `id` of the matrix, where the position's is wanted, and the other way round.
pub(crate) fn by_position(tokens: &Tokens, w_e: &Tensor) -> Result<Tensor> {
    pos_embed(tokens, w_e)
}

pub(crate) fn by_token(tokens: &Tokens, w_pos: &Tensor) -> Result<Tensor> {
    embed(tokens, w_pos)
}

pub(crate) fn no_batch(tokens: &Tokens, w_pos: &Tensor) -> Result<Tensor> {
    Ok(w_pos.narrow(0, 0, tokens.pos())?)
}

pub(crate) fn whole_context(tokens: &Tokens, w_pos: &Tensor) -> Result<Tensor> {
    Ok(w_pos.broadcast_left(tokens.batch())?)
}

pub(crate) fn counted_from_one(tokens: &Tokens, w_pos: &Tensor) -> Result<Tensor> {
    Ok(w_pos.narrow(0, 1, tokens.pos())?.broadcast_left(tokens.batch())?)
}

fn masked_where(scores: &Tensor, past: impl Fn(usize, usize) -> bool, value: f32) -> Result<Tensor> {
    let pos = scores.dim(3)?;
    let hidden: Vec<u8> = (0..pos * pos).map(|at| u8::from(!past(at / pos, at % pos))).collect();
    scores.masked_fill(&Tensor::from_vec(hidden, (pos, pos), scores.device())?, value)
}

pub(crate) fn masked_with_zero(scores: &Tensor) -> Result<Tensor> {
    masked_where(scores, |q, k| k <= q, 0.0)
}

pub(crate) fn diagonal_masked(scores: &Tensor) -> Result<Tensor> {
    masked_where(scores, |q, k| k < q, f32::NEG_INFINITY)
}

pub(crate) fn upside_down(scores: &Tensor) -> Result<Tensor> {
    masked_where(scores, |q, k| k >= q, f32::NEG_INFINITY)
}

pub(crate) fn past_masked(scores: &Tensor) -> Result<Tensor> {
    masked_where(scores, |q, k| k > q, f32::NEG_INFINITY)
}

pub(crate) fn one_too_wide(scores: &Tensor) -> Result<Tensor> {
    masked_where(scores, |q, k| k <= q + 1, f32::NEG_INFINITY)
}

pub(crate) fn already_a_pattern(scores: &Tensor) -> Result<Tensor> {
    softmax(&apply_causal_mask(scores)?)
}

/// Several mistakes are the right function of wrong weights: this one has scores of another size.
fn with_scores_times(x: &Tensor, weights: &AttnWeights, factor: f64) -> Result<Tensor> {
    let (w, b) = ((&weights.W_Q * factor)?, (&weights.b_Q * factor)?);
    attention(x, &AttnWeights { W_Q: w, b_Q: b, ..weights.clone() })
}

fn root(weights: &AttnWeights) -> Result<f64> {
    Ok((weights.W_Q.dim(2)? as f64).sqrt())
}

pub(crate) fn no_scale(x: &Tensor, weights: &AttnWeights) -> Result<Tensor> {
    with_scores_times(x, weights, root(weights)?)
}

pub(crate) fn scale_without_root(x: &Tensor, weights: &AttnWeights) -> Result<Tensor> {
    with_scores_times(x, weights, 1.0 / root(weights)?)
}

pub(crate) fn scale_of_the_stream(x: &Tensor, weights: &AttnWeights) -> Result<Tensor> {
    with_scores_times(x, weights, root(weights)? / (x.dim(2)? as f64).sqrt())
}

pub(crate) fn no_b_q(x: &Tensor, weights: &AttnWeights) -> Result<Tensor> {
    attention(x, &AttnWeights { b_Q: zeros(&weights.b_Q)?, ..weights.clone() })
}

pub(crate) fn no_b_v(x: &Tensor, weights: &AttnWeights) -> Result<Tensor> {
    attention(x, &AttnWeights { b_V: zeros(&weights.b_V)?, ..weights.clone() })
}

pub(crate) fn no_b_o(x: &Tensor, weights: &AttnWeights) -> Result<Tensor> {
    attention(x, &AttnWeights { b_O: zeros(&weights.b_O)?, ..weights.clone() })
}

pub(crate) fn no_biases_inside(x: &Tensor, weights: &AttnWeights) -> Result<Tensor> {
    attention(x, &AttnWeights { b_Q: zeros(&weights.b_Q)?, b_V: zeros(&weights.b_V)?, ..weights.clone() })
}

pub(crate) fn b_o_for_each_head(x: &Tensor, weights: &AttnWeights) -> Result<Tensor> {
    let heads = weights.W_O.dim(0)? as f64;
    attention(x, &AttnWeights { b_O: (&weights.b_O * heads)?, ..weights.clone() })
}

pub(crate) fn queries_and_keys_exchanged(x: &Tensor, weights: &AttnWeights) -> Result<Tensor> {
    let AttnWeights { W_Q: w_q, b_Q: b_q, W_K: w_k, b_K: b_k, .. } = weights.clone();
    attention(x, &AttnWeights { W_Q: w_k, b_Q: b_k, W_K: w_q, b_K: b_q, ..weights.clone() })
}

/// With a pattern made of the scaled scores, and a way from `[batch, head, pos, d_head]` to `[batch, pos, head, d_head]`.
fn by_steps(
    x: &Tensor,
    weights: &AttnWeights,
    pattern: impl Fn(&Tensor) -> Result<Tensor>,
    order: impl Fn(Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let part = |w: &Tensor, b: &Tensor| -> Result<Tensor> {
        Ok(einsum("b p m, h m d -> b p h d", &[x, w])?.broadcast_add(b)?)
    };
    let (q, k) = (part(&weights.W_Q, &weights.b_Q)?, part(&weights.W_K, &weights.b_K)?);
    let v = part(&weights.W_V, &weights.b_V)?;
    let scores = (einsum("b q h d, b k h d -> b h q k", &[&q, &k])? / root(weights)?)?;
    let z = order(einsum("b h q k, b k h d -> b h q d", &[&pattern(&scores)?, &v])?)?;
    Ok(einsum("b q h d, h d m -> b q m", &[&z, &weights.W_O])?.broadcast_add(&weights.b_O)?)
}

fn heads_back(z: Tensor) -> Result<Tensor> {
    Ok(z.transpose(1, 2)?)
}

pub(crate) fn no_mask(x: &Tensor, weights: &AttnWeights) -> Result<Tensor> {
    by_steps(x, weights, softmax, heads_back)
}

pub(crate) fn pattern_of_the_future(x: &Tensor, weights: &AttnWeights) -> Result<Tensor> {
    by_steps(x, weights, |scores| softmax(&past_masked(scores)?), heads_back)
}

pub(crate) fn no_softmax(x: &Tensor, weights: &AttnWeights) -> Result<Tensor> {
    by_steps(x, weights, |scores| masked_where(scores, |q, k| k <= q, 0.0), heads_back)
}

pub(crate) fn over_queries(x: &Tensor, weights: &AttnWeights) -> Result<Tensor> {
    let pattern = |scores: &Tensor| -> Result<Tensor> {
        Ok(softmax(&apply_causal_mask(scores)?.transpose(2, 3)?)?.transpose(2, 3)?)
    };
    by_steps(x, weights, pattern, heads_back)
}

pub(crate) fn heads_mixed_up(x: &Tensor, weights: &AttnWeights) -> Result<Tensor> {
    let pattern = |scores: &Tensor| softmax(&apply_causal_mask(scores)?);
    by_steps(x, weights, pattern, |z| {
        let (batch, heads, pos, d_head) = z.dims4()?;
        Ok(z.contiguous()?.reshape((batch, pos, heads, d_head))?)
    })
}

fn mlp_by(x: &Tensor, weights: &MlpWeights, act: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let pre = einsum("b p m, m n -> b p n", &[x, &weights.W_in])?.broadcast_add(&weights.b_in)?;
    Ok(einsum("b p n, n m -> b p m", &[&act(&pre)?, &weights.W_out])?.broadcast_add(&weights.b_out)?)
}

pub(crate) fn exact_gelu(x: &Tensor, weights: &MlpWeights) -> Result<Tensor> {
    mlp_by(x, weights, |pre| Ok(pre.gelu_erf()?))
}

pub(crate) fn relu(x: &Tensor, weights: &MlpWeights) -> Result<Tensor> {
    mlp_by(x, weights, |pre| Ok(pre.relu()?))
}

pub(crate) fn no_activation(x: &Tensor, weights: &MlpWeights) -> Result<Tensor> {
    mlp_by(x, weights, |pre| Ok(pre.clone()))
}

pub(crate) fn no_b_in(x: &Tensor, weights: &MlpWeights) -> Result<Tensor> {
    mlp(x, &MlpWeights { b_in: zeros(&weights.b_in)?, ..weights.clone() })
}

pub(crate) fn no_b_out(x: &Tensor, weights: &MlpWeights) -> Result<Tensor> {
    mlp(x, &MlpWeights { b_out: zeros(&weights.b_out)?, ..weights.clone() })
}

pub(crate) fn stream_added(x: &Tensor, weights: &MlpWeights) -> Result<Tensor> {
    Ok((x + mlp(x, weights)?)?)
}
