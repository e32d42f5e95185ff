//! Circuits and curves as they appear in a notebook.

use std::collections::BTreeMap;

use base64::Engine;
use candle_lens::Result;
use candle_lens::circuits::{Circuit, EdgeMethod, Edges, RankBy};
use candle_lens::experiment::Experiment;
use candle_lens::metrics::Metric;
use candle_lens::model::HookedTransformer;
use candle_lens::views::{CircuitGraph, EdgeKind, View, circuit_graph};

fn experiment() -> Result<Edges> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let clean = "When John and Mary went to the shops, John gave the bag to";
    let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
    let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    Experiment::new(&model, clean, corrupted, metric).and_then(|experiment| experiment.edges())
}

#[test]
fn a_circuit_is_a_drawing_with_tables() -> Result<()> {
    let scores = experiment()?.attribute(EdgeMethod::Eap)?;
    let circuit = scores.topn(40, RankBy::Magnitude)?;
    let graph = circuit.graph();
    assert_eq!((graph.edges.len(), graph.nodes.len()), (40, circuit.count_included_nodes()));
    for (drawn, edge) in graph.edges.iter().zip(circuit.edges()) {
        assert_eq!(graph.nodes[drawn.from].name, edge.from.to_string());
        assert_eq!(graph.nodes[drawn.to].name, edge.to.to_string());
        assert_eq!(drawn.score, circuit.score(edge)?);
        let same = graph.nodes[drawn.from].layer == graph.nodes[drawn.to].layer;
        assert!(!same && graph.nodes[drawn.from].layer < graph.nodes[drawn.to].layer, "{edge}: edges go upwards");
    }
    assert_eq!(graph.floors[..3], ["input", "heads 0", "MLP 0"]);
    let shown = circuit.render()?;
    let (strongest, score) = (scores.topn(1, RankBy::Magnitude)?.edges()[0], "40 of 1519 edges, EAP, logit difference");
    let text = shown.text();
    assert!(text.contains(&strongest.to_string()) && text.contains(score), "{text}");
    let lines = text.lines().filter(|line| line.split_whitespace().any(|word| word == strongest.to_string()));
    assert_eq!(lines.count(), 1, "each edge is listed once: {text}");
    assert!(!text.contains(" into "), "the drawing does not list its edges besides: {text}");
    assert!(shown.html().contains("heads 0"), "floors have names");
    Ok(())
}

/// How wide and high the PNG in a page is, by its own header.
fn picture_size(html: &str) -> (u32, u32) {
    let base64 = html.split("data:image/png;base64,").nth(1).expect("a picture").split('"').next().expect("its end");
    let bytes = base64::engine::general_purpose::STANDARD.decode(base64).expect("base64");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    (number(16), number(20))
}

#[test]
fn the_still_picture_of_a_large_circuit_holds_the_strongest_nodes() -> Result<()> {
    // 300 positions with 3 nodes each on 200 floors would be 86,000 by 15,000 pixels.
    let mut large = CircuitGraph::new((0..300).map(|i| format!("t{i}")));
    for i in 0..900 {
        large.node(format!("n{i}"), i % 200, i / 3, i as f32 / 900.);
    }
    // The weakest node has the strongest edge, so it is drawn.
    large.edge(0, 899, EdgeKind::V, 9.);
    large.edge(1, 2, EdgeKind::V, 0.0001);
    let shown = circuit_graph(&large).render()?;
    let (width, height) = picture_size(shown.html());
    // Two pixels of the file are one of the page.
    assert!(width <= 4800 && height <= 8000, "{width} by {height}");
    assert!((15_000_000..=20_000_000).contains(&(width * height)), "{width} by {height}");
    assert!(shown.text().contains("strongest of 900 nodes and 1 of 2 edges between them"), "{}", shown.text());
    // The weaker edge is too much for the page as well, but there is one all the same.
    let less = circuit_graph(&large).max_bytes(60).render()?;
    assert!(less.text().contains("1 of 2 edges between them"), "{}", less.text());
    // The page draws all of it: only the picture is cut.
    assert!(shown.html().contains("\"n5\""));

    let small = circuit_graph(&experiment()?.attribute(EdgeMethod::Eap)?.topn(40, RankBy::Magnitude)?.graph());
    let shown = small.render()?;
    assert!(!shown.text().contains("still picture"), "{}", shown.text());
    assert!(picture_size(shown.html()).0 < 4800);
    Ok(())
}

#[test]
fn circuits_without_scores_or_edges_and_large_ones_are_shown_too() -> Result<()> {
    let all = Circuit::of(&HookedTransformer::from_pretrained("tiny")?);
    let shown = all.render()?;
    let text = shown.text();
    assert!(text.contains("1519 of 1519") && text.contains("300, spread over its nodes, are drawn"), "{text}");
    // Every node but the logits has edges out, and none of them most of those drawn.
    let mut drawn = BTreeMap::<usize, usize>::new();
    for rest in shown.html().split("{\"from\":").skip(1) {
        let from = rest.split(',').next().expect("a number").parse().expect("a number");
        *drawn.entry(from).or_default() += 1;
    }
    assert_eq!((drawn.values().sum::<usize>(), drawn.len()), (300, all.count_included_nodes() - 1), "{drawn:?}");
    assert!(drawn.values().all(|&count| count <= 30), "{drawn:?}");
    assert!(all.graph().edges.iter().all(|edge| edge.score == 1.), "all alike without scores");
    assert!(all.empty().render()?.text().contains("no edge is in it"));
    let scored = experiment()?.attribute(EdgeMethod::Eap)?.render()?;
    assert!(scored.text().contains("the strongest 20 of 1519 edges") && scored.text().contains("the strongest 300"));
    Ok(())
}

#[test]
fn a_circuit_chosen_by_nodes_does_not_look_as_if_its_edges_had_scores() -> Result<()> {
    let nodes = experiment()?.attribute_nodes(EdgeMethod::Eap)?;
    for circuit in [nodes.topn(3, RankBy::Magnitude)?, nodes.threshold(0., RankBy::Magnitude)?] {
        let shown = circuit.render()?;
        let text = shown.text();
        assert!(text.contains("no scores of edges") && text.contains("nodes by EAP"), "{text}");
        assert!(text.contains("which have no scores") && text.contains("edges out"), "{text}");
        for word in ["strongest", "NaN", "score of edges out"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
        // In the order in which they are computed.
        let place = |node: &str| text.lines().position(|line| line.split_whitespace().next() == Some(node));
        let listed: Vec<_> = circuit.nodes().iter().take(20).map(|node| place(&node.to_string())).collect();
        assert!(listed.iter().all(Option::is_some) && listed.is_sorted(), "{listed:?}: {text}");
    }
    assert!(nodes.topn(3, RankBy::Magnitude)?.render()?.text().contains("all are drawn"));
    Ok(())
}

#[test]
fn a_curve_is_a_figure_with_its_numbers() -> Result<()> {
    let edges = experiment()?;
    let scores = edges.attribute(EdgeMethod::Eap)?;
    let shown = edges.curve(&scores.topn_each(&[30, 300], RankBy::Magnitude)?)?.render()?;
    let text = shown.text();
    assert!(text.contains("faithfulness") && text.contains("300") && text.contains("CPR"), "{text}");
    Ok(())
}
