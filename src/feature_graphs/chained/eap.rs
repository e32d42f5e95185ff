//! Chained graphs as JSON files of circuit-finder's form, to and from its `EAPGraph.to_json` and `EAPGraph.from_json`.
//!
//! `graph` is a list of `[target, source, [nn_grad, nn_attrib, em_grad, em_attrib], type]`: features and the metric by their names, the
//! edge's own gradient and value, those for the metric, and `"ov"`, `"q"`, `"k"` or null for edges into MLPs and the metric. It is all
//! that circuit-finder reads. What its classes cannot name (errors, tokens, biases) is in `rest`, in the same form, and what they do not
//! keep in `chained_graph`: nodes, tokens, the metric, what was left out.
//!
//! A gradient is the value divided by the source's change: for several prompts by the mean change, as circuit-finder, which averages
//! activations first, has it; null where that is 0.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::node::GraphNode;
use super::edge::{ChainedEdge, EdgeVia};
use super::graph::{ChainedGraph, METRIC, position};
use super::names::{layer, layers_of, name, parse};
use super::node::{ChainedNode, EdgesLeftOut};
use super::options::ErrorNodes;
use crate::error::{Error, Result};
use crate::files;
use crate::visible::visible;

/// The node that circuit-finder's metric nodes lead to.
const NULL: &str = "null";

type Line = (String, String, [Option<f32>; 4], Option<String>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    graph: Vec<Value>,
    #[serde(default)]
    rest: Vec<Value>,
    chained_graph: Option<About>,
}

/// What circuit-finder's files do not hold.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    metric: String,
    corrupted: Option<f32>,
    tokens: Vec<String>,
    prompts: usize,
    layers: usize,
    errors_apart: bool,
    /// Name, change, gradient, score, what is left out, prompts.
    nodes: Vec<(String, f32, f32, f32, f32, usize)>,
    /// Edges, metric, magnitude, nodes, score.
    left_out: (usize, f32, f32, usize, f32),
}

impl ChainedGraph {
    /// Writes the graph as circuit-finder's `EAPGraph.to_json` does, whole or not at all: its `EAPGraph.from_json` reads the features and
    /// edges between them, [`ChainedGraph::from_json`] everything.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// # let model = HookedTransformer::from_pretrained("tiny")?;
    /// # let set = DictionarySet::open("tiny")?;
    /// # let dictionaries = [set.get("z3")?, set.get("mlp3")?];
    /// # let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let graph = model.chained_graph(&dictionaries, prompt, Baseline::Zero, metric)?.threshold(0.05)?;
    /// let path = std::env::temp_dir().join("chained.json");
    /// graph.to_json(&path)?;
    /// assert_eq!(ChainedGraph::from_json(&path)?, graph);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be written.
    pub fn to_json(&self, path: impl AsRef<Path>) -> Result<()> {
        let text = self.json();
        files::write_whole(path.as_ref(), |file| file.write_all(text.as_bytes()))
    }

