//! C15: sparse autoencoders.

pub mod handles;
mod inputs;
mod model_answers;
pub mod model_handles;
mod resampled;
mod sae_answers;

use candle_core::{D, DType, Tensor};

use crate::course::notebook::{Part, Section};
use crate::dictionaries::Dictionary;
use crate::error::Result;
use crate::hooks::{Edit, HookPlan};
use crate::model::HookedTransformer;
use crate::random::Random;
use crate::tensors::TensorWords;
use crate::tokens::Tokens;

/// This file, from which solutions are cut.
const SOURCE: &str = include_str!("mod.rs");

pub(super) fn section() -> Section {
    let parts = vec![
        Part::Text(INTRODUCTION),
        Part::Exercise(handles::sae_forward().task()),
        Part::Exercise(handles::sae_loss().task()),
        Part::Text(DEAD),
        Part::Exercise(handles::resample().task()),
        Part::Text(LIVE),
        Part::Code(TRAINED),
        Part::Text(OTHERS),
        Part::Exercise(handles::top_k_acts().task()),
        Part::Exercise(handles::jump_relu().task()),
        Part::Text(ON_THE_MODEL),
        Part::Code(EMBEDDED),
        Part::Exercise(model_handles::latent_logits().task()),
        Part::Exercise(model_handles::without_latent().task()),
        Part::Text(ERRORS),
        Part::Code(ACTIVE),
        Part::Text(END),
    ];
    Section { file: "c15_dictionaries", parts }
}

const INTRODUCTION: &str = "# C15 · Sparse autoencoders

C14 showed that a model can store more features than it has dimensions, as directions that overlap. Can they be found again? A **sparse autoencoder** (SAE) tries: it writes an activation x as a sum of *few* out of *many* directions.

acts = relu((x - b_dec) W_enc + b_enc), reconstruction = acts W_dec + b_dec

There are more **latents** (entries of acts) than x has dimensions, and a penalty on them keeps most at 0. Row *j* of W_dec is the direction that latent *j* writes; if training goes well, it is one feature of the model.

First you build an SAE of small tensors, then you take a trained one to the embedded model. Replace each `todo!()`, run the cell, and run the check below it.";

const DEAD: &str = "## Latents that die

A latent that is never active gets no gradient, and usually stays dead. (Only a change in what others do, `b_dec` above all, can bring it back.) A simple cure is to **resample** it from time to time: give it a new random direction, and let it try again.";

const LIVE: &str = "## A small SAE, trained now

To see whether SAEs find what is there, we need activations whose features we know: 32 random directions in 16 dimensions, each active in about one of 17 activations. The library's trainer is used, which in place of the penalty keeps the largest activations of a whole batch, `k` for each input on average, and cares for dead latents in its own way. The histogram shows, for each true direction, the cosine with the latent that comes nearest. Most should be near 1: the direction was found.";

