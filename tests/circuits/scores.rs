//! Scores of edges against the transformer written out edge by edge: exact ones against runs with that edge corrupted,
//! estimates against slopes along that edge. All of every architecture's edges are compared.

use std::collections::BTreeMap;

use candle_lens::Result;
use candle_lens::candle::{DType, Tensor};
use candle_lens::circuits::{Circuit, EdgeMethod, Edges};
use candle_lens::experiment::{Baseline, Experiment};
use candle_lens::hooks::MeanOver;
use candle_lens::metrics::Metric;
use candle_lens::model::{HookedTransformer, HookedTransformerConfig, NormalizationType};
use candle_lens::tokens::Tokens;

use super::by_hand::{ALONE, ByHand, EXTRAPOLATED, PAIRS, Written, architectures, compare_edges, live, model, prompts};
use crate::support::tolerance::CLEAR;

/// How far an f32 score may be from the f64 one, relative to the largest score of its kind.
const TOLERANCE: f64 = 2e-4;

fn metric(model: &HookedTransformer) -> Result<Metric> {
    Ok(Metric::logit_diff(&model.answers(PAIRS)?))
}

fn experiment(cfg: &HookedTransformerConfig) -> Result<(Edges, ByHand)> {
    let (model, by_hand) = model(cfg)?;
    let (clean, corrupted) = prompts();
    Ok((Experiment::new(&model, clean, corrupted, metric(&model)?)?.edges()?, by_hand))
}

/// Compares every score with `expected(from, to)`.
fn compare(what: &str, circuit: &Circuit, expected: &dyn Fn(&str, &str) -> Result<f64>) -> Result<()> {
    compare_edges(what, circuit, TOLERANCE, expected)
}

fn minus(a: &Written, b: &Written) -> Result<Written> {
    a.iter().map(|(name, a)| Ok((name.clone(), (a - &b[name])?))).collect()
}

fn mix(clean: &Written, corrupted: &Written, share: f64, names: &[String]) -> Result<Written> {
    let one = |name: &String| Ok((name.clone(), ((&clean[name] * share)? + (&corrupted[name] * (1. - share))?)?));
    names.iter().map(one).collect()
}

/// What all nodes write in both runs.
fn both(by_hand: &ByHand) -> Result<(Tokens, Tokens, Written, Written)> {
    let (clean, corrupted) = prompts();
    let of = |tokens: &Tokens| Ok::<_, candle_lens::Error>(by_hand.run(tokens, &Written::new(), &live)?.0);
    let (of_clean, of_corrupted) = (of(&clean)?, of(&corrupted)?);
    Ok((clean, corrupted, of_clean, of_corrupted))
}

#[test]
fn exact_scores_are_runs_with_one_edge_corrupted() -> Result<()> {
    for (what, cfg) in architectures() {
        let (edges, by_hand) = experiment(&cfg)?;
        let (clean, _, _, corrupted) = both(&by_hand)?;
        let whole = by_hand.metric(&clean, &Written::new(), &live)?;
        let one = |from: &str, to: &str| {
            let carry =
                |f: &str, t: &str, x: &Tensor| Ok(if (f, t) == (from, to) { corrupted[f].clone() } else { x.clone() });
            Ok(by_hand.metric(&clean, &Written::new(), &carry)? - whole)
        };
        compare(what, &edges.attribute(EdgeMethod::Exact)?, &one)?;
        // Few edges at once, as with long prompts.
        compare(what, &edges.budget(40_000).attribute(EdgeMethod::Exact)?, &one)?;
    }
    Ok(())
}

#[test]
fn eap_is_the_slope_along_each_edge() -> Result<()> {
    for (what, cfg) in architectures() {
        let (edges, by_hand) = experiment(&cfg)?;
        let (clean, _, of_clean, of_corrupted) = both(&by_hand)?;
        let difference = minus(&of_corrupted, &of_clean)?;
        let slope = |from: &str, to: &str| by_hand.slope(&clean, &Written::new(), (from, to), &difference[from]);
        compare(what, &edges.attribute(EdgeMethod::Eap)?, &slope)?;
        // One prompt at a time.
        compare(what, &edges.budget(40_000).attribute(EdgeMethod::Eap)?, &slope)?;
    }
    Ok(())
}

