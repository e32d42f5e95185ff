//! Circuits chosen by score, against lists that are sorted and grown by hand.

use std::collections::BTreeSet;

use candle_lens::Result;
use candle_lens::circuits::{Circuit, Node, RankBy};
use candle_lens::model::{HookedTransformer, HookedTransformerConfig};
use candle_lens::random::Random;

use super::by_hand::architectures;
use crate::support::scratch;
use crate::support::sentence::sentence;

fn model() -> Result<HookedTransformer> {
    let (_, cfg): (_, HookedTransformerConfig) = architectures().swap_remove(0);
    Ok(HookedTransformer::trainable(cfg, 0, &candle_lens::candle::Device::Cpu)?.0)
}

/// A circuit with these scores, by way of a file: small whole numbers, so that many are equal.
fn scored(seed: u64) -> Result<(Circuit, Vec<(String, f32)>)> {
    let circuit = Circuit::of(&model()?);
    let mut random = Random::new(seed);
    let path = scratch(&format!("circuit_scores_{seed}")).join("circuit.json");
    circuit.to_json(&path)?;
    let mut json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).expect("it was written").replace("NaN", "0"))
            .expect("without NaN it is JSON");
    let mut scores = Vec::new();
    for edge in circuit.all_edges() {
        let score = random.below(9) as f32 - 4.;
        json["edges"][edge.to_string()]["score"] = score.into();
        scores.push((edge.to_string(), score));
    }
    std::fs::write(&path, json.to_string()).expect("the scratch folder can be written");
    Ok((Circuit::from_json(&path)?, scores))
}

fn names(circuit: &Circuit) -> BTreeSet<String> {
    circuit.edges().iter().map(ToString::to_string).collect()
}

type Key = fn(f32) -> f32;

const RANKS: [(RankBy, Key); 3] = [(RankBy::Magnitude, f32::abs), (RankBy::Largest, |x| x), (RankBy::Smallest, |x| -x)];

#[test]
fn thresholds_and_top_edges_are_those_of_a_sorted_list() -> Result<()> {
    for seed in 0..4 {
        let (circuit, scores) = scored(seed)?;
        for (by, key) in RANKS {
            for threshold in [-2., 0., 1., 3., 9.] {
                let expected =
                    scores.iter().filter(|(_, score)| key(*score) >= threshold).map(|(name, _)| name.clone());
                assert_eq!(names(&circuit.threshold(threshold, by)?), expected.collect(), "{by:?} {threshold}");
            }
            // A stable sort keeps the order of the edges among equals.
            let mut sorted = scores.clone();
            sorted.sort_by(|a, b| key(b.1).total_cmp(&key(a.1)));
            for n in [0, 1, 7, 20, scores.len()] {
                let expected = sorted[..n].iter().map(|(name, _)| name.clone()).collect();
                assert_eq!(names(&circuit.topn(n, by)?), expected, "{by:?} {n}");
            }
        }
        assert_eq!(circuit.count_included_edges(), scores.len(), "selection leaves the given circuit as it is");
    }
    Ok(())
}

#[test]
fn greedy_growth_takes_the_best_edge_into_what_is_there() -> Result<()> {
    for seed in 0..4 {
        let (circuit, scores) = scored(seed)?;
        for (by, key) in RANKS {
            let mut reached = BTreeSet::from(["logits".to_string()]);
            let mut chosen = BTreeSet::new();
            for n in 1..=scores.len() {
                let mut best: Option<&(String, f32)> = None;
                for edge in &scores {
                    let to = edge.0.split_once("->").expect("an edge").1.split('<').next().expect("a node");
                    let open = reached.contains(to) && !chosen.contains(&edge.0);
                    if open && best.is_none_or(|best| key(edge.1) > key(best.1)) {
                        best = Some(edge);
                    }
                }
                let best = best.expect("every edge leads to the logits in the end");
                chosen.insert(best.0.clone());
                reached.insert(best.0.split_once("->").expect("an edge").0.into());
                assert_eq!(names(&circuit.greedy(n, by)?), chosen, "{by:?} {n}");
            }
        }
    }
    Ok(())
}

