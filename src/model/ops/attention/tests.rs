//! Tiles against the same composed of candle's operations in f64: values, what is kept, and gradients.

use candle_core::{DType, Device, Tensor, Var};

use super::super::softmax;
use super::*;
use crate::error::{Error, Result};

/// Of sums of up to a few hundred products of numbers below 1, and of gradients as large.
const ROUNDING: f64 = 4e-6;

/// Sizes of a call: batch, queries, keys, heads, heads of keys, numbers of a head.
type Sizes = (usize, usize, usize, usize, usize, usize);

fn wave(shape: &[usize], salt: usize) -> Result<Tensor> {
    let count = shape.iter().product();
    let numbers = (0..count).map(|i: usize| ((i * 7919 + salt * 104_729 + 13) as f64 * 0.618_034).sin() as f32);
    Ok(Tensor::from_vec(numbers.collect::<Vec<_>>(), shape, &Device::Cpu)?)
}

/// Queries at the end of the keys that see no later key, none `window` or more before them, and no padding: the first
/// keys of every second text, and one in the middle of the others.
fn masked(sizes: Sizes, window: usize, is_padded: bool) -> Result<Tensor> {
    let (batch, queries, keys, ..) = sizes;
    let of_batch = if is_padded { batch } else { 1 };
    let mut hidden = Vec::new();
    for text in 0..of_batch {
        for query in keys - queries..keys {
            for key in 0..keys {
                let is_padding = if text % 2 == 0 { key < keys / 3 } else { key == keys / 2 };
                hidden.push(u8::from(key > query || query - key >= window || is_padded && is_padding));
            }
        }
    }
    Ok(Tensor::from_vec(hidden, (of_batch, 1, queries, keys), &Device::Cpu)?)
}

/// Scores, pattern and mixed values of the textbook.
fn composed([q, k, v]: [&Tensor; 3], how: &Comparison) -> Result<[Tensor; 3]> {
    let (dtype, times) = (q.dtype(), q.dim(2)? / k.dim(2)?);
    let by_head = |x: &Tensor, times: usize| -> Result<Tensor> {
        let (batch, pos, heads, d) = x.dims4()?;
        let x = x.unsqueeze(3)?.broadcast_as((batch, pos, heads, times, d))?.contiguous()?;
        Ok(x.reshape((batch, pos, heads * times, d))?.transpose(1, 2)?.contiguous()?)
    };
    let (q, k, v) = (by_head(q, 1)?, by_head(k, times)?, by_head(v, times)?);
    let mut scores = (q.matmul(&k.transpose(2, 3)?.contiguous()?)? / how.scale)?;
    if let Some(lowered) = &how.lowered {
        scores = scores.broadcast_add(&lowered.to_dtype(dtype)?)?;
    }
    if let Some(masked) = &how.masked {
        let never = Tensor::new(f64::NEG_INFINITY, &Device::Cpu)?.to_dtype(dtype)?.broadcast_as(scores.shape())?;
        scores = masked.broadcast_as(scores.shape())?.where_cond(&never, &scores)?;
    }
    let pattern = softmax(&scores)?;
    let z = pattern.matmul(&v)?.transpose(1, 2)?.contiguous()?;
    Ok([scores, pattern, z])
}

fn near(what: &str, got: &Tensor, expected: &Tensor) -> Result<()> {
    assert_eq!(got.dims(), expected.dims(), "{what}");
    let numbers = |x: &Tensor| x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    for (i, (got, expected)) in numbers(got)?.into_iter().zip(numbers(expected)?).enumerate() {
        let fits = got == expected || (got - expected).abs() <= ROUNDING * (1.0 + expected.abs());
        assert!(fits, "{what}, number {i}: {got} for {expected}");
    }
    Ok(())
}

fn check(sizes: Sizes, how: &Comparison, what: &str) -> Result<()> {
    let what = format!("{sizes:?} {what}");
    let (batch, queries, keys, heads, groups, d) = sizes;
    let shapes = [[batch, queries, heads, d], [batch, keys, groups, d], [batch, keys, groups, d]];
    let weights = wave(&shapes[0], 9)?;
    let variables = |dtype: DType| -> Result<Vec<Var>> {
        let var = |(salt, shape): (usize, &[usize; 4])| Ok(Var::from_tensor(&wave(shape, salt)?.to_dtype(dtype)?)?);
        shapes.iter().enumerate().map(var).collect()
    };
    let [exact, ours] = [variables(DType::F64)?, variables(DType::F32)?];
    let of = |x: &[Var]| [0, 1, 2].map(|i| x[i].as_tensor().clone());
    let [q, k, v] = &of(&exact);
    let [scores, pattern, z] = composed([q, k, v], how)?;
    let expected = (&z * weights.to_dtype(DType::F64)?)?.sum_all()?.backward()?;
    let [q, k, v] = &of(&ours);
    let made = attend([q, k, v], how, Kept::default())?.expect("f32 on the CPU");
    near(&format!("{what}: z"), &made.z, &z)?;
    let got = (&made.z * &weights)?.sum_all()?.backward()?;
    for (index, (ours, exact)) in ours.iter().zip(&exact).enumerate() {
        let (ours, exact) = (got.get(ours).expect("a gradient"), expected.get(exact).expect("a gradient"));
        near(&format!("{what}: gradient {index}"), ours, exact)?;
    }
    let [q, k, v] = [q, k, v].map(Tensor::detach);
    let kept = attend([&q, &k, &v], how, Kept { scores: true, pattern: true })?.expect("f32 on the CPU");
    near(&format!("{what}: scores"), &kept.scores.expect("kept"), &scores)?;
    near(&format!("{what}: pattern"), &kept.pattern.expect("kept"), &pattern)?;
    let all = |x: &Tensor| x.flatten_all()?.to_vec1::<f32>();
    assert_eq!(all(&kept.z)?, all(&made.z)?, "{what}: what is kept changes digits");
    Ok(())
}

