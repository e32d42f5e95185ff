//! Answers of this section that are wrong, or right in another way.

use candle_core::Tensor;

use super::{attribution_patching, compare, eap_scores, integrated_gradients};
use crate::error::Result;
use crate::hooks::{Edit, Gradients, HookPlan, HookQueries};
use crate::model::ops::softmax;
use crate::model::{HookedTransformer, RunOptions};
use crate::tensors::{TensorWords, einsum};
use crate::tokens::Tokens;

type Ids = (usize, usize);

fn difference(logits: &Tensor, answers: Ids) -> Result<Tensor> {
    let last = logits.at(&[0, -1])?;
    Ok((last.get(answers.0)? - last.get(answers.1)?)?)
}

/// The metric's gradients in a run, and its activations.
fn gradients(
    model: &HookedTransformer,
    tokens: &Tokens,
    points: impl Into<HookQueries>,
    answers: Ids,
) -> Result<Gradients> {
    let run = model.run(tokens, HookPlan::new().watch(points), RunOptions::default())?;
    run.taps.gradients(&difference(&run.logits()?, answers)?)
}

/// What `of` makes of the gradient at `z` of each layer in the corrupted run, of `z` there, and of `z` in the clean run.
fn heads(
    (model, clean, corrupted, answers): (&HookedTransformer, &Tokens, &Tokens, Ids),
    of: impl Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let (there, put_in) = (gradients(model, corrupted, "z", answers)?, gradients(model, clean, "z", answers)?);
    let layers = (0..model.cfg().n_layers).map(|layer| {
        let point = ("z", layer);
        of(&there.get(point)?, &there.activation(point)?, &put_in.activation(point)?)
    });
    Ok(Tensor::stack(&layers.collect::<Result<Vec<_>>>()?, 0)?)
}

pub(super) fn exchanged(model: &HookedTransformer, clean: &Tokens, corrupted: &Tokens, answers: Ids) -> Result<Tensor> {
    attribution_patching(model, corrupted, clean, answers)
}

pub(super) fn wrong_sign(
    model: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    answers: Ids,
) -> Result<Tensor> {
    Ok(attribution_patching(model, clean, corrupted, answers)?.neg()?)
}

/// The gradient at the clean run, with the difference as it should be.
pub(super) fn at_the_clean_run(
    model: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    answers: Ids,
) -> Result<Tensor> {
    Ok(attribution_patching(model, corrupted, clean, answers)?.neg()?)
}

pub(super) fn gradient_alone(
    model: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    answers: Ids,
) -> Result<Tensor> {
    heads((model, clean, corrupted, answers), |gradient, _, _| Ok(gradient.sum((0, 1, 3))?))
}

pub(super) fn times_the_clean(
    model: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    answers: Ids,
) -> Result<Tensor> {
    heads((model, clean, corrupted, answers), |gradient, _, clean| Ok((gradient * clean)?.sum((0, 1, 3))?))
}

pub(super) fn meaned(model: &HookedTransformer, clean: &Tokens, corrupted: &Tokens, answers: Ids) -> Result<Tensor> {
    heads((model, clean, corrupted, answers), |gradient, there, clean| {
        Ok((gradient * (clean - there)?)?.mean(3)?.sum((0, 1))?)
    })
}

pub(super) fn last_position(
    model: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    answers: Ids,
) -> Result<Tensor> {
    heads((model, clean, corrupted, answers), |gradient, there, clean| {
        Ok((gradient * (clean - there)?)?.at(&[0, -1])?.sum(1)?)
    })
}

pub(super) fn without_sign(
    model: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    answers: Ids,
) -> Result<Tensor> {
    Ok(attribution_patching(model, clean, corrupted, answers)?.abs()?)
}

/// How integrated gradients are computed.
struct Way {
    /// The steps' places from the baseline to the activation, and what their sum is multiplied by.
    places: Vec<f64>,
    weight: f64,
    of_probabilities: bool,
    times_x: bool,
}

impl Way {
    fn steps(steps: usize, first: f64) -> Self {
        let places = (0..steps).map(|step| (step as f64 + first) / steps as f64).collect();
        Self { places, weight: 1.0 / steps as f64, of_probabilities: false, times_x: false }
    }

    fn attribute(
        &self,
        model: &HookedTransformer,
        [clean, corrupted]: [&Tokens; 2],
        layer: usize,
        answers: Ids,
    ) -> Result<Tensor> {
        let point = ("resid_pre", layer);
        let stream = |tokens| model.run_with_hooks(tokens, HookPlan::new().capture(point))?.1.get(point);
        let (x, x0) = (stream(clean)?, stream(corrupted)?);
        let change = (&x - &x0)?;
        let mut total = x.zeros_like()?;
        for place in &self.places {
            let between = (&x0 + (&change * *place)?)?;
            let plan = HookPlan::new().edit(point, Edit::replace(between)).watch(point);
            let run = model.run(clean, plan, RunOptions::default())?;
            let logits = if self.of_probabilities { softmax(&run.logits()?)? } else { run.logits()? };
            total = (total + run.taps.gradients(&difference(&logits, answers)?)?.get(point)?)?;
        }
        let factor = if self.times_x { x } else { change };
        Ok(((total * self.weight)? * factor)?.sum((0, 2))?)
    }
}

