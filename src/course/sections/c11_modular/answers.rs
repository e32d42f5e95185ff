//! Wrong answers, as code.

use std::f32::consts::TAU;

use candle_core::{Device, Tensor};

use super::{fourier_1d, fourier_2d, fourier_basis, sum_waves};
use crate::error::Result;
use crate::model::ops::cross_entropy;
use crate::tensors::{TensorWords, einsum};

/// The basis, its rows made by the number of the wave and the place.
fn basis(p: usize, of: impl Fn(usize, f32) -> f32) -> Result<Tensor> {
    let rows = (0..p * p).map(|at| {
        let (row, x) = (at / p, at % p);
        of(row, TAU * (row.div_ceil(2) * x % p) as f32 / p as f32)
    });
    Ok(Tensor::from_vec(rows.collect::<Vec<f32>>(), (p, p), &Device::Cpu)?)
}

fn wave(row: usize, angle: f32) -> f32 {
    if row % 2 == 1 { angle.cos() } else { angle.sin() }
}

fn size(p: usize) -> f32 {
    (2. / p as f32).sqrt()
}

pub(super) fn not_normalised(p: usize) -> Result<Tensor> {
    basis(p, |row, angle| if row == 0 { 1. } else { wave(row, angle) })
}

pub(super) fn one_over_root(p: usize) -> Result<Tensor> {
    basis(p, |row, angle| if row == 0 { 1. } else { wave(row, angle) } / (p as f32).sqrt())
}

pub(super) fn constant_too_large(p: usize) -> Result<Tensor> {
    basis(p, |row, angle| if row == 0 { size(p) } else { size(p) * wave(row, angle) })
}

pub(super) fn sines_first(p: usize) -> Result<Tensor> {
    basis(p, |row, angle| if row == 0 { 1. / (p as f32).sqrt() } else { size(p) * wave(row + 1, angle) })
}

pub(super) fn all_cosines_first(p: usize) -> Result<Tensor> {
    let rows: Vec<u32> = [0].into_iter().chain((1..p as u32).step_by(2)).chain((2..p as u32).step_by(2)).collect();
    Ok(fourier_basis(p)?.index_select(&Tensor::new(rows, &Device::Cpu)?, 0)?)
}

pub(super) fn back_1d(x: &Tensor) -> Result<Tensor> {
    Ok(fourier_basis(x.dim(0)?)?.t()?.matmul(x)?)
}

pub(super) fn centred_1d(x: &Tensor) -> Result<Tensor> {
    fourier_1d(&x.broadcast_sub(&x.mean_keepdim(0)?)?)
}

pub(super) fn squared_1d(x: &Tensor) -> Result<Tensor> {
    Ok(fourier_1d(x)?.sqr()?)
}

pub(super) fn only_a(x: &Tensor) -> Result<Tensor> {
    einsum("f a, a b n -> f b n", &[&fourier_basis(x.dim(0)?)?, x])
}

pub(super) fn only_b(x: &Tensor) -> Result<Tensor> {
    einsum("a b n, g b -> a g n", &[x, &fourier_basis(x.dim(0)?)?])
}

pub(super) fn back_2d(x: &Tensor) -> Result<Tensor> {
    let basis = fourier_basis(x.dim(0)?)?;
    einsum("a f, a b n, b g -> f g n", &[&basis, x, &basis])
}

fn energies(embed: &Tensor) -> Result<Vec<f32>> {
    Ok(fourier_1d(embed)?.sqr()?.sum(1)?.to_vec1()?)
}

/// The frequencies whose part, made of the constant's, the cosine's and the sine's energies, is large enough.
fn large(energy: &[f32], share: f32, total: f32, of: impl Fn(f32, f32) -> f32) -> Vec<usize> {
    (1..=energy.len() / 2).filter(|k| of(energy[2 * k - 1], energy[2 * k]) >= share * total).collect()
}

fn without_constant(energy: &[f32]) -> f32 {
    energy[1..].iter().sum()
}

pub(super) fn from_zero(embed: &Tensor, share: f32) -> Result<Vec<usize>> {
    let found = super::key_frequencies(embed, share)?;
    Ok(found.into_iter().map(|k| k - 1).collect())
}

pub(super) fn rows_of_the_basis(embed: &Tensor, share: f32) -> Result<Vec<usize>> {
    let found = super::key_frequencies(embed, share)?;
    Ok(found.into_iter().flat_map(|k| [2 * k - 1, 2 * k]).collect())
}

pub(super) fn cosines_alone(embed: &Tensor, share: f32) -> Result<Vec<usize>> {
    let energy = energies(embed)?;
    Ok(large(&energy, share, without_constant(&energy), |cos, _| cos))
}

pub(super) fn sines_alone(embed: &Tensor, share: f32) -> Result<Vec<usize>> {
    let energy = energies(embed)?;
    Ok(large(&energy, share, without_constant(&energy), |_, sin| sin))
}

