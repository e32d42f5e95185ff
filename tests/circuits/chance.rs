//! Random circuits beside chosen ones, and circuits of resampled prompts.

use candle_lens::Result;
use candle_lens::circuits::{Circuit, EdgeMethod, Edges, FaithfulnessCurves, RankBy};
use candle_lens::experiment::Experiment;
use candle_lens::metrics::Metric;
use candle_lens::model::HookedTransformer;
use candle_lens::random::Random;
use candle_lens::tokens::Tokens;
use candle_lens::views::View;

use super::by_hand::{PAIRS, architectures, model, prompts};
use crate::support::sentence::sentence;
use crate::support::tolerance::{CLEAR, LAST_DIGITS, REORDERED};

const METHODS: [EdgeMethod; 6] = [
    EdgeMethod::Eap,
    EdgeMethod::EapIgInputs { steps: 2 },
    EdgeMethod::EapIgActivations { steps: 2 },
    EdgeMethod::CleanCorrupted,
    EdgeMethod::InformationFlowRoutes,
    EdgeMethod::Exact,
];

/// Edges of these rows of the prompts.
fn edges_of(model: &HookedTransformer, drawn: &[usize]) -> Result<Edges> {
    let (clean, corrupted) = prompts();
    let rows = |tokens: &Tokens| Tokens::from_rows(drawn.iter().map(|&row| tokens.row(row)).collect());
    let metric = Metric::logit_diff(&model.answers(drawn.iter().map(|&row| PAIRS[row]))?);
    Experiment::new(model, rows(&clean)?, rows(&corrupted)?, metric)?.edges()
}

fn circuits(scores: &Circuit) -> Result<Vec<Circuit>> {
    scores.greedy_each(&[5, 20], RankBy::Magnitude)
}

#[test]
fn random_circuits_grow_from_the_logits() -> Result<()> {
    for (what, cfg) in architectures() {
        let (model, _) = model(&cfg)?;
        let full = Circuit::of(&model);
        let of = |count: usize, seed: u64| {
            let mut some = full.all_edges().into_iter().take(count);
            let chosen = some.try_fold(full.empty(), |circuit, edge| circuit.with(edge))?;
            Ok::<_, candle_lens::Error>(chosen.random_like(seed))
        };
        for count in [0, 1, 7, 20, full.n_edges()] {
            let random = of(count, 3)?;
            assert_eq!((random.count_included_edges(), &random), (count, &of(count, 3)?), "{what}");
            // Without dangling ends at the top: each edge's reader is read, or is the logits.
            let edges = random.edges();
            for edge in &edges {
                assert!(
                    edge.to.to_string() == "logits" || edges.iter().any(|other| other.from == edge.to),
                    "{what}: {edge}"
                );
            }
        }
        let (small, large) = (of(7, 3)?, of(20, 3)?);
        assert!(
            small.edges().into_iter().all(|edge| large.includes(edge).expect("an edge")),
            "{what}: one grows into the other"
        );
        assert_ne!(of(20, 3)?.edges(), of(20, 4)?.edges());
    }
    Ok(())
}

#[test]
fn random_curves_are_evaluations() -> Result<()> {
    let (model, _) = model(&architectures()[0].1)?;
    let edges = edges_of(&model, &[0, 1, 2])?;
    let chosen = circuits(&edges.attribute(EdgeMethod::Exact)?)?;
    let random = edges.random_curves(&[chosen[1].clone(), chosen[0].clone()], 4, 10)?;
    assert_eq!((&random.sizes[..], random.draws()), (&[5, 20][..], 4));
    for (row, circuit) in chosen.iter().enumerate() {
        for draw in 0..4 {
            let expected = edges.evaluate(&circuit.random_like(10 + draw as u64))?.faithfulness;
            assert_eq!(random.faithfulness.values()[[row, draw]], expected);
        }
    }
    let curve = edges.curve(&chosen)?.with_random(&random)?;
    let p = curve.p_values().expect("random circuits");
    for (row, p) in p.into_iter().enumerate() {
        let better =
            (0..4).filter(|&draw| random.faithfulness.values()[[row, draw]] >= curve.faithfulness[row]).count();
        assert_eq!(p, (1 + better) as f32 / 5.0);
    }
    let both = FaithfulnessCurves::new().add("exact", &curve).add("alone", &edges.curve(&chosen)?);
    let values = both.by_count().values()?;
    assert_eq!(values.labels("curve")?, ["exact", "exact, random", "alone"]);
    assert!((values.get(&["exact, random", "20"])? - random.mean()[1]).abs() < LAST_DIGITS);
    for text in [curve.render()?.text().to_string(), both.render()?.text().to_string()] {
        assert!(text.contains("random") && text.contains("grown from the logits"), "{text}");
    }
    sentence(edges.random_curves(&[], 3, 0), &["0 circuits"]);
    sentence(edges.random_curves(&chosen, 0, 0), &["0 draws"]);
    sentence(edges.curve(&chosen[..1])?.with_random(&random), &["[5, 20]", "[5] of"]);
    Ok(())
}

