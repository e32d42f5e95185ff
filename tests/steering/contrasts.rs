//! Directions of two sets of prompts.

use candle_lens::Result;
use candle_lens::candle::{Device, IndexOp, Tensor};
use candle_lens::hooks::HookPlan;
use candle_lens::metrics::Positions;
use candle_lens::model::{HookedTransformer, Processing};
use candle_lens::steering::{Contrast, SteeringVector};
use candle_lens::tokens::Tokens;

use super::{SIDES, direction, kinds, prompts};
use crate::support::fixture::{numbers, tiny_model};
use crate::support::tolerance::REORDERED;
use crate::support::{assert_close, scratch};

/// The states of prompts at these positions of each, by hand.
fn states(model: &HookedTransformer, tokens: &Tokens, layer: usize, at: &[Vec<usize>]) -> Result<Vec<Vec<f64>>> {
    let (_, cache) = model.run_with_hooks(tokens, HookPlan::new().capture(("resid_post", layer)))?;
    let x = cache.get(("resid_post", layer))?;
    let of = |(prompt, positions): (usize, &Vec<usize>)| -> Result<Vec<f64>> {
        let rows = positions.iter().map(|&pos| Ok(numbers(&x.i((prompt, pos))?))).collect::<Result<Vec<_>>>()?;
        Ok((0..x.dim(2)?).map(|n| rows.iter().map(|row| row[n]).sum::<f64>() / rows.len() as f64).collect())
    };
    at.iter().enumerate().map(of).collect()
}

fn mean(states: &[Vec<f64>], n: usize) -> f64 {
    states.iter().map(|state| state[n]).sum::<f64>() / states.len() as f64
}

fn as_tensor(values: impl Iterator<Item = f64>) -> Result<Tensor> {
    Ok(Tensor::new(values.map(|value| value as f32).collect::<Vec<_>>(), &Device::Cpu)?)
}

#[test]
fn mean_differences_are_those_of_a_loop() -> Result<()> {
    for (name, model) in kinds()? {
        for side in SIDES {
            let (positive, negative) = (prompts(1, side)?, prompts(4, side)?);
            let every = |tokens: &Tokens| -> Vec<Vec<usize>> {
                let real = |b: usize| (0..tokens.pos()).filter(|&pos| tokens.is_real(b, pos)).collect();
                (0..tokens.batch()).map(real).collect()
            };
            let one = |positions: Vec<usize>| positions.into_iter().map(|pos| vec![pos]).collect::<Vec<_>>();
            for (positions, at) in [
                (Positions::Last, one(positive.last_positions())),
                (Positions::First, one(positive.first_positions())),
                (Positions::All, every(&positive)),
            ] {
                let contrast = Contrast::new(&model, &positive, &negative)?.at(positions.clone());
                let vectors = contrast.mean_differences("resid_post")?;
                assert_eq!(vectors.len(), model.cfg().n_layers);
                for (layer, vector) in vectors.iter().enumerate() {
                    let (a, b) = (states(&model, &positive, layer, &at)?, states(&model, &negative, layer, &at)?);
                    let expected = as_tensor((0..a[0].len()).map(|n| mean(&a, n) - mean(&b, n)))?;
                    assert_close(&vector.values(), &expected, REORDERED, &format!("{name}, {side:?}, {positions}"));
                    let alone = contrast.mean_difference(("resid_post", layer))?;
                    assert_close(&alone.values(), &expected, REORDERED, &name);
                }
            }
            assert_eq!(Contrast::new(&model, &positive, &positive)?.mean_difference(("mlp_out", 0))?.norm(), 0.);
        }
    }
    Ok(())
}

/// The direction along which differences are longest, by going round and round.
fn by_power(differences: &[Vec<f64>]) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut v = differences[0].clone();
    for _ in 0..20_000 {
        let mut next = vec![0.; v.len()];
        for row in differences {
            let along = dot(row, &v);
            next.iter_mut().zip(row).for_each(|(next, x)| *next += along * x);
        }
        let norm = dot(&next, &next).sqrt();
        v = next.iter().map(|x| x / norm).collect();
    }
    let towards: f64 = differences.iter().map(|row| dot(row, &v)).sum();
    v.iter().map(|x| x * towards.signum()).collect()
}

#[test]
fn principal_components_are_those_of_a_power_iteration() -> Result<()> {
    let model = tiny_model(Processing::default());
    // Fewer pairs than coordinates, and more.
    for pairs in [3u32, 5, 90] {
        let set = |seed: u32| {
            let row = |i: u32| (0..5).map(|k| (seed + i * 7 + i * i * k + k * 5) % 100 + 1).collect();
            Tokens::from_rows((0..pairs).map(row).collect())
        };
        let (positive, negative) = (set(1)?, set(31)?);
        let last: Vec<_> = (0..pairs).map(|_| vec![4]).collect();
        let (a, b) = (states(&model, &positive, 1, &last)?, states(&model, &negative, 1, &last)?);
        let differences: Vec<Vec<f64>> =
            a.iter().zip(&b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a - b).collect()).collect();
        let vector = Contrast::new(&model, &positive, &negative)?.principal_difference(("resid_post", 1))?;
        assert_close(&vector.values(), &as_tensor(by_power(&differences).into_iter())?, REORDERED, &vector.to_string());
        assert!((vector.norm() - 1.).abs() < REORDERED);
        // Turned round, it points the other way.
        let back = Contrast::new(&model, &negative, &positive)?.principal_difference(("resid_post", 1))?;
        assert!((vector.cosine(&back)? + 1.).abs() < REORDERED);
    }
    Ok(())
}

#[test]
fn a_direction_comes_back_from_its_file() -> Result<()> {
    let model = tiny_model(Processing::default());
    let vector = direction(&model, 1, 3)?.named("mine");
    let file = scratch("steering_vector").join("vector.safetensors");
    vector.save(&file)?;
    let loaded = SteeringVector::load(&file)?;
    assert_close(&loaded.values(), &vector.values(), 0., "saved");
    assert_eq!(
        (loaded.name(), loaded.point(), loaded.provenance()),
        (vector.name(), vector.point(), vector.provenance())
    );
    Ok(())
}
