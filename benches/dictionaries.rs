//! Sparse dictionaries at GPT-2's width: encoding and decoding by what is active, against the dense products.
//!
//! `cargo bench --bench dictionaries`. Of 24,576 features 24 are active, 0.1 %.

use std::time::Duration;

use candle_lens::prelude::*;
use criterion::{Criterion, criterion_group, criterion_main};

const D_MODEL: usize = 768;
const FEATURES: usize = 24_576;
const ACTIVE: usize = 24;
const POSITIONS: usize = 64;

fn dictionary(dtype: DType) -> Dictionary {
    let matrix = |seed, shape: (usize, usize)| {
        let numbers = Random::new(seed).normal(shape).expect("numbers");
        (numbers * 0.04).and_then(|numbers| numbers.to_dtype(dtype)).expect("numbers")
    };
    let zeros = |size: usize| Tensor::zeros(size, dtype, &Device::Cpu).expect("zeros");
    let parts = DictionaryParts {
        name: "random".into(),
        w_enc: matrix(0, (D_MODEL, FEATURES)),
        b_enc: zeros(FEATURES),
        w_dec: matrix(1, (FEATURES, D_MODEL)),
        b_dec: zeros(D_MODEL),
        b_in: None,
        w_skip: None,
        activation: Activation::TopK { k: ACTIVE },
        input_norm: InputNorm::None,
        scaled_by_decoder_norm: false,
        expects: Expects::default(),
    };
    Dictionary::new(parts).expect("a dictionary")
}

fn decoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode 64 positions, 0.1 % active");
    let x = Random::new(2).normal((POSITIONS, D_MODEL)).expect("numbers");
    for (name, dtype) in [("f32", DType::F32), ("bf16", DType::BF16), ("f16", DType::F16)] {
        let dictionary = dictionary(dtype);
        let acts = dictionary.encode(&x).expect("features");
        group.bench_function(format!("rows of active features, {name}"), |b| b.iter(|| dictionary.decode(&acts)));
        if dtype == DType::F32 {
            let (dense, w_dec) = (acts.dense().expect("it fits"), dictionary.w_dec());
            group.bench_function("dense product, f32", |b| b.iter(|| dense.matmul(&w_dec)));
        }
    }
}

fn encoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode 64 positions, 0.1 % active");
    let x = Random::new(2).normal((POSITIONS, D_MODEL)).expect("numbers");
    let dictionary = dictionary(DType::F32);
    group.bench_function("to sparse rows", |b| b.iter(|| dictionary.encode(&x)));
    group.bench_function("dense, differentiable", |b| b.iter(|| dictionary.encode_dense(&x)));
    let w_enc = dictionary.w_enc();
    group.bench_function("the product alone", |b| b.iter(|| x.matmul(&w_enc)));
}

fn quick() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
}

criterion_group! { name = dictionaries; config = quick(); targets = decoding, encoding }
criterion_main!(dictionaries);
