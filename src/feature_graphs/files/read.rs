//! A file to its graph, which it may have from anyone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use super::super::graph::{AttributionGraph, Row};
use super::super::incoming::Incoming;
use super::super::node::GraphNode;
use super::super::supernodes::{Supernode, Supernodes};
use super::form::{File, Own, QParams, SCHEMA};
use super::link::{Candidates, FileEdge, leads_on, sources};
use super::parts::Parts;
use super::told::number;
use crate::error::{Error, Result};
use crate::files::read_json;
use crate::progress::Progress;
use crate::visible::visible;

/// A graph, and what its file says of groups, which not everyone asks for.
pub(super) struct Read {
    pub graph: AttributionGraph,
    q_params: QParams,
    labels: BTreeMap<GraphNode, String>,
    ids: HashMap<String, Candidates>,
}

/// # Errors
/// [`Error::File`] for a file that is not such a graph.
pub(super) fn open(path: &Path) -> Result<Read> {
    let _loading = Progress::opaque(format!("loading {}", path.display()));
    let bytes =
        std::fs::read(path).map_err(|error| Error::file(path, format!("cannot be read ({error}): check the path.")))?;
    parse(&bytes).map_err(|error| error.in_file(path))
}

fn parse(bytes: &[u8]) -> Result<Read> {
    let file: File = read_json(bytes).map_err(|error| {
        Error::argument(format!(
            "this is not a graph in circuit-tracer's form ({error}): it needs metadata with prompt_tokens, nodes and links."
        ))
    })?;
    if let Some(other) = file.metadata.schema_version.filter(|version| *version != SCHEMA) {
        return Err(Error::argument(format!("the graph has schema_version {other}, and only {SCHEMA} is known.")));
    }
    let mut parts = Parts::new(file.metadata, file.nodes)?;
    if let Some(own) = &file.candle_lens {
        parts.add_own(own)?;
    }
    let mut edges = Vec::with_capacity(file.links.len());
    for link in &file.links {
        let target = parts.target(&link.target)?;
        let weight = number(link.weight, || {
            format!("the link from \"{}\" to \"{}\"", visible(&link.source), visible(&link.target))
        })?;
        edges.push(FileEdge { sources: parts.candidates(&link.source)?.to(target), target, weight });
    }
    if let Some(own) = &file.candle_lens {
        for (source, target, weight) in &own.links {
            let (source, target) = (source.parse::<GraphNode>()?, target.parse::<GraphNode>()?);
            edges.push(FileEdge {
                sources: source.into(),
                target,
                weight: number(*weight, || format!("the edge from {source} to {target}"))?,
            });
        }
    }
    let rows = rows(&parts, file.candle_lens.as_ref(), &edges)?;
    let (graph, labels, ids) = parts.graph(rows)?;
    Ok(Read { graph, labels, ids, q_params: file.q_params.unwrap_or_default() })
}

