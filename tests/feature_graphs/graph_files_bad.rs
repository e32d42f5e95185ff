//! Files of graphs by strangers: a sentence for each mistake, and never a panic, nor more memory than the file justifies.

use std::fs;

use candle_lens::Result;
use candle_lens::feature_graphs::{GraphOptions, GraphTargets};
use candle_lens::prelude::*;
use serde_json::{Value, json};

use super::graph_files::{fixture, tiny, with_links};
use crate::support::damage::{torture, torture_keys};
use crate::support::scratch;
use crate::support::sentence::sentence;

/// A value somewhere in the JSON, by its path.
fn set(whole: &Value, pointer: &str, value: Value) -> Value {
    let mut changed = whole.clone();
    *changed.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} is there")) = value;
    changed
}

/// ours.json, and the places of a token, a target and an error among its nodes.
fn ours() -> (Value, [usize; 3]) {
    let whole: Value = serde_json::from_slice(&fs::read(fixture("ours.json")).expect("the fixture")).expect("JSON");
    let nodes = whole["nodes"].as_array().expect("nodes");
    let at = |kind: &str| nodes.iter().position(|node| node["feature_type"] == kind).expect("a node of this kind");
    let places = ["embedding", "logit", "mlp reconstruction error"].map(at);
    (whole, places)
}

fn check_refused(name: &str, cases: Vec<(Value, &str)>) {
    let file = scratch(name).join("graph.json");
    for (changed, says) in cases {
        fs::write(&file, changed.to_string()).expect("a file");
        sentence(AttributionGraph::open(&file), &[says, "graph.json"]);
    }
}

#[test]
fn mistakes_in_nodes_are_named() {
    let (whole, [token, logit, error]) = ours();
    let mut without_token = whole.clone();
    without_token["nodes"].as_array_mut().expect("nodes").remove(token);
    let mut twice = whole.clone();
    let nodes = twice["nodes"].as_array_mut().expect("nodes");
    nodes.push(nodes[0].clone());
    let changed = |pointer: &str, value: Value| set(&whole, pointer, value);
    let cases = vec![
        (json!([1, 2]), "not a graph in circuit-tracer's form"),
        (json!({"nodes": [], "links": []}), "metadata"),
        (changed("/metadata/schema_version", json!(2)), "schema_version 2"),
        (changed("/metadata/prompt_tokens", json!([])), "is not that of a node"),
        (changed("/nodes/0/feature_type", json!("lorsa")), "kind \"lorsa\""),
        (changed("/nodes/0/node_id", json!("1_2_99")), "is not that of a node"),
        (changed("/nodes/0/node_id", json!("1_99999999999_6")), "is not that of a node"),
        (changed("/nodes/0/ctx_idx", json!(99)), "is not that of a node"),
        (changed("/nodes/0/ctx_idx", json!(-1)), "not a graph in circuit-tracer's form"),
        (changed("/nodes/0/layer", json!("1000000000000")), "is not that of a node"),
        (changed("/nodes/0/activation", Value::Null), "has no activation"),
        (changed("/nodes/0/activation", json!(1e39)), "no activation or weight can be"),
        (changed(&format!("/nodes/{logit}/token_prob"), json!(-0.5)), "below 0"),
        (
            changed(&format!("/nodes/{logit}/layer"), json!("18446744073709551615")),
            "the logits of the file are in layer",
        ),
        (changed(&format!("/nodes/{logit}/layer"), json!("2")), "is not of this prompt"),
        (changed(&format!("/nodes/{logit}/feature_type"), json!("embedding")), "no logits"),
        (changed(&format!("/nodes/{error}/layer"), json!("2")), "is not that of a node"),
        (without_token, "no embedding of the token"),
        (twice, "comes twice"),
    ];
    check_refused("graph_files_nodes", cases);
}

