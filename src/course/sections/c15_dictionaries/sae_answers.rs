//! Wrong answers to the exercises about an autoencoder's parts.

use candle_core::Tensor;

use super::{resample, sae_forward, top_k_acts};
use crate::error::Result;
use crate::random::Random;
use crate::tensors::TensorWords;

type Both = Result<(Tensor, Tensor)>;

fn unit(w_dec: &Tensor) -> Result<Tensor> {
    Ok(w_dec.broadcast_div(&w_dec.sqr()?.sum_keepdim(1)?.sqrt()?)?)
}

pub(super) fn not_normalised(x: &Tensor, w_enc: &Tensor, b_enc: &Tensor, w_dec: &Tensor, b_dec: &Tensor) -> Both {
    let (acts, _) = sae_forward(x, w_enc, b_enc, w_dec, b_dec)?;
    let reconstruction = acts.matmul(w_dec)?.broadcast_add(b_dec)?;
    Ok((acts, reconstruction))
}

pub(super) fn columns_normalised(x: &Tensor, w_enc: &Tensor, b_enc: &Tensor, w_dec: &Tensor, b_dec: &Tensor) -> Both {
    let w_dec = w_dec.broadcast_div(&w_dec.sqr()?.sum_keepdim(0)?.sqrt()?)?;
    not_normalised(x, w_enc, b_enc, &w_dec, b_dec)
}

pub(super) fn not_subtracted(x: &Tensor, w_enc: &Tensor, b_enc: &Tensor, w_dec: &Tensor, b_dec: &Tensor) -> Both {
    let acts = x.matmul(w_enc)?.broadcast_add(b_enc)?.relu()?;
    let reconstruction = acts.matmul(&unit(w_dec)?)?.broadcast_add(b_dec)?;
    Ok((acts, reconstruction))
}

pub(super) fn not_added(x: &Tensor, w_enc: &Tensor, b_enc: &Tensor, w_dec: &Tensor, b_dec: &Tensor) -> Both {
    let (acts, reconstruction) = sae_forward(x, w_enc, b_enc, w_dec, b_dec)?;
    Ok((acts, reconstruction.broadcast_sub(b_dec)?))
}

pub(super) fn no_encoder_bias(x: &Tensor, w_enc: &Tensor, b_enc: &Tensor, w_dec: &Tensor, b_dec: &Tensor) -> Both {
    sae_forward(x, w_enc, &b_enc.zeros_like()?, w_dec, b_dec)
}

pub(super) fn not_rectified(x: &Tensor, w_enc: &Tensor, b_enc: &Tensor, w_dec: &Tensor, b_dec: &Tensor) -> Both {
    let acts = x.broadcast_sub(b_dec)?.matmul(w_enc)?.broadcast_add(b_enc)?;
    let reconstruction = acts.matmul(&unit(w_dec)?)?.broadcast_add(b_dec)?;
    Ok((acts, reconstruction))
}

fn loss(
    (x, acts, reconstruction): (&Tensor, &Tensor, &Tensor),
    squared: impl Fn(&Tensor) -> Result<Tensor>,
    sparsity: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    Ok((squared(&(x - reconstruction)?.sqr()?)? + sparsity(acts)?)?.mean(0)?)
}

pub(super) fn squares_summed(x: &Tensor, acts: &Tensor, reconstruction: &Tensor, l1: f64) -> Result<Tensor> {
    loss((x, acts, reconstruction), |squares| Ok(squares.sum(1)?), |acts| Ok((acts.sum(1)? * l1)?))
}

pub(super) fn acts_averaged(x: &Tensor, acts: &Tensor, reconstruction: &Tensor, l1: f64) -> Result<Tensor> {
    loss((x, acts, reconstruction), |squares| Ok(squares.mean(1)?), |acts| Ok((acts.mean(1)? * l1)?))
}

pub(super) fn counted(x: &Tensor, acts: &Tensor, reconstruction: &Tensor, l1: f64) -> Result<Tensor> {
    let count = |acts: &Tensor| Ok((acts.gt(0f32)?.to_dtype(acts.dtype())?.sum(1)? * l1)?);
    loss((x, acts, reconstruction), |squares| Ok(squares.mean(1)?), count)
}

pub(super) fn no_coefficient(x: &Tensor, acts: &Tensor, reconstruction: &Tensor, _: f64) -> Result<Tensor> {
    loss((x, acts, reconstruction), |squares| Ok(squares.mean(1)?), |acts| Ok(acts.sum(1)?))
}

pub(super) fn acts_squared(x: &Tensor, acts: &Tensor, reconstruction: &Tensor, l1: f64) -> Result<Tensor> {
    loss((x, acts, reconstruction), |squares| Ok(squares.mean(1)?), |acts| Ok((acts.sqr()?.sum(1)? * l1)?))
}

