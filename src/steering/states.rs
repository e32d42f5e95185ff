//! The activations of prompts at some of their positions.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use crate::cache::collected;
use crate::error::{Error, Result};
use crate::hooks::HookPoint;
use crate::metrics::Positions;
use crate::model::HookedTransformer;
use crate::tokens::Tokens;

/// The activations at one point, one row for each prompt, the mean over its positions.
pub(super) struct States(Vec<Vec<f64>>);

/// The activations of each prompt at these points, which hold something for each position.
///
/// # Errors
/// Positions that the prompts do not have, activations that are not finite, and as [`HookedTransformer::run`].
pub(super) fn states(
    model: &HookedTransformer,
    prompts: &Tokens,
    positions: &Positions,
    points: &[HookPoint],
) -> Result<BTreeMap<HookPoint, States>> {
    let rows = positions.rows(prompts, false)?;
    let found = collected(model, prompts, points, &[rows.positions()])?;
    let of_point = |(point, x): (&HookPoint, Vec<Tensor>)| {
        let x = x[0].to_dtype(DType::F32)?.to_vec2::<f32>()?;
        if x.iter().flatten().any(|value| !value.is_finite()) {
            return Err(Error::argument(format!(
                "{point} holds numbers that are not finite, of which no direction can be made: look for the first activation \
                 that is not (run_with_cache)."
            )));
        }
        let mut rest = &x[..];
        let of_prompt = |positions: &Vec<usize>| {
            let (own, others) = rest.split_at(positions.len());
            rest = others;
            mean(own.iter().map(|row| row.iter().map(|value| f64::from(*value))))
        };
        Ok((*point, States(rows.positions().iter().map(of_prompt).collect())))
    };
    points.iter().zip(found).map(of_point).collect()
}

/// The mean of rows of numbers.
fn mean<R: Iterator<Item = f64>>(rows: impl ExactSizeIterator<Item = R>) -> Vec<f64> {
    let count = rows.len() as f64;
    let sum = rows.fold(Vec::new(), |mut sum: Vec<f64>, row| {
        sum.resize(sum.len().max(row.size_hint().0), 0.);
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        sum
    });
    sum.into_iter().map(|sum| sum / count).collect()
}

impl States {
    /// How many prompts there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The numbers of a prompt.
    pub fn of(&self, prompt: usize) -> &[f64] {
        &self.0[prompt]
    }

    /// The mean over prompts.
    pub fn mean(&self) -> Vec<f64> {
        mean(self.0.iter().map(|row| row.iter().copied()))
    }
}

/// Numbers as an f32 tensor on the CPU.
pub(super) fn tensor(numbers: &[f64]) -> Result<Tensor> {
    let numbers: Vec<f32> = numbers.iter().map(|number| *number as f32).collect();
    Ok(Tensor::new(numbers, &Device::Cpu)?)
}
