//! Scores of edges and nodes by backward rules, against gradients of whole runs at each head's own inputs.

use std::collections::BTreeMap;

use candle_lens::Result;
use candle_lens::candle::{Device, Tensor};
use candle_lens::circuits::EdgeMethod;
use candle_lens::experiment::Experiment;
use candle_lens::hooks::{Gradients, HookPlan};
use candle_lens::metrics::Metric;
use candle_lens::model::{
    ActFn, Frozen, HookedTransformer, HookedTransformerConfig, NormalizationType, PositionalEmbeddingType, RELP,
};
use candle_lens::tokens::Tokens;

use super::by_hand::{PAIRS, architectures, compare_edges, model, prompts};
use crate::support::fixture::numbers;
use crate::support::tolerance::{REORDERED, TWO_WAYS};

/// The graphs of the other tests, and one with gates and rotated queries.
fn kinds() -> Vec<(&'static str, HookedTransformerConfig)> {
    let gated = HookedTransformerConfig {
        gated_mlp: true,
        normalization_type: NormalizationType::RMS,
        positional_embedding_type: PositionalEmbeddingType::Rotary,
        act_fn: ActFn::Gelu,
        ..architectures().remove(0).1
    };
    // Heads that share keys have no input of their own in a whole run.
    let of_their_own = architectures().into_iter().filter(|(_, config)| config.n_key_value_heads.is_none());
    of_their_own.chain([("gated", gated)]).collect()
}

/// A random model; those by hand have no gates.
fn of(config: &HookedTransformerConfig) -> Result<HookedTransformer> {
    match config.gated_mlp {
        true => Ok(HookedTransformer::trainable(config.clone(), 5, &Device::Cpu)?.0),
        false => Ok(model(config)?.0),
    }
}

/// What every node writes in a run, by its name.
fn written(model: &HookedTransformer, tokens: &Tokens) -> Result<BTreeMap<String, Tensor>> {
    let plan = HookPlan::new().capture(("embed", "result"));
    let plan = if model.cfg().attn_only { plan } else { plan.capture("mlp_out") };
    let (_, cache) = model.run_with_hooks(tokens, plan)?;
    let mut found = BTreeMap::from([("input".to_string(), cache.get("embed")?)]);
    for layer in 0..model.cfg().n_layers {
        let result = cache.get(("result", layer as isize))?;
        for head in 0..model.cfg().n_heads {
            found.insert(format!("a{layer}.h{head}"), result.narrow(2, head, 1)?.squeeze(2)?);
        }
        if !model.cfg().attn_only {
            found.insert(format!("m{layer}"), cache.get(("mlp_out", layer as isize))?);
        }
    }
    Ok(found)
}

/// The gradient at what this node reads; none where no gradient reaches it.
fn read(gradients: &Gradients, layers: usize, name: &str) -> Result<Option<Tensor>> {
    let digits =
        |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>().parse::<usize>().expect("a number");
    let get = |site: &'static str, layer: usize| {
        let point = (site, layer as isize);
        gradients.get(point).ok().map_or(Ok(None), |gradient| Ok::<_, candle_lens::Error>(Some(gradient)))
    };
    if name == "logits" {
        return get("resid_post", layers - 1);
    }
    let Some((layer, head)) = name.split_once('.') else { return get("mlp_in", digits(name)) };
    let (head, input) = head.split_once('<').expect("an input of a head");
    let site = match &input[..1] {
        "q" => "q_input",
        "k" => "k_input",
        _ => "v_input",
    };
    Ok(get(site, digits(layer))?.map(|gradient| gradient.narrow(2, digits(head), 1)?.squeeze(2)).transpose()?)
}

#[test]
fn edges_by_rules_are_products_with_gradients_of_whole_runs() -> Result<()> {
    let (clean, corrupted) = prompts();
    for (what, config) in kinds() {
        let model = of(&config)?;
        let metric = Metric::logit_diff(&model.answers(PAIRS)?);
        let experiment = Experiment::new(&model, &clean, &corrupted, metric.clone())?;
        let (there, other) = (written(&model, &clean)?, written(&model, &corrupted)?);
        for rules in [RELP.to_vec(), vec![Frozen::NormScales], vec![Frozen::AttentionPatterns]] {
            let frozen = model.with_frozen(rules.clone());
            if rules == [Frozen::NormScales] && config.normalization_type == NormalizationType::None {
                continue;
            }
            let points = ("q_input", "k_input", "v_input", "resid_post");
            let (_, gradients) = match config.attn_only {
                true => frozen.run_with_grads(&clean, &metric, points)?,
                false => {
                    frozen.run_with_grads(&clean, &metric, ("q_input", "k_input", "v_input", "resid_post", "mlp_in"))?
                }
            };
            let edges = experiment.with_frozen(rules.clone())?.edges()?;
            let scores = edges.attribute(EdgeMethod::Eap)?;
            let expected = |from: &str, to: &str| -> Result<f64> {
                let Some(gradient) = read(&gradients, config.n_layers, to)? else { return Ok(0.) };
                let product = ((&other[from] - &there[from])? * gradient)?;
                Ok(numbers(&product).iter().sum::<f64>() / clean.batch() as f64)
            };
            compare_edges(&format!("{what}, {rules:?}"), &scores, f64::from(TWO_WAYS), &expected)?;
            let name = if rules == RELP { "with RelP".to_string() } else { format!("with frozen {rules:?}") };
            assert!(scores.method().contains(&name), "{}", scores.method());
            // A node's score is that of all its edges.
            let nodes = edges.attribute_nodes(EdgeMethod::Eap)?;
            for node in there.keys() {
                let from_node = |edge: &&candle_lens::circuits::Edge| edge.from.to_string() == *node;
                let all = scores.all_edges();
                let sum = all.iter().filter(from_node).map(|&edge| scores.score(edge)).sum::<Result<f32>>()?;
                assert!((nodes.score(node)? - sum).abs() < REORDERED, "{what}, {rules:?}: {node}");
            }
            // What runs the model without gradients is as it was.
            let exact = edges.attribute(EdgeMethod::Exact)?;
            assert_eq!(exact.method(), experiment.edges()?.attribute(EdgeMethod::Exact)?.method());
            let ig = edges.attribute(EdgeMethod::EapIgInputs { steps: 2 })?;
            assert!(ig.method().contains(&name), "{}", ig.method());
        }
    }
    Ok(())
}
