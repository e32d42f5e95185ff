//! Wrong answers to the exercises of this section.

use candle_core::{DType, Tensor};

use super::{fit_logistic, layer_sweep, mean_difference, probe_accuracy, steered_logit_diff, transfer_matrix};
use crate::error::Result;
use crate::hooks::{Edit, HookPlan};
use crate::model::HookedTransformer;
use crate::tensors::{TensorWords, einsum};
use crate::tokens::Tokens;

fn unit(x: &Tensor) -> Result<Tensor> {
    Ok(x.broadcast_div(&x.sqr()?.sum_all()?.sqrt()?)?)
}

pub(super) fn negative_first(positive: &Tensor, negative: &Tensor) -> Result<Tensor> {
    mean_difference(negative, positive)
}

pub(super) fn not_normalised(positive: &Tensor, negative: &Tensor) -> Result<Tensor> {
    Ok((positive.mean(0)? - negative.mean(0)?)?)
}

pub(super) fn sums(positive: &Tensor, negative: &Tensor) -> Result<Tensor> {
    unit(&(positive.sum(0)? - negative.sum(0)?)?)
}

pub(super) fn positive_alone(positive: &Tensor, _: &Tensor) -> Result<Tensor> {
    unit(&positive.mean(0)?)
}

pub(super) fn largest_is_one(positive: &Tensor, negative: &Tensor) -> Result<Tensor> {
    let difference = not_normalised(positive, negative)?;
    Ok(difference.broadcast_div(&difference.abs()?.max(0)?)?)
}

/// How a step of gradient descent is taken.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    NoBias,
    Signs,
    Sum,
    Uphill,
    Linear,
    BiasFirst,
}

fn fitted(how: Step, (x, labels, steps, rate): (&Tensor, &Tensor, usize, f64)) -> Result<(Tensor, f32)> {
    let (n, width) = x.dims2()?;
    let (mut w, mut b) = (Tensor::zeros(width, DType::F32, x.device())?, 0.0);
    let labels = if how == Step::Signs { ((labels * 2.)? - 1.)? } else { labels.clone() };
    let rate = match how {
        Step::Uphill => -rate,
        Step::Sum => rate * n as f64,
        _ => rate,
    };
    for _ in 0..steps {
        let error = |b: f64| -> Result<Tensor> {
            let logits = (einsum("n d, d -> n", &[x, &w])? + b)?;
            let guesses = if how == Step::Linear { logits } else { candle_nn::ops::sigmoid(&logits)? };
            Ok((guesses - &labels)?)
        };
        let own = error(b)?;
        if how != Step::NoBias {
            b -= rate * f64::from(own.mean_all()?.item()?);
        }
        let error = if how == Step::BiasFirst { error(b)? } else { own };
        let slope = (einsum("n, n d -> d", &[&error, x])? * (rate / n as f64))?;
        w = (w - slope)?;
    }
    Ok((w, b as f32))
}

macro_rules! steps {
    ($($name:ident => $how:ident;)+) => {$(
        pub(super) fn $name(x: &Tensor, labels: &Tensor, steps: usize, rate: f64) -> Result<(Tensor, f32)> {
            fitted(Step::$how, (x, labels, steps, rate))
        }
    )+};
}
steps! {
    no_bias => NoBias;
    labels_of_signs => Signs;
    summed_slope => Sum;
    uphill => Uphill;
    linear => Linear;
    bias_first => BiasFirst;
}

pub(super) fn one_half(x: &Tensor, labels: &Tensor, w: &Tensor, b: f32) -> Result<f32> {
    probe_accuracy(x, labels, w, b - 0.5)
}

pub(super) fn without_bias(x: &Tensor, labels: &Tensor, w: &Tensor, _: f32) -> Result<f32> {
    probe_accuracy(x, labels, w, 0.0)
}

pub(super) fn errors(x: &Tensor, labels: &Tensor, w: &Tensor, b: f32) -> Result<f32> {
    Ok(1.0 - probe_accuracy(x, labels, w, b)?)
}

pub(super) fn count(x: &Tensor, labels: &Tensor, w: &Tensor, b: f32) -> Result<f32> {
    Ok(probe_accuracy(x, labels, w, b)? * labels.dim(0)? as f32)
}

pub(super) fn share_of_guesses(x: &Tensor, _: &Tensor, w: &Tensor, b: f32) -> Result<f32> {
    let logits = (einsum("n d, d -> n", &[x, w])? + f64::from(b))?;
    logits.gt(0f32)?.to_dtype(DType::F32)?.mean_all()?.item()
}