#[test]
fn zero_and_mean_ablation() -> Result<()> {
    let others = Tokens::from_rows(vec![vec![2, 2, 9, 11, 5], vec![0, 1, 2, 3, 4]])?;
    for (what, cfg) in architectures() {
        let (model, by_hand) = model(&cfg)?;
        let clean = prompts().0;
        let (of_clean, _) = by_hand.run(&clean, &Written::new(), &live)?;
        let (of_others, _) = by_hand.run(&others, &Written::new(), &live)?;
        let all = |of: &dyn Fn(&Tensor) -> Result<Tensor>| -> Result<Written> {
            of_others.iter().map(|(name, x)| Ok((name.clone(), of(x)?))).collect()
        };
        let shape = of_clean["input"].shape().clone();
        let own = || -> Result<Written> {
            let mean = |x: &Tensor| x.mean_keepdim(0)?.broadcast_as(&shape)?.contiguous();
            of_clean.iter().map(|(name, x)| Ok((name.clone(), mean(x)?))).collect()
        };
        let ablations = [
            (Baseline::mean(MeanOver::Batch), own()?),
            (Baseline::MeanByGroup(vec![7; 3]), own()?),
            (Baseline::Zero, minus(&of_clean, &of_clean)?),
            (
                Baseline::mean_of(MeanOver::BatchAndPos, &others),
                all(&|x| Ok(x.mean_keepdim((0, 1))?.broadcast_as(&shape)?.contiguous()?))?,
            ),
            (
                Baseline::mean_of(MeanOver::Batch, &others),
                all(&|x| Ok(x.mean_keepdim(0)?.broadcast_as(&shape)?.contiguous()?))?,
            ),
        ];
        for (ablation, ablated) in ablations {
            let what = format!("{what}, {ablation:?}");
            let edges = Experiment::new(&model, &clean, ablation, metric(&model)?)?.edges()?;
            let difference = minus(&ablated, &of_clean)?;
            compare(&what, &edges.attribute(EdgeMethod::Eap)?, &|from, to| {
                by_hand.slope(&clean, &Written::new(), (from, to), &difference[from])
            })?;
            let whole = by_hand.metric(&clean, &Written::new(), &live)?;
            compare(&what, &edges.attribute(EdgeMethod::Exact)?, &|from, to| {
                let carry = |f: &str, t: &str, x: &Tensor| {
                    Ok(if (f, t) == (from, to) { ablated[f].clone() } else { x.clone() })
                };
                Ok(by_hand.metric(&clean, &Written::new(), &carry)? - whole)
            })?;
        }
    }
    Ok(())
}

#[test]
fn integrated_gradients_are_mean_slopes_along_the_path() -> Result<()> {
    const STEPS: usize = 2;
    for (what, cfg) in architectures() {
        let (edges, by_hand) = experiment(&cfg)?;
        let (clean, corrupted, of_clean, of_corrupted) = both(&by_hand)?;
        let difference = minus(&of_corrupted, &of_clean)?;
        let mean = |runs: &[(Tokens, Written)], from: &str, to: &str| -> Result<f64> {
            let slopes =
                runs.iter().map(|(tokens, instead)| by_hand.slope(tokens, instead, (from, to), &difference[from]));
            Ok(slopes.sum::<Result<f64>>()? / runs.len() as f64)
        };
        let share = |step: usize| step as f64 / STEPS as f64;
        let of = |names: &[String], steps: std::ops::Range<usize>| -> Result<Vec<(Tokens, Written)>> {
            steps.map(|step| Ok((clean.clone(), mix(&of_clean, &of_corrupted, share(step), names)?))).collect()
        };
        let input = ["input".to_string()];
        let runs = of(&input, 0..STEPS)?;
        compare(what, &edges.attribute(EdgeMethod::EapIgInputs { steps: STEPS })?, &|from, to| mean(&runs, from, to))?;
        let mut runs = of(&input, 1..STEPS + 1)?;
        for layer in 0..cfg.n_layers {
            let heads: Vec<String> = (0..cfg.n_heads).map(|head| format!("a{layer}.h{head}")).collect();
            runs.extend(of(&heads, 1..STEPS + 1)?);
            if !cfg.attn_only {
                runs.extend(of(&[format!("m{layer}")], 1..STEPS + 1)?);
            }
        }
        let scores = edges.attribute(EdgeMethod::EapIgActivations { steps: STEPS })?;
        compare(what, &scores, &|from, to| mean(&runs, from, to))?;
        let runs = [(clean, Written::new()), (corrupted, Written::new())];
        compare(what, &edges.attribute(EdgeMethod::CleanCorrupted)?, &|from, to| mean(&runs, from, to))?;
    }
    Ok(())
}

