//! The exercises of this section.

use super::{answers, inputs};
use crate::course::answer::{Answer, IntoAnswer};
use crate::course::exercise::{About, Lend, exercise};
use crate::course::judge::{Known, Rule, judge, prove};
use crate::course::verdict::Verdict;
use crate::model::HookedTransformer;
use crate::tokens::Tokens;
use candle_core::Tensor;

exercise! {
    /// The direction from one group's mean to another's.
    MeanDifference, "2.a", mean_difference(positive: &Tensor, negative: &Tensor) -> Tensor;
    task: "The simplest probe has nothing to fit: the direction from the mean activation of one group to that of another. Return it with length 1, so that sizes along it can be compared.

- `positive`: `[n, d_model]`, `negative`: `[m, d_model]`
- returns `[d_model]`, pointing from the negative to the positive mean";
    axes: &[&["d_model"]];
    inputs: inputs::groups => (Tensor, Tensor);
    hints: &[
        "The mean of a group is over its examples, the first axis.",
        "Subtract the means; the length is the root of the sum of squares; divide by it.",
        "let difference = (positive.mean(0)? - negative.mean(0)?)?; difference.broadcast_div(&difference.sqr()?.sum_all()?.sqrt()?)?;",
    ];
    wrong: [
        "the direction points the other way: it is positive minus negative." => answers::negative_first,
        "its length is not 1. Divide it by its length." => answers::not_normalised,
        "these are sums of examples. The groups have different sizes: take means." => answers::sums,
        "this is the mean of the positive group alone. Subtract that of the negative one." => answers::positive_alone,
        "it is divided by its largest coordinate. Its length is the root of the sum of squares." => answers::largest_is_one,
    ];
    accepted: [];
}

exercise! {
    /// A logistic probe by gradient descent.
    FitLogistic, "2.b1", fit_logistic(x: &Tensor, labels: &Tensor, steps: usize, rate: f64) -> (Tensor, f32);
    task: "Fit a logistic probe by plain gradient descent. Begin with `w` and `b` at 0; at each of `steps` steps compute the gradient over all examples with the current `w` and `b`, and subtract `rate` times it from both.

- `x`: `[n, d_model]`, `labels`: `[n]`, 0 or 1
- the gradient is the mean over examples of `error * x` for `w`, and of `error` for `b`, where `error = sigmoid(x w + b) - label`
- returns `w`, `[d_model]`, and `b`";
    axes: &[&["d_model"], &[]];
    inputs: inputs::labelled => (Tensor, Tensor, usize, f64);
    hints: &[
        "Each step: logits, probabilities, errors, then both gradients from the same errors.",
        "candle_nn::ops::sigmoid(&logits)? gives probabilities; einsum multiplies and sums in one go.",
        r#"let error = (candle_nn::ops::sigmoid(&logits)? - labels)?; let slope = (einsum("n, n d -> d", &[&error, x])? / n as f64)?; w = (w - (slope * rate)?)?; b -= rate * f64::from(error.mean_all()?.item()?);"#,
    ];
    wrong: [
        "the bias stays at 0. It has a gradient of its own, the mean error." => answers::no_bias,
        "the labels are turned into -1 and 1. The error is taken from 0 and 1 here." => answers::labels_of_signs,
        "the gradients are summed over examples. Take the mean." => answers::summed_slope,
        "the steps go uphill: subtract the gradient." => answers::uphill,
        "there is no sigmoid: this is linear regression." => answers::linear,
        "the bias is changed before the gradient of w is computed. Both come from the same errors." => answers::bias_first,
    ];
    accepted: [];
}

exercise! {
    /// The share of examples that a probe gets right.
    ProbeAccuracy, "2.b2", probe_accuracy(x: &Tensor, labels: &Tensor, w: &Tensor, b: f32) -> f32;
    task: "On what share of examples is the probe right? It says 1 where `x w + b` is above 0, which is where the probability is above one half.

- `x`: `[n, d_model]`, `labels`: `[n]`, 0 or 1; `w`: `[d_model]`
- returns a number from 0 to 1";
    axes: &[&[]];
    inputs: inputs::probes => (Tensor, Tensor, Tensor, f32);
    hints: &[
        "Logits above 0 are guesses of 1.",
        "gt(0f32) gives u8; turn it into f32 with to_dtype, compare it with the labels by eq, and average.",
        "let guesses = logits.gt(0f32)?.to_dtype(DType::F32)?; guesses.eq(labels)?.to_dtype(DType::F32)?.mean_all()?.item();",
    ];
    wrong: [
        "the logits are compared with one half. A logit of 0 is a probability of one half." => answers::one_half,
        "the bias is left out." => answers::without_bias,
        "this is the share of errors." => answers::errors,
        "this is a count. Divide by the number of examples." => answers::count,
        "this is the share of guesses of 1. Compare them with the labels." => answers::share_of_guesses,
    ];
    accepted: [];
}

