//! Wrong answers to the exercises about a dictionary on the model.

use candle_core::{DType, Tensor};

use super::latent_logits;
use crate::dictionaries::Dictionary;
use crate::error::Result;
use crate::hooks::{Edit, HookPlan};
use crate::model::HookedTransformer;
use crate::tensors::TensorWords;
use crate::tokens::Tokens;

type Ids = Result<Vec<u32>>;

fn largest(model: &HookedTransformer, direction: &Tensor, k: usize) -> Ids {
    let direction = direction.to_dtype(DType::F32)?;
    Ok(direction.unsqueeze(0)?.contiguous()?.matmul(&model.W_U())?.squeeze(0)?.top_k(k)?.1.to_vec1()?)
}

pub(super) fn of_the_encoder(model: &HookedTransformer, dictionary: &Dictionary, latent: usize, k: usize) -> Ids {
    largest(model, &dictionary.w_enc().t()?.get(latent)?, k)
}

pub(super) fn smallest(model: &HookedTransformer, dictionary: &Dictionary, latent: usize, k: usize) -> Ids {
    largest(model, &dictionary.w_dec().get(latent)?.neg()?, k)
}

pub(super) fn ascending(model: &HookedTransformer, dictionary: &Dictionary, latent: usize, k: usize) -> Ids {
    let mut ids = latent_logits(model, dictionary, latent, k)?;
    ids.reverse();
    Ok(ids)
}

pub(super) fn by_embedding(model: &HookedTransformer, dictionary: &Dictionary, latent: usize, k: usize) -> Ids {
    let direction = dictionary.w_dec().get(latent)?.to_dtype(DType::F32)?.unsqueeze(0)?;
    Ok(direction.matmul(&model.W_E().t()?)?.squeeze(0)?.top_k(k)?.1.to_vec1()?)
}

const POINT: (&str, usize) = ("resid_post", 1);

/// The logits with `edited` in place of the stream, from this position on.
fn put_in(
    model: &HookedTransformer,
    tokens: &Tokens,
    first: usize,
    edited: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let (_, cache) = model.run_with_hooks(tokens, HookPlan::new().capture(POINT))?;
    let stream = edited(&cache.get(POINT)?)?.narrow(1, first, tokens.pos() - first)?;
    Ok(model.run_with_hooks(tokens, HookPlan::new().edit(POINT, Edit::replace(stream).pos(first..)))?.0)
}

fn written(dictionary: &Dictionary, stream: &Tensor, latent: usize) -> Result<Tensor> {
    let acts = dictionary.encode_dense(stream)?.narrow(2, latent, 1)?;
    Ok(acts.broadcast_mul(&dictionary.w_dec().get(latent)?.to_dtype(DType::F32)?)?)
}

pub(super) fn without_the_error(
    model: &HookedTransformer,
    dictionary: &Dictionary,
    tokens: &Tokens,
    latent: usize,
) -> Result<Tensor> {
    put_in(model, tokens, 1, |stream| Ok((dictionary.reconstruct(stream)? - written(dictionary, stream, latent)?)?))
}

pub(super) fn bos_too(
    model: &HookedTransformer,
    dictionary: &Dictionary,
    tokens: &Tokens,
    latent: usize,
) -> Result<Tensor> {
    // A latent that is silent on the BOS makes no difference there; one that is not does.
    put_in(model, tokens, 0, |stream| Ok((stream - written(dictionary, stream, latent)?)?))
}

pub(super) fn added(
    model: &HookedTransformer,
    dictionary: &Dictionary,
    tokens: &Tokens,
    latent: usize,
) -> Result<Tensor> {
    put_in(model, tokens, 1, |stream| Ok((stream + written(dictionary, stream, latent)?)?))
}

pub(super) fn latent_alone(
    model: &HookedTransformer,
    dictionary: &Dictionary,
    tokens: &Tokens,
    latent: usize,
) -> Result<Tensor> {
    put_in(model, tokens, 1, |stream| written(dictionary, stream, latent))
}

pub(super) fn whole_direction(
    model: &HookedTransformer,
    dictionary: &Dictionary,
    tokens: &Tokens,
    latent: usize,
) -> Result<Tensor> {
    put_in(model, tokens, 1, |stream| Ok(stream.broadcast_sub(&dictionary.w_dec().get(latent)?.to_dtype(DType::F32)?)?))
}

pub(super) fn last_alone(
    model: &HookedTransformer,
    dictionary: &Dictionary,
    tokens: &Tokens,
    latent: usize,
) -> Result<Tensor> {
    put_in(model, tokens, tokens.pos() - 1, |stream| Ok((stream - written(dictionary, stream, latent)?)?))
}
