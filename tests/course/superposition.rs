//! The references of C14 beside loops, and what its texts say of trained toy models.

use candle_lens::course::ex;
use candle_lens::prelude::*;

/// Shape and numbers, read by index.
fn read(x: &Tensor) -> Result<(Vec<usize>, Vec<f32>)> {
    Ok((x.dims().to_vec(), x.flatten_all()?.to_vec1()?))
}

/// Trained numbers are this far from round ones: other orders of summation end elsewhere in the same valley.
const SEED_TO_SEED: f32 = 0.05;

#[test]
fn the_toy_model_is_its_loops() -> Result<()> {
    ex::toy_forward()
        .check(|x, w, b| {
            let ((dims, x), (of_w, w), (_, b)) = (read(x)?, read(w)?, read(b)?);
            let (n, hidden, f) = (of_w[0], of_w[1], of_w[2]);
            let mut out = Vec::new();
            for (row, i, to) in (0..dims[0]).flat_map(|b| (0..n).flat_map(move |i| (0..f).map(move |to| (b, i, to)))) {
                let at = |h: usize, feature: usize| w[(i * hidden + h) * f + feature];
                let of_hidden = |h: usize| (0..f).map(|from| x[(row * n + i) * f + from] * at(h, from)).sum::<f32>();
                let sum: f32 = (0..hidden).map(|h| of_hidden(h) * at(h, to)).sum();
                out.push((sum + b[i * f + to]).max(0.));
            }
            Ok::<_, candle_lens::Error>(Tensor::from_vec(out, dims, &Device::Cpu)?)
        })
        .expect()?;
    ex::importance_loss()
        .check(|out, x, importance| {
            let ((dims, x), (_, out), (_, importance)) = (read(x)?, read(out)?, read(importance)?);
            let each = x.iter().zip(&out).enumerate();
            let sum: f32 = each.map(|(at, (x, out))| importance[at % dims[2]] * (x - out).powi(2)).sum();
            Ok::<_, candle_lens::Error>(Tensor::new(sum / (dims[0] * dims[2]) as f32, &Device::Cpu)?)
        })
        .expect()?;
    ex::dimensionality()
        .check(|w| {
            let (dims, w) = read(w)?;
            let (hidden, f) = (dims[1], dims[2]);
            let mut all = Vec::new();
            for (i, feature) in (0..dims[0]).flat_map(|i| (0..f).map(move |feature| (i, feature))) {
                let product = |a: usize, b: usize| {
                    (0..hidden).map(|h| w[(i * hidden + h) * f + a] * w[(i * hidden + h) * f + b]).sum::<f32>()
                };
                let own = product(feature, feature);
                all.push(own / (0..f).map(|other| product(feature, other).powi(2) / own).sum::<f32>());
            }
            Ok::<_, candle_lens::Error>(Tensor::from_vec(all, (dims[0], f), &Device::Cpu)?)
        })
        .expect()
}

/// Other ways to draw, with other seeds, are as right as the reference's.
#[test]
fn random_batches_are_judged_by_their_frequencies() -> Result<()> {
    type Batch = Result<Tensor>;
    fn batch(p: &[f32], features: usize, batch: usize, draw: impl Fn(&mut Random, f64) -> Vec<f32>) -> Batch {
        let mut random = Random::new(99);
        let rows = (0..batch).flat_map(|_| p.iter().flat_map(|&p| draw(&mut random, p.into())).collect::<Vec<_>>());
        Ok(Tensor::from_vec(rows.collect::<Vec<_>>(), (batch, p.len(), features), &Device::Cpu)?)
    }
    ex::sparse_batch()
        .check(|p, features, size, _| {
            batch(p, features, size, |random, p| {
                let values: Vec<f64> = (0..features).map(|_| random.uniform()).collect();
                // Rescaled, what is left of a uniform number is uniform again.
                values.iter().map(|value| if *value < p { (value / p) as f32 } else { 0. }).collect()
            })
        })
        .expect()?;
    ex::correlated_batch()
        .check(|p, pairs, size, _| {
            batch(p, 2 * pairs, size, |random, p| {
                let active: Vec<bool> = (0..pairs).map(|_| random.chance(p)).collect();
                (0..2 * pairs).map(|at| if active[at / 2] { random.uniform() as f32 } else { 0. }).collect()
            })
        })
        .expect()?;
    ex::anticorrelated_batch()
        .check(|p, pairs, size, _| {
            batch(p, 2 * pairs, size, |random, p| {
                let pair = |random: &mut Random| {
                    let (is_active, value) = (random.chance(2. * p), random.uniform() as f32);
                    match (is_active, random.chance(0.5)) {
                        (false, _) => [0., 0.],
                        (true, true) => [value, 0.],
                        (true, false) => [0., value],
                    }
                };
                (0..pairs).flat_map(|_| pair(random)).collect()
            })
        })
        .expect()
}

