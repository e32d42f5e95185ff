//! Edges and circuits under metrics at every kind of positions, against the transformer written out edge by edge in f64, with
//! the metric computed by hand from its logits at all positions.

use candle_lens::Result;
use candle_lens::candle::Tensor;
use candle_lens::circuits::{Circuit, EdgeMethod, Edges};
use candle_lens::experiment::Experiment;
use candle_lens::metrics::{Metric, Positions};
use candle_lens::model::{AttentionDir, HookedTransformer, HookedTransformerConfig};
use candle_lens::random::Random;
use candle_lens::tokens::Tokens;

use super::by_hand::assert_near;
use crate::circuits::by_hand::{ByHand, PAIRS, Written, architectures, compare_edges, live, model, prompts};
use crate::support::tolerance::TWO_WAYS;

/// How far an f32 score may be from the f64 one, relative to the largest of its kind.
const TOLERANCE: f64 = 3e-4;

type Logits = [Vec<Vec<f64>>];

/// The mean over these positions of each prompt's logit difference.
fn differences(logits: &Logits, positions: impl Fn(usize) -> Vec<usize>) -> Vec<f64> {
    let of_prompt = |(b, logits): (usize, &Vec<Vec<f64>>)| {
        let (right, wrong) = PAIRS[b];
        let each = positions(b).into_iter().map(|p| logits[p][right as usize] - logits[p][wrong as usize]);
        each.sum::<f64>() / positions(b).len() as f64
    };
    logits.iter().enumerate().map(of_prompt).collect()
}

/// Minus the mean log-probability of what follows in the clean prompts.
fn mean_loss(logits: &Logits) -> Vec<f64> {
    let clean = prompts().0;
    let of_prompt = |(b, logits): (usize, &Vec<Vec<f64>>)| {
        let of = |p: usize| {
            let total = logits[p].iter().map(|logit| logit.exp()).sum::<f64>();
            total.ln() - logits[p][clean.id(b, p + 1) as usize]
        };
        (0..4).map(of).sum::<f64>() / 4.
    };
    logits.iter().enumerate().map(of_prompt).collect()
}

type OfLogits = fn(&Logits) -> Vec<f64>;

/// Metrics, and the same metrics by hand from all logits.
fn metrics(model: &HookedTransformer) -> Result<Vec<(Metric, OfLogits)>> {
    let difference = Metric::logit_diff(&model.answers(PAIRS)?);
    let own = Positions::each([2..3, 1..4, 0..5]);
    Ok(vec![
        (difference.clone().at(Positions::First), |logits| differences(logits, |_| vec![0])),
        (difference.clone().at(2), |logits| differences(logits, |_| vec![2])),
        (difference.clone().at_all(), |logits| differences(logits, |_| (0..5).collect())),
        (difference.at(own), |logits| differences(logits, |b| [2..3, 1..4, 0..5][b].clone().collect())),
        (Metric::mean_loss(), mean_loss),
    ])
}

/// Causal and bidirectional models.
fn models() -> Vec<(String, HookedTransformerConfig)> {
    let both = [AttentionDir::Causal, AttentionDir::Bidirectional];
    let chosen = architectures().into_iter().filter(|(name, _)| ["serial", "shared keys"].contains(name));
    chosen
        .flat_map(|(name, cfg)| {
            both.map(|attention_dir| {
                (format!("{name}, {attention_dir:?}"), HookedTransformerConfig { attention_dir, ..cfg.clone() })
            })
        })
        .collect()
}

fn pair() -> Result<(Tokens, Tokens)> {
    let (clean, corrupted) = prompts();
    let changed = |row: usize| [&[(corrupted.id(row, 0) + 1) % 13], &corrupted.row(row)[1..]].concat();
    Ok((clean, Tokens::from_rows((0..3).map(changed).collect())?))
}

struct Case {
    name: String,
    edges: Edges,
    by_hand: ByHand,
    clean: Tokens,
    of_clean: Written,
    of_corrupted: Written,
}

fn cases() -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (name, cfg) in models() {
        let (model, mut by_hand) = model(&cfg)?;
        let (clean, corrupted) = pair()?;
        let of_clean = by_hand.run(&clean, &Written::new(), &live)?.0;
        let of_corrupted = by_hand.run(&corrupted, &Written::new(), &live)?.0;
        for (metric, of_logits) in metrics(&model)? {
            by_hand.of_logits = of_logits;
            cases.push(Case {
                name: format!("{} of {name}", metric.name()),
                edges: Experiment::new(&model, &clean, &corrupted, metric)?.edges()?,
                by_hand: by_hand.clone(),
                clean: clean.clone(),
                of_clean: of_clean.clone(),
                of_corrupted: of_corrupted.clone(),
            });
        }
    }
    Ok(cases)
}

