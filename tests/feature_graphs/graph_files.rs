//! Files of graphs: ours come back bit for bit, circuit-tracer's are read as what they are (tests/fixtures/graph_files.py).

use std::fs;
use std::path::PathBuf;

use candle_lens::Result;
use candle_lens::feature_graphs::{BiasOf, GraphNode, GraphOptions, GraphTargets};
use candle_lens::prelude::*;
use serde_json::{Value, json};

use super::parity;
use super::sums::{Kind, transcoder};
use crate::support::fixture::{Reference, numbers, path};
use crate::support::scratch;
use crate::support::sentence::sentence;

/// circuit-tracer's own sums are in f32 too; weights are below 10.
const ROUNDING: f32 = 1e-5;

/// circuit-tracer cumulates influence in f32.
const SHARES: f64 = 1e-5;

pub(super) fn fixture(name: &str) -> PathBuf {
    path("graph_files").join(name)
}

pub(super) fn tiny(targets: GraphTargets, options: GraphOptions) -> Result<AttributionGraph> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let transcoders = DictionarySet::open("tiny")?.only(["mlp0", "mlp1", "mlp2", "mlp3"])?;
    model.attribution_graph_with(transcoders, "The capital of France is", targets, options)
}

/// Saved, opened again, and saved from there: twice the same graph, and twice the same file.
fn check_round_trip(groups: &Supernodes, folder: &std::path::Path) -> Result<()> {
    let (first, second) = (folder.join("graph.json"), folder.join("again").join("graph.json"));
    fs::create_dir_all(folder.join("again")).expect("a folder");
    groups.save_to(&first)?;
    let read = Supernodes::open(&first)?;
    assert_eq!(&read, groups);
    assert_eq!(AttributionGraph::open(&first)?, groups.graph());
    read.save_to(&second)?;
    assert_eq!(fs::read(&first).expect("a file"), fs::read(&second).expect("a file"));
    Ok(())
}

#[test]
fn a_graph_comes_back_bit_for_bit() -> Result<()> {
    let folder = scratch("graph_files");
    let options = GraphOptions { most_features: Some(30), ..Default::default() };
    let some = tiny(GraphTargets::top(), options)?;
    let twice = tiny(GraphTargets::tokens([" the", " the", "."]), GraphOptions::default())?;
    let difference =
        tiny(GraphTargets::difference(" the", " a"), GraphOptions { first_position: Some(2), ..Default::default() })?;
    for graph in
        [&some, &twice, &twice.prune(0.8, 0.98)?, &twice.without_biases(), &difference, &difference.prune(0.3, 0.3)?]
    {
        check_round_trip(&graph.supernodes(), &folder)?;
    }
    let [first, second, ..] = some.sources()[..] else { panic!("two nodes") };
    let groups = some
        .supernodes()
        .group("two \"quoted\"\n", [second, first])?
        .group("others", [GraphNode::LeftOut, GraphNode::Bias(BiasOf::Attention), GraphNode::Target { number: 0 }])?
        .pin([GraphNode::Position { pos: 3 }, GraphNode::Token { pos: 1 }])?
        .label(first, "capitals")?
        .label(GraphNode::Position { pos: 3 }, "where France is")?
        .label(GraphNode::Target { number: 0 }, "the answer")?
        .label(GraphNode::Token { pos: 0 }, "begin")?;
    check_round_trip(&groups, &folder)?;
    assert_eq!(AttributionGraph::open(folder.join("graph.json"))?, some);
    Ok(())
}

#[test]
fn graphs_of_every_family_come_back() -> Result<()> {
    let folder = scratch("graph_files_families");
    let families = fs::read_dir(path("families")).expect("the families");
    for family in families.map(|entry| entry.expect("a folder").path()).filter(|path| path.is_dir()) {
        let model = HookedTransformer::from_pretrained_no_processing(family.to_string_lossy())?;
        let dictionaries = (0..model.cfg().n_layers).map(|layer| transcoder(&model, layer, "mlp.hook_in", Kind::Skip));
        let dictionaries = dictionaries.collect::<Result<Vec<_>>>()?;
        let prompt = Tokens::from_rows(vec![vec![5, 3, 9, 1, 4]])?;
        let graph = model.attribution_graph(&dictionaries, prompt, GraphTargets::Top { most: 3, probability: 1.0 })?;
        check_round_trip(&graph.supernodes(), &folder)?;
    }
    Ok(())
}

/// The JSON of a file, with its links changed by `change`.
pub(super) fn with_links(whole: &Value, change: impl Fn(&mut Vec<Value>)) -> Value {
    let mut changed = whole.clone();
    change(changed["links"].as_array_mut().expect("links"));
    changed
}

