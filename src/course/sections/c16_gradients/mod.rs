//! C16: gradients in place of patching.

mod answers;
pub mod handles;
mod inputs;

use candle_core::Tensor;

use crate::course::notebook::{Part, Section};
use crate::error::Result;
use crate::hooks::{Edit, HookPlan};
use crate::model::{HookedTransformer, RunOptions};
use crate::tensors::{TensorWords, einsum};
use crate::tokens::Tokens;

/// This file, from which solutions are cut.
const SOURCE: &str = include_str!("mod.rs");

pub(super) fn section() -> Section {
    let parts = vec![
        Part::Text(INTRODUCTION),
        Part::Code(PROMPTS),
        Part::Text(GRADIENTS),
        Part::Code(ONE_GRADIENT),
        Part::Exercise(handles::attribution_patching().task()),
        Part::Code(BESIDE_PATCHING),
        Part::Text(PATHS),
        Part::Exercise(handles::integrated_gradients().task()),
        Part::Code(COMPLETE),
        Part::Text(EDGES),
        Part::Exercise(handles::eap_scores().task()),
        Part::Text(TRUST),
        Part::Exercise(handles::compare().task()),
        Part::Code(MISSES),
    ];
    Section { file: "c16_gradients", parts }
}

const INTRODUCTION: &str = "# C16 · Gradients instead of patching

Activation patching needs a run for every site: all heads at all positions of a large model are thousands of runs. A gradient says for *every* site at once how the metric would change if the activation there changed a little.
Here you write three methods that are built on this, attribution patching, integrated gradients and edge attribution patching, and then ask how far they can be trusted.

Replace each `todo!()`, run the cell, and run the check below it.";

