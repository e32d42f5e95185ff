//! Gradients of activations, and scores of edges by them.

use std::collections::BTreeMap;

use candle_lens::prelude::*;
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::{Pair, answers, rows};

/// Eleven points in each layer.
const POINTS: [&str; 11] =
    ["q", "k", "v", "z", "pattern", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "mlp_post"];

pub fn all(bench: &mut Bench, model: &HookedTransformer) -> candle_lens::Result<()> {
    points(bench, model)?;
    let pair = Pair::of_edges(model);
    let (metric, inputs) = (pair.metric(model)?, json!({ "tokens": pair.clean, "answers": pair.answers }));
    // What scores of edges are compared with: at least one gradient is needed, and this is the deepest.
    let once = || model.run_with_grads(pair.clean.clone(), &metric, [("resid_pre", 0)]);
    bench.row("forward_backward_8x15", inputs, once, |(_, gradients)| norms(gradients))?;
    edges(bench, model, &pair, "eap_all_edges_8x15", EdgeMethod::Eap)?;
    edges(bench, model, &pair, "eap_ig_5_all_edges_8x15", EdgeMethod::EapIgInputs { steps: 5 })
}

/// Gradients of a metric at these points: 132 in GPT-2's shapes.
fn points(bench: &mut Bench, model: &HookedTransformer) -> candle_lens::Result<()> {
    let mut random = Random::new(0);
    let (rows, answers) = (rows(model, &mut random, (8, 15)), answers(model, &mut random, 8));
    let tokens = Tokens::from_rows(rows.clone())?;
    let metric = Metric::logit_diff(&model.answers(answers.clone())?);
    let name = format!("forward_backward_{}_points_8x15", POINTS.len() * model.cfg().n_layers);
    let work = || model.run_with_grads(&tokens, &metric, POINTS);
    bench.row(&name, json!({ "tokens": rows, "answers": answers }), work, |(_, gradients)| norms(gradients))
}

fn norms(gradients: &Gradients) -> candle_lens::Result<Value> {
    let mut norms = BTreeMap::new();
    for (point, _, gradient) in gradients.iter() {
        norms.insert(point.to_string(), f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?).sqrt());
    }
    Ok(json!(norms))
}

/// All edges (GPT-2's shapes have 32,491), the runs included.
pub fn edges(
    bench: &mut Bench,
    model: &HookedTransformer,
    pair: &Pair,
    name: &str,
    method: EdgeMethod,
) -> candle_lens::Result<()> {
    let work = || pair.experiment(model)?.edges()?.attribute(method);
    bench.row(name, pair.json(), work, |circuit| {
        let score = |edge: Edge| Ok((edge.to_string(), circuit.score(edge)?));
        let scores: candle_lens::Result<BTreeMap<String, f32>> = circuit.all_edges().into_iter().map(score).collect();
        Ok(json!(scores?))
    })
}