#[test]
fn information_flow_routes_are_shares_of_what_is_read() -> Result<()> {
    for (what, cfg) in architectures() {
        let (edges, by_hand) = experiment(&cfg)?;
        let (clean, _) = prompts();
        let read: std::cell::RefCell<BTreeMap<String, Vec<(String, Tensor)>>> = Default::default();
        let note = |from: &str, to: &str, x: &Tensor| {
            read.borrow_mut().entry(to.into()).or_default().push((from.into(), x.clone()));
            Ok(x.clone())
        };
        by_hand.run(&clean, &Written::new(), &note)?;
        let read = read.into_inner();
        let (_, cache) = model(&cfg)?.0.run_with_cache(&clean)?;
        let length = |x: &[f64]| x.iter().map(|x| x.abs()).sum::<f64>();
        let share = |from: &str, to: &str| -> Result<f64> {
            // The residual stream that is read, with positions and biases, which no node writes.
            let layer =
                to.trim_start_matches(['a', 'm']).split(['.', '<']).next().and_then(|l| l.parse::<usize>().ok());
            let stream = match layer {
                None => cache.get(("resid_post", -1))?,
                Some(layer) if to.starts_with('a') || cfg.parallel_attn_mlp => cache.get(("resid_pre", layer))?,
                Some(layer) => cache.get(("resid_mid", layer))?,
            };
            let rows = |x: &Tensor| -> Result<Vec<Vec<f64>>> { Ok(x.to_dtype(DType::F64)?.flatten_to(1)?.to_vec2()?) };
            let stream = rows(&stream.detach())?;
            let mut sum = 0.;
            let writers: Vec<(String, Vec<Vec<f64>>)> =
                read[to].iter().map(|(name, x)| Ok((name.clone(), rows(x)?))).collect::<Result<_>>()?;
            for (place, x) in stream.iter().enumerate() {
                let near = |u: &[f64]| {
                    let apart: Vec<f64> = x.iter().zip(u).map(|(x, u)| x - u).collect();
                    (length(x) - length(&apart)).max(0.)
                };
                let all: f64 = writers.iter().map(|(_, u)| near(&u[place])).sum();
                let own = writers.iter().find(|(name, _)| name == from).expect("an edge of the model");
                sum += if all > 0. { near(&own.1[place]) / all } else { 0. };
            }
            Ok(sum / stream.len() as f64)
        };
        compare(what, &edges.attribute(EdgeMethod::InformationFlowRoutes)?, &share)?;
    }
    Ok(())
}

/// Without norms the logits are linear in the final stream, so that edges to the logits are estimated exactly.
#[test]
fn estimates_of_linear_edges_are_exact() -> Result<()> {
    let (_, cfg) = architectures().into_iter().find(|(what, _)| *what == "no norms").expect("it is on the list");
    assert_eq!(cfg.normalization_type, NormalizationType::None);
    let (edges, _) = experiment(&cfg)?;
    let exact = edges.attribute(EdgeMethod::Exact)?;
    for method in [EdgeMethod::Eap, EdgeMethod::EapIgInputs { steps: 4 }, EdgeMethod::CleanCorrupted] {
        let scores = edges.attribute(method)?;
        let mut compared = 0;
        for edge in scores.all_edges().into_iter().filter(|edge| edge.to_string().ends_with("->logits")) {
            let (got, expected) = (scores.score(edge)?, exact.score(edge)?);
            assert!((got - expected).abs() < ALONE, "{method:?}, {edge}: {got} and {expected}");
            compared += usize::from(expected.abs() > CLEAR);
        }
        assert!(compared > 3, "{method:?}: {compared}");
    }
    Ok(())
}

/// The gradient along the path, summed over all edges out of the input, is that of the embedding: integrated, it is the
/// whole change of the metric. A left sum is off by a part that halves with twice the steps, so twice the finer sum less the
/// coarser one is within a thousandth of it.
#[test]
fn edges_out_of_the_input_add_up_to_the_change_of_the_metric() -> Result<()> {
    for (what, cfg) in architectures() {
        let (edges, _) = experiment(&cfg)?;
        let sum = |steps: usize| -> Result<f32> {
            let scores = edges.attribute(EdgeMethod::EapIgInputs { steps })?;
            let from_input = scores.all_edges().into_iter().filter(|edge| edge.to_string().starts_with("input->"));
            from_input.map(|edge| scores.score(edge)).sum()
        };
        let (limit, change) = (2. * sum(256)? - sum(128)?, edges.corrupted() - edges.clean());
        assert!((limit - change).abs() < EXTRAPOLATED * change.abs(), "{what}: {limit} and {change}");
    }
    Ok(())
}