/// All edges of a model of GPT-2 small's shape, with made-up scores.
fn gpt2_small() -> Result<Circuit> {
    let nodes = |layer: usize| (0..12).map(move |head| format!("a{layer}.h{head}")).chain([format!("m{layer}")]);
    let mut random = Random::new(7);
    let mut score = || serde_json::json!({ "score": random.below(1_000_000) as f32 - 5e5, "in_graph": true });
    let mut edges = serde_json::Map::new();
    let mut stream = vec!["input".to_string()];
    for layer in 0..12 {
        for (from, head) in stream.iter().flat_map(|from| (0..12).map(move |head| (from, head))) {
            edges.extend(["q", "k", "v"].map(|input| (format!("{from}->a{layer}.h{head}<{input}>"), score())));
        }
        stream.extend((0..12).map(|head| format!("a{layer}.h{head}")));
        edges.extend(stream.iter().map(|from| (format!("{from}->m{layer}"), score())));
        stream.push(format!("m{layer}"));
    }
    edges.extend(stream.iter().map(|from| (format!("{from}->logits"), score())));
    let names = (0..12).flat_map(nodes).chain(["input".into(), "logits".into()]);
    let nodes: serde_json::Map<_, _> = names.map(|name| (name, serde_json::json!({ "in_graph": true }))).collect();
    let cfg = serde_json::json!({ "n_layers": 12, "n_heads": 12, "d_model": 768, "parallel_attn_mlp": false });
    let path = scratch("circuit_gpt2").join("circuit.json");
    let json = serde_json::json!({ "cfg": cfg, "nodes": nodes, "edges": edges });
    std::fs::write(&path, json.to_string()).expect("the scratch folder can be written");
    Circuit::from_json(&path)
}

#[test]
fn greedy_growth_of_a_model_of_gpt2s_size_is_that_of_a_plain_search() -> Result<()> {
    let circuit = gpt2_small()?;
    assert_eq!(circuit.n_edges(), 32_491);
    let edges = circuit.all_edges();
    let scores: Vec<f32> = edges.iter().map(|&edge| circuit.score(edge)).collect::<Result<_>>()?;
    for (by, key) in RANKS {
        let mut reached = BTreeSet::from([Node::Logits]);
        let mut open: Vec<bool> = vec![true; edges.len()];
        let mut chosen = BTreeSet::new();
        for _ in 0..300 {
            let mut best: Option<usize> = None;
            for i in 0..edges.len() {
                let better = best.is_none_or(|best| key(scores[i]) > key(scores[best]));
                if open[i] && better && reached.contains(&edges[i].to) {
                    best = Some(i);
                }
            }
            let best = best.expect("there are edges");
            open[best] = false;
            reached.insert(edges[best].from);
            chosen.insert(edges[best]);
        }
        let got: BTreeSet<_> = circuit.greedy(300, by)?.edges().into_iter().collect();
        assert_eq!(got, chosen, "{by:?}");
    }
    assert_eq!(circuit.greedy(32_491, RankBy::Magnitude)?.count_included_edges(), 32_491);
    Ok(())
}

#[test]
fn pruning_leaves_edges_on_paths_from_the_input_to_the_logits() -> Result<()> {
    for seed in 0..6 {
        let (circuit, _) = scored(seed)?;
        for n in [1, 3, 6, 10, 15, 25] {
            let part = circuit.topn(n, RankBy::Largest)?;
            let edges: Vec<_> = part.edges();
            // What the input reaches, and what reaches the logits, along edges of the circuit.
            let (mut from_input, mut to_logits) = (BTreeSet::from([Node::Input]), BTreeSet::from([Node::Logits]));
            for _ in 0..edges.len() {
                for edge in &edges {
                    if from_input.contains(&edge.from) {
                        from_input.insert(edge.to);
                    }
                    if to_logits.contains(&edge.to) {
                        to_logits.insert(edge.from);
                    }
                }
            }
            let on_a_way = edges.iter().filter(|edge| from_input.contains(&edge.from) && to_logits.contains(&edge.to));
            let expected: BTreeSet<String> = on_a_way.map(ToString::to_string).collect();
            let pruned = part.prune();
            assert_eq!(names(&pruned), expected, "seed {seed}, {n} edges");
            assert_eq!(part.count_included_edges(), n, "pruning leaves the given circuit as it is");
            assert_eq!(pruned.prune(), pruned);
        }
    }
    Ok(())
}