#[test]
fn tiles_are_attention() -> Result<()> {
    let all: [Sizes; 7] = [
        (2, 15, 15, 3, 3, 8),
        (3, 7, 20, 6, 2, 5),
        (1, 1, 33, 4, 1, 64),
        (2, 61, 61, 2, 1, 20),
        (2, 5, 130, 2, 2, 33),
        (1, 100, 700, 2, 2, 16),
        (4, 1, 1, 1, 1, 1),
    ];
    for sizes in all {
        let (_, queries, keys, heads, _, d) = sizes;
        let how = |masked| Comparison { scale: (d as f64).sqrt(), lowered: None, masked };
        check(sizes, &how(None), "open")?;
        check(sizes, &how(Some(masked(sizes, usize::MAX, false)?)), "causal")?;
        check(sizes, &how(Some(masked(sizes, 4, false)?)), "in a window")?;
        check(sizes, &how(Some(masked(sizes, usize::MAX, true)?)), "padded")?;
        check(sizes, &how(Some(masked(sizes, 4, true)?)), "padded in a window")?;
        let lowered = Some(wave(&[1, heads, queries, keys], 5)?);
        let masked = Some(masked(sizes, usize::MAX, false)?);
        check(sizes, &Comparison { scale: 2.0, lowered, masked }, "lowered")?;
    }
    Ok(())
}

/// A prompt's results are its own, and a query's, wherever they stand: a part of a batch has the same digits, unless it has so
/// few queries that they are computed in another order.
#[test]
fn a_query_has_the_same_digits_in_any_company() -> Result<()> {
    let (pos, heads, d) = (50, 2, 24);
    let [q, k, v] = [1, 2, 3].map(|salt| wave(&[3, pos, heads, d], salt).expect("numbers"));
    let how = |sizes| -> Result<Comparison> {
        Ok(Comparison { scale: 5.0, lowered: None, masked: Some(masked(sizes, usize::MAX, false)?) })
    };
    let z = |qkv: [&Tensor; 3], queries| -> Result<Tensor> {
        Ok(attend(qkv, &how((1, queries, pos, heads, heads, d))?, Kept::default())?.expect("f32 on the CPU").z)
    };
    let all = z([&q, &k, &v], pos)?;
    for from in [1, 7, 43] {
        let late = |x: &Tensor, from: usize| x.narrow(0, 1, 1)?.narrow(1, from, pos - from);
        let part = z([&late(&q, from)?, &late(&k, 0)?, &late(&v, 0)?], pos - from)?;
        let expected = late(&all, from)?.flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(part.flatten_all()?.to_vec1::<f32>()?, expected, "from {from}");
    }
    Ok(())
}

/// NaN and infinite numbers come out as from the composed operations.
#[test]
fn what_is_not_finite_spreads_as_in_a_product() -> Result<()> {
    let (sizes, shape) = ((1, 20, 20, 1, 1, 4), [1, 20, 1, 4]);
    let how = Comparison { scale: 2.0, lowered: None, masked: Some(masked(sizes, usize::MAX, false)?) };
    for (which, bad) in [(0, f32::NAN), (1, f32::NAN), (2, f32::NAN), (2, f32::INFINITY), (1, f32::INFINITY)] {
        let mut qkv = [1, 2, 3].map(|salt| wave(&shape, salt).expect("numbers"));
        let mut numbers = qkv[which].flatten_all()?.to_vec1::<f32>()?;
        numbers[10 * 4] = bad;
        qkv[which] = Tensor::from_vec(numbers, &shape, &Device::Cpu)?;
        let [q, k, v] = &qkv;
        let [.., expected] = composed([q, k, v], &how)?;
        let got = attend([q, k, v], &how, Kept::default())?.expect("f32 on the CPU").z;
        let is_nan = |x: &Tensor| {
            Ok::<_, Error>(x.flatten_all()?.to_vec1::<f32>()?.iter().map(|x| x.is_nan()).collect::<Vec<_>>())
        };
        assert_eq!(is_nan(&got)?, is_nan(&expected)?, "{bad} in {which}");
    }
    Ok(())
}

/// Half precision comes back as half, as near as its last digit to the same numbers in f32.
#[test]
fn half_precision_is_computed_wide() -> Result<()> {
    let shape = [2, 9, 2, 8];
    for (dtype, digit) in [(DType::BF16, 1.0 / 128.0), (DType::F16, 1.0 / 1024.0)] {
        let halves = [1, 2, 3].map(|salt| wave(&shape, salt).and_then(|x| Ok(x.to_dtype(dtype)?)).expect("numbers"));
        let wide = halves.each_ref().map(|x| x.to_dtype(DType::F32).expect("numbers"));
        let how = Comparison { scale: 3.0, lowered: None, masked: None };
        let z = |x: &[Tensor; 3]| Ok::<_, Error>(attend(x.each_ref(), &how, Kept::default())?.expect("on the CPU").z);
        let (half, wide) = (z(&halves)?, z(&wide)?);
        assert_eq!(half.dtype(), dtype);
        let apart = (half.to_dtype(DType::F32)? - wide)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(apart <= digit, "{apart}");
    }
    Ok(())
}
