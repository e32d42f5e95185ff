//! Loading, forward passes and caches.

use candle_lens::prelude::*;
use serde_json::{Value, json};

use crate::bench::{Bench, model, real_model};
use crate::rows;

/// Of the logits at a row's end, every 997th is compared.
const LOGITS_APART: usize = 997;

/// From the files of a real model.
pub fn load(bench: &mut Bench) -> candle_lens::Result<()> {
    match real_model() {
        Some(_) => bench.row("load", Value::Null, model, |_| Ok(json!([]))),
        None => Ok(()),
    }
}

pub fn all(bench: &mut Bench, model: &HookedTransformer) -> candle_lens::Result<()> {
    let mut random = Random::new(0);
    for (name, shape) in [("8x15", (8, 15)), ("1x15", (1, 15)), ("1x1024", (1, 1024))] {
        let rows = rows(model, &mut random, shape);
        let (tokens, inputs) = (Tokens::from_rows(rows.clone())?, json!({ "tokens": rows, "apart": LOGITS_APART }));
        let (forward, cached) = (format!("forward_{name}"), format!("run_with_cache_{name}"));
        bench.row(&forward, inputs.clone(), || model.forward(&tokens), ends)?;
        if name != "1x15" {
            bench.row(&cached, inputs, || model.run_with_cache(&tokens), |(logits, _)| ends(logits))?;
        }
    }
    Ok(())
}

/// Some of the logits at the end of each row.
fn ends(logits: &Tensor) -> candle_lens::Result<Value> {
    let (batch, last, d_vocab) = logits.dims3()?;
    let ends = logits.narrow(1, last - 1, 1)?.reshape((batch, d_vocab))?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    Ok(json!(ends.iter().flat_map(|row| row.iter().step_by(LOGITS_APART).copied()).collect::<Vec<f32>>()))
}