    /// Reads a graph that [`ChainedGraph::to_json`] or circuit-finder's `EAPGraph.to_json` wrote.
    ///
    /// circuit-finder's files have no nodes, tokens and metric: a node's score is the sum of its edges there, its gradient the sum of
    /// theirs, its change what both say. The edges are circuit-finder's own numbers, whose faults in queries and keys and whose clipping stay.
    ///
    /// # Errors
    /// [`Error::File`]: a file that cannot be read or is not such JSON; unknown names and types, an edge that is there twice, a target
    /// that does not lead to the metric.
    pub fn from_json(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path)
            .map_err(|error| Error::file(path, format!("cannot be read ({error}): check the path.")))?;
        read(&bytes).map_err(|error| error.in_file(path))
    }

    fn json(&self) -> String {
        let changes: HashMap<GraphNode, f32> = self.nodes.iter().map(|node| (node.node, node.change)).collect();
        let is_theirs = |node: &GraphNode| matches!(node, GraphNode::Feature { .. } | GraphNode::AttnFeature { .. });
        // circuit-finder's graphs begin with the metric at each position.
        let begin = (0..self.pieces.len()).map(|pos| {
            let metric = name(&METRIC, self.layers, pos);
            format!("[\"{NULL}\", \"{metric}\", [0.0, 0.0, 1.0, 0.0], null]")
        });
        let line = |edge: &ChainedEdge| {
            let target = name(&edge.target, self.layers, position(&edge.source).unwrap_or(0));
            let source = name(&edge.source, self.layers, 0);
            let change = changes.get(&edge.source).copied().unwrap_or(0.0);
            let numbers = [edge.local / change, edge.local, edge.metric / change, edge.metric].map(number);
            let via = match edge.via {
                EdgeVia::Ov | EdgeVia::Q | EdgeVia::K => format!("\"{}\"", edge.via),
                EdgeVia::Mlp | EdgeVia::Direct => "null".into(),
            };
            format!("[\"{target}\", \"{source}\", [{}], {via}]", numbers.join(", "))
        };
        let (theirs, rest): (Vec<&ChainedEdge>, Vec<_>) = self.edges.iter().partition(|edge| is_theirs(&edge.source));
        let graph: Vec<String> = begin.chain(theirs.into_iter().map(line)).collect();
        let rest: Vec<String> = rest.into_iter().map(line).collect();
        format!(
            "{{\"graph\": [{}], \"rest\": [{}], \"chained_graph\": {}}}",
            graph.join(",\n"),
            rest.join(",\n"),
            self.about()
        )
    }

    fn about(&self) -> String {
        let node = |node: &ChainedNode| {
            let numbers = [node.change, node.gradient, node.score, node.left_out].map(number);
            format!("[\"{}\", {}, {}]", name(&node.node, self.layers, 0), numbers.join(", "), node.prompts)
        };
        let nodes: Vec<String> = self.nodes.iter().map(node).collect();
        let EdgesLeftOut { edges, metric, magnitude, nodes: count, score } = self.left_out;
        let mut text = String::from("{");
        let words = [("metric", json!(self.metric)), ("tokens", json!(self.pieces)), ("prompts", json!(self.prompts))];
        for (key, value) in words {
            let _ = write!(text, "\"{key}\": {value}, ");
        }
        let _ = write!(text, "\"corrupted\": {}, ", self.corrupted.map_or("null".into(), number));
        let _ = write!(text, "\"layers\": {}, \"errors_apart\": {}, ", self.layers, self.errors == ErrorNodes::Apart);
        let left_out = [number(metric), number(magnitude), count.to_string(), number(score)];
        let _ = write!(text, "\"left_out\": [{edges}, {}], \"nodes\": [{}]}}", left_out.join(", "), nodes.join(",\n"));
        text
    }
}

/// As many digits as bring the same f32 back; what is not a number is null.
fn number(value: f32) -> String {
    if value.is_finite() { format!("{value:?}") } else { "null".into() }
}

fn read(bytes: &[u8]) -> Result<ChainedGraph> {
    let file: File = files::read_json(bytes).map_err(|error| {
        Error::argument(format!(
            "this is not a graph in circuit-finder's form ({}): it needs \"graph\", a list of edges.",
            visible(&error.to_string())
        ))
    })?;
    let lines = file.graph.into_iter().chain(file.rest).map(line).collect::<Result<Vec<Line>>>()?;
    let mut edges = Vec::new();
    let mut seen = HashSet::new();
    let mut gradients: HashMap<GraphNode, (f64, f64, Option<f32>)> = HashMap::new();
    for line in lines.iter().filter(|line| line.0 != NULL) {
        let (edge, [nn_grad, em_grad]) = edge(line)?;
        if !seen.insert((edge.source, edge.target, edge.via)) {
            return Err(wrong(line, "is there twice: write the file again."));
        }
        let of_node = gradients.entry(edge.source).or_default();
        of_node.0 += f64::from(edge.metric);
        of_node.1 += f64::from(em_grad.unwrap_or(0.0));
        of_node.2 = of_node.2.or(nn_grad.filter(|gradient| *gradient != 0.0).map(|gradient| edge.local / gradient));
        edges.push(edge);
    }
    let mut graph = match file.chained_graph {
        Some(about) => about.graph()?,
        None => {
            let node = |(node, (score, gradient, change)): (GraphNode, (f64, f64, Option<f32>))| ChainedNode {
                score: score as f32,
                gradient: gradient as f32,
                ..ChainedNode::new(node, change.unwrap_or(0.0))
            };
            let nodes: BTreeMap<GraphNode, ChainedNode> =
                gradients.into_iter().map(|of_node| (of_node.0, node(of_node))).collect();
            let names = lines.iter().flat_map(|line| [&line.0, &line.1]);
            ChainedGraph {
                pieces: Vec::new(),
                prompts: 1,
                layers: names.map(|name| layers_of(name)).max().unwrap_or(0),
                metric: "metric".into(),
                corrupted: None,
                errors: ErrorNodes::InGraph,
                nodes: nodes.into_values().collect(),
                edges: Vec::new(),
                left_out: EdgesLeftOut::default(),
            }
        }
    };
    edges.sort_by_key(|edge| (edge.source, edge.target, edge.via));
    graph.edges = edges;
    check(&graph)?;
    Ok(graph)
}

