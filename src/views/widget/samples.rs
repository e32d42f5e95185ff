//! Texts with the numbers at their tokens, and the axes of these.

use ndarray::{Array3, ArrayD};

use crate::error::{Error, Result};
use crate::labelled::Axis;
use crate::views::source::Numbers;

/// One text and its numbers, `[position, first axis, second axis]`.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub words: Vec<String>,
    pub values: Array3<f32>,
}

/// Axes of length one.
pub(super) fn unnamed() -> [Axis; 2] {
    [Axis::numbered("", 1), Axis::numbered("", 1)]
}

/// Returns an error where there are no numbers.
pub(super) fn some_numbers(function: &str, values: &ArrayD<f32>) -> Result<()> {
    match values.is_empty() {
        true => Err(Error::argument(format!("`{function}` was given no numbers: give at least one."))),
        false => Ok(()),
    }
}

/// The axes after the position: as the numbers name them, otherwise layer and neuron.
pub(super) fn names(numbers: &Numbers, first: usize, second: usize) -> [Axis; 2] {
    let own = |axis: Option<&Axis>, name: &str, size: usize| match axis {
        Some(axis) => Axis {
            name: if axis.name.is_empty() { name.into() } else { axis.name.clone() },
            labels: if axis.labels.len() == size { axis.labels.clone() } else { Axis::numbered("", size).labels },
        },
        None => Axis::numbered(name, size),
    };
    match &numbers.axes[..] {
        [_, layer, neuron] => [own(Some(layer), "layer", first), own(Some(neuron), "neuron", second)],
        [_, neuron] => [Axis::numbered("", 1), own(Some(neuron), "neuron", second)],
        _ => unnamed(),
    }
}

/// The key by which numbers are sorted; NaN comes last.
pub(super) fn order(value: f32) -> f32 {
    if value.is_nan() { f32::NEG_INFINITY } else { value }
}

/// The largest magnitude of the finite numbers.
pub(super) fn most<'a>(values: impl IntoIterator<Item = &'a f32>) -> f32 {
    values.into_iter().filter(|value| value.is_finite()).fold(0.0, |most, value| most.max(value.abs()))
}
