//! Where an answer differs from what was wanted, in the words of its axes.

use candle_core::Tensor;

use super::answer::Answer;
use crate::error::Result;
use crate::tensors::{self, Difference, difference};

/// An answer may be this far from the reference, relative to `1 + |wanted|`: other orders of summation in f32 stay below it.
pub(super) const TOLERANCE: f64 = 2e-4;

/// Whether two answers are the same up to rounding.
pub(super) fn are_same(got: &Answer, wanted: &Answer, tolerance: f64) -> Result<bool> {
    Ok(differs(got, wanted, &[], tolerance)?.is_none())
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