/// serde_json reads an f64 wrong by its last bit now and then, and an f32 in as few digits as single it out may lie that near to
/// the middle between two f32s.
#[test]
fn weights_of_all_sizes_come_back_bit_for_bit() -> Result<()> {
    let folder = scratch("graph_files_numbers");
    let file = folder.join("graph.json");
    let whole: Value = serde_json::from_slice(&fs::read(fixture("pruned.json")).expect("the fixture")).expect("JSON");
    let mut random = Random::new(3);
    for _ in 0..400 {
        let count = whole["links"].as_array().expect("links").len();
        let any = |_| match f32::from_bits(random.below(1 << 32) as u32) {
            x if x.is_finite() && x != 0.0 => x,
            _ => f32::MIN_POSITIVE / 8.0,
        };
        let weights: Vec<f32> = (0..count).map(any).collect();
        let changed = with_links(&whole, |links| {
            for (link, &weight) in links.iter_mut().zip(&weights) {
                link["weight"] = json!(f64::from(weight));
            }
        });
        fs::write(&file, changed.to_string()).expect("a file");
        let graph = AttributionGraph::open(&file)?;
        let mut read: Vec<u32> = graph.edges().iter().map(|edge| edge.weight.to_bits()).collect();
        let mut written: Vec<u32> = weights.iter().map(|weight| weight.to_bits()).collect();
        read.sort();
        written.sort();
        assert_eq!(read, written);
        graph.save_to(&file)?;
        assert_eq!(AttributionGraph::open(&file)?, graph);
    }
    Ok(())
}

#[test]
fn a_file_of_circuit_tracer_is_the_graph_that_it_was_made_from() -> Result<()> {
    let read = AttributionGraph::open(fixture("pruned.json"))?;
    let reference = Reference::load("feature_graphs.safetensors");
    let whole = parity::graph(&reference, "plain")?.without_biases();
    let own = whole.prune(0.8, 0.98)?;
    // circuit-tracer leaves out errors without an edge, and so does pruning.
    assert_eq!((read.sources(), read.tokens(), read.targets()), (own.sources(), own.tokens(), own.targets()));
    assert_eq!(read.edges().len(), own.edges().len());
    for edge in own.edges() {
        assert!((read.edge(edge.source, edge.target)? - edge.weight).abs() < ROUNDING, "{edge}");
    }
    for &node in read.sources().iter().filter(|node| matches!(node, GraphNode::Feature { .. })) {
        assert!((read.activation(node)? - own.activation(node)?).abs() < ROUNDING, "{node}");
        sentence(read.value(node), &["is not known: circuit-tracer wrote this graph"]);
    }
    assert!(read.residual().is_nan());
    assert!(!own.residual().is_nan());
    assert!((read.influence().of_leaves() - own.influence().of_leaves()).abs() < SHARES);
    let collapsed = read.supernodes().pin([GraphNode::Token { pos: 4 }])?.collapse();
    sentence(collapsed.value(GraphNode::Target { number: 0 }), &["has no value"]);
    check_round_trip(&read.supernodes(), &scratch("graph_files_foreign"))
}

/// `influence` of circuit-tracer is the share of all influence that a node and those above it have together.
#[test]
fn influence_in_a_file_is_cumulated_as_circuit_tracer_does() -> Result<()> {
    let reference = Reference::load("feature_graphs.safetensors");
    let graph = parity::graph(&reference, "plain")?;
    let file = scratch("graph_files_influence").join("graph.json");
    graph.save_to(&file)?;
    let written: Value = serde_json::from_slice(&fs::read(&file).expect("a file")).expect("JSON");
    let influence = numbers(reference.get("plain.influence"));
    let total: f64 = influence.iter().sum();
    let sources = graph.without_biases().sources();
    let mut compared = 0;
    for node in written["nodes"].as_array().expect("nodes").iter().filter(|node| node["feature_type"] != "logit") {
        let id = node["node_id"].as_str().expect("an id");
        let place = sources.binary_search(&id.parse()?).expect("a source");
        let above: f64 = influence.iter().filter(|other| **other >= influence[place]).sum();
        let cumulated = node["influence"].as_f64().expect("a number");
        assert!(influence[place] < SHARES || (cumulated - above / total).abs() < SHARES, "{id}: {cumulated}");
        compared += 1;
    }
    assert!(compared > 50, "{compared} nodes");
    Ok(())
}

