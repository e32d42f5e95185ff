//! Small inputs for the exercises of this section.

use candle_core::{Device, Tensor};

use super::answers::{one_half, share_of_guesses, without_bias};
use super::{probe_accuracy, transfer_matrix};
use crate::course::models::{other, tiny};
use crate::course::seed::{first_telling, seeded};
use crate::error::Result;
use crate::model::HookedTransformer;
use crate::random::Random;
use crate::tensors::TensorWords;
use crate::tokens::Tokens;

pub(in crate::course::sections) fn groups() -> Result<Vec<(Tensor, Tensor)>> {
    let mut random = seeded(121);
    let mut one = |positive: usize, negative: usize, width: usize| -> Result<(Tensor, Tensor)> {
        Ok(((random.normal((positive, width))? + 0.8)?, (random.normal((negative, width))? * 2.)?))
    };
    Ok(vec![one(4, 7, 5)?, one(6, 3, 8)?])
}

/// Examples of which the first coordinates depend on the label, which is 1 more often than 0: a bias is needed.
fn examples(random: &mut Random, count: usize, width: usize, strength: f64) -> Result<(Tensor, Tensor)> {
    let labels: Vec<f32> = (0..count).map(|_| f32::from(u8::from(random.chance(0.65)))).collect();
    let labels = Tensor::from_vec(labels, count, &Device::Cpu)?;
    let direction =
        Tensor::from_vec((0..width).map(|at| if at < 2 { 1f32 } else { 0.0 }).collect(), width, &Device::Cpu)?;
    let moved = labels.unsqueeze(1)?.broadcast_mul(&(direction * strength)?)?;
    Ok(((random.normal((count, width))? + moved)?, labels))
}

pub(in crate::course::sections) fn labelled() -> Result<Vec<(Tensor, Tensor, usize, f64)>> {
    let mut random = seeded(122);
    let ((x, y), (more, labels)) = (examples(&mut random, 9, 4, 1.)?, examples(&mut random, 12, 3, 2.)?);
    Ok(vec![(x, y, 20, 0.3), (more, labels, 7, 0.8)])
}

pub(in crate::course::sections) fn probes() -> Result<Vec<(Tensor, Tensor, Tensor, f32)>> {
    let draw = |number| {
        let mut random = seeded(number);
        let mut one = |count: usize, width: usize, b: f32| -> Result<(Tensor, Tensor, Tensor, f32)> {
            let (x, labels) = examples(&mut random, count, width, 1.)?;
            Ok((x, labels, random.normal(width)?, b))
        };
        Ok(vec![one(23, 4, -0.9)?, one(17, 3, 1.1)?])
    };
    first_telling(123, draw, |(x, labels, w, b)| {
        let right = probe_accuracy(x, labels, w, *b)?;
        let wrong = [one_half, without_bias, share_of_guesses].map(|wrong| wrong(x, labels, w, *b));
        Ok(!wrong.into_iter().collect::<Result<Vec<f32>>>()?.contains(&right))
    })
}

/// The later the layer, the clearer the label; the first one has nothing of it.
pub(in crate::course::sections) fn by_layer() -> Result<Vec<(Tensor, Tensor, usize)>> {
    let mut random = seeded(124);
    let mut one = |layers: usize, count: usize, width: usize, n_train: usize| -> Result<(Tensor, Tensor, usize)> {
        let (_, labels) = examples(&mut random, count, width, 0.)?;
        let streams = (0..layers).map(|layer| {
            let moved = (labels.unsqueeze(1)?.broadcast_as((count, width))? * (layer as f64 * 0.5))?;
            Ok((random.normal((count, width))? + moved)?)
        });
        Ok((Tensor::stack(&streams.collect::<Result<Vec<_>>>()?, 0)?, labels, n_train))
    };
    Ok(vec![one(3, 25, 7, 14)?, one(4, 18, 5, 11)?])
}

/// Tasks of which some share the direction that they are about; at least one probe is wrong more often than right on another task.
pub(in crate::course::sections) fn by_task() -> Result<Vec<(Tensor, Tensor)>> {
    first_telling(
        125,
        |number| tasks(&mut seeded(number)),
        |(x, y)| Ok(transfer_matrix(x, y)?.min_all()?.item()? < 0.5),
    )
}

fn tasks(random: &mut Random) -> Result<Vec<(Tensor, Tensor)>> {
    let mut one = |tasks: usize, count: usize, width: usize| -> Result<(Tensor, Tensor)> {
        let (mut streams, mut labels) = (Vec::new(), Vec::new());
        for task in 0..tasks {
            let (x, y) = examples(random, count, width, 0.8 + task as f64)?;
            // The last task has its direction elsewhere.
            streams.push(if task + 1 == tasks {
                Tensor::cat(&[x.narrow(1, 1, width - 1)?, x.narrow(1, 0, 1)?], 1)?
            } else {
                x
            });
            labels.push(y);
        }
        Ok((Tensor::stack(&streams, 0)?, Tensor::stack(&labels, 0)?))
    };
    Ok(vec![one(3, 16, 5)?, one(4, 11, 6)?])
}

type Steering = (HookedTransformer, Tokens, usize, Tensor, f64, (usize, usize));

pub(in crate::course::sections) fn steerings() -> Result<Vec<Steering>> {
    let (model, small, mut random) = (tiny()?, other()?, seeded(126));
    let tokens = model.to_tokens("The key on the cabinet")?;
    let answers = (model.to_single_token(" are")? as usize, model.to_single_token(" is")? as usize);
    let (wide, narrow) = (random.normal(model.cfg().d_model)?, random.normal(small.cfg().d_model)?);
    let ids = Tokens::from_rows(vec![vec![3, 17, 8, 25]])?;
    Ok(vec![(model, tokens, 1, wide, 3.0, answers), (small, ids, 0, narrow, -2.0, (7, 20))])
}
