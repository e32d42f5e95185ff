//! Chained graphs in files: what was written is read, circuit-finder's files are read, and others are refused.

use std::path::PathBuf;

use candle_lens::Result;
use candle_lens::feature_graphs::{ChainOptions, ChainedGraph, EdgeVia, ErrorNodes, GraphNode};
use candle_lens::prelude::*;

use super::means::graph_with;
use crate::support::fixture;
use crate::support::sentence::sentence;

const METRIC: GraphNode = GraphNode::Target { number: 0 };

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("candle_lens_{}_{name}", std::process::id()))
}

/// Reads a text as if it were a file.
fn read(text: &str) -> Result<ChainedGraph> {
    let path = temporary("read.json");
    std::fs::write(&path, text).expect("a temporary file");
    let graph = ChainedGraph::from_json(&path);
    std::fs::remove_file(&path).expect("the temporary file");
    graph
}

#[test]
fn what_was_written_is_read() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let path = temporary("chained.json");
    for (contrast, errors, threshold) in [(false, ErrorNodes::InGraph, 0.01), (true, ErrorNodes::Apart, 0.02)] {
        let graph = graph_with(&model, 0..2, contrast, ChainOptions { errors, threshold, ..ChainOptions::default() })?;
        graph.to_json(&path)?;
        let read = ChainedGraph::from_json(&path)?;
        assert_eq!(read, graph);
        assert_eq!(
            (read.left_out(), read.tokens(), read.corrupted()),
            (graph.left_out(), graph.tokens(), graph.corrupted())
        );
        assert_eq!(read.residual(), graph.residual());
        let few = graph.most_edges(5)?;
        few.to_json(&path)?;
        assert_eq!(ChainedGraph::from_json(&path)?, few);
    }
    std::fs::remove_file(&path).expect("the temporary file");
    Ok(())
}

/// The committed file is one that circuit-finder was seen to read (tests/fixtures/eap_graph.py).
#[test]
fn files_have_the_form_that_circuit_finder_reads() -> Result<()> {
    let committed = fixture::path("chained_graph.json");
    let path = temporary("again.json");
    if std::env::var_os("CANDLE_LENS_WRITE_CHAINED_GRAPH").is_some() {
        let model = HookedTransformer::from_pretrained("tiny")?;
        let options = ChainOptions { threshold: 0.04, ..ChainOptions::default() };
        graph_with(&model, 0..1, true, options)?.to_json(&committed)?;
    }
    let graph = ChainedGraph::from_json(&committed)?;
    graph.to_json(&path)?;
    let again = std::fs::read_to_string(&path).expect("the file");
    assert_eq!(again, std::fs::read_to_string(&committed).expect("the committed file"));
    let is_feature = |node: GraphNode| matches!(node, GraphNode::Feature { .. } | GraphNode::AttnFeature { .. });
    let counts = graph.edge_counts();
    assert!(counts.ov > 0 && counts.q + counts.k > 0 && counts.mlp > 0 && counts.direct > 0, "{counts}");
    assert!(graph.edges().iter().any(|edge| !is_feature(edge.source)), "something that circuit-finder cannot name");
    std::fs::remove_file(&path).expect("the temporary file");
    Ok(())
}

