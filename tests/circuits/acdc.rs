//! The search that begins runs at each reader's block and tries edges together, against one whole run for each edge.

use candle_lens::Result;
use candle_lens::circuits::{Circuit, Edge, Edges, Node};
use candle_lens::experiment::{Baseline, Experiment};
use candle_lens::metrics::Metric;
use candle_lens::model::HookedTransformer;

use super::by_hand::{PAIRS, architectures, model, prompts};
use super::evaluation::{FAMILIES, of_family};
use crate::support::sentence::sentence;
use crate::support::tolerance::{LAST_DIGITS, REORDERED};

fn experiment(model: &HookedTransformer, metric: Metric) -> Result<Edges> {
    let (clean, corrupted) = prompts();
    Experiment::new(model, clean, corrupted, metric).and_then(|experiment| experiment.edges())
}

fn divergence(model: &HookedTransformer) -> Result<Edges> {
    experiment(model, Metric::kl())
}

/// How far the circuit's metric is from the clean one, the mean over prompts; `clean` are the values of the clean run.
fn distance(edges: &Edges, circuit: &Circuit, clean: &[f32]) -> Result<f32> {
    let values = edges.evaluate(circuit)?.per_prompt;
    Ok(values.values().iter().zip(clean).map(|(a, b)| (a - b).abs()).sum::<f32>() / clean.len() as f32)
}

/// The readers of a circuit's model from the last to the first, each with its edges in from the last writer to the first.
fn readers(circuit: &Circuit) -> Vec<Vec<Edge>> {
    let order = |edge: &Edge| circuit.nodes().iter().position(|node| *node == edge.from).expect("a node");
    let stage = |edge: &Edge| match edge.to {
        Node::Head(layer, head) => (layer, 0, edge.qkv.expect("an input") as isize, head),
        Node::Mlp(layer) => (layer, 1, 0, 0),
        _ => (isize::MAX, 0, 0, 0),
    };
    let mut edges = circuit.all_edges();
    edges.sort_by_key(|edge| (std::cmp::Reverse(stage(edge)), std::cmp::Reverse(order(edge))));
    edges.chunk_by(|a, b| (a.to, a.qkv) == (b.to, b.qkv)).map(<[Edge]>::to_vec).collect()
}

/// One whole run for each edge; with how near the nearest decision was.
fn one_by_one(edges: &Edges, full: &Circuit, tau: f32) -> Result<(Circuit, f32)> {
    let clean: Vec<f32> = edges.evaluate(full)?.per_prompt.values().iter().copied().collect();
    let (mut circuit, mut now, mut nearest) = (full.clone(), 0f32, f32::INFINITY);
    for reader in readers(full) {
        let to = reader[0].to;
        let is_read = to == Node::Logits || circuit.edges().iter().any(|edge| edge.from == to);
        for edge in reader {
            let less = circuit.without(edge)?;
            if !is_read {
                circuit = less;
                continue;
            }
            let then = distance(edges, &less, &clean)?;
            nearest = nearest.min((then - now - tau).abs());
            if then - now < tau {
                (circuit, now) = (less, then);
            }
        }
    }
    Ok((circuit, nearest))
}

#[test]
fn edges_are_those_that_a_run_for_each_edge_leaves() -> Result<()> {
    for (what, cfg) in architectures() {
        let (model, _) = model(&cfg)?;
        let full = Circuit::of(&model);
        let zero = Experiment::new(&model, prompts().0, Baseline::Zero, Metric::kl())?.edges()?;
        let difference = experiment(&model, Metric::logit_diff(&model.answers(PAIRS)?))?;
        for (which, edges) in [("divergence", divergence(&model)?), ("difference", difference), ("zero", zero)] {
            let mut partial = 0;
            for tau in [0.0003, 0.003, 0.02, 0.1] {
                let (expected, nearest) = one_by_one(&edges, &full, tau)?;
                // Where a decision hangs on rounding, either is right.
                if nearest < LAST_DIGITS {
                    continue;
                }
                let kept = expected.count_included_edges();
                assert_eq!(edges.acdc(tau)?.edges(), expected.edges(), "{what}, {which}, {tau}");
                partial += usize::from(kept > 0 && kept < full.n_edges());
            }
            assert!(partial > 0, "{what}, {which}: nothing is compared");
        }
    }
    Ok(())
}

#[test]
fn in_real_families_with_few_and_many_edges_at_once() -> Result<()> {
    const TAU: f32 = 0.01;
    let mut compared = 0;
    for family in FAMILIES.into_iter().chain(["tiny_gpt2"]) {
        let (model, edges) = of_family(family)?;
        let (expected, nearest) = one_by_one(&edges, &Circuit::of(&model), TAU)?;
        if nearest < REORDERED {
            continue;
        }
        for edges in [edges.clone().budget(1 << 21), edges] {
            assert_eq!(edges.acdc(TAU)?.edges(), expected.edges(), "{family}");
        }
        compared += 1;
    }
    assert!(compared > 5, "{compared} families are compared");
    Ok(())
}

/// With 0 every edge that has an effect stays; with infinity none does.
#[test]
fn the_smallest_and_the_largest_threshold() -> Result<()> {
    for (what, cfg) in architectures() {
        let (model, _) = model(&cfg)?;
        let edges = divergence(&model)?;
        let full = Circuit::of(&model);
        let all = edges.acdc(0)?;
        for edge in full.all_edges().into_iter().filter(|edge| !all.includes(*edge).expect("an edge")) {
            let effect = edges.evaluate(&full.without(edge)?)?.metric;
            assert!(effect.abs() < REORDERED, "{what}: {edge} was removed, and its effect is {effect}");
        }
        assert!(2 * all.count_included_edges() > full.n_edges(), "{what}: {all:?}");
        let none = edges.acdc(f64::INFINITY)?;
        assert_eq!(none.count_included_edges(), 0, "{what}");
        assert!((edges.evaluate(&none)?.metric - edges.corrupted()).abs() < REORDERED);
    }
    Ok(())
}

#[test]
fn what_is_refused() -> Result<()> {
    let (model, _) = model(&architectures()[0].1)?;
    let edges = divergence(&model)?;
    sentence(edges.acdc(-0.1), &["tau is -0.1", "0 or more"]);
    sentence(edges.acdc(f64::NAN), &["NaN"]);
    sentence(edges.budget(10_000).acdc(0.1), &["all 3 prompts run at once", "10.0 kB"]);
    Ok(())
}

#[test]
fn scores_say_by_how_much_the_metric_moved() -> Result<()> {
    let (model, _) = model(&architectures()[0].1)?;
    let edges = divergence(&model)?;
    const TAU: f32 = 0.01;
    let circuit = edges.acdc(TAU)?;
    assert!(circuit.method().contains("ACDC, tau 0.0") && circuit.method().contains("edges tried"), "{circuit:?}");
    for edge in circuit.all_edges() {
        let (stays, score) = (circuit.includes(edge)?, circuit.score(edge)?);
        assert_eq!(stays, score >= TAU, "{edge}: {score}");
    }
    // From one removed edge to the next, they add up to how far the circuit is from the whole model.
    let removed = circuit.complement().edges();
    let sum = removed.into_iter().map(|edge| circuit.score(edge)).sum::<Result<f32>>()?;
    assert!((sum - edges.evaluate(&circuit)?.metric).abs() < REORDERED, "{sum}");
    Ok(())
}