/// One edge of a file.
fn line(value: Value) -> Result<Line> {
    if value.as_array().is_some_and(|parts| parts.len() == 3) {
        return Err(Error::argument(
            "the edges of this file have no type: an early version of circuit-finder wrote it, before there were query and key edges. Make \
             it again with a later one.",
        ));
    }
    let text: String = value.to_string().chars().take(80).collect();
    serde_json::from_value(value).map_err(|error| {
        Error::argument(format!(
            "{} is not an edge ({}): an edge is [target, source, [nn_grad, nn_attrib, em_grad, em_attrib], type].",
            visible(&text),
            visible(&error.to_string())
        ))
    })
}

/// The edge of a line, and its two gradients.
fn edge(line: &Line) -> Result<(ChainedEdge, [Option<f32>; 2])> {
    let (target, source, [nn_grad, nn_attrib, em_grad, em_attrib], via) = line;
    let (Some(target), Some(source)) = (parse(target), parse(source)) else {
        return Err(wrong(line, "has a name that is not one of a node: \"attn.3.14.17\" is a feature, for example."));
    };
    let finite = |value: &Option<f32>| value.filter(|value| value.is_finite());
    let (Some(local), Some(metric)) = (finite(nn_attrib), finite(em_attrib)) else {
        return Err(wrong(line, "has no value: nn_attrib and em_attrib must be numbers."));
    };
    let via = match (via.as_deref(), target) {
        (Some("ov"), GraphNode::AttnFeature { .. }) => EdgeVia::Ov,
        (Some("q"), GraphNode::AttnFeature { .. }) => EdgeVia::Q,
        (Some("k"), GraphNode::AttnFeature { .. }) => EdgeVia::K,
        (None, GraphNode::Feature { .. }) => EdgeVia::Mlp,
        (None, METRIC) => EdgeVia::Direct,
        _ => {
            return Err(wrong(
                line,
                "has a type that its target does not have: ov, q or k into features of attention, null into others.",
            ));
        }
    };
    if source == METRIC {
        return Err(wrong(line, "comes from the metric, which nothing comes after."));
    }
    Ok((ChainedEdge { source, target, via, local, metric }, [*nn_grad, *em_grad]))
}

fn wrong(line: &Line, why: &str) -> Error {
    let [target, source] = [&line.0, &line.1].map(|name| visible(&name.chars().take(80).collect::<String>()));
    Error::argument(format!("the edge from {source} to {target} {why}"))
}

impl About {
    fn graph(self) -> Result<ChainedGraph> {
        let node = |(text, change, gradient, score, left_out, prompts): (String, f32, f32, f32, f32, usize)| {
            let node = parse(&text).ok_or_else(|| {
                let text: String = text.chars().take(80).collect();
                Error::argument(format!("\"{}\" is not the name of a node.", visible(&text)))
            })?;
            match [change, gradient, score, left_out].iter().all(|number| number.is_finite()) {
                true => Ok(ChainedNode { node, change, gradient, prompts, score, left_out }),
                false => Err(Error::argument(format!("{node} has a value that is not a finite number."))),
            }
        };
        let nodes = self.nodes.into_iter().map(node).collect::<Result<Vec<ChainedNode>>>()?;
        if nodes.iter().filter_map(|node| layer(&node.node)).any(|layer| layer >= self.layers) {
            return Err(Error::argument(format!("the file has nodes behind its {} layers.", self.layers)));
        }
        let (edges, metric, magnitude, count, score) = self.left_out;
        Ok(ChainedGraph {
            pieces: self.tokens,
            prompts: self.prompts,
            layers: self.layers,
            metric: self.metric,
            corrupted: self.corrupted,
            errors: if self.errors_apart { ErrorNodes::Apart } else { ErrorNodes::InGraph },
            nodes,
            edges: Vec::new(),
            left_out: EdgesLeftOut { edges, metric, magnitude, nodes: count, score },
        })
    }
}

/// That edges are between nodes, and that these are there once.
fn check(graph: &ChainedGraph) -> Result<()> {
    let mut nodes = HashSet::new();
    if let Some(twice) = graph.nodes.iter().find(|node| !nodes.insert(node.node)) {
        return Err(Error::argument(format!("{} is in the file twice: write it again.", twice.node)));
    }
    // A file of circuit-finder has no tokens.
    let tokens = graph.pieces.len();
    let outside = |node: &GraphNode| tokens > 0 && position(node).is_some_and(|pos| pos >= tokens);
    if let Some(node) = graph.nodes.iter().map(|node| node.node).find(outside) {
        return Err(Error::argument(format!("{node} is behind the {tokens} tokens of the file: write it again.")));
    }
    let is_there = |node: &GraphNode| *node == METRIC || nodes.contains(node);
    let missing = graph.edges.iter().flat_map(|edge| [edge.target, edge.source]).find(|node| !is_there(node));
    match missing {
        Some(node) => Err(Error::argument(format!(
            "there are edges into {node} but none from it, so it does not lead to the metric: the file is not complete."
        ))),
        None => Ok(()),
    }
}
