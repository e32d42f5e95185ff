//! Answers of this section that are wrong.

use candle_core::{Device, Tensor};

use super::{dimensionality, sparse_batch};
use crate::error::Result;
use crate::random::Random;
use crate::tensors::einsum;

fn product(x: &Tensor, w: &Tensor, hidden_relu: bool) -> Result<Tensor> {
    let hidden = einsum("b i f, i h f -> b i h", &[x, w])?;
    let hidden = if hidden_relu { hidden.relu()? } else { hidden };
    einsum("b i h, i h f -> b i f", &[&hidden, w])
}

pub(super) fn relu_before_the_bias(x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok(product(x, w, false)?.relu()?.broadcast_add(b)?)
}

pub(super) fn no_relu(x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok(product(x, w, false)?.broadcast_add(b)?)
}

pub(super) fn no_bias(x: &Tensor, w: &Tensor, _: &Tensor) -> Result<Tensor> {
    Ok(product(x, w, false)?.relu()?)
}

pub(super) fn relu_in_the_middle(x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok(product(x, w, true)?.broadcast_add(b)?.relu()?)
}

pub(super) fn one_instance(x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Tensor> {
    let w = w.narrow(0, 0, 1)?.broadcast_as(w.shape())?.contiguous()?;
    Ok(product(x, &w, false)?.broadcast_add(b)?.relu()?)
}

type Batch = Result<Tensor>;

/// A batch made of one function that fills the features of one instance.
fn filled(
    p: &[f32],
    features: usize,
    batch: usize,
    seed: u64,
    fill: impl Fn(&mut Random, f64, &mut Vec<f32>),
) -> Batch {
    let mut random = Random::new(seed);
    let mut values = Vec::new();
    for _ in 0..batch {
        p.iter().for_each(|&p| fill(&mut random, f64::from(p), &mut values));
    }
    Ok(Tensor::from_vec(values, (batch, p.len(), features), &Device::Cpu)?)
}

fn drawn(random: &mut Random, is_active: bool) -> f32 {
    if is_active { random.uniform() as f32 } else { 0. }
}

pub(super) fn all_at_once(p: &[f32], features: usize, batch: usize, seed: u64) -> Batch {
    filled(p, features, batch, seed, |random, p, values| {
        let is_active = random.chance(p);
        values.extend((0..features).map(|_| drawn(random, is_active)));
    })
}

pub(super) fn scaled_by_p(p: &[f32], features: usize, batch: usize, seed: u64) -> Batch {
    filled(p, features, batch, seed, |random, p, values| {
        values.extend((0..features).map(|_| (p * random.uniform()) as f32));
    })
}

pub(super) fn ones(p: &[f32], features: usize, batch: usize, seed: u64) -> Batch {
    filled(p, features, batch, seed, |random, p, values| {
        values.extend((0..features).map(|_| f32::from(u8::from(random.chance(p)))));
    })
}

pub(super) fn silent_with_p(p: &[f32], features: usize, batch: usize, seed: u64) -> Batch {
    sparse_batch(&p.iter().map(|p| 1. - p).collect::<Vec<_>>(), features, batch, seed)
}

pub(super) fn independent_pairs(p: &[f32], pairs: usize, batch: usize, seed: u64) -> Batch {
    sparse_batch(p, 2 * pairs, batch, seed)
}

pub(super) fn same_value(p: &[f32], pairs: usize, batch: usize, seed: u64) -> Batch {
    filled(p, 2 * pairs, batch, seed, |random, p, values| {
        for _ in 0..pairs {
            let is_active = random.chance(p);
            let value = drawn(random, is_active);
            values.extend([value, value]);
        }
    })
}

pub(super) fn all_pairs_together(p: &[f32], pairs: usize, batch: usize, seed: u64) -> Batch {
    filled(p, 2 * pairs, batch, seed, |random, p, values| {
        let are_active = random.chance(p);
        values.extend((0..2 * pairs).map(|_| drawn(random, are_active)));
    })
}

pub(super) fn second_with_p(p: &[f32], pairs: usize, batch: usize, seed: u64) -> Batch {
    filled(p, 2 * pairs, batch, seed, |random, p, values| {
        for _ in 0..pairs {
            let first = random.chance(p);
            let second = !first && random.chance(p);
            values.extend([first, second].map(|is_active| drawn(random, is_active)));
        }
    })
}

pub(super) fn one_always(p: &[f32], pairs: usize, batch: usize, seed: u64) -> Batch {
    filled(p, 2 * pairs, batch, seed, |random, p, values| {
        for _ in 0..pairs {
            let first = random.chance(p);
            values.extend([first, !first].map(|is_active| drawn(random, is_active)));
        }
    })
}

pub(super) fn pairs_once(p: &[f32], pairs: usize, batch: usize, seed: u64) -> Batch {
    let mut random = Random::new(seed);
    let first: Vec<bool> = (0..p.len() * pairs).map(|_| random.chance(0.5)).collect();
    let mut values = Vec::new();
    for _ in 0..batch {
        for (at, &first) in first.iter().enumerate() {
            let is_active = random.chance(2. * f64::from(p[at / pairs]));
            values.extend([is_active && first, is_active && !first].map(|is_active| drawn(&mut random, is_active)));
        }
    }
    Ok(Tensor::from_vec(values, (batch, p.len(), 2 * pairs), &Device::Cpu)?)
}

fn errors(out: &Tensor, x: &Tensor, importance: &Tensor) -> Result<Tensor> {
    Ok((x - out)?.sqr()?.broadcast_mul(importance)?)
}

pub(super) fn mean_over_instances(out: &Tensor, x: &Tensor, importance: &Tensor) -> Result<Tensor> {
    Ok(errors(out, x, importance)?.mean_all()?)
}

pub(super) fn summed_over_features(out: &Tensor, x: &Tensor, importance: &Tensor) -> Result<Tensor> {
    Ok(errors(out, x, importance)?.mean(0)?.sum_all()?)
}

pub(super) fn importance_squared(out: &Tensor, x: &Tensor, importance: &Tensor) -> Result<Tensor> {
    Ok(errors(out, x, &importance.sqr()?)?.mean((0, 2))?.sum_all()?)
}

pub(super) fn not_squared(out: &Tensor, x: &Tensor, importance: &Tensor) -> Result<Tensor> {
    Ok((x - out)?.abs()?.broadcast_mul(importance)?.mean((0, 2))?.sum_all()?)
}

pub(super) fn unweighted(out: &Tensor, x: &Tensor, importance: &Tensor) -> Result<Tensor> {
    Ok(errors(out, x, &importance.ones_like()?)?.mean((0, 2))?.sum_all()?)
}

/// Squared lengths and squared products of the directions, `[i, f]` and `[i, f, g]`.
fn products(w: &Tensor) -> Result<(Tensor, Tensor)> {
    Ok((w.sqr()?.sum(1)?, einsum("i h f, i h g -> i f g", &[w, w])?.sqr()?))
}

pub(super) fn other_normalised(w: &Tensor) -> Result<Tensor> {
    let (squared, products) = products(w)?;
    Ok((&squared / products.broadcast_div(&squared.unsqueeze(1)?)?.sum(2)?)?)
}

pub(super) fn without_its_own(w: &Tensor) -> Result<Tensor> {
    let (squared, products) = products(w)?;
    let others = (products.broadcast_div(&squared.unsqueeze(2)?)?.sum(2)? - &squared)?;
    Ok((squared / others)?)
}

pub(super) fn nothing_normalised(w: &Tensor) -> Result<Tensor> {
    let (squared, products) = products(w)?;
    Ok((squared / products.sum(2)?)?)
}

pub(super) fn upside_down(w: &Tensor) -> Result<Tensor> {
    Ok(dimensionality(w)?.recip()?)
}
