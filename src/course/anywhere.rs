//! Mistakes that any exercise may meet: they are recognised by what they make of the right answer, so no exercise has to list them.

use candle_core::{Device, Tensor};

use super::answer::Answer;
use super::locate::are_same;
use crate::error::Result;

/// Whether an answer is the right one with one mistake in it; nothing where it is something else. An answer that the mistake would not
/// change is not it.
type Recognise = fn(&Answer, &Answer, f64) -> Result<Option<bool>>;

/// What each mistake is, and how it is recognised.
pub(super) const ANYWHERE: [(&str, Recognise); 2] = [
    (
        "two axes are still one long list. Tensor::cat joins tensors along an axis that they have; Tensor::stack gives them a new one. (A list of numbers gets its axes from the shape in Tensor::from_vec.)",
        joined,
    ),
    (
        "the order along the first axis is reversed: what is wanted first is last. If you sorted: a sort is ascending unless its comparison is turned round.",
        reversed,
    ),
];

/// By parts, each of which is either right or the mistake.
fn by_parts(
    got: &Answer,
    wanted: &Answer,
    tolerance: f64,
    mended: impl Fn(&Tensor, &Tensor) -> Result<Option<Tensor>>,
) -> Result<Option<bool>> {
    let mut parts = Vec::new();
    if got.parts.len() != wanted.parts.len() {
        return Ok(None);
    }
    let mut is_mended = false;
    for (part, right) in got.parts.iter().zip(&wanted.parts) {
        let alone = |part: &Tensor| Answer { parts: vec![part.clone()], text: String::new(), inner: 0 };
        if are_same(&alone(part), &alone(right), tolerance)? {
            parts.push(part.clone());
            continue;
        }
        let Some(part) = mended(part, right)? else { return Ok(None) };
        is_mended = true;
        parts.push(part);
    }
    let all = Answer { parts, ..got.clone() };
    Ok(are_same(&all, wanted, tolerance)?.then_some(is_mended))
}

/// Parts joined along an axis where each should have had a place on a new one.
fn joined(got: &Answer, wanted: &Answer, tolerance: f64) -> Result<Option<bool>> {
    by_parts(got, wanted, tolerance, |part, right| {
        let (short, long) = (part.dims(), right.dims());
        let is_joined = |axis: usize| {
            short[..axis] == long[..axis]
                && short[axis] == long[axis] * long[axis + 1]
                && short[axis + 1..] == long[axis + 2..]
        };
        let is_one_less = short.len() + 1 == long.len();
        Ok(if is_one_less && (0..short.len()).any(is_joined) { Some(part.reshape(right.dims())?) } else { None })
    })
}

/// The first axis from its end.
fn reversed(got: &Answer, wanted: &Answer, tolerance: f64) -> Result<Option<bool>> {
    by_parts(got, wanted, tolerance, |part, right| {
        if part.dims() != right.dims() || part.rank() == 0 {
            return Ok(None);
        }
        let backwards: Vec<u32> = (0..part.dim(0)? as u32).rev().collect();
        Ok(Some(part.index_select(&Tensor::new(backwards, &Device::Cpu)?, 0)?))
    })
}