exercise! {
    /// The accuracy of probes in each layer, on examples that were fitted and on others.
    LayerSweep, "2.c", layer_sweep(streams: &Tensor, labels: &Tensor, n_train: usize) -> Tensor;
    task: "Fit a probe in every layer on the first `n_train` examples, with your `fit_logistic` at 100 steps and a rate of 0.5, and measure it on those and on the rest. The second column is the one to believe.

- `streams`: `[layer, example, d_model]`, `labels`: `[example]`
- returns `[layer, 2]`: the accuracy on the training examples, then that on the others";
    axes: &[&["layer", "train or test"]];
    inputs: inputs::by_layer => (Tensor, Tensor, usize);
    hints: &[
        "Examples are split once, the same way in every layer, and the labels with them.",
        "narrow(0, 0, n_train) and narrow(0, n_train, rest) of the layer's examples and of the labels; fit on the first, measure on both.",
        "let (w, b) = fit_logistic(&train, &train_labels, 100, 0.5)?; accuracies.push(vec![probe_accuracy(&train, &train_labels, &w, b)?, probe_accuracy(&test, &test_labels, &w, b)?]);",
    ];
    wrong: [
        "both columns are measured on the training examples. Measure the second on the others." => answers::same_rows,
        "the probes are fitted on all examples, the test ones included, so that nothing is held out." => answers::all_rows_fitted,
        "the second column is measured on all examples. Leave out those that were fitted." => answers::all_rows_tested,
        "the probes are fitted on the last examples and tested on the first. Train on the first n_train." => answers::sets_exchanged,
        "the columns are exchanged: training accuracy comes first." => answers::columns_exchanged,
    ];
    accepted: [];
}

exercise! {
    /// How well each task's probe does on each other task.
    TransferMatrix, "2.d", transfer_matrix(streams: &Tensor, labels: &Tensor) -> Tensor;
    task: "Fit a probe on each task, as before with 100 steps and a rate of 0.5, and measure it on every task, its own included. Tasks whose probes work on each other share a direction.

- `streams`: `[task, example, d_model]`, `labels`: `[task, example]`
- returns `[trained on, tested on]`";
    axes: &[&["trained on", "tested on"]];
    inputs: inputs::by_task => (Tensor, Tensor);
    hints: &[
        "One fit for each row; one measurement for each entry of it.",
        "streams.get(task)? and labels.get(task)? are a task's examples and labels. The labels of an entry are those of the task that is tested.",
        "let tested = (0..tasks).map(|task| probe_accuracy(&streams.get(task)?, &labels.get(task)?, &w, b)); rows.push(tested.collect::<Result<Vec<f32>>>()?);",
    ];
    wrong: [
        "rows and columns are exchanged: a row is one probe." => answers::tested_by_row,
        "the labels are those of the task that the probe was fitted on. Take those of the task that is tested." => answers::own_labels,
        "an accuracy below one half is flipped. A probe that is wrong more often than not points the other way, and that should be seen." => answers::better_of_both_signs,
    ];
    accepted: [];
}

exercise! {
    /// The logit difference after a push along a direction.
    SteeredLogitDiff, "2.e", steered_logit_diff(model: &HookedTransformer, tokens: &Tokens, layer: usize, direction: &Tensor, size: f64, answers: (usize, usize)) -> f32;
    task: "Push the residual stream after block `layer` along a direction, at all positions, and return the logit difference of two answers at the last position. The push has the length `size` whatever the direction's own length is: only then can a probe's direction be compared with a random one.

- `tokens`: one prompt; `direction`: `[d_model]`, of any length
- returns the logit of token `answers.0` minus that of `answers.1`";
    axes: &[&[]];
    inputs: inputs::steerings => (HookedTransformer, Tokens, usize, Tensor, f64, (usize, usize));
    hints: &[
        "Make the direction a unit vector first.",
        r#"HookPlan::new().edit(("resid_post", layer), Edit::add(push)) adds to every position; model.run_with_hooks(tokens, plan)? runs it."#,
        "let unit = direction.broadcast_div(&direction.sqr()?.sum_all()?.sqrt()?)?; then Edit::add((unit * size)?) and the difference of two logits at(&[0, -1]).",
    ];
    wrong: [
        "the push is as long as the direction is. Divide the direction by its length first." => answers::length_kept,
        "only the last position is pushed. Push all of them." => answers::last_position,
        "the stream is pushed before the block, at resid_pre. Push after it." => answers::block_too_early,
        "the stream is replaced by the push. Add it." => answers::replaced,
        "the push goes the other way." => answers::other_way,
        "the answers are exchanged: the first minus the second." => answers::answers_exchanged,
    ];
    accepted: [];
}
