//! Small inputs for the exercises of this section: primes below 12, and waves that were put in by hand.

use std::f32::consts::TAU;

use candle_core::{Device, Tensor};

use crate::course::seed::{reordered, seeded};
use crate::error::Result;
use crate::random::Random;

pub(in crate::course::sections) fn primes() -> Result<Vec<(usize,)>> {
    let [first, second, ..] = reordered([7, 11, 5, 13, 17], 10);
    Ok(vec![(first,), (second,)])
}

pub(in crate::course::sections) fn functions_of_one() -> Result<Vec<(Tensor,)>> {
    let mut random = seeded(4);
    Ok(vec![((random.normal((7, 3))? + 0.5)?,), ((random.normal((11, 4))? - 0.3)?,)])
}

pub(in crate::course::sections) fn functions_of_two() -> Result<Vec<(Tensor,)>> {
    let mut random = seeded(5);
    Ok(vec![((random.normal((5, 5, 3))? + 0.5)?,), ((random.normal((7, 7, 2))? - 0.3)?,)])
}

/// Embeddings with a constant and, of each frequency, a cosine and a sine of these energies.
pub(in crate::course::sections) fn embeddings() -> Result<Vec<(Tensor, f32)>> {
    let mut random = seeded(6);
    let mut one = |d: usize, constant: f32, waves: &[(f32, f32)]| -> Result<Tensor> {
        let energies: Vec<f32> = [constant].into_iter().chain(waves.iter().flat_map(|(c, s)| [*c, *s])).collect();
        let directions = random.normal((energies.len(), d))?;
        let directions = directions.broadcast_div(&directions.sqr()?.sum_keepdim(1)?.sqrt()?)?;
        let sizes = Tensor::from_vec(energies, (directions.dim(0)?, 1), &Device::Cpu)?.sqrt()?;
        Ok(super::fourier_basis(directions.dim(0)?)?.t()?.matmul(&directions.broadcast_mul(&sizes)?)?)
    };
    Ok(vec![
        (one(4, 40., &reordered([(0.15, 0.15), (1., 5.), (0.1, 0.1), (4., 0.2), (1.2, 0.8)], 11))?, 0.3),
        (one(3, 30., &reordered([(3., 0.1), (0.25, 0.25), (0.5, 0.6)], 12))?, 0.2),
    ])
}

/// Rectified waves of one frequency each, with noise.
pub(in crate::course::sections) fn neurons() -> Result<Vec<(Tensor,)>> {
    let mut random = seeded(7);
    let mut one = |p: usize, n: usize| -> Result<(Tensor,)> {
        let noise = (random.normal((p, p, n))? * 0.2)?;
        let of = |a: usize, b: usize, neuron: usize| {
            let angle = |x: usize| TAU * ((1 + neuron % (p / 2)) * x) as f32 / p as f32;
            (0.3 + (angle(a) + neuron as f32).cos() + 0.7 * (angle(b) + 2. * neuron as f32).cos()).max(0.)
        };
        let waves: Vec<f32> = (0..p * p * n).map(|at| of(at / (p * n), at / n % p, at % n)).collect();
        Ok(((Tensor::from_vec(waves, (p, p, n), &Device::Cpu)? + noise)?,))
    };
    Ok(vec![one(7, 4)?, one(11, 3)?])
}

/// Logits `[a, b, c]` with waves of `a + b - c` and, smaller, others.
fn logits(random: &mut Random, p: usize, frequencies: &[usize]) -> Result<Tensor> {
    let of = |a: usize, b: usize, c: usize| {
        let wave = |k: usize, x: usize| (TAU * (k * x % p) as f32 / p as f32).cos();
        let waves = frequencies.iter().enumerate().map(|(at, &k)| {
            (2. - 0.6 * at as f32) * wave(k, a + b + p - c) + 0.8 * wave(k, a + p - b + c) + 0.5 * wave(k, a + b + c)
        });
        4. + (c % 3) as f32 + 0.4 * (b % 2) as f32 + waves.sum::<f32>()
    };
    let waves: Vec<f32> = (0..p * p * p).map(|at| of(at / (p * p), at / p % p, at % p)).collect();
    Ok((Tensor::from_vec(waves, (p, p, p), &Device::Cpu)? + (random.normal((p, p, p))? * 0.5)?)?)
}

pub(in crate::course::sections) fn logits_and_frequencies() -> Result<Vec<(Tensor, Vec<usize>)>> {
    let mut random = seeded(8);
    let with_logits = |(p, waves): (usize, Vec<usize>)| Ok((logits(&mut random, p, &waves)?, waves));
    frequencies()?.into_iter().map(with_logits).collect()
}

pub(in crate::course::sections) fn frequencies() -> Result<Vec<(usize, Vec<usize>)>> {
    let (mut few, mut more) = (reordered(vec![1, 3, 2], 13), reordered(vec![5, 2, 4, 1, 3], 14));
    few.truncate(2);
    more.truncate(3);
    Ok(vec![(7, few), (11, more)])
}

type Taught = (Tensor, Vec<usize>, Vec<(usize, usize)>);

/// The same with pairs that were taught.
pub(in crate::course::sections) fn taught() -> Result<Vec<Taught>> {
    let mut random = seeded(9);
    let with_pairs = |(logits, frequencies): (Tensor, Vec<usize>)| {
        let p = logits.dim(0)?;
        let pairs = (0..p * p).map(|n| (n / p, n % p)).filter(|_| random.chance(0.4)).collect();
        Ok((logits, frequencies, pairs))
    };
    logits_and_frequencies()?.into_iter().map(with_pairs).collect()
}
