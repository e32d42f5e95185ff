//! Where an answer differs from what was wanted, in the words of its axes.

use candle_core::Tensor;

use super::answer::Answer;
use crate::error::Result;
use crate::tensors::{self, Difference, difference};

/// An answer may be this far from the reference, relative to `1 + |wanted|`: other orders of summation in f32 stay below it.
pub(super) const TOLERANCE: f64 = 2e-4;

/// Whether an answer's numbers are those of another up to rounding. NaN is the same as NaN, so that a mistake that makes them can be
/// recognised; right it never is.
pub(super) fn are_same(got: &Answer, other: &Answer, tolerance: f64) -> Result<bool> {
    let mut pair = [got.clone(), other.clone()];
    if got.parts.len() == other.parts.len() {
        for (number, (a, b)) in got.parts.iter().zip(&other.parts).enumerate() {
            if a.dims() == b.dims() && a.dtype() == b.dtype() && a.dtype().is_float() {
                let both = (a.ne(a)? * b.ne(b)?)?;
                for (answer, part) in pair.iter_mut().zip([a, b]) {
                    answer.parts[number] = both.where_cond(&part.zeros_like()?, part)?;
                }
            }
        }
    }
    Ok(differs(&pair[0], &pair[1], &[], tolerance)?.is_none())
}

/// What is wrong with an answer of the right numbers: of another dtype the next cell would refuse it, and a matrix that was multiplied
/// out is no longer factored.
pub(super) fn differs_in_form(got: &Answer, wanted: &Answer) -> Option<String> {
    let kinds = got.parts.iter().zip(&wanted.parts).map(|(got, wanted)| [got.dtype(), wanted.dtype()]);
    let other = kinds.into_iter().find(|[got, wanted]| got != wanted);
    let of_dtype = other.map(|[got, wanted]| {
        format!("the numbers are right, but their dtype is {got:?}, and {wanted:?} is wanted: to_dtype converts.")
    });
    of_dtype.or_else(|| {
        (got.inner > wanted.inner).then(|| {
            let (got, wanted) = (got.inner, wanted.inner);
            format!("the product is right, but its factors meet in {got} dimensions, and {wanted} are enough.")
        })
    })
}

/// How an answer differs, in a sentence; nothing if it does not. `axes` names those of each part.
pub(super) fn differs(got: &Answer, wanted: &Answer, axes: &[&[&str]], tolerance: f64) -> Result<Option<String>> {
    if got.text != wanted.text {
        return Ok(Some(format!("got {:?}, wanted {:?}.", got.text, wanted.text)));
    }
    if got.parts.len() != wanted.parts.len() {
        return Ok(Some(format!("it has {} parts, and {} are wanted.", got.parts.len(), wanted.parts.len())));
    }
    let parts = wanted.parts.len();
    for (number, (got, wanted)) in got.parts.iter().zip(&wanted.parts).enumerate() {
        let names = axes.get(number).copied().unwrap_or_default();
        // Where inputs are of several ranks, the last axes are what they have in common.
        let names = &names[names.len().saturating_sub(wanted.rank())..];
        if let Some(found) = difference(got, wanted, tolerance)? {
            let what = sentence(&found, got, wanted, names)?;
            return Ok(Some(match parts {
                1 => what,
                _ => format!("part {} of {parts}: {what}", number + 1),
            }));
        }
    }
    Ok(None)
}

fn sentence(found: &Difference, got: &Tensor, wanted: &Tensor, names: &[&str]) -> Result<String> {
    let Some(first) = &found.first else {
        let mut sentence = format!("its shape is {:?}, and {} is wanted.", got.dims(), shape(wanted.dims(), names));
        if let Some(how) = &found.how {
            sentence += &format!(" {how}");
        }
        return Ok(sentence);
    };
    let mut sentence = format!("got {}, wanted {}.", first.got, first.wanted);
    if wanted.rank() > 0 {
        let (wrong, all, place) = (found.wrong.len(), wanted.elem_count(), place(&first.index, names));
        sentence = format!("{wrong} of {all} numbers differ; the first at {place}: {sentence}");
    }
    if let Some(right) = right_throughout(found, wanted.dims(), names) {
        sentence += &format!(" {right}");
    }
    if let Some(how) = &found.how {
        sentence += &format!(" {how}");
    }
    Ok(sentence)
}

fn name<'a>(names: &[&'a str], axis: usize) -> &'a str {
    names.get(axis).copied().unwrap_or("index")
}

fn shape(dims: &[usize], names: &[&str]) -> String {
    let sizes = dims.iter().enumerate().map(|(axis, size)| match names.get(axis) {
        Some(name) => format!("{name} {size}"),
        None => size.to_string(),
    });
    format!("[{}]", sizes.collect::<Vec<_>>().join(", "))
}

fn place(index: &[usize], names: &[&str]) -> String {
    let parts = index.iter().enumerate().map(|(axis, at)| format!("{} {at}", name(names, axis)));
    parts.collect::<Vec<_>>().join(", ")
}

/// The places along one axis where everything is right, where they are some but not all; of the first such axis.
fn right_throughout(found: &Difference, dims: &[usize], names: &[&str]) -> Option<String> {
    (0..dims.len()).filter(|axis| dims[*axis] > 1).find_map(|axis| {
        let mut is_wrong = vec![false; dims[axis]];
        found.wrong.iter().for_each(|at| is_wrong[tensors::place(*at, dims)[axis]] = true);
        let right: Vec<String> = (0..dims[axis]).filter(|at| !is_wrong[*at]).map(|at| at.to_string()).collect();
        (!right.is_empty()).then(|| format!("Right throughout: {} {}.", name(names, axis), right.join(", ")))
    })
}