pub(super) fn constant_in_the_total(embed: &Tensor, share: f32) -> Result<Vec<usize>> {
    let energy = energies(embed)?;
    Ok(large(&energy, share, energy.iter().sum(), |cos, sin| cos + sin))
}

pub(super) fn norms_not_squares(embed: &Tensor, share: f32) -> Result<Vec<usize>> {
    let norms: Vec<f32> = energies(embed)?.into_iter().map(f32::sqrt).collect();
    Ok(large(&norms, share, without_constant(&norms), |cos, sin| cos + sin))
}

/// Frequencies with the largest share, where `of` gives a frequency's energy from the square of constant, cosine and sine (nine
/// numbers), and `total` that of a neuron from all of it and that of the constant.
fn clusters(
    acts: &Tensor,
    of: impl Fn(&[f32]) -> f32,
    total: impl Fn(f32, f32) -> f32,
) -> Result<(Vec<usize>, Vec<f32>)> {
    let energy = fourier_2d(acts)?.sqr()?.permute((2, 0, 1))?.contiguous()?.to_vec3::<f32>()?;
    let best = energy.iter().map(|energy| {
        let all: f32 = energy.iter().flatten().sum();
        let share = |k: usize| {
            let rows = [0, 2 * k - 1, 2 * k];
            let square: Vec<f32> = rows.iter().flat_map(|&f| rows.iter().map(move |&g| energy[f][g])).collect();
            (k, of(&square) / total(all, energy[0][0]))
        };
        (1..=energy.len() / 2).map(share).max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default()
    });
    Ok(best.unzip())
}

pub(super) fn clusters_from_zero(acts: &Tensor) -> Result<(Vec<usize>, Vec<f32>)> {
    let (frequencies, shares) = super::neuron_frequencies(acts)?;
    Ok((frequencies.into_iter().map(|k| k - 1).collect(), shares))
}

pub(super) fn constant_counts(acts: &Tensor) -> Result<(Vec<usize>, Vec<f32>)> {
    clusters(acts, |square| square.iter().sum(), |all, _| all)
}

pub(super) fn not_centred(acts: &Tensor) -> Result<(Vec<usize>, Vec<f32>)> {
    clusters(acts, |square| square[1..].iter().sum(), |all, _| all)
}

pub(super) fn no_products(acts: &Tensor) -> Result<(Vec<usize>, Vec<f32>)> {
    clusters(acts, |square| square[1] + square[2] + square[3] + square[6], |all, constant| all - constant)
}

pub(super) fn products_alone(acts: &Tensor) -> Result<(Vec<usize>, Vec<f32>)> {
    clusters(acts, |square| square[4] + square[5] + square[7] + square[8], |all, constant| all - constant)
}

/// The share of waves of `place(p, a, b, c)`.
fn share(logits: &Tensor, frequencies: &[usize], place: fn(usize, [usize; 3]) -> usize) -> Result<f32> {
    let p = logits.dim(0)?;
    let centred = logits.broadcast_sub(&logits.mean_keepdim(2)?)?;
    let mut explained = 0.;
    for k in frequencies {
        let at = |n: usize| k * place(p, [n / (p * p), n / p % p, n % p]) % p;
        let wave: Vec<f32> = (0..p * p * p).map(|n| (TAU * at(n) as f32 / p as f32).cos()).collect();
        let wave = Tensor::from_vec(wave, (p, p, p), &Device::Cpu)?;
        explained += (&centred * wave)?.sum_all()?.item()?.powi(2) / (p * p * p) as f32 * 2.;
    }
    Ok(explained / centred.sqr()?.sum_all()?.item()?)
}

pub(super) fn plus_c(logits: &Tensor, frequencies: &[usize]) -> Result<f32> {
    share(logits, frequencies, |_, [a, b, c]| a + b + c)
}

pub(super) fn minus_b(logits: &Tensor, frequencies: &[usize]) -> Result<f32> {
    share(logits, frequencies, |p, [a, b, c]| a + p - b + p - c)
}

pub(super) fn first_frequency(logits: &Tensor, frequencies: &[usize]) -> Result<f32> {
    super::share_of_waves(logits, &frequencies[..1])
}

pub(super) fn share_of_all(logits: &Tensor, frequencies: &[usize]) -> Result<f32> {
    let centred = logits.broadcast_sub(&logits.mean_keepdim(2)?)?;
    let ratio = (centred.sqr()?.sum_all()? / logits.sqr()?.sum_all()?)?.item()?;
    Ok(super::share_of_waves(logits, frequencies)? * ratio)
}

pub(super) fn half_the_share(logits: &Tensor, frequencies: &[usize]) -> Result<f32> {
    Ok(super::share_of_waves(logits, frequencies)? / 2.)
}