const TRAINED: &str = "let truth = Random::new(1).normal((32, 16))?;
let truth = truth.broadcast_div(&truth.sqr()?.sum_keepdim(1)?.sqrt()?)?;
fn activations(truth: &Tensor, n: usize, random: &mut Random) -> Result<Tensor> {
    let values: Vec<f32> = (0..n * 32).map(|_| if random.chance(0.06) { 0.5 + random.uniform() as f32 } else { 0. }).collect();
    Ok(Tensor::from_vec(values, (n, 32), &Device::Cpu)?.matmul(truth)?)
}
let mut random = Random::new(2);
let first = activations(&truth, 2048, &mut random)?;
let recipe = Recipe { d_sae: 32, sparsity: Sparsity::BatchTopK { k: 2 }, steps: 1000, learning_rate: 3e-3, warm_up: 20, dead_after: 40, ..Default::default() };
let mut trainer = DictionaryTrainer::autoencoder(recipe, &first)?;
for _ in 0..1000 {
    let x = activations(&truth, 256, &mut random)?;
    trainer.step(&x, &x)?;
}
let found = trainer.dictionary(\"toy\", Expects::default())?.w_dec();
let found = found.broadcast_div(&found.sqr()?.sum_keepdim(1)?.sqrt()?)?;
let best = truth.matmul(&found.t()?)?.max(1)?;
hist(best.to_vec1::<f32>()?).bins(20).title(\"the largest cosine of each true feature with a latent\")";

const OTHERS: &str = "## Other ways to be sparse

The penalty on the size of activations also makes them too small (*shrinkage*). Two other activation functions do without it. **Top-k** keeps the k largest latents of each activation. **JumpReLU** gives each latent a threshold of its own, and passes on the whole value above it.";

const ON_THE_MODEL: &str = "## On the model

Nine trained dictionaries come with the embedded model. The next cell loads that of the residual stream after layer 1 (1,024 JumpReLU latents).";

const EMBEDDED: &str = "let model = HookedTransformer::from_pretrained(\"tiny\")?;
let set = DictionarySet::open(\"tiny\")?;
let dictionary = set.get(\"resid1\")?;
dictionary.clone()";

const ERRORS: &str = "## The error term

An SAE never gets all of an activation. What it misses, x minus its reconstruction, is its **error**. You have just kept it: subtracting what one latent writes leaves everything else as it was, the error included. Replacing x by the sum of the remaining latents would have dropped the error too, and the model would have changed for two reasons at once.

Which latents are active on the IOI prompt, and what do they write?";

const ACTIVE: &str = "let prompt = \"When John and Mary went to the shops, John gave the bag to\";
let metric = Metric::logit_diff(&model.answers([(\" Mary\", \" John\")])?);
model.features_by_gradient(&dictionary, prompt, &metric)?.top(12)";

const END: &str = "Take the first one of the table and call `without_latent` on it: does the answer change as much as its share says? The share is a linear estimate, and ablation is the truth.

## What you know now

An SAE is two products with a relu between, and the rest of the work is to keep its latents sparse and alive. Where a latent fires and what it writes are two questions; what the model *does* with it needs an intervention. Notebooks 09 to 11 go on from here: dashboards, circuits of features, attribution graphs.";

fn sae_forward(x: &Tensor, w_enc: &Tensor, b_enc: &Tensor, w_dec: &Tensor, b_dec: &Tensor) -> Result<(Tensor, Tensor)> {
    let lengths = w_dec.sqr()?.sum_keepdim(1)?.sqrt()?;
    let w_dec = w_dec.broadcast_div(&lengths)?;
    let acts = x.broadcast_sub(b_dec)?.matmul(w_enc)?.broadcast_add(b_enc)?.relu()?;
    let reconstruction = acts.matmul(&w_dec)?.broadcast_add(b_dec)?;
    Ok((acts, reconstruction))
}

fn sae_loss(x: &Tensor, acts: &Tensor, reconstruction: &Tensor, l1: f64) -> Result<Tensor> {
    let squared = (x - reconstruction)?.sqr()?.mean(1)?;
    let sparsity = acts.abs()?.sum(1)?;
    Ok((squared + (sparsity * l1)?)?.mean(0)?)
}

fn resample(
    w_enc: &Tensor,
    b_enc: &Tensor,
    w_dec: &Tensor,
    times_active: &[usize],
    scale: f64,
    seed: u64,
) -> Result<(Tensor, Tensor, Tensor)> {
    let mut random = Random::new(seed);
    let (mut columns, mut biases, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for (latent, &times) in times_active.iter().enumerate() {
        if times > 0 {
            columns.push(w_enc.narrow(1, latent, 1)?);
            biases.push(b_enc.narrow(0, latent, 1)?);
            rows.push(w_dec.narrow(0, latent, 1)?);
        } else {
            let direction = random.normal((1, w_dec.dim(1)?))?;
            let unit = direction.broadcast_div(&direction.sqr()?.sum_all()?.sqrt()?)?;
            columns.push((unit.t()? * scale)?);
            biases.push(b_enc.narrow(0, latent, 1)?.zeros_like()?);
            rows.push(unit);
        }
    }
    Ok((Tensor::cat(&columns, 1)?, Tensor::cat(&biases, 0)?, Tensor::cat(&rows, 0)?))
}

fn top_k_acts(pre: &Tensor, k: usize) -> Result<Tensor> {
    // The smallest number that is kept, of each row.
    let last = pre.top_k(k)?.0.narrow(D::Minus1, k - 1, 1)?;
    let is_kept = pre.broadcast_ge(&last)?;
    Ok(is_kept.where_cond(&pre.relu()?, &pre.zeros_like()?)?)
}

fn jump_relu(pre: &Tensor, threshold: &Tensor) -> Result<Tensor> {
    let is_kept = pre.broadcast_gt(threshold)?;
    Ok(is_kept.where_cond(&pre.relu()?, &pre.zeros_like()?)?)
}

fn latent_logits(model: &HookedTransformer, dictionary: &Dictionary, latent: usize, k: usize) -> Result<Vec<u32>> {
    let direction = dictionary.w_dec().get(latent)?.to_dtype(DType::F32)?.unsqueeze(0)?;
    let logits = direction.matmul(&model.W_U())?.squeeze(0)?;
    Ok(logits.top_k(k)?.1.to_vec1()?)
}

fn without_latent(
    model: &HookedTransformer,
    dictionary: &Dictionary,
    tokens: &Tokens,
    latent: usize,
) -> Result<Tensor> {
    let point = ("resid_post", 1);
    let (_, cache) = model.run_with_hooks(tokens, HookPlan::new().capture(point))?;
    let stream = cache.get(point)?;
    let acts = dictionary.encode_dense(&stream)?.narrow(2, latent, 1)?;
    let direction = dictionary.w_dec().get(latent)?.to_dtype(DType::F32)?;
    let written = acts.broadcast_mul(&direction)?;
    // Behind the BOS, on which the dictionary was not trained.
    let rest = (stream - written)?.narrow(1, 1, tokens.pos() - 1)?;
    let plan = HookPlan::new().edit(point, Edit::replace(rest).pos(1..));
    Ok(model.run_with_hooks(tokens, plan)?.0)
}
