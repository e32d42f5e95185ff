//! C14: superposition in toy models.

mod answers;
mod batches;
pub mod handles;
mod inputs;

use candle_core::{Device, Tensor};

use crate::course::notebook::{Part, Section};
use crate::error::Result;
use crate::random::Random;
use crate::tensors::einsum;

/// This file, from which solutions are cut.
const SOURCE: &str = include_str!("mod.rs");

pub(super) fn section() -> Section {
    let parts = vec![
        Part::Text(INTRODUCTION),
        Part::Exercise(handles::toy_forward().task()),
        Part::Exercise(handles::sparse_batch().task()),
        Part::Exercise(handles::importance_loss().task()),
        Part::Text(TRAINING),
        Part::Code(TRAIN),
        Part::Code(SPARSITIES),
        Part::Text(PICTURE),
        Part::Exercise(handles::dimensionality().task()),
        Part::Code(OVERLAPS),
        Part::Text(TOGETHER),
        Part::Exercise(handles::correlated_batch().task()),
        Part::Exercise(handles::anticorrelated_batch().task()),
        Part::Text(END),
    ];
    Section { file: "c14_superposition", parts }
}

const INTRODUCTION: &str = "# C14 · Superposition in toy models

A model knows far more things than it has dimensions. How can it keep them apart? Elhage et al. 2022, [Toy Models of Superposition](https://transformer-circuits.pub/2022/toy_model/index.html), give the smallest model in which the question makes sense: it reads `f` features, squeezes them into `h < f` dimensions, and must write them back.

hidden = W x, output = relu(Wᵀ hidden + b)

One matrix W, `[hidden, feature]`, does both: column *j* is the **direction** of feature *j* in the hidden space. If the features are rarely active, the model stores more of them than it has dimensions, as directions that are not quite orthogonal: **superposition**.

Several models are trained at once, one for each sparsity. They are called *instances* here, and have an axis of their own: W is `[instance, hidden, feature]`, b is `[instance, feature]`, inputs are `[batch, instance, feature]`.

Replace each `todo!()`, run the cell, and run the check below it.";

const TRAINING: &str = "## Training

The three functions are all that training needs. The next cell is the loop, written out in plain products so that it runs whether or not yours are done: compare it with what you wrote. It trains eight instances of five features and two dimensions. In the first every feature is always active; in the last each is active in one input of fifty. Later features are less important, each 0.9 of the one before.";

const TRAIN: &str =
    "// The weights [instance, hidden, feature] after training, one instance for each probability of a feature.
fn train(p: &[f32], hidden: usize, importance: &[f32], steps: usize) -> Result<Tensor> {
    let (n, features, batch) = (p.len(), importance.len(), 128_usize);
    let mut random = Random::new(1);
    let w = Var::from_tensor(&(random.normal((n, hidden, features))? * 0.5)?)?;
    let b = Var::zeros((n, 1, features), DType::F32, &Device::Cpu)?;
    let importance = Tensor::new(importance, &Device::Cpu)?;
    let mut adam = AdamW::new(AdamWOptions { weight_decay: 0., ..Default::default() });
    for step in 0..steps {
        let mut values = Vec::with_capacity(n * batch * features);
        for p in p {
            for _ in 0..batch * features {
                // Below p the feature is active, and what is left of the number is uniform when rescaled.
                let drawn = random.uniform() as f32;
                values.push(if drawn < *p { drawn / p } else { 0. });
            }
        }
        let x = Tensor::from_vec(values, (n, batch, features), &Device::Cpu)?;
        let out = x.matmul(&w.t()?)?.matmul(w.as_tensor())?.broadcast_add(b.as_tensor())?.relu()?;
        let loss = (x - out)?.sqr()?.broadcast_mul(&importance)?.mean((1, 2))?.sum_all()?;
        adam.step_vars(0.02 * (1. - step as f64 / steps as f64), [&w, &b], &loss.backward()?)?;
    }
    Ok(w.as_tensor().detach())
}";

const SPARSITIES: &str = "let p: Vec<f32> = (0..8).map(|i| 50f32.powf(-(i as f32) / 7.)).collect();
let importance: Vec<f32> = (0..5).map(|feature| 0.9f32.powi(feature)).collect();
let w = train(&p, 2, &importance, 1000)?;
let norms = w.sqr()?.sum(1)?.sqrt()?;
let axes = vec![Axis::new(\"active with probability\", p.iter().map(|p| format!(\"{p:.2}\"))), Axis::numbered(\"feature\", 5)];
imshow(&Labelled::from_tensor(\"length of each feature's direction\", axes, &norms)?).show()?;";

const PICTURE: &str = "Read it from the top. In the first row the squared lengths sum to about 2: features that are always active get as much room as there are dimensions, and no more. The rarer they are, the more of them are stored. In the last row all five have a length of about 1.15, so five directions share a plane.

How do they share it? The next exercise measures how many dimensions each feature has for itself.";

const OVERLAPS: &str = "// How much each pair of directions overlaps, in the densest and in the sparsest instance.
for instance in [0, 7] {
    let w = w.get(instance)?;
    let overlaps = w.t()?.matmul(&w)?;
    let axes = vec![Axis::numbered(\"feature\", 5), Axis::numbered(\"other feature\", 5)];
    imshow(&Labelled::from_tensor(format!(\"active with probability {:.2}\", p[instance]), axes, &overlaps)?).show()?;
}";

const TOGETHER: &str = "Call `dimensionality(&w)?` and compare with the maps. In the first instance the numbers sum to about 2, and a feature with a dimension of its own has 1. In the last, five features share two dimensions evenly and have 2/5 = 0.4 each: a pentagon. With three other seeds it was a pentagon too. With more features, Elhage et al. find other shapes: opposite pairs with 1/2 each, triangles with 2/3.

## Features that come together

So far features were independent. Real ones are not: some always come together (correlated), and some never do (anticorrelated). Models prefer to put correlated features at right angles, because they must be told apart when both are there, and anticorrelated ones opposite each other, because then relu can tell them apart for free. To see that you need such inputs.";

const END: &str = "To train with your batches, copy `train` and put your function in place of the lines that make `x` (mind the order of the axes: it has instances first; and give each step another seed). With four features in two anticorrelated pairs and two dimensions, look at the overlaps within pairs and between them.

## What you know now

Sparsity buys room: with rare features a model stores more directions than it has dimensions, and pays with interference. That is why a neuron, or a direction of the residual stream, seldom means one thing, and why C15 looks for the directions with a larger, sparse basis.";

fn toy_forward(x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Tensor> {
    let hidden = einsum("b i f, i h f -> b i h", &[x, w])?;
    let out = einsum("b i h, i h f -> b i f", &[&hidden, w])?;
    Ok(out.broadcast_add(b)?.relu()?)
}

fn sparse_batch(p: &[f32], n_features: usize, batch: usize, seed: u64) -> Result<Tensor> {
    let mut random = Random::new(seed);
    let mut values = Vec::new();
    for _ in 0..batch {
        for &p in p {
            for _ in 0..n_features {
                let is_active = random.chance(p as f64);
                values.push(if is_active { random.uniform() as f32 } else { 0. });
            }
        }
    }
    Ok(Tensor::from_vec(values, (batch, p.len(), n_features), &Device::Cpu)?)
}

fn importance_loss(out: &Tensor, x: &Tensor, importance: &Tensor) -> Result<Tensor> {
    let errors = (x - out)?.sqr()?.broadcast_mul(importance)?;
    Ok(errors.mean((0, 2))?.sum_all()?)
}

fn dimensionality(w: &Tensor) -> Result<Tensor> {
    let squared = w.sqr()?.sum(1)?;
    let unit = w.broadcast_div(&squared.sqrt()?.unsqueeze(1)?)?;
    let overlaps = einsum("i h f, i h g -> i f g", &[&unit, w])?;
    Ok((squared / overlaps.sqr()?.sum(2)?)?)
}

fn correlated_batch(p: &[f32], n_pairs: usize, batch: usize, seed: u64) -> Result<Tensor> {
    let mut random = Random::new(seed);
    let mut values = Vec::new();
    for _ in 0..batch {
        for &p in p {
            for _ in 0..n_pairs {
                let are_active = random.chance(p as f64);
                for _ in 0..2 {
                    values.push(if are_active { random.uniform() as f32 } else { 0. });
                }
            }
        }
    }
    Ok(Tensor::from_vec(values, (batch, p.len(), 2 * n_pairs), &Device::Cpu)?)
}

fn anticorrelated_batch(p: &[f32], n_pairs: usize, batch: usize, seed: u64) -> Result<Tensor> {
    let mut random = Random::new(seed);
    let mut values = Vec::new();
    for _ in 0..batch {
        for &p in p {
            for _ in 0..n_pairs {
                // The second has a chance only where the first is silent, so it needs a larger one.
                let first = random.chance(p as f64);
                let second = !first && random.chance((p / (1. - p)) as f64);
                for is_active in [first, second] {
                    values.push(if is_active { random.uniform() as f32 } else { 0. });
                }
            }
        }
    }
    Ok(Tensor::from_vec(values, (batch, p.len(), 2 * n_pairs), &Device::Cpu)?)
}
