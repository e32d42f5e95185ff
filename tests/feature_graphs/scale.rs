//! What large graphs need gives what small ones have: dictionaries of a set, the first of many edges.

use candle_lens::Result;
use candle_lens::feature_graphs::{GraphNode, GraphTargets};
use candle_lens::prelude::*;

const PROMPT: &str = "When John and Mary went to the shops";

fn difference() -> GraphTargets {
    GraphTargets::difference(" Mary", " John")
}

#[test]
fn a_set_gives_the_graph_of_its_dictionaries() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let set = DictionarySet::open("tiny")?;
    let read = [set.get("mlp0")?, set.get("mlp1")?, set.get("mlp2")?, set.get("mlp3")?];
    let graph = model.attribution_graph(&read, PROMPT, difference())?;
    assert_eq!(model.attribution_graph(&set.transcoders()?, PROMPT, difference())?, graph);
    let of_one = model.attribution_graph(&set.get("mlp2")?, PROMPT, difference())?;
    assert_eq!(model.attribution_graph(set.only(["mlp2"])?, PROMPT, difference())?, of_one);
    // Nothing of a set is dropped: what a graph cannot take is named, with the way to choose.
    let message = model.attribution_graph(&set, PROMPT, difference()).expect_err("z0 is an autoencoder").to_string();
    assert!(message.contains("\"z0\"") && message.contains("transcoders()"), "{message}");
    let message = set.only(["z0", "z1"])?.transcoders().expect_err("none is one").to_string();
    assert!(message.contains("only("), "{message}");
    let message = set.only(["mlp"]).expect_err("no such name").to_string();
    assert!(message.contains("nearest"), "{message}");
    assert!(set.only(Vec::<String>::new()).is_err());
    Ok(())
}

#[test]
fn the_first_edges_are_those_of_all() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let set = DictionarySet::open("tiny")?.transcoders()?;
    let graph = model.attribution_graph(&set, PROMPT, difference())?;
    let all = graph.edges();
    for most in [0, 1, 7, 1000, all.len(), usize::MAX] {
        assert_eq!(graph.top_edges(most), all[..most.min(all.len())], "the first {most}");
    }
    // By hand: the share of a target's edge is its part of the sum of absolute weights.
    let target = GraphNode::Target { number: 0 };
    let sum: f32 = graph.edges_into(target)?.iter().map(|edge| edge.weight.abs()).sum();
    assert!(sum > 0.0 && all[0].target == target, "{}", all[0]);
    assert_eq!(all[0], graph.edges_into(target)?[0]);
    Ok(())
}
