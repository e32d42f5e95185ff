//! A graph to its file.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::super::graph::AttributionGraph;
use super::super::node::GraphNode;
use super::super::supernodes::{Supernode, Supernodes};
use super::form::{ERROR, FEATURE, FileNode, Link, Metadata, Own, QParams, SCHEMA, TARGET, TOKEN, paired};
use crate::error::{Error, Result};
use crate::files::{VERSION, write_whole};
use crate::progress::Progress;

/// # Errors
/// Infinity or NaN; a file that cannot be written.
pub(super) fn write(path: &Path, graph: &AttributionGraph, groups: Option<&Supernodes>) -> Result<()> {
    let _saving = Progress::opaque(format!("saving {}", path.display()));
    check_numbers(graph)?;
    let labels = groups.map(Supernodes::labels).unwrap_or_default();
    let nodes = file_nodes(graph, &labels);
    let own = own(graph, &nodes, &labels);
    let slug = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let (metadata, q_params) = (metadata(graph, slug), q_params(graph, groups));
    write_whole(path, |out| {
        out.write_all(b"{\"metadata\":")?;
        json(out, &metadata)?;
        out.write_all(b",\n\"qParams\":")?;
        json(out, &q_params)?;
        out.write_all(b",\n\"nodes\":[")?;
        for (at, (_, node)) in nodes.iter().enumerate() {
            out.write_all(if at == 0 { b"\n" } else { b",\n" })?;
            json(out, node)?;
        }
        out.write_all(b"],\n\"links\":[")?;
        write_links(out, graph)?;
        out.write_all(b"],\n\"candle_lens\":")?;
        json(out, &own)?;
        out.write_all(b"}\n")
    })
}

fn json(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(out, value).map_err(io::Error::from)
}

/// The edges that circuit-tracer has, in its order.
fn write_links(out: &mut dyn Write, graph: &AttributionGraph) -> io::Result<()> {
    let mut separator: &[u8] = b"\n";
    for row in &graph.rows {
        let Some(target) = graph.their_id(row.node) else { continue };
        for (column, weight) in row.edges.iter() {
            let Some(source) = graph.their_id(graph.sources[column]) else { continue };
            out.write_all(separator)?;
            json(out, &Link { source, target: target.clone(), weight: f64::from(weight) })?;
            separator = b",\n";
        }
    }
    Ok(())
}

/// JSON has neither infinity nor NaN.
fn check_numbers(graph: &AttributionGraph) -> Result<()> {
    let refused = |what: String, number: f64| {
        Err(Error::argument(format!(
            "{what} is {number}, which a file cannot hold: the model or a dictionary overflows on this prompt, so look at its activations \
             first."
        )))
    };
    for (source, &activation) in graph.sources.iter().zip(&graph.activations) {
        if !activation.is_finite() {
            return refused(format!("the activation of {source}"), activation.into());
        }
    }
    for row in &graph.rows {
        if let Some(value) = row.value.filter(|value| !value.is_finite()) {
            return refused(format!("the value of {}", row.node), value.into());
        }
        if !row.weight.is_finite() {
            return refused(format!("the weight of {}", row.node), row.weight);
        }
        if let Some((column, edge)) = row.edges.iter().find(|(_, edge)| !edge.is_finite()) {
            return refused(format!("the edge from {} to {}", graph.sources[column], row.node), edge.into());
        }
    }
    Ok(())
}

fn metadata(graph: &AttributionGraph, slug: String) -> Metadata {
    let dictionaries = graph.origin.dictionaries.clone();
    let (scan, transcoder_list) = match &dictionaries[..] {
        [] => (String::new(), dictionaries),
        [one] if !one.is_empty() => (one.clone(), Vec::new()),
        _ => ("custom".into(), dictionaries),
    };
    Metadata {
        slug,
        scan,
        transcoder_list,
        prompt_tokens: graph.pieces.clone(),
        prompt: graph.pieces.concat(),
        node_threshold: None,
        schema_version: Some(SCHEMA),
    }
}

/// The id of a node as other readers have it, or ours.
fn any_id(graph: &AttributionGraph, node: &GraphNode) -> String {
    graph.their_id(*node).unwrap_or_else(|| node.id())
}

fn q_params(graph: &AttributionGraph, groups: Option<&Supernodes>) -> QParams {
    let pinned = groups.map(Supernodes::pinned).unwrap_or_default();
    let group = |group: Supernode| {
        std::iter::once(group.name).chain(group.nodes.iter().map(|node| any_id(graph, node))).collect()
    };
    QParams {
        pinned_ids: Some(pinned.iter().map(|node| any_id(graph, node)).collect()),
        supernodes: Some(groups.map(Supernodes::groups).unwrap_or_default().into_iter().map(group).collect()),
        link_type: "both".into(),
        clicked_id: Some(String::new()),
        sg_pos: String::new(),
    }
}

