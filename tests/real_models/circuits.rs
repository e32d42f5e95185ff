//! Edges by position and the removal of edges in a model that others trained: rotated queries, shared keys, gates.

use candle_lens::Result;
use candle_lens::circuits::{Edge, EdgeMethod, Edges};
use candle_lens::experiment::Experiment;
use candle_lens::metrics::Metric;

use super::checks::{IOI, IOI_CORRUPTED, TOLERANCE, unprocessed};

fn edges(metric: Metric) -> Result<Edges> {
    Experiment::new(unprocessed(), IOI, IOI_CORRUPTED, metric)?.edges()
}

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn scores_by_position_add_up_to_those_of_edges() -> Result<()> {
    let edges = edges(Metric::logit_diff(&unprocessed().answers([(" Mary", " John")])?))?;
    let (by_position, whole) = (edges.attribute_by_position(EdgeMethod::Eap)?, edges.attribute(EdgeMethod::Eap)?);
    let total = by_position.total();
    let mut size = 0f64;
    for edge in whole.all_edges() {
        let (got, expected) = (f64::from(total.score(edge)?), f64::from(whole.score(edge)?));
        assert!((got - expected).abs() < TOLERANCE, "{edge}: {got}, expected {expected}");
        size = size.max(expected.abs());
    }
    assert!(size > 100.0 * TOLERANCE, "nothing is compared: {size}");
    // The prompts differ in one token, so the input carries a difference there alone.
    let differing = by_position.by_node();
    let of_input =
        differing.values().outer_iter().next().expect("the input").iter().filter(|score| score.abs() > 0.0).count();
    assert_eq!(of_input, 1);
    println!("{}", by_position.strongest(5).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    Ok(())
}

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn removed_edges_add_up_to_the_whole_divergence() -> Result<()> {
    let edges = edges(Metric::kl())?;
    let none = edges.acdc(f64::INFINITY)?;
    assert_eq!(none.count_included_edges(), 0);
    let tried: Vec<Edge> = none.all_edges().into_iter().filter(|edge| edge.to.to_string() == "logits").collect();
    let sum = tried.iter().map(|edge| none.score(*edge).map(f64::from)).sum::<Result<f64>>()?;
    assert!((sum - f64::from(edges.corrupted())).abs() < TOLERANCE, "{sum} and {}", edges.corrupted());
    Ok(())
}
