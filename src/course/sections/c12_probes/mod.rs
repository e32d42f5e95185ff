//! C12: linear probes, and whether what they find matters.

mod answers;
pub mod handles;
mod inputs;

use candle_core::{DType, Tensor};

use crate::course::notebook::{Part, Section};
use crate::error::Result;
use crate::hooks::{Edit, HookPlan};
use crate::model::HookedTransformer;
use crate::tensors::{TensorWords, einsum};
use crate::tokens::Tokens;

/// This file, from which solutions are cut.
const SOURCE: &str = include_str!("mod.rs");

pub(super) fn section() -> Section {
    let parts = vec![
        Part::Text(INTRODUCTION),
        Part::Code("let model = HookedTransformer::from_pretrained(\"tiny\")?;"),
        Part::Text(DATA),
        Part::Code(COLLECT),
        Part::Exercise(handles::mean_difference().task()),
        Part::Text(LOGISTIC),
        Part::Exercise(handles::fit_logistic().task()),
        Part::Exercise(handles::probe_accuracy().task()),
        Part::Text(HELD_OUT),
        Part::Exercise(handles::layer_sweep().task()),
        Part::Code(SWEEP),
        Part::Text(STRICTER),
        Part::Text(TRANSFER),
        Part::Exercise(handles::transfer_matrix().task()),
        Part::Code(TRANSFERRED),
        Part::Text(MOVED),
        Part::Text(STEERING),
        Part::Exercise(handles::steered_logit_diff().task()),
        Part::Code(STEERED),
    ];
    Section { file: "c12_probes", parts }
}

const INTRODUCTION: &str = "# C12 · Linear probes

Does a model *know* that a noun is plural? A **probe** is a small classifier of activations: if a linear one can read the number of the noun off the residual stream, then the number is there, along a direction.
Here you fit probes in two ways, measure them on prompts that they have not seen, and then ask what a probe cannot tell: whether the model *uses* that direction.

Replace each `todo!()`, run the cell, and run the check below it.";

const DATA: &str = "## Activations with labels

The library's task of subject-verb agreement makes prompts such as \"The keys on the cabinet\", which know whether their subject is plural. The second noun is free, so that a probe that only looks at the last word fails. (One template, \"The {subject}\", has no second noun; the cell leaves its prompts out.)";

const COLLECT: &str = "// The residual stream at the last position after each block, [layer, prompt, d_model], and whether the subject is plural.
fn streams_of(model: &HookedTransformer, prompts: &[TaskPrompt]) -> Result<Tensor> {
    let mut by_layer = vec![Vec::new(); model.cfg().n_layers];
    for prompt in prompts {
        model.visit(&prompt.clean, \"resid_post\", |x, point| {
            by_layer[point.layer().unwrap_or(0)].push(x.at(&[0, -1])?);
            Ok(())
        })?;
    }
    let layers = by_layer.iter().map(|rows| Ok(Tensor::stack(rows, 0)?)).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::stack(&layers, 0)?)
}
fn is_plural(prompts: &[TaskPrompt]) -> Vec<bool> {
    prompts.iter().map(|prompt| prompt.plural == Some(true)).collect()
}
let mut prompts = Task::Sva.prompts(tasks::Split::Train, 160, 0)?.prompts;
prompts.retain(|prompt| prompt.clean.split(' ').count() > 2);
prompts.truncate(120);
let streams = streams_of(&model, &prompts)?;
let plural = is_plural(&prompts);
streams.dims().to_vec()";

const LOGISTIC: &str = "## Logistic regression by hand

The difference of means ignores how the activations vary. Logistic regression looks for the direction `w` and the bias `b` with which `sigmoid(x w + b)` is closest to the labels, 0 or 1, in the sense of the cross-entropy.
The gradient of that loss is short: with `error = sigmoid(x w + b) - label` for each example, it is the mean of `error * x` for `w`, and the mean of `error` for `b`.";

const HELD_OUT: &str = "## Prompts that the probe has not seen

With as many dimensions as examples a linear probe can fit *any* labels. What it gets right on its training examples says nothing; only held-out examples count.

How far they are held out matters too. Of the last 40 prompts, which are new, the nouns and the templates also occur among the first 80: a probe that knows each noun by heart would do well. Two stricter tests of the same kind of probe are in the figure below the exercise: *phrasings* that it has not seen (`tasks::Split::Templates`), and *nouns* that it has not seen: a probe that is fitted on prompts about two thirds of the nouns, and tested on those about the others.";