#[test]
fn scores_of_each_prompt_are_those_of_it_alone() -> Result<()> {
    for (what, cfg) in architectures() {
        let (model, _) = model(&cfg)?;
        let edges = edges_of(&model, &[0, 1, 2])?;
        for method in METHODS {
            let (each, all) = (edges.attribute_each(method)?, edges.attribute(method)?);
            assert_eq!(each.len(), 3);
            let alone = edges_of(&model, &[1])?.attribute(method)?;
            let mut largest = 0f32;
            for edge in all.all_edges() {
                let scores = each.iter().map(|circuit| circuit.score(edge)).collect::<Result<Vec<_>>>()?;
                let mean = scores.iter().sum::<f32>() / 3.0;
                assert!((mean - all.score(edge)?).abs() < REORDERED, "{what}, {method:?}, {edge}");
                assert!((scores[1] - alone.score(edge)?).abs() < REORDERED, "{what}, {method:?}, {edge}");
                largest = largest.max(mean.abs());
            }
            assert!(largest > CLEAR, "{what}, {method:?}: nothing is compared");
        }
    }
    Ok(())
}

/// The truth: an experiment on the prompts of each resample.
#[test]
fn stability_is_the_overlap_of_circuits_of_resampled_prompts() -> Result<()> {
    const RESAMPLES: usize = 4;
    let (model, _) = model(&architectures()[0].1)?;
    let edges = edges_of(&model, &[0, 1, 2])?;
    let stability = edges.stability(EdgeMethod::Eap, RESAMPLES, 5, circuits)?;
    let mut random = Random::new(5);
    let mut truth = Vec::new();
    for _ in 0..RESAMPLES {
        let drawn: Vec<usize> = (0..3).map(|_| random.below(3)).collect();
        truth.push(circuits(&edges_of(&model, &drawn)?.attribute(EdgeMethod::Eap)?)?);
    }
    assert_eq!((&stability.sizes[..], stability.overlap.shape()), (&[5, 20][..], vec![2, 6]));
    for size in 0..2 {
        let pairs = (0..RESAMPLES).flat_map(|a| (a + 1..RESAMPLES).map(move |b| (a, b)));
        for (pair, (a, b)) in pairs.enumerate() {
            let expected = truth[a][size].overlap(&truth[b][size])?;
            assert_eq!(stability.overlap.values()[[size, pair]], expected, "{size}, {a} and {b}");
        }
        let whole = &stability.frequencies()[size];
        assert_eq!(whole.edges(), circuits(&edges.attribute(EdgeMethod::Eap)?)?[size].edges());
        for edge in whole.all_edges() {
            let count = truth.iter().filter(|circuits| circuits[size].includes(edge).expect("an edge")).count();
            assert_eq!(whole.score(edge)?, count as f32 / RESAMPLES as f32);
        }
    }
    let curve = edges.curve(&circuits(&edges.attribute(EdgeMethod::Eap)?)?)?.with_stability(&stability)?;
    assert!(curve.render()?.text().contains("Jaccard"));
    assert!(FaithfulnessCurves::new().add("EAP", &curve).render()?.text().contains("Jaccard"));
    assert!(stability.render()?.text().contains("in every resample"));

    let same = edges_of(&model, &[1, 1])?.stability(EdgeMethod::Eap, 3, 0, circuits)?;
    assert_eq!(same.mean(), [1.0, 1.0]);
    assert_eq!(same.by_chance()[0], 5.0 / (2 * Circuit::of(&model).n_edges() - 5) as f32);
    Ok(())
}

#[test]
fn what_stability_refuses() -> Result<()> {
    let (model, _) = model(&architectures()[0].1)?;
    let edges = edges_of(&model, &[0, 1])?;
    sentence(edges_of(&model, &[0])?.stability(EdgeMethod::Eap, 5, 0, circuits), &["1 prompts and 5 resamples"]);
    sentence(edges.stability(EdgeMethod::Eap, 1, 0, circuits), &["1 resamples"]);
    sentence(edges.stability(EdgeMethod::Eap, 3, 0, |_| Ok(Vec::new())), &["no circuit was chosen"]);
    sentence(
        edges.stability(EdgeMethod::Eap, 3, 0, |scores| scores.topn_each(&[100_000], RankBy::Magnitude)),
        &["100000 edges"],
    );
    let other = edges.stability(EdgeMethod::Eap, 3, 0, |scores| scores.greedy_each(&[7], RankBy::Magnitude))?;
    sentence(
        edges.curve(&circuits(&edges.attribute(EdgeMethod::Eap)?)?)?.with_stability(&other),
        &["[7] of", "[5, 20]"],
    );
    Ok(())
}