/// The rows with their edges. In circuit-tracer's files every feature has one.
fn rows(parts: &Parts, own: Option<&Own>, edges: &[FileEdge]) -> Result<Vec<Row>> {
    let columns = parts.columns();
    let mut values: BTreeMap<GraphNode, Option<f32>> = BTreeMap::new();
    match own {
        None => values.extend(parts.explained().map(|node| (node, None))),
        Some(own) => {
            for (id, value) in &own.rows {
                let node = id.parse::<GraphNode>()?;
                let value = value.map(|value| number(value, || format!("the value of {node}"))).transpose()?;
                let is_there =
                    parts.is_target(node) || matches!(node, GraphNode::Feature { .. }) && columns.contains_key(&node);
                if !is_there || values.insert(node, value).is_some() {
                    return Err(Error::argument(format!(
                        "the row of {node} comes twice, or is of a node that edges cannot lead into."
                    )));
                }
            }
        }
    }
    let chosen = sources(edges).map_err(|at| ambiguous(&edges[at]))?;
    let mut into: BTreeMap<GraphNode, Vec<(usize, f32)>> = BTreeMap::new();
    for (edge, source) in edges.iter().zip(chosen) {
        let target = edge.target;
        let Some(&column) = columns.get(&source).filter(|_| values.contains_key(&target)) else {
            return Err(Error::argument(format!(
                "there is an edge from {source} to {target}, which are not both in the file."
            )));
        };
        if !leads_on(source, target) {
            return Err(Error::argument(format!(
                "there is an edge from {source} to {target}, but edges lead from a layer to later ones: without that a graph has no order."
            )));
        }
        into.entry(target).or_default().push((column, edge.weight));
    }
    let row = |(node, value): (GraphNode, Option<f32>)| -> Result<Row> {
        let mut edges = into.remove(&node).unwrap_or_default();
        edges.sort_by_key(|(column, _)| *column);
        if edges.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(Error::argument(format!("an edge into {node} comes twice: write the file again.")));
        }
        let mut incoming = Incoming::with_room(edges.len());
        edges
            .into_iter()
            .filter(|(_, weight)| *weight != 0.0)
            .for_each(|(column, weight)| incoming.push(column, weight));
        Ok(Row { node, value, weight: parts.weight(node), edges: incoming })
    };
    values.into_iter().map(row).collect()
}

fn ambiguous(edge: &FileEdge) -> Error {
    let other = edge.sources.second.map_or(String::new(), |other| format!(" or the {other}"));
    Error::argument(format!(
        "an edge into {} comes from the {}{other}: circuit-tracer 0.5 and before give both the same id, and the order of the links does not \
         say. Write the file with a later version.",
        edge.target, edge.sources.first
    ))
}

impl Read {
    /// The graph with the groups, pins and labels of its file.
    ///
    /// # Errors
    /// Nodes that are not in the file, or in two groups; groups without members.
    pub(super) fn supernodes(self) -> Result<Supernodes> {
        let mut groups = Vec::new();
        let mut names = Names::default();
        for group in self.q_params.supernodes.iter().flatten() {
            let (name, ids) = group.split_first().ok_or_else(|| {
                Error::argument("a group in qParams.supernodes has no name: give [name, id of a member, ..].")
            })?;
            let nodes = ids.iter().map(|id| self.node(id)).collect::<Result<Vec<_>>>()?;
            groups.push(Supernode { name: names.free(name), nodes });
        }
        let pinned = self.q_params.pinned_ids.iter().flatten().map(|id| self.node(id)).collect::<Result<Vec<_>>>()?;
        Supernodes::of_parts(self.graph, groups, pinned, self.labels)
    }

    /// The node with an id of circuit-tracer's or ours.
    fn node(&self, id: &str) -> Result<GraphNode> {
        let unknown = || {
            Error::argument(format!(
                "qParams names the node \"{}\", which is not in the file: take it out there.",
                visible(id)
            ))
        };
        match self.ids.get(id) {
            Some(Candidates { first, second: None }) => Ok(*first),
            Some(Candidates { first, second: Some(second) }) => Err(Error::argument(format!(
                "qParams names the node \"{}\", which is the {first} and the {second}: take it out there.",
                visible(id)
            ))),
            None => id.parse::<GraphNode>().ok().filter(|node| self.graph.has(*node)).ok_or_else(unknown),
        }
    }
}

/// Names of groups, each once.
#[derive(Default)]
struct Names {
    taken: BTreeSet<String>,
    /// How often each name was asked for.
    asked: HashMap<String, usize>,
}

impl Names {
    fn free(&mut self, name: &str) -> String {
        // What their frontend calls a group without a name.
        let name = if name.is_empty() { "supernode" } else { name };
        let asked = self.asked.entry(name.into()).or_default();
        loop {
            *asked += 1;
            let tried = if *asked == 1 { name.to_string() } else { format!("{name} {asked}") };
            if self.taken.insert(tried.clone()) {
                return tried;
            }
        }
    }
}