/// Compares every score with `expected(from, to)`.
fn compare(what: &str, circuit: &Circuit, expected: &dyn Fn(&str, &str) -> Result<f64>) -> Result<()> {
    compare_edges(what, circuit, TOLERANCE, expected)
}

#[test]
fn exact_edges_and_circuits_equal_the_transformer_by_hand() -> Result<()> {
    let mut random = Random::new(3);
    for case in cases()? {
        let Case { name, edges, by_hand, clean, of_corrupted, .. } = &case;
        let whole = by_hand.metric(clean, &Written::new(), &live)?;
        assert!(
            (f64::from(edges.clean()) - whole).abs() < f64::from(TWO_WAYS),
            "{name}: {} and {whole}",
            edges.clean()
        );
        let one = |from: &str, to: &str| {
            let carry = |f: &str, t: &str, x: &Tensor| {
                Ok(if (f, t) == (from, to) { of_corrupted[f].clone() } else { x.clone() })
            };
            Ok(by_hand.metric(clean, &Written::new(), &carry)? - whole)
        };
        // All prompts at once, then few at a time.
        for edges in [edges.clone(), edges.clone().budget(40_000)] {
            compare(name, &edges.attribute(EdgeMethod::Exact)?, &one)?;
            for tenths in [0, 3, 7, 10] {
                let all = edges.attribute(EdgeMethod::Eap)?;
                let circuit = all.all_edges().into_iter().try_fold(all.empty(), |circuit, edge| {
                    if random.below(10) < tenths { circuit.with(edge) } else { Ok(circuit) }
                })?;
                let carry = |from: &str, to: &str, x: &Tensor| {
                    Ok(if circuit.includes(format!("{from}->{to}"))? { x.clone() } else { of_corrupted[from].clone() })
                };
                let (_, expected) = by_hand.run(clean, &Written::new(), &carry)?;
                for (got, expected) in edges.evaluate(&circuit)?.per_prompt.values().iter().zip(&expected) {
                    let error = (f64::from(*got) - expected).abs();
                    assert!(
                        error < f64::from(TWO_WAYS) * expected.abs().max(1.),
                        "{name}, {tenths} tenths: {got} and {expected}"
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn estimated_edges_equal_slopes_of_the_transformer_by_hand() -> Result<()> {
    const STEPS: usize = 2;
    for case in cases()? {
        let Case { name, edges, by_hand, clean, of_clean, of_corrupted } = &case;
        let difference = |from: &str| &of_corrupted[from] - &of_clean[from];
        let slope = |from: &str, to: &str| by_hand.slope(clean, &Written::new(), (from, to), &difference(from)?);
        compare(name, &edges.attribute(EdgeMethod::Eap)?, &slope)?;
        compare(name, &edges.clone().budget(40_000).attribute(EdgeMethod::Eap)?, &slope)?;
        // Nodes: everything that they write is corrupted.
        let nodes = edges.attribute_nodes(EdgeMethod::Exact)?;
        let whole = by_hand.metric(clean, &Written::new(), &live)?;
        for node in ["a0.h0", "m0", "m1"] {
            let instead = Written::from([(node.to_string(), of_corrupted[node].clone())]);
            let expected = by_hand.metric(clean, &instead, &live)? - whole;
            let got = nodes.score(node)?;
            assert_near(got, expected, &format!("{name}, {node}"));
        }
        // This takes many runs by hand, so not every metric is tried.
        if !name.contains("loss") && !name.contains("all tokens") {
            continue;
        }
        let mean = |from: &str, to: &str| {
            let slopes = (0..STEPS).map(|step| {
                let share = step as f64 / STEPS as f64;
                let input = ((&of_clean["input"] * share)? + (&of_corrupted["input"] * (1. - share))?)?;
                by_hand.slope(clean, &Written::from([("input".into(), input)]), (from, to), &difference(from)?)
            });
            Ok(slopes.sum::<Result<f64>>()? / STEPS as f64)
        };
        compare(name, &edges.attribute(EdgeMethod::EapIgInputs { steps: STEPS })?, &mean)?;
    }
    Ok(())
}
