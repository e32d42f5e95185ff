//! Circuits and curves as they stand in a notebook.

use candle_lens::Result;
use candle_lens::circuits::{Circuit, EdgeMethod, EdgePatching, RankBy};
use candle_lens::model::HookedTransformer;
use candle_lens::patching::Metric;
use candle_lens::views::View;

fn experiment() -> Result<EdgePatching> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let clean = "When John and Mary went to the shops, John gave the bag to";
    let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
    let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    EdgePatching::new(&model, clean, corrupted, metric)
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
    assert!(shown.html().contains("heads 0"), "floors have names");
    Ok(())
}

#[test]
fn circuits_without_scores_or_edges_and_large_ones_are_shown_too() -> Result<()> {
    let all = Circuit::of(&HookedTransformer::from_pretrained("tiny")?);
    let shown = all.render()?;
    let text = shown.text();
    assert!(text.contains("1519 of 1519") && text.contains("drawn are the strongest 300"), "{text}");
    assert!(all.graph().edges.iter().all(|edge| edge.score == 1.), "all alike without scores");
    assert!(all.empty().render()?.text().contains("no edge is in it"));
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