#[test]
fn mistakes_in_edges_are_named() {
    let (whole, _) = ours();
    let ids = |kind: &'static str| {
        let nodes = whole["nodes"].as_array().expect("nodes").iter().filter(move |node| node["feature_type"] == kind);
        nodes.map(|node| node["node_id"].as_str().expect("an id")).collect::<Vec<&str>>()
    };
    let (features, tokens) = (ids("cross layer transcoder"), ids("embedding"));
    let [early, late] = features[..] else { panic!("two features") };
    let link = |source: &str, target: &str, weight: Value| {
        with_links(&whole, |links| links.push(json!({"source": source, "target": target, "weight": weight})))
    };
    let own = |key: &str, value: Value| set(&whole, &format!("/candle_lens/{key}"), value);
    let cases = vec![
        (with_links(&whole, |links| links.push(links[0].clone())), "comes twice"),
        (link("9_9_9", early, json!(1)), "not among the nodes"),
        (link(early, tokens[2], json!(1)), "links lead to features and targets"),
        (link(late, early, json!(1)), "edges lead from a layer to later ones"),
        (link(early, early, json!(1)), "edges lead from a layer to later ones"),
        (link(early, late, json!(1e39)), "no activation or weight can be"),
        (link(early, late, json!("1")), "not a graph in circuit-tracer's form"),
        (own("targets", json!([])), "candle_lens names 0 targets"),
        (own("rows/0/0", json!("E_1")), "is of a node that edges cannot lead into"),
        (own("rows", json!([])), "which are not both in the file"),
        (own("nodes", json!([["P_99", null]])), "is not of this prompt"),
        (own("nodes", json!([["P_1", 0.5]])), "in candle_lens.nodes"),
        (own("nodes", json!([["a0_1_1", 0.5]])), "cannot be in an attribution graph"),
        (own("nodes", json!([["x", 0.5]])), "is not the id of a node"),
        (own("links", json!([["P_1", "T_0", 0.5]])), "which are not both in the file"),
        (own("labels", json!({"P_1": "x"})), "candle_lens.labels"),
    ];
    check_refused("graph_files_edges", cases);
}

#[test]
fn mistakes_in_groups_and_in_the_file_itself_are_named() -> Result<()> {
    let (whole, _) = ours();
    let file = scratch("graph_files_mistakes").join("graph.json");
    let feature = whole["nodes"][0]["node_id"].as_str().expect("an id");
    let groups = [
        (json!([["a", feature], ["b", feature]]), "in one group at most"),
        (json!([["a", feature, feature]]), "in one group at most"),
        (json!([["a"]]), "has no members"),
        (json!([[]]), "has no name"),
        (json!([["a", "9_9_9"]]), "which is not in the file"),
    ];
    for (supernodes, says) in groups {
        fs::write(&file, set(&whole, "/qParams/supernodes", supernodes).to_string()).expect("a file");
        sentence(Supernodes::open(&file), &[says, "graph.json"]);
        AttributionGraph::open(&file)?;
    }
    for text in [format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), "{\"nodes\":NaN}".into(), String::new()] {
        fs::write(&file, text).expect("a file");
        sentence(AttributionGraph::open(&file), &["not a graph in circuit-tracer's form"]);
    }
    sentence(AttributionGraph::open(scratch("graph_files_none").join("none.json")), &["cannot be read"]);
    sentence(AttributionGraph::open(fixture("pruned.json"))?.save_to(scratch("graph_files_folder")), &["is a folder"]);
    Ok(())
}

#[test]
fn damaged_files() -> Result<()> {
    let folder = scratch("fuzz_graph_files");
    let (file, copy) = (folder.join("graph.json"), folder.join("copy.json"));
    let read = || {
        AttributionGraph::open(&file)?;
        let groups = Supernodes::open(&file)?;
        groups.collapse();
        groups.save_to(&copy)?;
        assert_eq!(Supernodes::open(&copy)?, groups);
        Ok(())
    };
    let graph =
        tiny(GraphTargets::top(), GraphOptions { most_features: Some(5), ..Default::default() })?.prune(0.5, 0.7)?;
    let node = graph.sources()[0];
    graph.supernodes().group("one", [node])?.label(node, "a")?.save_to(&file)?;
    let whole = fs::read(&file).expect("a file");
    torture(130, 250, &file, &whole, read);
    torture_keys(131, 400, &file, &whole, read);
    for (seed, name) in [(132, "colliding.json"), (134, "ours.json")] {
        let whole = fs::read(fixture(name)).expect("the fixture");
        torture(seed, 100, &file, &whole, read);
        torture_keys(seed + 1, 200, &file, &whole, read);
    }
    Ok(())
}