/// The nodes that circuit-tracer would write: tokens, targets, and whatever has an edge.
fn file_nodes(graph: &AttributionGraph, labels: &BTreeMap<GraphNode, String>) -> Vec<(GraphNode, FileNode)> {
    let mut connected: BTreeSet<GraphNode> = BTreeSet::new();
    for row in &graph.rows {
        let sources = row.edges.iter().map(|(column, _)| graph.sources[column]);
        let mut sources = sources.filter(|source| graph.their_id(*source).is_some()).peekable();
        if sources.peek().is_some() {
            connected.insert(row.node);
        }
        connected.extend(sources);
    }
    let shares = cumulated(graph);
    let targets = (0..graph.targets.len()).map(|number| GraphNode::Target { number });
    let is_there = |node: &GraphNode| {
        matches!(node, GraphNode::Token { .. } | GraphNode::Target { .. }) || connected.contains(node)
    };
    let nodes = graph.sources.iter().copied().chain(targets).filter(is_there);
    nodes
        .filter_map(|node| Some((node, file_node(graph, node, labels.get(&node), shares.get(&node).copied())?)))
        .collect()
}

fn file_node(
    graph: &AttributionGraph,
    node: GraphNode,
    label: Option<&String>,
    influence: Option<f64>,
) -> Option<FileNode> {
    let blank = |layer: String, pos: usize, kind: &str| -> Option<FileNode> {
        Some(FileNode {
            node_id: graph.their_id(node)?,
            feature: -1,
            layer,
            ctx_idx: pos,
            feature_type: kind.into(),
            token_prob: 0.0,
            is_target_logit: false,
            run_idx: 0,
            reverse_ctx_idx: 0,
            js_node_id: String::new(),
            clerp: Some(label.cloned().unwrap_or_default()),
            influence,
            activation: None,
        })
    };
    match node {
        GraphNode::Feature { layer, pos, feature } => Some(FileNode {
            feature: paired(layer, feature),
            js_node_id: format!("{layer}_{feature}-0"),
            activation: graph.activation(node).ok().map(f64::from),
            ..blank(layer.to_string(), pos, FEATURE)?
        }),
        GraphNode::Error { layer, pos } => {
            Some(FileNode { js_node_id: format!("{layer}_-1-0"), ..blank(layer.to_string(), pos, ERROR)? })
        }
        GraphNode::Token { pos } => {
            let js_node_id = format!("E_{}-{pos}", graph.origin.tokens[pos]);
            Some(FileNode { feature: pos as i64, js_node_id, ..blank("E".into(), pos, TOKEN)? })
        }
        GraphNode::Target { number } => {
            let (id, last) = (graph.origin.targets[number], graph.pieces.len().saturating_sub(1));
            let probability = graph.row(node).ok()?.weight;
            Some(FileNode {
                feature: id as i64,
                token_prob: probability,
                is_target_logit: number == 0,
                js_node_id: format!("L_{id}-{last}"),
                // Their frontend looks for the probability in this text.
                clerp: Some(format!("Output \"{}\" (p={probability:.3})", graph.targets[number])),
                influence: None,
                ..blank((graph.origin.n_layers + 1).to_string(), last, TARGET)?
            })
        }
        _ => None,
    }
}

/// At which share of all influence each source enters, the most influential first, as `prune_graph` of circuit-tracer says.
fn cumulated(graph: &AttributionGraph) -> BTreeMap<GraphNode, f64> {
    let ranked = graph.without_biases().influence().ranked();
    let total: f64 = ranked.iter().map(|(_, influence)| influence).sum();
    let mut sum = 0.0;
    let share = |(node, influence): (GraphNode, f64)| {
        sum += influence;
        (node, if total > 0.0 { sum / total } else { 1.0 })
    };
    ranked.into_iter().map(share).collect()
}

fn own(graph: &AttributionGraph, written: &[(GraphNode, FileNode)], labels: &BTreeMap<GraphNode, String>) -> Own {
    let there: BTreeSet<GraphNode> = written.iter().map(|(node, _)| *node).collect();
    let has_place = |node: &GraphNode| there.contains(node) && !matches!(node, GraphNode::Target { .. });
    let more = graph.sources.iter().enumerate().filter(|(_, source)| !there.contains(source));
    let mut links = Vec::new();
    for row in &graph.rows {
        for (column, weight) in row.edges.iter() {
            let source = graph.sources[column];
            if graph.their_id(source).is_none() {
                links.push((source.id(), row.node.id(), weight.into()));
            }
        }
    }
    Own {
        version: VERSION.into(),
        targets: graph.targets.clone(),
        rows: graph.rows.iter().map(|row| (row.node.id(), row.value.map(f64::from))).collect(),
        nodes: more.map(|(at, source)| (source.id(), graph.activations.get(at).copied().map(f64::from))).collect(),
        links,
        labels: labels
            .iter()
            .filter(|(node, _)| !has_place(node))
            .map(|(node, text)| (node.id(), text.clone()))
            .collect(),
    }
}
