//! Sparse dictionaries at GPT-2's width: encoding and decoding by what is active, against the dense products.
//!
//! Of 24,576 features 24 are active at a position, 0.1 %.

use std::env;
use std::path::PathBuf;

use candle_lens::prelude::*;
use serde_json::{Value, json};

use crate::bench::Bench;

const D_MODEL: usize = 768;
const FEATURES: usize = 24_576;
const ACTIVE: usize = 24;

pub fn all(bench: &mut Bench) -> candle_lens::Result<()> {
    for positions in [64, 1024] {
        let shape = format!("{positions}x{FEATURES}");
        for kind in ["sparse_encode", "dense_encode", "product_encode"] {
            encoding(bench, kind, &shape, positions)?;
        }
        for (kind, dtype) in [
            ("sparse_decode", DType::F32),
            ("sparse_decode_bf16", DType::BF16),
            ("sparse_decode_f16", DType::F16),
            ("product_decode", DType::F32),
        ] {
            decoding(bench, kind, &shape, (positions, dtype))?;
        }
    }
    Ok(())
}

/// Features of activations as sparse rows, as a tensor through which gradients flow, and the product with the encoder alone.
fn encoding(bench: &mut Bench, kind: &str, shape: &str, positions: usize) -> candle_lens::Result<()> {
    let name = format!("{kind}_{shape}");
    if !bench.wants(&name) {
        return Ok(());
    }
    let (dictionary, x) = (dictionary(DType::F32)?, activations(positions)?);
    let inputs = inputs(&dictionary, &x)?;
    match kind {
        "sparse_encode" => bench.row(&name, inputs, || dictionary.encode(&x), |acts| rows(&acts.dense()?)),
        "dense_encode" => bench.row(&name, inputs, || dictionary.encode_dense(&x), rows),
        _ => {
            let w_enc = dictionary.w_enc();
            bench.row(&name, Value::Null, || Ok(x.matmul(&w_enc)?), |_| Ok(Value::Null))
        }
    }
}

/// What features write, from sparse rows and by the product with the whole decoder.
fn decoding(bench: &mut Bench, kind: &str, shape: &str, (positions, dtype): (usize, DType)) -> candle_lens::Result<()> {
    let name = format!("{kind}_{shape}");
    if !bench.wants(&name) {
        return Ok(());
    }
    let (dictionary, x) = (dictionary(dtype)?, activations(positions)?);
    let (inputs, acts) = (inputs(&dictionary, &x)?, dictionary.encode(&x)?);
    if kind == "product_decode" {
        let (dense, w_dec) = (acts.dense()?, dictionary.w_dec());
        return bench.row(&name, inputs, || Ok(dense.matmul(&w_dec)?), rows);
    }
    bench.row(&name, inputs, || dictionary.decode(&acts), rows)
}

/// Every 997th number of a matrix.
fn rows(found: &Tensor) -> candle_lens::Result<Value> {
    let all = found.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(json!(all.into_iter().step_by(997).collect::<Vec<f32>>()))
}

fn activations(positions: usize) -> candle_lens::Result<Tensor> {
    Random::new(2).normal((positions, D_MODEL))
}

/// The dictionary and the activations in files, where a peer is to read them.
fn inputs(dictionary: &Dictionary, x: &Tensor) -> candle_lens::Result<Value> {
    let Some(folder) = env::var_os("CANDLE_LENS_BENCH_CASES").map(PathBuf::from) else { return Ok(Value::Null) };
    let (place, file) = (folder.join("dictionary"), folder.join(format!("activations_{}.safetensors", x.dim(0)?)));
    if dictionary.dtype() == DType::F32 && !place.join("cfg.json").exists() {
        dictionary.save_pretrained(&place)?;
    }
    x.save_safetensors("x", &file)?;
    Ok(json!({ "dictionary": place, "activations": file, "apart": 997 }))
}

fn dictionary(dtype: DType) -> candle_lens::Result<Dictionary> {
    let matrix = |seed, shape: (usize, usize)| -> candle_lens::Result<Tensor> {
        Ok((Random::new(seed).normal(shape)? * 0.04)?.to_dtype(dtype)?)
    };
    Dictionary::new(DictionaryParts {
        name: "random".into(),
        w_enc: matrix(0, (D_MODEL, FEATURES))?,
        b_enc: Tensor::zeros(FEATURES, dtype, &Device::Cpu)?,
        w_dec: matrix(1, (FEATURES, D_MODEL))?,
        b_dec: Tensor::zeros(D_MODEL, dtype, &Device::Cpu)?,
        b_in: None,
        w_skip: None,
        activation: Activation::TopK { k: ACTIVE },
        input_norm: InputNorm::None,
        scaled_by_decoder_norm: false,
        expects: Expects::default(),
    })
}
