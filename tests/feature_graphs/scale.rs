//! What large graphs need gives what small ones have: dictionaries of a set, the first of many edges.

use std::time::Duration;

use candle_lens::Result;
use candle_lens::feature_graphs::{GraphNode, GraphTargets};
use candle_lens::prelude::*;
use candle_lens::progress::rehearsal::{Moment, rehearse};

use crate::support::scratch;

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

/// The same sums of some hundred products in f32, in another order; weights are below 10.
const ROUNDING: f32 = 2e-5;

#[test]
fn files_that_store_the_encoder_transposed_give_the_same_edges() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let all = DictionarySet::open("tiny")?.transcoders()?.all()?;
    let folder = scratch("graph-set");
    Dictionary::save_transcoder_set(&folder, &all)?;
    let graph = model.attribution_graph(&all, PROMPT, difference())?;
    let of_files = DictionarySet::open(folder.to_string_lossy())?;
    let of_files = model.attribution_graph(of_files, PROMPT, difference())?;
    assert_eq!(of_files.sources(), graph.sources());
    for edge in graph.edges() {
        let other = of_files.edge(edge.source, edge.target)?;
        assert!((other - edge.weight).abs() < ROUNDING, "{edge}, from files {other}");
    }
    Ok(())
}

#[test]
fn an_interrupted_graph_goes_on_to_the_same_numbers() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let set = DictionarySet::open("tiny")?.transcoders()?;
    for most_features in [None, Some(40)] {
        let file = scratch("kept-graph").join("graph.safetensors");
        let options = |save: bool| GraphOptions {
            most_features,
            batch_size: 4,
            save_to: save.then(|| file.clone()),
            ..Default::default()
        };
        let graph = |options| model.attribution_graph_with(&set, PROMPT, difference(), options);
        let whole = graph(options(false))?;
        // What an interrupt would leave behind: the file as it first was.
        let (own, part) = (file.clone(), file.with_extension("part"));
        let left = part.clone();
        let clock = move || {
            if own.exists() && !left.exists() {
                std::fs::copy(&own, &left).expect("a copy");
            }
            Duration::ZERO
        };
        let (saved, all) = rehearse(clock, || graph(options(true)));
        assert_eq!(saved?, whole);
        std::fs::rename(&part, &file).expect("the part");
        let (resumed, rest) = rehearse(|| Duration::ZERO, || graph(options(true)));
        assert_eq!(resumed?, whole);
        let steps = |moments: &[Moment]| moments.iter().filter(|moment| moment.what == "attribution").count();
        assert!(steps(&rest) > 2 && steps(&rest) < steps(&all), "{} of {}", steps(&rest), steps(&all));
        // All is there: made again without computing a row.
        assert_eq!(graph(options(true))?, whole);
        for (what, other) in [
            (
                "another prompt",
                model.attribution_graph_with(&set, "The capital of France is", difference(), options(true)),
            ),
            ("another target", model.attribution_graph_with(&set, PROMPT, GraphTargets::top(), options(true))),
            (
                "another dictionary",
                model.attribution_graph_with(set.only(["mlp1"])?, PROMPT, difference(), options(true)),
            ),
            ("other batches", graph(GraphOptions { batch_size: 5, ..options(true) })),
        ] {
            let message = other.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(message.contains("another graph"), "{what}: {message}");
        }
        // A damaged file is named, and not continued.
        let mut bytes = std::fs::read(&file).expect("the file");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&file, bytes).expect("the file");
        assert!(graph(options(true)).is_err());
    }
    Ok(())
}
