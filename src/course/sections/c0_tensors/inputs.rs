//! Small inputs for the exercises of this section.

use candle_core::Tensor;

use crate::course::seed::{reordered, seeded};
use crate::error::Result;

pub(super) fn two_vectors() -> Result<Vec<(Tensor, Tensor)>> {
    let mut random = seeded(1);
    let mut one = |i: usize, j: usize| -> Result<(Tensor, Tensor)> { Ok((random.normal(i)?, random.normal(j)?)) };
    Ok(vec![one(3, 5)?, one(7, 2)?])
}

pub(super) fn sizes() -> Result<Vec<(usize,)>> {
    let [first, second, ..] = reordered([5, 3, 4, 6, 7, 8, 9], 10);
    Ok(vec![(first,), (second,)])
}

pub(super) fn masked() -> Result<Vec<(Tensor, Tensor, f32)>> {
    let mut random = seeded(2);
    let mut one = |shape: &[usize], mask: &[usize], value: f32| -> Result<(Tensor, Tensor, f32)> {
        Ok((random.normal(shape)?, random.normal(mask)?.gt(0.3)?, value))
    };
    Ok(vec![one(&[2, 3, 5, 7], &[5, 7], -2.5)?, one(&[5, 3], &[5, 1], 4.0)?])
}

pub(super) fn logits_and_ids() -> Result<Vec<(Tensor, Tensor)>> {
    let mut random = seeded(3);
    let mut one = |batch: usize, pos: usize, d_vocab: usize| -> Result<(Tensor, Tensor)> {
        let ids: Vec<u32> = (0..batch * pos).map(|_| random.below(d_vocab) as u32).collect();
        let ids = Tensor::from_vec(ids, (batch, pos), &candle_core::Device::Cpu)?;
        Ok((random.normal((batch, pos, d_vocab))?, ids))
    };
    Ok(vec![one(2, 5, 7)?, one(3, 2, 5)?])
}

pub(super) fn squares() -> Result<Vec<(Tensor, usize)>> {
    let mut random = seeded(4);
    Ok(vec![(random.normal((3, 5, 5))?, 1), (random.normal((2, 7, 7))?, 3), (random.normal((4, 3, 3))?, 0)])
}

pub(super) fn heads_side_by_side() -> Result<Vec<(Tensor, usize)>> {
    let mut random = seeded(5);
    Ok(vec![(random.normal((2, 5, 3 * 4))?, 3), (random.normal((3, 7, 2 * 5))?, 2)])
}

pub(super) fn queries_and_keys() -> Result<Vec<(Tensor, Tensor)>> {
    let mut random = seeded(6);
    let mut one = |shape: (usize, usize, usize, usize)| -> Result<(Tensor, Tensor)> {
        Ok((random.normal(shape)?, random.normal(shape)?))
    };
    Ok(vec![one((2, 5, 3, 7))?, one((3, 7, 2, 5))?])
}

pub(super) fn numbers_to_sort() -> Result<Vec<(Tensor, usize)>> {
    let mut random = seeded(7);
    Ok(vec![(random.normal(11)?, 3), (random.normal(7)?, 5), (random.normal(6)?, 6)])
}

/// The second has numbers whose exponential is beyond f32.
pub(super) fn small_and_large() -> Result<Vec<(Tensor,)>> {
    let mut random = seeded(8);
    Ok(vec![((random.normal((3, 5))? * 2.0)?,), ((random.normal((2, 3, 7))? * 5e3)?,)])
}

pub(super) fn padded() -> Result<Vec<(Tensor, Vec<usize>)>> {
    let mut random = seeded(9);
    Ok(vec![(random.normal((3, 7, 5))?, vec![4, 6, 2]), (random.normal((2, 5, 3))?, vec![1, 5])])
}