#[test]
fn files_of_circuit_finder_are_read() -> Result<()> {
    let graph = ChainedGraph::from_json(fixture::path("eap_graph.json"))?;
    let counts = graph.edge_counts();
    assert_eq!((counts.ov, counts.q, counts.k, counts.mlp, counts.direct), (1, 1, 1, 1, 2));
    let source = GraphNode::AttnFeature { layer: 3, pos: 14, feature: 894 };
    let (node, early) = (graph.node(source)?, graph.node(GraphNode::AttnFeature { layer: 0, pos: 10, feature: 17 })?);
    // Its edges, to the metric and into the MLP of its own layer: 1.5 - 0.1, with the gradients 0.75 - 0.05 and the change 2.
    assert_eq!((node.score(), node.gradient, node.change), (1.4, 0.7, 2.0));
    assert_eq!((early.score(), early.change), (0.46875, 0.5));
    let into = graph.edges_into(source)?;
    assert_eq!(into.iter().map(|edge| edge.via).collect::<Vec<_>>(), [EdgeVia::Ov, EdgeVia::K, EdgeVia::Q]);
    assert_eq!((into[0].local, into[0].metric), (0.5, 0.375));
    assert_eq!(graph.edges_into(METRIC)?.len(), 2);
    assert!(graph.clean().is_nan() && graph.tokens().is_empty() && graph.residual() < f32::EPSILON);
    assert_eq!(graph.by_place()?.labels("position")?, ["10", "14"]);
    assert_eq!(graph.at(3, -1)?.len(), 2);
    let path = temporary("theirs.json");
    graph.to_json(&path)?;
    assert_eq!(ChainedGraph::from_json(&path)?, graph);
    std::fs::remove_file(&path).expect("the temporary file");
    assert_eq!(graph.threshold(0.2)?.edge_counts().total(), 3);
    Ok(())
}

#[test]
fn other_files_are_refused_with_a_reason() {
    let with = |edges: &str| read(&format!("{{\"graph\": [{edges}]}}"));
    let good = r#"["metric.4.14.0", "attn.3.14.8", [1.0, 2.0, 1.0, 2.0], null]"#;
    assert!(with(good).is_ok());
    sentence(read("not JSON"), &["circuit-finder's form"]);
    sentence(read("[]"), &["circuit-finder's form"]);
    sentence(read("{}"), &["graph"]);
    sentence(read(r#"{"graph": [], "colour": 3}"#), &["colour"]);
    sentence(with(&format!("{good}, {good}")), &["attn.3.14.8", "metric.4.14.0", "twice"]);
    sentence(with(r#"["metric.4.14.0", "attn.3.14.8", 2.0]"#), &["no type", "early version"]);
    sentence(with(r#"["metric.4.14.0", "attn.3.14.8", [1.0, 2.0], null]"#), &["is not an edge"]);
    sentence(with(r#"["metric.4.14.0", "resid.3.14.8", [1, 2, 1, 2], null]"#), &["resid.3.14.8", "name"]);
    sentence(with(r#"["metric.4.14.0", "attn.9000.14.8", [1, 2, 1, 2], null]"#), &["attn.9000.14.8"]);
    sentence(
        with(r#"["metric.4.9999999999999.0", "attn.3.9999999999999.8", [1, 2, 1, 2], null]"#),
        &["attn.3.9999999999999.8"],
    );
    sentence(with(r#"["metric.4.14.0", "attn.3.14.8", [1, null, 1, 2], null]"#), &["no value"]);
    sentence(with(r#"["metric.4.14.0", "attn.3.14.8", [1, 2, 1, 2], "ov"]"#), &["type", "ov, q or k"]);
    sentence(with(r#"["metric.4.14.0", "attn.3.14.8", [1, 2, 1, 2], "v"]"#), &["type"]);
    sentence(with(r#"["mlp.3.14.0", "metric.4.14.0", [1, 2, 1, 2], null]"#), &["comes from the metric"]);
    sentence(with(r#"["metric.4.14.0", "attn.3.14.8", [1, 2, 1, 1e39], null]"#), &["no value"]);
    let dangling = r#"["mlp.3.14.2", "attn.3.14.8", [1, 2, 1, 2], null]"#;
    sentence(with(dangling), &["feature 3/2 at 14", "does not lead to the metric"]);
    let own = std::fs::read(fixture::path("chained_graph.json")).expect("the committed file");
    let mut own: serde_json::Value = serde_json::from_slice(&own).expect("it is JSON");
    own["chained_graph"]["tokens"] = serde_json::json!(["When"]);
    sentence(read(&own.to_string()), &["is behind the 1 tokens of the file"]);
    let missing = std::env::temp_dir().join("candle_lens_no_such_graph.json");
    sentence(ChainedGraph::from_json(missing), &["cannot be read"]);
}