/// Cosine and sine of `place(p, a, b)` at each frequency.
fn waves(p: usize, frequencies: &[usize], of: impl Fn(f32, f32) -> [f32; 2]) -> Result<Tensor> {
    let mut all = Vec::new();
    for k in frequencies {
        for which in 0..2 {
            let angle = |x: usize| TAU * (k * x % p) as f32 / p as f32;
            all.extend((0..p * p).map(|n| 2f32.sqrt() / p as f32 * of(angle(n / p), angle(n % p))[which]));
        }
    }
    Ok(Tensor::from_vec(all, (2 * frequencies.len(), p, p), &Device::Cpu)?)
}

pub(super) fn difference_waves(p: usize, frequencies: &[usize]) -> Result<Tensor> {
    waves(p, frequencies, |a, b| [(a - b).cos(), (a - b).sin()])
}

pub(super) fn waves_not_normalised(p: usize, frequencies: &[usize]) -> Result<Tensor> {
    Ok((sum_waves(p, frequencies)? * (p as f64 / 2f64.sqrt()))?)
}

pub(super) fn products_of_waves(p: usize, frequencies: &[usize]) -> Result<Tensor> {
    waves(p, frequencies, |a, b| [a.cos() * b.cos(), a.sin() * b.sin()])
}

pub(super) fn sine_waves_first(p: usize, frequencies: &[usize]) -> Result<Tensor> {
    waves(p, frequencies, |a, b| [(a + b).sin(), (a + b).cos()])
}

/// What these waves make of the logits.
fn projected(logits: &Tensor, waves: &Tensor) -> Result<Tensor> {
    let heights = einsum("w i j, i j c -> w c", &[waves, logits])?;
    einsum("w a b, w c -> a b c", &[waves, &heights])
}

fn loss_at(logits: &Tensor, pairs: &[(usize, usize)]) -> Result<f32> {
    let p = logits.dim(0)?;
    let rows: Vec<u32> = pairs.iter().map(|(a, b)| (a * p + b) as u32).collect();
    let sums: Vec<u32> = pairs.iter().map(|(a, b)| ((a + b) % p) as u32).collect();
    let rows = logits.flatten(0, 1)?.index_select(&Tensor::new(rows, &Device::Cpu)?, 0)?;
    cross_entropy(&rows, &sums)?.mean_all()?.item()
}

fn all_pairs(p: usize) -> Vec<(usize, usize)> {
    (0..p * p).map(|n| (n / p, n % p)).collect()
}

fn everywhere(logits: &Tensor) -> Result<f32> {
    loss_at(logits, &all_pairs(logits.dim(0)?))
}

pub(super) fn constant_dropped(logits: &Tensor, frequencies: &[usize]) -> Result<f32> {
    everywhere(&projected(logits, &sum_waves(logits.dim(0)?, frequencies)?)?)
}

pub(super) fn removed_instead(logits: &Tensor, frequencies: &[usize]) -> Result<f32> {
    everywhere(&(logits - projected(logits, &sum_waves(logits.dim(0)?, frequencies)?)?)?)
}

pub(super) fn restricted_to_differences(logits: &Tensor, frequencies: &[usize]) -> Result<f32> {
    let kept = projected(logits, &difference_waves(logits.dim(0)?, frequencies)?)?;
    everywhere(&kept.broadcast_add(&logits.mean_keepdim((0, 1))?)?)
}

pub(super) fn nothing_removed(logits: &Tensor, _: &[usize]) -> Result<f32> {
    everywhere(logits)
}

pub(super) fn every_pair(logits: &Tensor, frequencies: &[usize], _: &[(usize, usize)]) -> Result<f32> {
    removed_instead(logits, frequencies)
}

pub(super) fn unseen_pairs(logits: &Tensor, frequencies: &[usize], taught: &[(usize, usize)]) -> Result<f32> {
    let unseen: Vec<(usize, usize)> =
        all_pairs(logits.dim(0)?).into_iter().filter(|pair| !taught.contains(pair)).collect();
    super::excluded_loss(logits, frequencies, &unseen)
}

pub(super) fn kept_instead(logits: &Tensor, frequencies: &[usize], taught: &[(usize, usize)]) -> Result<f32> {
    loss_at(&projected(logits, &sum_waves(logits.dim(0)?, frequencies)?)?, taught)
}

pub(super) fn constant_removed_too(logits: &Tensor, frequencies: &[usize], taught: &[(usize, usize)]) -> Result<f32> {
    let left = (logits - projected(logits, &sum_waves(logits.dim(0)?, frequencies)?)?)?;
    loss_at(&left.broadcast_sub(&logits.mean_keepdim((0, 1))?)?, taught)
}

pub(super) fn taught_alone_projected(logits: &Tensor, frequencies: &[usize], taught: &[(usize, usize)]) -> Result<f32> {
    let p = logits.dim(0)?;
    let is_taught: Vec<f32> = all_pairs(p).iter().map(|pair| f32::from(u8::from(taught.contains(pair)))).collect();
    let is_taught = Tensor::from_vec(is_taught, (p, p, 1), &Device::Cpu)?;
    let removed = projected(&logits.broadcast_mul(&is_taught)?, &sum_waves(p, frequencies)?)?;
    loss_at(&(logits - removed)?, taught)
}
