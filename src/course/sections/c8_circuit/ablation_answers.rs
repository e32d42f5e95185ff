//! Wrong answers to the exercises about means.

use candle_core::{DType, Tensor};

use super::{keep_at, mean_by_group};
use crate::error::Result;

/// For each prompt the mean over those that belong to it.
fn means(z: &Tensor, groups: &[usize], belongs: impl Fn(usize, usize) -> bool) -> Result<Tensor> {
    let weight =
        |row: usize| (0..groups.len()).map(|other| f32::from(u8::from(belongs(row, other)))).collect::<Vec<_>>();
    let weights = Tensor::new((0..groups.len()).map(weight).collect::<Vec<_>>(), z.device())?;
    let weights = weights.broadcast_div(&weights.sum_keepdim(1)?)?;
    Ok(weights.matmul(&z.flatten_from(1)?)?.reshape(z.shape())?)
}

pub(super) fn over_all(z: &Tensor, groups: &[usize]) -> Result<Tensor> {
    means(z, groups, |_, _| true)
}

pub(super) fn over_positions(z: &Tensor, groups: &[usize]) -> Result<Tensor> {
    Ok(mean_by_group(z, groups)?.mean_keepdim(1)?.broadcast_as(z.shape())?.contiguous()?)
}

pub(super) fn without_itself(z: &Tensor, groups: &[usize]) -> Result<Tensor> {
    means(z, groups, |row, other| row != other && groups[row] == groups[other])
}

pub(super) fn summed(z: &Tensor, groups: &[usize]) -> Result<Tensor> {
    let members = |group: &usize| groups.iter().filter(|other| *other == group).count() as f32;
    let members = Tensor::new(groups.iter().map(members).collect::<Vec<_>>(), z.device())?;
    Ok(mean_by_group(z, groups)?.broadcast_mul(&members.reshape(((), 1, 1, 1))?)?)
}

pub(super) fn first_of_the_group(z: &Tensor, groups: &[usize]) -> Result<Tensor> {
    means(z, groups, |row, other| Some(other) == groups.iter().position(|group| *group == groups[row]))
}

/// `z` where the mask of prompts, positions and heads says so, the means elsewhere.
fn where_kept(z: &Tensor, means: &Tensor, keeps: impl Fn(usize, usize, usize) -> bool) -> Result<Tensor> {
    let (batch, pos, heads, _) = z.dims4()?;
    let at = |place: usize| u8::from(keeps(place / (pos * heads), place / heads % pos, place % heads));
    let mask: Vec<u8> = (0..batch * pos * heads).map(at).collect();
    let mask = Tensor::from_vec(mask, (batch, pos, heads, 1), z.device())?.to_dtype(DType::F32)?;
    Ok((z.broadcast_mul(&mask)? + means.broadcast_mul(&mask.affine(-1., 1.)?)?)?)
}

pub(super) fn all_pairs(z: &Tensor, means: &Tensor, heads: &[usize], positions: &[usize]) -> Result<Tensor> {
    where_kept(z, means, |_, pos, head| positions.contains(&pos) && heads.contains(&head))
}

pub(super) fn all_positions(z: &Tensor, means: &Tensor, heads: &[usize], _: &[usize]) -> Result<Tensor> {
    where_kept(z, means, |_, _, head| heads.contains(&head))
}

pub(super) fn all_heads(z: &Tensor, means: &Tensor, _: &[usize], positions: &[usize]) -> Result<Tensor> {
    where_kept(z, means, |row, pos, _| positions[row] == pos)
}

pub(super) fn the_other_way_round(z: &Tensor, means: &Tensor, heads: &[usize], positions: &[usize]) -> Result<Tensor> {
    keep_at(means, z, heads, positions)
}

pub(super) fn first_position(z: &Tensor, means: &Tensor, heads: &[usize], positions: &[usize]) -> Result<Tensor> {
    where_kept(z, means, |_, pos, head| positions[0] == pos && heads.contains(&head))
}