#[test]
fn wrong_batches_are_refused() {
    type Batch = Result<Tensor>;
    fn filled(p: &[f32], features: usize, batch: usize, fill: impl Fn(&mut Random, &[f32]) -> Vec<f32>) -> Batch {
        let mut random = Random::new(98);
        let rows: Vec<f32> = (0..batch).flat_map(|_| fill(&mut random, p)).collect();
        Ok(Tensor::from_vec(rows, (batch, p.len(), features), &Device::Cpu)?)
    }
    let with = |value: fn(&mut Random) -> f64| {
        ex::sparse_batch().check(move |p, features, size, _| {
            filled(p, features, size, |random, p| {
                let draw = |p: f32| if random.chance(p.into()) { value(random) as f32 } else { 0. };
                p.iter().flat_map(|p| vec![*p; features]).map(draw).collect()
            })
        })
    };
    assert!(with(Random::uniform).passed());
    assert!(!with(|random| (random.uniform() + random.uniform()) / 2.).passed());
    assert!(!with(|random| 0.4 + 0.2 * random.uniform()).passed());
    // One draw for all instances.
    let shared = ex::sparse_batch().check(|p, features, size, _| {
        filled(p, features, size, |random, p| {
            let drawn: Vec<f32> = (0..features).map(|_| random.uniform() as f32).collect();
            p.iter().flat_map(|p| drawn.iter().map(move |x| if x < p { x / p } else { 0. })).collect()
        })
    });
    assert!(!shared.passed());
    // Every input twice.
    let twice = ex::sparse_batch().check(|p, features, size, _| {
        let once = filled(p, features, size / 2, |random, p| {
            let draw = |p: f32| if random.chance(p.into()) { random.uniform() as f32 } else { 0. };
            p.iter().flat_map(|p| vec![*p; features]).map(draw).collect()
        })?;
        Ok::<_, candle_lens::Error>(Tensor::stack(&[&once, &once], 1)?.flatten(0, 1)?)
    });
    assert!(!twice.passed());
    // Pairs that part in one case of twenty.
    let parting = ex::correlated_batch().check(|p, pairs, size, _| {
        filled(p, 2 * pairs, size, |random, p| {
            let pair = |p: f32| {
                let (first, part) = (random.chance(p.into()), random.chance(0.05));
                let second = if part { random.chance(p.into()) } else { first };
                [first, second].map(|is_active| if is_active { random.uniform() as f32 } else { 0. })
            };
            p.iter().flat_map(|p| vec![*p; pairs]).flat_map(pair).collect()
        })
    });
    assert!(!parting.passed());
}

/// The loop of the notebook, with two of its eight instances.
#[test]
fn rare_features_share_dimensions() -> Result<()> {
    let (n, features, batch, steps) = (2, 5, 128, 1000);
    let mut random = Random::new(1);
    let w = Var::from_tensor(&(random.normal((n, 2, features))? * 0.5)?)?;
    let b = Var::zeros((n, 1, features), DType::F32, &Device::Cpu)?;
    let importance = Tensor::new(&[1f32, 0.9, 0.81, 0.729, 0.6561], &Device::Cpu)?;
    let mut adam = AdamW::new(AdamWOptions { weight_decay: 0., ..Default::default() });
    for step in 0..steps {
        let mut draw = |p: f32| {
            let drawn = random.uniform() as f32;
            if drawn < p { drawn / p } else { 0. }
        };
        let x: Vec<f32> =
            [1., 0.02].into_iter().flat_map(|p| (0..batch * features).map(|_| draw(p)).collect::<Vec<_>>()).collect();
        let x = Tensor::from_vec(x, (n, batch, features), &Device::Cpu)?;
        let out = x.matmul(&w.t()?)?.matmul(w.as_tensor())?.broadcast_add(b.as_tensor())?.relu()?;
        let loss = (x - out)?.sqr()?.broadcast_mul(&importance)?.mean((1, 2))?.sum_all()?;
        adam.step_vars(0.02 * (1. - step as f64 / steps as f64), [&w, &b], &loss.backward()?)?;
    }
    let lengths = w.sqr()?.sum(1)?.sqrt()?.to_vec2::<f32>()?;
    let room: f32 = lengths[0].iter().map(|length| length * length).sum();
    assert!((1.7..2.3).contains(&room), "as much as there are dimensions: {lengths:?}");
    assert!(lengths[1].iter().all(|length| (length - 1.15).abs() < SEED_TO_SEED), "all of them: {lengths:?}");
    // A pentagon: of two dimensions each of five has 2/5.
    let unit = w.broadcast_div(&w.sqr()?.sum_keepdim(1)?.sqrt()?)?.get(1)?;
    let shared = unit.t()?.matmul(&w.get(1)?)?.sqr()?.sum(1)?.to_vec1::<f32>()?;
    let own = lengths[1].iter().zip(&shared).map(|(length, shared)| length * length / shared);
    assert!(own.clone().all(|own| (own - 0.4).abs() < SEED_TO_SEED), "{:?}", own.collect::<Vec<_>>());
    Ok(())
}