const SWEEP: &str = "// The library's probe, layer by layer. Where does the number of the subject reach the last position?
fn accuracy(probe: &Probe, x: &Tensor, labels: &[bool]) -> Result<f32> {
    Ok(probe.score_labels(x, labels)?.accuracy.unwrap_or(f64::NAN) as f32)
}
fn rows(x: &Tensor, of: &[usize]) -> Result<Tensor> {
    let index: Vec<u32> = of.iter().map(|&row| row as u32).collect();
    Ok(x.index_select(&Tensor::new(index, x.device())?, 0)?)
}
fn labels_of(labels: &[bool], of: &[usize]) -> Vec<bool> {
    of.iter().map(|&row| labels[row]).collect()
}
// The index of a noun in the list, the same for singular and plural.
fn noun(word: &str) -> usize {
    tasks::words::NOUNS.iter().position(|noun| noun.0 == word || noun.1 == word).unwrap_or(0)
}
let rephrased = Task::Sva.prompts(tasks::Split::Templates, 60, 1)?.prompts;
let elsewhere = streams_of(&model, &rephrased)?;
let nouns: Vec<usize> = prompts.iter().map(|prompt| noun(prompt.word(\"subject\").unwrap_or_default())).collect();
let by_noun = ProbeSplit::grouped(&plural, nouns, 0.33, 0)?;
let (fitted, held_out) = (labels_of(&plural, &by_noun.train), labels_of(&plural, &by_noun.test));
let (mut on_prompts, mut on_phrasings, mut on_nouns) = (Vec::new(), Vec::new(), Vec::new());
for layer in 0..model.cfg().n_layers {
    let x = streams.get(layer)?;
    let probe = Probe::logistic(&x.narrow(0, 0, 80)?, &plural[..80], 10.0)?;
    on_prompts.push(accuracy(&probe, &x.narrow(0, 80, 40)?, &plural[80..])?);
    on_phrasings.push(accuracy(&probe, &elsewhere.get(layer)?, &is_plural(&rephrased))?);
    let probe = Probe::logistic(&rows(&x, &by_noun.train)?, &fitted, 10.0)?;
    on_nouns.push(accuracy(&probe, &rows(&x, &by_noun.test)?, &held_out)?);
}
let curves = vec![on_prompts, on_phrasings, on_nouns];
line(&curves).names([\"new prompts\", \"new phrasings\", \"new nouns\"]).title(\"Test accuracy of probes for the subject's number\").x_label(\"after block\").y_label(\"accuracy\")";

const STRICTER: &str = "By the end all three agree: after block 2 the number of the subject can be read at the last position, for phrasings and nouns that the probe was not fitted on as well. After block 1 they do not: 0.9 of the new prompts and of those about new nouns are right, and only 0.63 in new phrasings, little more than a guess. What the probe found there holds for the phrasings that it knows.";

const TRANSFER: &str = "## Does a probe mean the same elsewhere?

A probe that reads \"plural\" off one kind of sentence may read it off another, or it may have learnt something about the first kind only. A table of all probes on all data sets shows which directions are shared.";

const TRANSFERRED: &str = "// The subject's number in long sentences, the number of the last word of the same sentences, and that of a subject that stands alone.
fn last_is_plural(prompts: &[TaskPrompt]) -> Vec<bool> {
    prompts.iter().map(|prompt| tasks::words::NOUNS.iter().any(|noun| Some(noun.1) == prompt.word(\"other\"))).collect()
}
let many = Task::Sva.prompts(tasks::Split::Train, 3000, 5)?.prompts;
let long: Vec<TaskPrompt> = many.iter().filter(|prompt| prompt.template.is_some_and(|template| template < 5)).take(100).cloned().collect();
let alone: Vec<TaskPrompt> = many.iter().filter(|prompt| prompt.template == Some(7)).take(100).cloned().collect();
let (in_long, in_alone) = (streams_of(&model, &long)?, streams_of(&model, &alone)?);
let labels = vec![is_plural(&long), last_is_plural(&long), is_plural(&alone)];
for block in 1..3 {
    let x = [in_long.get(block)?, in_long.get(block)?, in_alone.get(block)?];
    let mut table = Vec::new();
    for fitted in 0..3 {
        let probe = Probe::logistic(&x[fitted].narrow(0, 0, 60)?, &labels[fitted][..60], 10.0)?;
        for tested in 0..3 {
            let rest = labels[tested].len() - 60;
            table.push(accuracy(&probe, &x[tested].narrow(0, 60, rest)?, &labels[tested][60..])?);
        }
    }
    let axis = |name: &str| Axis::new(name, [\"subject\", \"last word\", \"subject alone\"]);
    let accuracies = Labelled::new(format!(\"Accuracy after block {block}\"), vec![axis(\"fitted on\"), axis(\"tested on\")], table)?;
    imshow(accuracies).show()?;
}";

const MOVED: &str = "Read the third row, the probe of nouns that stand alone (\"The keys\"), where the last word *is* the subject. After block 1 it reads the number of the *last word* in long sentences (0.95), and of the subject it knows nothing (0.47). After block 2 it reads the number of the *subject* (1.00), and the last word's no longer (0.43). So block 2 writes the subject's number at the end, in the place where a noun that is alone has its own: a probe finds a direction, and what stands in it may change from block to block.";

const STEERING: &str = "## Does the model use it?

A probe shows that something can be read, not that the model reads it. The test is causal: push the residual stream along the direction and look whether the model's behaviour follows. The control is a random direction of the same length. (One random direction at one prompt, as in the cell at the end, is an anecdote: try twenty before you believe it.)";

const STEERED: &str = "// Steering towards the plural after block 1, and along a random direction of the same length: the logit of \" are\" minus that of \" is\".
fn mean_of(x: &Tensor, labels: &Tensor) -> Result<Tensor> {
    Ok((einsum(\"n, n d -> d\", &[labels, x])? / f64::from(labels.sum_all()?.item()?))?)
}
fn length(x: &Tensor) -> Result<f64> {
    Ok(f64::from(x.sqr()?.sum_all()?.item()?).sqrt())
}
let at_block = streams.get(1)?;
let labels = Tensor::from_vec(plural.iter().map(|plural| f32::from(u8::from(*plural))).collect::<Vec<f32>>(), plural.len(), &Device::Cpu)?;
let towards_plural = (mean_of(&at_block, &labels)? - mean_of(&at_block, &(1.0 - &labels)?)?)?;
let noise = Random::new(5).normal(model.cfg().d_model)?;
let noise = (&noise * (length(&towards_plural)? / length(&noise)?))?;
let (are, is) = (model.to_single_token(\" are\")? as usize, model.to_single_token(\" is\")? as usize);
let mut differences = Vec::new();
for direction in [&towards_plural, &noise] {
    for size in [-2.0, 0.0, 2.0] {
        let plan = HookPlan::new().edit((\"resid_post\", 1), Edit::add((direction * size)?));
        let last = model.run_with_hooks(\"The key on the cabinet\", plan)?.0.at(&[0, -1])?;
        differences.push((last.get(are)? - last.get(is)?)?.item()?);
    }
}
let axes = vec![Axis::new(\"direction\", [\"plural\", \"random\"]), Axis::new(\"size\", [\"-2\", \"0\", \"2\"])];
Labelled::new(\"are - is\", axes, differences)?";

fn mean_difference(positive: &Tensor, negative: &Tensor) -> Result<Tensor> {
    let difference = (positive.mean(0)? - negative.mean(0)?)?;
    let length = difference.sqr()?.sum_all()?.sqrt()?;
    Ok(difference.broadcast_div(&length)?)
}

fn fit_logistic(x: &Tensor, labels: &Tensor, steps: usize, rate: f64) -> Result<(Tensor, f32)> {
    let (n, width) = x.dims2()?;
    let mut w = Tensor::zeros(width, DType::F32, x.device())?;
    let mut b = 0.0;
    for _ in 0..steps {
        let logits = (einsum("n d, d -> n", &[x, &w])? + b)?;
        let error = (candle_nn::ops::sigmoid(&logits)? - labels)?;
        let slope = (einsum("n, n d -> d", &[&error, x])? / n as f64)?;
        w = (w - (slope * rate)?)?;
        b -= rate * f64::from(error.mean_all()?.item()?);
    }
    Ok((w, b as f32))
}

fn probe_accuracy(x: &Tensor, labels: &Tensor, w: &Tensor, b: f32) -> Result<f32> {
    let logits = (einsum("n d, d -> n", &[x, w])? + f64::from(b))?;
    let guesses = logits.gt(0f32)?.to_dtype(DType::F32)?;
    guesses.eq(labels)?.to_dtype(DType::F32)?.mean_all()?.item()
}

fn layer_sweep(streams: &Tensor, labels: &Tensor, n_train: usize) -> Result<Tensor> {
    let n_test = labels.dim(0)? - n_train;
    let (train_labels, test_labels) = (labels.narrow(0, 0, n_train)?, labels.narrow(0, n_train, n_test)?);
    let mut accuracies = Vec::new();
    for layer in 0..streams.dim(0)? {
        let x = streams.get(layer)?;
        let (train, test) = (x.narrow(0, 0, n_train)?, x.narrow(0, n_train, n_test)?);
        let (w, b) = fit_logistic(&train, &train_labels, 100, 0.5)?;
        accuracies
            .push(vec![probe_accuracy(&train, &train_labels, &w, b)?, probe_accuracy(&test, &test_labels, &w, b)?]);
    }
    Ok(Tensor::new(accuracies, streams.device())?)
}

fn transfer_matrix(streams: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let tasks = streams.dim(0)?;
    let mut rows = Vec::new();
    for trained in 0..tasks {
        let (w, b) = fit_logistic(&streams.get(trained)?, &labels.get(trained)?, 100, 0.5)?;
        let tested = (0..tasks).map(|task| probe_accuracy(&streams.get(task)?, &labels.get(task)?, &w, b));
        rows.push(tested.collect::<Result<Vec<f32>>>()?);
    }
    Ok(Tensor::new(rows, streams.device())?)
}

fn steered_logit_diff(
    model: &HookedTransformer,
    tokens: &Tokens,
    layer: usize,
    direction: &Tensor,
    size: f64,
    answers: (usize, usize),
) -> Result<f32> {
    let unit = direction.broadcast_div(&direction.sqr()?.sum_all()?.sqrt()?)?;
    let plan = HookPlan::new().edit(("resid_post", layer), Edit::add((unit * size)?));
    let last = model.run_with_hooks(tokens, plan)?.0.at(&[0, -1])?;
    (last.get(answers.0)? - last.get(answers.1)?)?.item()
}