/// A sweep from which rows are used to fit, and which two sets are measured, each a start and a length.
fn swept(streams: &Tensor, labels: &Tensor, fit: (usize, usize), measured: [(usize, usize); 2]) -> Result<Tensor> {
    let mut accuracies = Vec::new();
    for layer in 0..streams.dim(0)? {
        let x = streams.get(layer)?;
        let of = |(start, len): (usize, usize)| -> Result<(Tensor, Tensor)> {
            Ok((x.narrow(0, start, len)?, labels.narrow(0, start, len)?))
        };
        let (rows, own) = of(fit)?;
        let (w, b) = fit_logistic(&rows, &own, 100, 0.5)?;
        for set in measured {
            let (rows, own) = of(set)?;
            accuracies.push(probe_accuracy(&rows, &own, &w, b)?);
        }
    }
    Ok(Tensor::from_vec(accuracies, (streams.dim(0)?, 2), streams.device())?)
}

pub(super) fn same_rows(streams: &Tensor, labels: &Tensor, n_train: usize) -> Result<Tensor> {
    swept(streams, labels, (0, n_train), [(0, n_train); 2])
}

pub(super) fn all_rows_fitted(streams: &Tensor, labels: &Tensor, n_train: usize) -> Result<Tensor> {
    let all = labels.dim(0)?;
    swept(streams, labels, (0, all), [(0, n_train), (n_train, all - n_train)])
}

pub(super) fn all_rows_tested(streams: &Tensor, labels: &Tensor, n_train: usize) -> Result<Tensor> {
    swept(streams, labels, (0, n_train), [(0, n_train), (0, labels.dim(0)?)])
}

pub(super) fn sets_exchanged(streams: &Tensor, labels: &Tensor, n_train: usize) -> Result<Tensor> {
    let rest = labels.dim(0)? - n_train;
    swept(streams, labels, (n_train, rest), [(n_train, rest), (0, n_train)])
}

pub(super) fn columns_exchanged(streams: &Tensor, labels: &Tensor, n_train: usize) -> Result<Tensor> {
    let both = layer_sweep(streams, labels, n_train)?;
    Ok(Tensor::cat(&[both.narrow(1, 1, 1)?, both.narrow(1, 0, 1)?], 1)?)
}

pub(super) fn tested_by_row(streams: &Tensor, labels: &Tensor) -> Result<Tensor> {
    Ok(transfer_matrix(streams, labels)?.t()?)
}

pub(super) fn own_labels(streams: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let mut all = Vec::new();
    for trained in 0..streams.dim(0)? {
        let (w, b) = fit_logistic(&streams.get(trained)?, &labels.get(trained)?, 100, 0.5)?;
        for task in 0..streams.dim(0)? {
            all.push(probe_accuracy(&streams.get(task)?, &labels.get(trained)?, &w, b)?);
        }
    }
    Ok(Tensor::from_vec(all, (streams.dim(0)?, streams.dim(0)?), streams.device())?)
}

pub(super) fn better_of_both_signs(streams: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let found = transfer_matrix(streams, labels)?;
    Ok(found.maximum(&(1.0 - &found)?)?)
}

/// The logit difference of a run with this edit of the stream behind a block.
fn steered(model: &HookedTransformer, tokens: &Tokens, plan: HookPlan, answers: (usize, usize)) -> Result<f32> {
    let last = model.run_with_hooks(tokens, plan)?.0.at(&[0, -1])?;
    (last.get(answers.0)? - last.get(answers.1)?)?.item()
}

macro_rules! steerings {
    ($($name:ident($direction:ident, $size:ident, $layer:ident) => $plan:expr;)+) => {$(
        pub(super) fn $name(
            model: &HookedTransformer,
            tokens: &Tokens,
            $layer: usize,
            $direction: &Tensor,
            $size: f64,
            answers: (usize, usize),
        ) -> Result<f32> {
            steered(model, tokens, $plan, answers)
        }
    )+};
}
steerings! {
    length_kept(direction, size, layer) =>
        HookPlan::new().edit(("resid_post", layer), Edit::add((direction * size)?));
    last_position(direction, size, layer) =>
        HookPlan::new().edit(("resid_post", layer), Edit::add((unit(direction)? * size)?).pos(-1));
    block_too_early(direction, size, layer) =>
        HookPlan::new().edit(("resid_pre", layer), Edit::add((unit(direction)? * size)?));
    replaced(direction, size, layer) =>
        HookPlan::new().edit(("resid_post", layer), Edit::replace((unit(direction)? * size)?));
    other_way(direction, size, layer) =>
        HookPlan::new().edit(("resid_post", layer), Edit::add((unit(direction)? * -size)?));
}

pub(super) fn answers_exchanged(
    model: &HookedTransformer,
    tokens: &Tokens,
    layer: usize,
    direction: &Tensor,
    size: f64,
    answers: (usize, usize),
) -> Result<f32> {
    Ok(-steered_logit_diff(model, tokens, layer, direction, size, answers)?)
}