type Sae<'a> = (&'a Tensor, &'a Tensor, &'a Tensor);
type Resampled = Result<(Tensor, Tensor, Tensor)>;

macro_rules! resampling {
    ($($name:ident: |$old:ident, $times:ident, $scale:ident, $seed:ident| $result:expr;)+) => {$(
        pub(super) fn $name(
            w_enc: &Tensor,
            b_enc: &Tensor,
            w_dec: &Tensor,
            $times: &[usize],
            $scale: f64,
            $seed: u64,
        ) -> Resampled {
            let $old: Sae = (w_enc, b_enc, w_dec);
            $result
        }
    )+};
}
resampling! {
    encoder_kept: |old, times, scale, seed| {
        let (_, b_enc, w_dec) = resample(old.0, old.1, old.2, times, scale, seed)?;
        Ok((old.0.clone(), b_enc, w_dec))
    };
    bias_kept: |old, times, scale, seed| {
        let (w_enc, _, w_dec) = resample(old.0, old.1, old.2, times, scale, seed)?;
        Ok((w_enc, old.1.clone(), w_dec))
    };
    all_of_them: |old, times, scale, seed| resample(old.0, old.1, old.2, &vec![0; times.len()], scale, seed);
    live_ones: |old, times, scale, seed| {
        let turned: Vec<usize> = times.iter().map(|&times| usize::from(times == 0)).collect();
        resample(old.0, old.1, old.2, &turned, scale, seed)
    };
    no_scale: |old, times, _scale, seed| resample(old.0, old.1, old.2, times, 1., seed);
    long_directions: |old, times, scale, seed| {
        let mut random = Random::new(seed);
        let (w_enc, b_enc, w_dec) = resample(old.0, old.1, old.2, times, scale, seed)?;
        let lengths: Vec<f32> = times
            .iter()
            .map(|&times| if times > 0 { Ok(1.) } else { random.normal((1, w_dec.dim(1)?))?.sqr()?.sum_all()?.sqrt()?.item() })
            .collect::<Result<_>>()?;
        let lengths = Tensor::new(lengths, w_dec.device())?;
        Ok((w_enc.broadcast_mul(&lengths)?, b_enc, w_dec.broadcast_mul(&lengths.unsqueeze(1)?)?))
    };
}

fn where_kept(is_kept: &Tensor, values: &Tensor) -> Result<Tensor> {
    Ok(is_kept.where_cond(values, &values.zeros_like()?)?)
}

pub(super) fn over_the_batch(pre: &Tensor, k: usize) -> Result<Tensor> {
    let last = pre.t()?.contiguous()?.top_k(k)?.0.narrow(1, k - 1, 1)?.t()?;
    where_kept(&pre.broadcast_ge(&last)?, &pre.relu()?)
}

pub(super) fn one_too_many(pre: &Tensor, k: usize) -> Result<Tensor> {
    top_k_acts(pre, k + 1)
}

pub(super) fn negative_kept(pre: &Tensor, k: usize) -> Result<Tensor> {
    let last = pre.top_k(k)?.0.narrow(1, k - 1, 1)?;
    where_kept(&pre.broadcast_ge(&last)?, pre)
}

pub(super) fn by_size(pre: &Tensor, k: usize) -> Result<Tensor> {
    let last = pre.abs()?.top_k(k)?.0.narrow(1, k - 1, 1)?;
    where_kept(&pre.abs()?.broadcast_ge(&last)?, &pre.relu()?)
}

pub(super) fn threshold_subtracted(pre: &Tensor, threshold: &Tensor) -> Result<Tensor> {
    Ok(pre.broadcast_sub(threshold)?.relu()?)
}

pub(super) fn below_zero_passes(pre: &Tensor, threshold: &Tensor) -> Result<Tensor> {
    where_kept(&pre.broadcast_gt(threshold)?, pre)
}

pub(super) fn threshold_ignored(pre: &Tensor, _: &Tensor) -> Result<Tensor> {
    Ok(pre.relu()?)
}

pub(super) fn by_absolute(pre: &Tensor, threshold: &Tensor) -> Result<Tensor> {
    where_kept(&pre.abs()?.broadcast_gt(threshold)?, pre)
}

pub(super) fn the_others(pre: &Tensor, k: usize) -> Result<Tensor> {
    let last = pre.top_k(k)?.0.narrow(1, k - 1, 1)?;
    where_kept(&pre.broadcast_lt(&last)?, &pre.relu()?)
}

pub(super) fn the_smallest(pre: &Tensor, k: usize) -> Result<Tensor> {
    let last = pre.neg()?.top_k(k)?.0.narrow(1, k - 1, 1)?.neg()?;
    where_kept(&pre.broadcast_le(&last)?, &pre.relu()?)
}

pub(super) fn below_the_threshold(pre: &Tensor, threshold: &Tensor) -> Result<Tensor> {
    where_kept(&pre.broadcast_le(threshold)?, &pre.relu()?)
}