#[test]
fn circuits_are_compared_and_changed_by_edges_and_nodes() -> Result<()> {
    let (circuit, _) = scored(1)?;
    let (all, none) = (circuit.full(), circuit.empty());
    assert_eq!((all.overlap(&none)?, none.overlap(&none)?, all.overlap(&all)?), (0., 1., 1.));
    let some = none.with("m0->m1")?.with("input->m0")?;
    assert_eq!(some.overlap(&some.without("m0->m1")?)?, 0.5);
    assert_eq!(some.nodes(), [Node::Input, Node::Mlp(0), Node::Mlp(1)]);
    assert_eq!(some.complement().count_included_edges(), all.count_included_edges() - 2);
    assert_eq!(names(&some.without_nodes(&[Node::Mlp(1)])?), BTreeSet::from(["input->m0".to_string()]));
    assert_eq!(some.overlap(&some.complement())?, 0.);
    Ok(())
}

#[test]
fn what_cannot_be_chosen_is_refused() -> Result<()> {
    let unscored = Circuit::of(&model()?);
    for by in [RankBy::Magnitude, RankBy::Largest] {
        sentence(unscored.topn(1, by), &["no scores", "attribute"]);
        sentence(unscored.greedy(1, by), &["no scores"]);
        sentence(unscored.threshold(0., by), &["no scores"]);
    }
    let (circuit, scores) = scored(0)?;
    let all = scores.len().to_string();
    sentence(circuit.topn(scores.len() + 1, RankBy::Magnitude), &[&all, "at most"]);
    sentence(circuit.greedy(scores.len() + 1, RankBy::Magnitude), &[&all, "at most"]);
    sentence(circuit.threshold(f32::NAN, RankBy::Magnitude), &["NaN"]);
    sentence(circuit.with("m1->m0"), &["m1->m0", "later"]);
    sentence(circuit.includes("m7->logits"), &["m7", "layers 0 to 1"]);
    sentence(circuit.score("a0.h0->a1.h1"), &["a0.h0->a1.h1", "<q>"]);
    sentence(circuit.without_nodes(&[Node::Head(0, 2)]), &["a0.h2", "heads 0 to 1"]);
    Ok(())
}

/// The model has two layers of two heads.
#[test]
fn layers_and_heads_may_count_from_the_end() -> Result<()> {
    let (circuit, _) = scored(4)?;
    for (from_end, plain) in
        [("m-2->m-1", "m0->m1"), ("a0.h-1->a-1.h-2<k>", "a0.h1->a1.h0<k>"), ("a-1.h-1->logits", "a1.h1->logits")]
    {
        assert_eq!(circuit.score(from_end)?, circuit.score(plain)?, "{from_end}");
        assert_eq!(circuit.without(from_end)?, circuit.without(plain)?, "{from_end}");
        assert!(!circuit.without(from_end)?.includes(plain)?, "{from_end}");
    }
    let (from_end, plain) = ([Node::Head(-2, -1), Node::Mlp(-1)], [Node::Head(0, 1), Node::Mlp(1)]);
    assert_eq!(circuit.without_nodes(&from_end)?, circuit.without_nodes(&plain)?);
    for (node, parts) in [(Node::Mlp(-3), ["m-3", "layers 0 to 1"]), (Node::Head(0, -3), ["a0.h-3", "heads 0 to 1"])] {
        sentence(circuit.without_nodes(&[node]), &parts);
    }
    sentence(circuit.score("m-1->m-2"), &["not an edge of this model", "m0 does not read what m1 writes"]);
    Ok(())
}