macro_rules! ways {
    ($($(#[$doc:meta])* $name:ident($steps:ident) => $way:expr;)+) => {$(
        $(#[$doc])*
        pub(super) fn $name(
            model: &HookedTransformer,
            clean: &Tokens,
            corrupted: &Tokens,
            layer: usize,
            answers: Ids,
            $steps: usize,
        ) -> Result<Tensor> {
            $way.attribute(model, [clean, corrupted], layer, answers)
        }
    )+};
}
ways! {
    left_sum(steps) => Way::steps(steps, 0.0);
    right_sum(steps) => Way::steps(steps, 1.0);
    not_divided(steps) => Way { weight: 1.0, ..Way::steps(steps, 0.5) };
    clean_gradient_only(_steps) => Way::steps(1, 1.0);
    baseline_gradient_only(_steps) => Way::steps(1, 0.0);
    of_probabilities(steps) => Way { of_probabilities: true, ..Way::steps(steps, 0.5) };
    times_the_activation(steps) => Way { times_x: true, ..Way::steps(steps, 0.5) };
}

pub(super) fn baseline_exchanged(
    model: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    layer: usize,
    answers: Ids,
    steps: usize,
) -> Result<Tensor> {
    Ok(integrated_gradients(model, clean, corrupted, layer, answers, steps)?.neg()?)
}

/// Edges into an MLP: the gradient in one run, at one point, times the change of what heads write.
fn edges(
    (model, run, other): (&HookedTransformer, &Tokens, &Tokens),
    (reader, answers): (usize, Ids),
    point: &'static str,
    of: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let here = gradients(model, run, (point, reader), answers)?.get((point, reader))?;
    let results = |tokens: &Tokens| model.run_with_hooks(tokens, HookPlan::new().capture("result"));
    let (own, other) = (results(run)?.1, results(other)?.1);
    let layers = (0..=reader).map(|layer| {
        let change = (other.get(("result", layer))? - own.get(("result", layer))?)?;
        of(&change, &here)
    });
    Ok(Tensor::stack(&layers.collect::<Result<Vec<_>>>()?, 0)?)
}

fn product(change: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    einsum("b p h d, b p d -> h", &[change, gradient])
}

pub(super) fn clean_minus_corrupted(
    model: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    reader: usize,
    answers: Ids,
) -> Result<Tensor> {
    Ok(eap_scores(model, clean, corrupted, reader, answers)?.neg()?)
}

pub(super) fn corrupted_gradient(
    model: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    reader: usize,
    answers: Ids,
) -> Result<Tensor> {
    Ok(edges((model, corrupted, clean), (reader, answers), "mlp_in", product)?.neg()?)
}

pub(super) fn whole_stream(
    model: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    reader: usize,
    answers: Ids,
) -> Result<Tensor> {
    edges((model, clean, corrupted), (reader, answers), "resid_mid", product)
}

pub(super) fn last_position_of_edges(
    model: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    reader: usize,
    answers: Ids,
) -> Result<Tensor> {
    edges((model, clean, corrupted), (reader, answers), "mlp_in", |change, gradient| {
        einsum("h d, d -> h", &[&change.at(&[0, -1])?, &gradient.at(&[0, -1])?])
    })
}

pub(super) fn mean_of_coordinates(
    model: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    reader: usize,
    answers: Ids,
) -> Result<Tensor> {
    Ok((eap_scores(model, clean, corrupted, reader, answers)? / model.cfg().d_model as f64)?)
}

type Compared = Result<(f32, Vec<(usize, usize)>)>;

pub(super) fn not_centred(exact: &Tensor, estimated: &Tensor) -> Compared {
    let of = |x: &Tensor, y: &Tensor| -> Result<f32> { (x * y)?.sum_all()?.item() };
    let cosine = of(exact, estimated)? / (of(exact, exact)? * of(estimated, estimated)?).sqrt();
    Ok((cosine, compare(exact, estimated)?.1))
}

pub(super) fn squared(exact: &Tensor, estimated: &Tensor) -> Compared {
    let (pearson, worst) = compare(exact, estimated)?;
    Ok((pearson * pearson, worst))
}

/// The correlation as it should be, with the three largest of something else.
fn largest(exact: &Tensor, estimated: &Tensor, of: &Tensor) -> Compared {
    let places = of.flatten_all()?.top_k(3)?.1.to_vec1::<u32>()?;
    let heads = exact.dim(1)?;
    let places = places.into_iter().map(|at| (at as usize / heads, at as usize % heads)).collect();
    Ok((compare(exact, estimated)?.0, places))
}

pub(super) fn signed(exact: &Tensor, estimated: &Tensor) -> Compared {
    largest(exact, estimated, &(estimated - exact)?)
}

pub(super) fn too_small(exact: &Tensor, estimated: &Tensor) -> Compared {
    largest(exact, estimated, &(exact - estimated)?)
}

pub(super) fn worst_last(exact: &Tensor, estimated: &Tensor) -> Compared {
    let (correlation, mut worst) = compare(exact, estimated)?;
    worst.reverse();
    Ok((correlation, worst))
}

pub(super) fn smallest_misses(exact: &Tensor, estimated: &Tensor) -> Compared {
    largest(exact, estimated, &(exact - estimated)?.abs()?.neg()?)
}

pub(super) fn largest_effects(exact: &Tensor, estimated: &Tensor) -> Compared {
    largest(exact, estimated, &exact.abs()?)
}

pub(super) fn head_and_layer(exact: &Tensor, estimated: &Tensor) -> Compared {
    let (pearson, worst) = compare(exact, estimated)?;
    Ok((pearson, worst.into_iter().map(|(layer, head)| (head, layer)).collect()))
}
