//! C11: waves by loops and by identities, and what the text says of the model.

use std::f64::consts::TAU;

use candle_lens::course::{ex, modular_pairs};
use candle_lens::prelude::*;

/// Rounding of f32 beside f64.
const F32: f64 = 2e-3;

/// The part of a function along a wave of this number, as `fourier_basis` counts them.
fn along(wave: usize, function: impl Fn(usize) -> f64, p: usize) -> f64 {
    let angle = |x: usize| TAU * (wave.div_ceil(2) * x % p) as f64 / p as f64;
    let of = |x: usize| match wave {
        0 => 0.5f64.sqrt(),
        odd if odd % 2 == 1 => angle(x).cos(),
        _ => angle(x).sin(),
    };
    (0..p).map(|x| of(x) * function(x)).sum::<f64>() * (2. / p as f64).sqrt()
}

fn wide(x: &Tensor) -> Result<Vec<f64>> {
    Ok(x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

/// `[a, b, column]` to waves of both, one axis after the other.
fn both(x: &Tensor) -> Result<Vec<f64>> {
    let (p, _, columns) = x.dims3()?;
    let x = wide(x)?;
    let at = |a: usize, b: usize, n: usize| (a * p + b) * columns + n;
    let cells = || (0..p).flat_map(move |f| (0..p).flat_map(move |g| (0..columns).map(move |n| (f, g, n))));
    let half: Vec<f64> = cells().map(|(f, b, n)| along(f, |a| x[at(a, b, n)], p)).collect();
    Ok(cells().map(|(f, g, n)| along(g, |b| half[at(f, b, n)], p)).collect())
}

fn tensor(values: impl IntoIterator<Item = f64>, shape: &[usize]) -> Result<Tensor> {
    let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

fn one(x: &Tensor) -> Result<Tensor> {
    let (p, columns) = x.dims2()?;
    let values = wide(x)?;
    let parts = (0..p * columns).map(|at| along(at / columns, |number| values[number * columns + at % columns], p));
    tensor(parts, &[p, columns])
}

fn keys(embed: &Tensor, share: f32) -> Result<Vec<usize>> {
    let energy: Vec<f64> = wide(&one(embed)?.sqr()?.sum(1)?)?;
    let of = |k: usize| energy[2 * k - 1] + energy[2 * k];
    let all: f64 = (1..=energy.len() / 2).map(of).sum();
    Ok((1..=energy.len() / 2).filter(|&k| of(k) / all >= f64::from(share)).collect())
}

/// By what is left of each neuron when a frequency's products of waves are gone.
fn clusters(acts: &Tensor) -> Result<(Vec<usize>, Vec<f32>)> {
    let (p, _, neurons) = acts.dims3()?;
    let parts = both(acts)?;
    let best = (0..neurons).map(|n| {
        let energy = |keep: &dyn Fn(usize) -> bool| -> f64 {
            let kept = (1..p * p).filter(|at| keep(at / p) && keep(at % p));
            kept.map(|at| parts[at * neurons + n].powi(2)).sum()
        };
        let all = energy(&|_| true);
        let share = |k: usize| (k, (energy(&|wave| wave == 0 || wave.div_ceil(2) == k) / all) as f32);
        (1..=p / 2).map(share).max_by(|a, b| a.1.total_cmp(&b.1)).expect("a frequency")
    });
    Ok(best.unzip())
}

/// One less the share that is left when the best multiple of each wave is subtracted.
fn explained(logits: &Tensor, frequencies: &[usize]) -> Result<f32> {
    let p = logits.dim(0)?;
    let rows = wide(logits)?;
    let centred: Vec<f64> =
        rows.chunks(p).flat_map(|row| row.iter().map(|x| x - row.iter().sum::<f64>() / p as f64)).collect();
    let mut left = centred.clone();
    for k in frequencies {
        let wave = |n: usize| (TAU * (k * (n / (p * p) + n / p % p + p - n % p) % p) as f64 / p as f64).cos();
        let slope = (0..left.len()).map(|n| left[n] * wave(n)).sum::<f64>()
            / (0..left.len()).map(|n| wave(n).powi(2)).sum::<f64>();
        (0..left.len()).for_each(|n| left[n] -= slope * wave(n));
    }
    let energy = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
    Ok((1. - energy(&left) / energy(&centred)) as f32)
}

/// Of each answer's logits, the part along the waves of the sum: the mean over questions of the same sum, and of that the waves.
fn along_sums(logits: &Tensor, frequencies: &[usize]) -> Result<Vec<f64>> {
    let p = logits.dim(0)?;
    let rows = wide(logits)?;
    let mean = |sum: usize, c: usize| (0..p).map(|a| rows[(a * p + (sum + p - a) % p) * p + c]).sum::<f64>() / p as f64;
    let mut kept = vec![0.; p * p];
    for (k, c) in frequencies.iter().flat_map(|k| (0..p).map(move |c| (k, c))) {
        let (cos, sin) = (along(2 * k - 1, |sum| mean(sum, c), p), along(2 * k, |sum| mean(sum, c), p));
        for sum in 0..p {
            let angle = TAU * (k * sum % p) as f64 / p as f64;
            kept[sum * p + c] += (cos * angle.cos() + sin * angle.sin()) * (2. / p as f64).sqrt();
        }
    }
    Ok((0..p * p * p).map(|n| kept[(n / (p * p) + n / p % p) % p * p + n % p]).collect())
}

/// The mean loss over these pairs.
fn loss(logits: &[f64], p: usize, pairs: &[(usize, usize)]) -> f32 {
    let one = |&(a, b): &(usize, usize)| {
        let row = &logits[(a * p + b) * p..][..p];
        row.iter().map(|x| (x - row[(a + b) % p]).exp()).sum::<f64>().ln()
    };
    (pairs.iter().map(one).sum::<f64>() / pairs.len() as f64) as f32
}

fn all(p: usize) -> Vec<(usize, usize)> {
    (0..p * p).map(|n| (n / p, n % p)).collect()
}

fn restricted(logits: &Tensor, frequencies: &[usize]) -> Result<f32> {
    let (p, rows) = (logits.dim(0)?, wide(logits)?);
    let mean = |c: usize| (0..p * p).map(|question| rows[question * p + c]).sum::<f64>() / (p * p) as f64;
    let constant: Vec<f64> = (0..p).map(mean).collect();
    let kept = along_sums(logits, frequencies)?;
    let kept: Vec<f64> = kept.iter().enumerate().map(|(n, x)| x + constant[n % p]).collect();
    Ok(loss(&kept, p, &all(p)))
}

fn excluded(logits: &Tensor, frequencies: &[usize], taught: &[(usize, usize)]) -> Result<f32> {
    let left: Vec<f64> =
        wide(logits)?.iter().zip(along_sums(logits, frequencies)?).map(|(logit, wave)| logit - wave).collect();
    Ok(loss(&left, logits.dim(0)?, taught))
}

#[test]
fn references_are_what_loops_give() -> Result<()> {
    let basis = |p: usize| tensor((0..p * p).map(|at| along(at / p, |x| f64::from(u8::from(x == at % p)), p)), &[p, p]);
    ex::fourier_basis().check(basis).expect()?;
    ex::fourier_1d().check(one).expect()?;
    ex::fourier_2d().check(|x| tensor(both(x)?, x.dims())).expect()?;
    ex::key_frequencies().check(keys).expect()?;
    ex::neuron_frequencies().check(clusters).expect()?;
    ex::share_of_waves().check(explained).expect()?;
    // The angle addition formulas.
    let sums = |p: usize, frequencies: &[usize]| {
        let waves = frequencies.iter().flat_map(|k| [(k, true), (k, false)]);
        let values = waves.flat_map(|(k, is_cosine)| {
            let angle = move |x: usize| TAU * (k * x) as f64 / p as f64;
            all(p).into_iter().map(move |(a, b)| {
                let ((sin_a, cos_a), (sin_b, cos_b)) = (angle(a).sin_cos(), angle(b).sin_cos());
                let wave = if is_cosine { cos_a * cos_b - sin_a * sin_b } else { sin_a * cos_b + cos_a * sin_b };
                wave * 2f64.sqrt() / p as f64
            })
        });
        tensor(values.collect::<Vec<_>>(), &[2 * frequencies.len(), p, p])
    };
    ex::sum_waves().check(sums).expect()?;
    ex::restricted_loss().check(restricted).expect()?;
    ex::excluded_loss().check(excluded).expect()?;
    Ok(())
}

/// Logits `[a, b, c]` and neurons `[a, b, neuron]` of a step of the model.
fn answers(name: &str) -> Result<(Tensor, Tensor)> {
    let model = HookedTransformer::from_pretrained_no_processing(name)?;
    let questions = all(53).iter().map(|(a, b)| vec![*a as u32, *b as u32, 53]).collect();
    let (logits, cache) = model.run_with_hooks(Tokens::from_rows(questions)?, HookPlan::new().capture(("post", 0)))?;
    let neurons = cache.get(("post", 0))?.narrow(1, 2, 1)?.reshape((53, 53, ()))?;
    Ok((logits.narrow(1, 2, 1)?.reshape((53, 53, 53))?, neurons))
}

/// Numbers that the text quotes.
#[test]
fn the_model_adds_by_waves() -> Result<()> {
    let model = HookedTransformer::from_pretrained_no_processing("modular")?;
    assert_eq!(model.to_str_tokens("13 29 =")?, ["13", "29", "="]);
    let embed = model.W_E().narrow(0, 0, 53)?;
    assert_eq!(keys(&embed, 0.1)?, [4, 6, 7]);
    let earlier = HookedTransformer::from_pretrained_no_processing("modular/step500")?;
    assert_eq!(keys(&earlier.W_E().narrow(0, 0, 53)?, 0.1)?, [4, 6, 7, 15]);

    let (logits, neurons) = answers("modular")?;
    let (frequencies, mut shares) = clusters(&neurons)?;
    let of = |k: usize| frequencies.iter().filter(|frequency| **frequency == k).count();
    assert_eq!([of(4), of(6), of(7)], [30, 30, 59]);
    shares.sort_by(f32::total_cmp);
    assert!((f64::from(shares[64]) - 0.934).abs() < F32, "{shares:?}");
    let near =
        |got: f32, wanted: f64| assert!((f64::from(got) - wanted).abs() < F32 * (1. + wanted), "{got}, not {wanted}");
    near(explained(&logits, &[4, 6, 7])?, 0.917);

    let taught = modular_pairs().0;
    for (name, kept, left) in
        [("modular/step50", 3.937, 3.643), ("modular/step150", 0.414, 13.427), ("modular", 0., 11.459)]
    {
        let logits = answers(name)?.0;
        near(restricted(&logits, &[4, 6, 7])?, kept);
        near(excluded(&logits, &[4, 6, 7], &taught)?, left);
    }

    near(explained(&logits, &(1..=26).collect::<Vec<_>>())?, 0.917);
    let (early, unseen) = (answers("modular/step150")?.0, modular_pairs().1);
    near(restricted(&early, &[1, 2, 3])?, 10.204);
    let guesses = early.argmax(2)?.to_vec2::<u32>()?;
    let (mirrored, others): (Vec<_>, Vec<_>) = unseen.iter().partition(|(a, b)| taught.contains(&(*b, *a)));
    let right =
        |pairs: &[(usize, usize)]| pairs.iter().filter(|(a, b)| guesses[*a][*b] as usize == (a + b) % 53).count();
    assert_eq!([mirrored.len(), others.len()], [722, 683]);
    /// Another processor may decide a few answers otherwise.
    const FEW: usize = 3;
    assert!(right(&mirrored).abs_diff(716) <= FEW && right(&others).abs_diff(75) <= FEW);
    Ok(())
}

/// What attention alone makes of both numbers together: what is left without the means over `a` and over `b`.
#[test]
fn attention_begins_to_multiply() -> Result<()> {
    let model = HookedTransformer::from_pretrained_no_processing("modular")?;
    let questions = all(53).iter().map(|(a, b)| vec![*a as u32, *b as u32, 53]).collect();
    let plan = HookPlan::new().capture(("resid_mid", 0));
    let (_, cache) = model.run_with_hooks(Tokens::from_rows(questions)?, plan)?;
    let stream = cache.get(("resid_mid", 0))?.narrow(1, 2, 1)?.reshape((53, 53, ()))?;
    let varies = stream.broadcast_sub(&stream.mean_keepdim((0, 1))?)?;
    let together = varies.broadcast_sub(&varies.mean_keepdim(0)?)?.broadcast_sub(&varies.mean_keepdim(1)?)?;
    let share = together.sqr()?.sum_all()?.item()? / varies.sqr()?.sum_all()?.item()?;
    assert!((f64::from(share) - 0.0887).abs() < F32, "{share}");
    Ok(())
}
