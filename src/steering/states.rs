//! The activations of prompts at some of their positions.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};
use crate::hooks::{HookPlan, HookPoint};
use crate::metrics::Positions;
use crate::model::{HookedTransformer, RunOptions};
use crate::progress::Progress;
use crate::tokens::Tokens;

/// How many prompts are run at once.
const BATCH: usize = 16;

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
    let mut progress = Progress::of("running the prompts", prompts.batch() as u64, "prompts");
    let last = points.iter().map(|point| point.layer());
    // Nothing behind the last block that is read need run.
    let stop_at_layer = last.collect::<Option<Vec<_>>>().and_then(|layers| Some(*layers.iter().max()? as isize + 1));
    let options = RunOptions { logits: false, stop_at_layer, ..Default::default() };
    let plan = points.iter().fold(HookPlan::new(), |plan, &point| plan.capture(point));
    let mut found: BTreeMap<HookPoint, States> = points.iter().map(|&point| (point, States(Vec::new()))).collect();
    for from in (0..prompts.batch()).step_by(BATCH) {
        let count = BATCH.min(prompts.batch() - from);
        let run = model.run(prompts.rows(from, count), &plan, &options)?;
        for (point, x) in run.captured {
            let x = x.flatten_from(2)?;
            let of = found.get_mut(&point).expect("what was asked for");
            for (prompt, positions) in rows.positions()[from..from + count].iter().enumerate() {
                of.0.push(mean_at(point, &x.get(prompt)?, positions)?);
            }
        }
        progress.step(count as u64);
    }
    Ok(found)
}

/// The mean of `x [pos, width]` over these positions, in f64.
fn mean_at(point: HookPoint, x: &Tensor, positions: &[usize]) -> Result<Vec<f64>> {
    let places: Vec<u32> = positions.iter().map(|&position| position as u32).collect();
    let rows = x.index_select(&Tensor::new(places, x.device())?, 0)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    let mut sum = vec![0f64; x.dim(1)?];
    for row in &rows {
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    match sum.iter().all(|sum| sum.is_finite()) {
        true => Ok(sum.into_iter().map(|sum| sum / rows.len() as f64).collect()),
        false => Err(Error::argument(format!(
            "{point} holds numbers that are not finite, of which no direction can be made: look for the first activation that \
             is not (run_with_cache)."
        ))),
    }
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
        let mut mean = vec![0f64; self.0.first().map_or(0, Vec::len)];
        for row in &self.0 {
            mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += value);
        }
        mean.iter_mut().for_each(|mean| *mean /= self.0.len() as f64);
        mean
    }
}

/// Numbers as an f32 tensor on the CPU.
pub(super) fn tensor(numbers: &[f64]) -> Result<Tensor> {
    let numbers: Vec<f32> = numbers.iter().map(|number| *number as f32).collect();
    Ok(Tensor::new(numbers, &Device::Cpu)?)
}