const PROMPTS: &str = "let model = HookedTransformer::from_pretrained(\"tiny\")?;
let clean = model.to_tokens(\"When John and Mary went to the shops, John gave the bag to\")?;
let corrupted = model.to_tokens(\"When John and Mary went to the shops, Mary gave the bag to\")?;
let metric = Metric::logit_diff(&model.answers([(\" Mary\", \" John\")])?);
let experiment = Experiment::new(&model, &clean, &corrupted, metric)?;";

const GRADIENTS: &str = "## The gradient of a metric at an activation

`HookPlan::new().watch(\"z\")` makes a run remember `z` of every layer so that gradients can be taken there. From the run's logits you compute the metric, one number, as a tensor; `run.taps.gradients(&metric)?` then goes backward once.
What it returns has both, for each watched point: `gradients.get((\"z\", layer))?` and `gradients.activation((\"z\", layer))?`, of the same shape.

The metric in this notebook is the difference of two logits at the last position, `answers.0` minus `answers.1`, which are two token ids. There is one prompt in each run.";

const ONE_GRADIENT: &str =
    "// How much each position's residual stream matters in the middle of the model, to first order.
let run = model.run(&corrupted, HookPlan::new().watch((\"resid_pre\", 2)), RunOptions::default())?;
let last = run.logits()?.at(&[0, -1])?;
let (mary, john) = (model.to_single_token(\" Mary\")? as usize, model.to_single_token(\" John\")? as usize);
let gradients = run.taps.gradients(&(last.get(mary)? - last.get(john)?)?)?;
gradients.get((\"resid_pre\", 2))?.sqr()?.sum((0, 2))?.sqrt()?.to_vec1::<f32>()?";

const BESIDE_PATCHING: &str =
    "// The same by the library, beside the exact effects, which took a run for each head. The diagonal is agreement.
let heads = [AxisName::Layer, AxisName::Head];
let estimated = experiment.attribution([\"z\"])?.sweep(\"z\", &heads)?;
let patched = experiment.get_act_patch_attn_head_out_all_pos()?;
Comparison::new(&patched, &estimated)?";

const PATHS: &str = "## Along the whole path

A gradient is a statement about small changes, and patching is a large one: between the two runs a softmax may saturate, and then the gradient at one end says nothing about the other.
**Integrated gradients** average the gradient along the straight line from the baseline `x0` to the activation `x`, and multiply that mean by `x - x0`. By the fundamental theorem of calculus the result, summed, is *exactly* the difference of the metric between both ends (**completeness**), up to the error of a finite number of steps.";

const COMPLETE: &str = "// Completeness: what the attributions sum to, and what they should sum to.
let integrated = experiment.integrated_gradients((\"resid_pre\", 2), 20)?;
(integrated.sweep((\"resid_pre\", 2), &[AxisName::Pos])?.values.values().sum(), integrated.effect.scalar()?, integrated.completeness_error.scalar()?)";

const EDGES: &str = "## From nodes to edges

A head writes into the residual stream, and every later component reads the sum of what was written. The **edge** from a head to an MLP is the head's part of what that MLP reads.
If the head wrote what it writes in the corrupted run, *for this reader only*, the metric would change by about the change of its output times the gradient at the reader's input. One backward pass thus scores all edges of the model: edge attribution patching (Syed et al. 2023).";

const TRUST: &str = "## How good is an estimate?

An estimate is worth what its comparison with the exact effects says. One number is the correlation; more useful is to look at what was missed, because a saturated softmax makes exactly the most important heads look unimportant.";

const MISSES: &str = "// The largest misses of attribution patching on this prompt, by the library.
let comparison = Comparison::new(&patched, &estimated)?;
comparison.worst[..3].to_vec()";

fn attribution_patching(
    model: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    answers: (usize, usize),
) -> Result<Tensor> {
    let (_, clean) = model.run_with_hooks(clean, HookPlan::new().capture("z"))?;
    let run = model.run(corrupted, HookPlan::new().watch("z"), RunOptions::default())?;
    let last = run.logits()?.at(&[0, -1])?;
    let gradients = run.taps.gradients(&(last.get(answers.0)? - last.get(answers.1)?)?)?;
    let mut layers = Vec::new();
    for layer in 0..model.cfg().n_layers {
        let change = (clean.get(("z", layer))? - gradients.activation(("z", layer))?)?;
        layers.push((gradients.get(("z", layer))? * change)?.sum((0, 1, 3))?);
    }
    Ok(Tensor::stack(&layers, 0)?)
}

fn integrated_gradients(
    model: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    layer: usize,
    answers: (usize, usize),
    steps: usize,
) -> Result<Tensor> {
    let point = ("resid_pre", layer);
    let x = model.run_with_hooks(clean, HookPlan::new().capture(point))?.1.get(point)?;
    let x0 = model.run_with_hooks(corrupted, HookPlan::new().capture(point))?.1.get(point)?;
    let change = (x - &x0)?;
    let mut total = change.zeros_like()?;
    for step in 0..steps {
        let place = (step as f64 + 0.5) / steps as f64;
        let between = (&x0 + (&change * place)?)?;
        let plan = HookPlan::new().edit(point, Edit::replace(between)).watch(point);
        let run = model.run(clean, plan, RunOptions::default())?;
        let last = run.logits()?.at(&[0, -1])?;
        let gradients = run.taps.gradients(&(last.get(answers.0)? - last.get(answers.1)?)?)?;
        total = (total + gradients.get(point)?)?;
    }
    let mean = (total / steps as f64)?;
    Ok((mean * change)?.sum((0, 2))?)
}

fn eap_scores(
    model: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    reader: usize,
    answers: (usize, usize),
) -> Result<Tensor> {
    let (_, corrupted) = model.run_with_hooks(corrupted, HookPlan::new().capture("result"))?;
    let plan = HookPlan::new().capture("result").watch(("mlp_in", reader));
    let run = model.run(clean, &plan, RunOptions::default())?;
    let last = run.logits()?.at(&[0, -1])?;
    let gradients = run.taps.gradients(&(last.get(answers.0)? - last.get(answers.1)?)?)?;
    let gradient = gradients.get(("mlp_in", reader))?;
    let clean = model.cache_of(run, &plan)?;
    let mut layers = Vec::new();
    for layer in 0..=reader {
        let change = (corrupted.get(("result", layer))? - clean.get(("result", layer))?)?;
        layers.push(einsum("b p h d, b p d -> h", &[&change, &gradient])?);
    }
    Ok(Tensor::stack(&layers, 0)?)
}

fn compare(exact: &Tensor, estimated: &Tensor) -> Result<(f32, Vec<(usize, usize)>)> {
    let centred = |x: &Tensor| x.broadcast_sub(&x.mean_all()?);
    let (x, y) = (centred(exact)?, centred(estimated)?);
    let together = (&x * &y)?.sum_all()?.item()?;
    let apart = (x.sqr()?.sum_all()?.item()? * y.sqr()?.sum_all()?.item()?).sqrt();
    let misses = (exact - estimated)?.abs()?.flatten_all()?;
    let worst = misses.top_k(3)?.1.to_vec1::<u32>()?;
    let heads = exact.dim(1)?;
    let worst = worst.iter().map(|&at| (at as usize / heads, at as usize % heads)).collect();
    Ok((together / apart, worst))
}