#[test]
fn errors_with_the_ids_of_features_are_told_apart() -> Result<()> {
    let colliding = AttributionGraph::open(fixture("colliding.json"))?;
    assert_eq!(colliding, AttributionGraph::open(fixture("fixed.json"))?);
    let text = fs::read_to_string(fixture("colliding.json")).expect("the fixture");
    let whole: Value = serde_json::from_str(&text).expect("JSON");
    let file = scratch("graph_files_colliding").join("graph.json");
    // The same ids without the links around them, which say which is meant.
    let ids: Vec<&str> =
        whole["nodes"].as_array().expect("nodes").iter().filter_map(|node| node["node_id"].as_str()).collect();
    let shared = ids.iter().find(|id| ids.iter().filter(|other| other == id).count() == 2).expect("an id of two nodes");
    let logit = ids.last().expect("a node");
    let alone = with_links(&whole, |links| *links = vec![json!({"source": shared, "target": logit, "weight": 0.5})]);
    fs::write(&file, alone.to_string()).expect("a file");
    sentence(AttributionGraph::open(&file), &["or the error of layer", "a later version"]);
    // Both of them, in their order.
    let link = |weight: f64| json!({"source": shared, "target": logit, "weight": weight});
    let both = with_links(&whole, |links| *links = vec![link(0.5), link(0.25)]);
    fs::write(&file, both.to_string()).expect("a file");
    let graph = AttributionGraph::open(&file)?;
    let edges = graph.edges_into(GraphNode::Target { number: 0 })?;
    assert!(matches!(edges[0].source, GraphNode::Feature { layer: 0, .. }) && edges[0].weight == 0.5, "{edges:?}");
    assert!(matches!(edges[1].source, GraphNode::Error { .. }) && edges[1].weight == 0.25, "{edges:?}");
    // A pin does not say it either; the graph itself can be read.
    let mut pinned = both;
    pinned["qParams"]["pinnedIds"] = json!([shared]);
    fs::write(&file, pinned.to_string()).expect("a file");
    sentence(Supernodes::open(&file), &["and the error of layer"]);
    assert_eq!(AttributionGraph::open(&file)?, graph);
    Ok(())
}

/// circuit-tracer's own models read the committed file (tests/fixtures/graph_files.py).
#[test]
fn what_is_written_is_what_circuit_tracer_reads() -> Result<()> {
    let graph = AttributionGraph::open(fixture("pruned.json"))?;
    let features: Vec<GraphNode> =
        graph.sources().into_iter().filter(|node| matches!(node, GraphNode::Feature { .. })).take(2).collect();
    let groups = graph.supernodes().group("first", features.clone())?.label(features[0], "what it means")?;
    let groups = groups.pin([GraphNode::Target { number: 0 }])?;
    let file = scratch("graph_files_ours").join("ours.json");
    groups.save_to(&file)?;
    let version = format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION"));
    let written = fs::read_to_string(&file).expect("a file").replace(&version, "\"version\":\"0.1.0\"");
    let committed = fs::read_to_string(fixture("ours.json")).unwrap_or_default();
    assert_eq!(written, committed, "the form changed: have tests/fixtures/graph_files.py read {}", file.display());
    Ok(())
}

#[test]
fn groups_of_circuit_tracers_frontend_are_read() -> Result<()> {
    let mut whole: Value =
        serde_json::from_slice(&fs::read(fixture("pruned.json")).expect("the fixture")).expect("JSON");
    let ids: Vec<String> = whole["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|node| node["node_id"].as_str().expect("an id").into())
        .collect();
    whole["qParams"] = json!({
        "pinnedIds": [ids[5]], "linkType": "both", "clickedId": null, "sg_pos": "",
        "supernodes": [["supernode", ids[0], ids[1]], ["supernode", ids[2]], ["", ids[3]]],
    });
    whole["nodes"][0]["clerp"] = json!("a meaning");
    let file = scratch("graph_files_groups").join("graph.json");
    fs::write(&file, whole.to_string()).expect("a file");
    let groups = Supernodes::open(&file)?;
    let names: Vec<String> = groups.groups().into_iter().map(|group| group.name).collect();
    assert_eq!(names, ["supernode", "supernode 2", "supernode 3"]);
    assert_eq!(groups.groups()[0].nodes, [ids[0].parse()?, ids[1].parse()?]);
    assert_eq!(groups.pinned().len(), 5);
    assert_eq!(groups.name_of(ids[0].parse()?), "a meaning");
    Ok(())
}

#[test]
fn numbers_that_json_cannot_hold_are_refused() -> Result<()> {
    let direction = (Tensor::ones(128, DType::F32, &Device::Cpu)? * 3e38)?;
    let graph = tiny(GraphTargets::Direction { name: "too long".into(), direction }, GraphOptions::default())?;
    let file = scratch("graph_files_infinite").join("graph.json");
    sentence(graph.save_to(&file), &["which a file cannot hold"]);
    assert!(!file.exists());
    Ok(())
}
