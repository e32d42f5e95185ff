//! The benches' work as files, for `benches/compare.py`: the model, what it is run on, and what comes out, so that a peer
//! does the same work and times of two programs that disagree are never compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_lens::prelude::*;
use serde_json::{Value, json};

use crate::{EDGES, FORWARDS, POINTS, Pair, forward_tokens, gpt2_shapes, gradient_case};

/// Of the logits at a row's end, every 997th is compared.
const LOGITS_APART: usize = 997;

/// Writes `model/` (Hugging Face's layout), `inputs.json` and `ours.json` into the folder.
pub fn write(folder: &Path) -> candle_lens::Result<()> {
    let model = gpt2_shapes();
    model.save_pretrained(folder.join("model"))?;
    let mut inputs = BTreeMap::new();
    let mut values: BTreeMap<String, Value> = BTreeMap::new();
    for (name, rows) in FORWARDS.into_iter().zip(forward_tokens()) {
        let logits = model.forward(&Tokens::from_rows(rows.clone())?)?;
        let (batch, last, d_vocab) = logits.dims3()?;
        let ends = logits.narrow(1, last - 1, 1)?.reshape((batch, d_vocab))?.to_vec2::<f32>()?;
        let few = ends.iter().flat_map(|row| row.iter().step_by(LOGITS_APART).copied());
        values.insert(format!("forward_{name}"), json!(few.collect::<Vec<f32>>()));
        inputs.insert(format!("forward_{name}"), json!({ "tokens": rows }));
    }
    inputs.insert("logits_apart".into(), json!(LOGITS_APART));
    for (name, pair) in [("patch", Pair::new((8, 15), 0)), ("patch_from_10", Pair::new((8, 15), 10))] {
        let patching = pair.experiment(&model);
        let stream = patching.get_act_patch_resid_pre()?;
        values.insert(format!("{name}_resid_pre"), json!(stream.raw.values().iter().collect::<Vec<_>>()));
        if name == "patch" {
            let heads = patching.get_act_patch_attn_head_out_all_pos()?;
            values.insert("patch_head_out".into(), json!(heads.raw.values().iter().collect::<Vec<_>>()));
        }
        inputs.insert(name.into(), pair.json());
    }
    let (rows, answers) = gradient_case();
    let metric = Metric::logit_diff(&model.answers(answers.clone())?);
    let (_, gradients) = model.run_with_grads(Tokens::from_rows(rows.clone())?, &metric, POINTS)?;
    let mut norms = BTreeMap::new();
    for (point, _, gradient) in gradients.iter() {
        norms.insert(point.to_string(), f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?).sqrt());
    }
    values.insert("gradients".into(), json!(norms));
    inputs.insert("gradients".into(), json!({ "tokens": rows, "answers": answers }));
    let edges = Pair::of_edges();
    let circuit = edges.experiment(&model).edges()?.attribute(EDGES)?;
    let scores: candle_lens::Result<BTreeMap<String, f32>> =
        circuit.all_edges().into_iter().map(|edge| Ok((edge.to_string(), circuit.score(edge)?))).collect();
    values.insert("edges".into(), json!(scores?));
    inputs.insert("edges".into(), edges.json());
    for (name, content) in [("inputs.json", json!(inputs)), ("ours.json", json!(values))] {
        let file = folder.join(name);
        fs::write(&file, content.to_string())
            .map_err(|error| candle_lens::Error::file(&file, format!("cannot be written ({error}).")))?;
    }
    Ok(())
}
