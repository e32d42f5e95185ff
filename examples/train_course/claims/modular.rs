//! What `modular` claims: that it adds, when it learnt to, and by waves of which frequencies.

use candle_lens::course::{MODULUS, modular_pairs};
use candle_lens::prelude::*;

use super::Claim;

pub fn measure(model: &HookedTransformer) -> Result<Vec<Claim>> {
    let (taught, unseen) = modular_pairs();
    let (loss, right) = sums(model, &unseen)?;
    let mut claims = vec![
        ("loss of pairs that were taught".into(), sums(model, &taught)?.0),
        ("loss of unseen pairs".into(), loss),
        ("unseen pairs that are right".into(), right),
    ];
    for epoch in [50, 150, 300, 500, 700] {
        let earlier = HookedTransformer::from_pretrained_no_processing(format!("modular/step{epoch}"))?;
        claims.push((format!("loss of taught pairs after {epoch} epochs"), sums(&earlier, &taught)?.0));
        claims.push((format!("loss of unseen pairs after {epoch} epochs"), sums(&earlier, &unseen)?.0));
    }
    for frequency in [4, 6, 7, 24] {
        claims.push((format!("share of frequency {frequency} in the embedding"), share(model, frequency)?));
    }
    Ok(claims)
}

/// The mean loss of these sums, and the share that is right.
fn sums(model: &HookedTransformer, pairs: &[(usize, usize)]) -> Result<(f64, f64)> {
    let rows = pairs.iter().map(|(a, b)| vec![*a as u32, *b as u32, MODULUS as u32]).collect();
    let sums: Vec<u32> = pairs.iter().map(|(a, b)| ((a + b) % MODULUS) as u32).collect();
    let logits = model.forward(Tokens::from_rows(rows)?)?.narrow(1, 2, 1)?.squeeze(1)?;
    let guesses = logits.argmax(1)?.to_vec1::<u32>()?;
    let right = guesses.iter().zip(&sums).filter(|(guess, sum)| guess == sum).count();
    Ok((f64::from(cross_entropy(&logits, &sums)?.mean_all()?.item()?), right as f64 / sums.len() as f64))
}

/// The share of the waves of one frequency in the energy of all, number by number.
fn share(model: &HookedTransformer, frequency: usize) -> Result<f64> {
    let embed = model.W_E().narrow(0, 0, MODULUS)?.t()?.to_vec2::<f32>()?;
    let (mut all, mut waves) = (0., 0.);
    for dimension in &embed {
        let mean = dimension.iter().map(|x| f64::from(*x)).sum::<f64>() / MODULUS as f64;
        let angle = |number: usize| std::f64::consts::TAU * (frequency * number % MODULUS) as f64 / MODULUS as f64;
        let along = |wave: fn(f64) -> f64| -> f64 {
            dimension.iter().enumerate().map(|(number, x)| wave(angle(number)) * f64::from(*x)).sum()
        };
        all += dimension.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>();
        waves += (along(f64::cos).powi(2) + along(f64::sin).powi(2)) * 2. / MODULUS as f64;
    }
    Ok(waves / all)
}
