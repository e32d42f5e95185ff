//! How circuits of edges and scores of nodes are shown.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::circuits::{Circuit, Edge, Node, NodeScores, Qkv};
use crate::error::Result;
use crate::views::page::{Rendered, View};
use crate::views::show::shown;
use crate::views::table::Table;
use crate::views::widget::{CircuitGraph, EdgeKind, circuit_graph};

/// The most edges that are drawn; more would be unreadable.
const DRAWN: usize = 300;
/// How many edges and nodes are listed.
const LISTED: usize = 20;

/// The key by which scores are sorted, strongest first; NaN is not a score and comes last.
fn strength(score: f32) -> f32 {
    if score.is_nan() { -1. } else { score.abs() }
}

impl Circuit {
    /// The circuit as a drawing: the input below, then of each layer the heads and the MLP, the logits above. A node's score
    /// is the sum of those of its edges out; edges without a score count as 0, or as 1 where no edge has a score.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let circuit = Circuit::of(&model).empty().with("input->a0.h3<v>")?.with("a0.h3->logits")?;
    /// let drawn = circuit_graph(&circuit.graph()).title("Two edges");
    /// drawn.show()?;
    /// assert!(drawn.render()?.html().contains("Two edges"));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn graph(&self) -> CircuitGraph {
        graph(self, &self.edges())
    }

    /// The edges of the circuit with their scores, the strongest first, those without a score last.
    fn by_strength(&self) -> Vec<(Edge, f32)> {
        let score = |edge: Edge| self.score(edge).expect("an edge of the circuit");
        let mut edges: Vec<(Edge, f32)> = self.edges().into_iter().map(|edge| (edge, score(edge))).collect();
        edges.sort_by(|a, b| strength(b.1).total_cmp(&strength(a.1)));
        edges
    }
}

/// The drawing of some edges of a circuit.
fn graph(circuit: &Circuit, edges: &[Edge]) -> CircuitGraph {
    let scored: Vec<f32> = edges.iter().map(|&edge| circuit.score(edge).expect("an edge of the circuit")).collect();
    let instead = if scored.iter().all(|score| score.is_nan()) { 1. } else { 0. };
    let score = |score: f32| if score.is_finite() { score } else { instead };
    let mut written: BTreeMap<Node, f32> = BTreeMap::new();
    for (edge, &of_edge) in edges.iter().zip(&scored) {
        *written.entry(edge.from).or_default() += score(of_edge);
        written.entry(edge.to).or_default();
    }
    let layers = written.keys().filter_map(|node| node.layer()).max().map_or(0, |last| last + 1);
    let floor = |node: Node| match (node, node.layer()) {
        (Node::Head(..), Some(layer)) => 2 * layer + 1,
        (_, Some(layer)) => 2 * layer + 2,
        (Node::Logits, _) => 2 * layers + 1,
        _ => 0,
    };
    let mut graph = CircuitGraph::new([""]);
    let of_layer = |layer: usize| [format!("heads {layer}"), format!("MLP {layer}")];
    graph.floors = ["input".to_string()].into_iter().chain((0..layers).flat_map(of_layer)).collect();
    graph.floors.push("logits".into());
    let places: BTreeMap<Node, usize> =
        written.into_iter().map(|(node, score)| (node, graph.node(node.to_string(), floor(node), 0, score))).collect();
    for (edge, &of_edge) in edges.iter().zip(&scored) {
        let kind = match edge.qkv {
            Some(Qkv::Q) => EdgeKind::Q,
            Some(Qkv::K) => EdgeKind::K,
            Some(Qkv::V) => EdgeKind::V,
            None => EdgeKind::Other,
        };
        graph.edge(places[&edge.from], places[&edge.to], kind, score(of_edge));
    }
    graph
}

impl View for Circuit {
    /// The strongest edges drawn, and tables of edges and nodes. Where no edge has a score, as in circuits chosen by nodes,
    /// those that are drawn are spread over the nodes, and the tables have no scores.
    fn render(&self) -> Result<Rendered> {
        let edges = self.by_strength();
        let scored = edges.iter().any(|(_, score)| !score.is_nan());
        let title = format!("{} of {} edges, {}", edges.len(), self.n_edges(), self.method());
        if edges.is_empty() {
            return Table::new(["circuit"]).title(title).row(("no edge is in it",)).render();
        }
        let drawn: Vec<Edge> = match scored {
            true => edges.iter().take(DRAWN).map(|(edge, _)| *edge).collect(),
            false => spread(&self.edges(), DRAWN),
        };
        let mut all = circuit_graph(&graph(self, &drawn)).title(&title).render()?;
        // The table below lists the edges; the drawing's own list would repeat it.
        all.text = title;
        all.append(&edges_table(&edges, scored).render()?);
        all.append(&nodes_table(self, &edges, scored).render()?);
        Ok(all)
    }
}

/// `most` edges, or all where there are fewer: each time the one of whose writer and into whose reader the fewest were taken,
/// and of those the first.
fn spread(edges: &[Edge], most: usize) -> Vec<Edge> {
    let (mut out, mut into): (BTreeMap<Node, usize>, BTreeMap<Node, usize>) = Default::default();
    let mut open: BinaryHeap<_> = (0..edges.len()).map(|place| Reverse((0, place))).collect();
    let mut chosen = Vec::new();
    while let Some(Reverse((before, place))) = open.pop().filter(|_| chosen.len() < most) {
        let Edge { from, to, .. } = edges[place];
        let now = out.get(&from).unwrap_or(&0) + into.get(&to).unwrap_or(&0);
        // Other edges of its nodes were taken since it was queued.
        if now > before {
            open.push(Reverse((now, place)));
            continue;
        }
        *out.entry(from).or_default() += 1;
        *into.entry(to).or_default() += 1;
        chosen.push(edges[place]);
    }
    chosen
}

/// The first edges of those given, with their scores, where there are any, and what is drawn of them.
fn edges_table(edges: &[(Edge, f32)], scored: bool) -> Table {
    let (listed, count) = (edges.iter().take(LISTED), edges.len());
    let (first, cut) = (LISTED.min(count), count > DRAWN);
    if scored {
        let drawn = if cut { format!("; drawn are the strongest {DRAWN}") } else { String::new() };
        let table =
            Table::new(["edge", "score"]).note(format!("the strongest {first} of {count} edges in the circuit{drawn}"));
        return listed.fold(table, |table, (edge, score)| table.row((edge.to_string(), *score)));
    }
    let drawn = if cut { format!("{DRAWN}, spread over its nodes, are") } else { "all are".into() };
    let note = format!(
        "the first {first} of {count} edges in the circuit, which have no scores; {drawn} drawn, as if each scored 1 \
         and a node the number of its edges out"
    );
    listed.fold(Table::new(["edge"]).note(note), |table, (edge, _)| table.row((edge.to_string(),)))
}

/// Each node with its edges in the circuit and the sum of the scores of those out of it, the strongest first; without scores
/// in the order in which nodes are computed.
fn nodes_table(circuit: &Circuit, edges: &[(Edge, f32)], scored: bool) -> Table {
    let mut nodes: BTreeMap<Node, (usize, usize, f32)> = BTreeMap::new();
    for (edge, score) in edges {
        let from = nodes.entry(edge.from).or_default();
        (from.1, from.2) = (from.1 + 1, from.2 + if score.is_nan() { 0. } else { *score });
        nodes.entry(edge.to).or_default().0 += 1;
    }
    let mut nodes: Vec<_> = circuit.nodes().into_iter().map(|node| (node, nodes[&node])).collect();
    let (first, count) = (LISTED.min(nodes.len()), nodes.len());
    if !scored {
        let table = Table::new(["node", "edges in", "edges out"]);
        let row = |table: Table, (node, (into, out, _)): &(Node, (usize, usize, f32))| {
            table.row((node.to_string(), *into, *out))
        };
        return nodes
            .iter()
            .take(LISTED)
            .fold(table, row)
            .note(format!("the first {first} of {count} nodes in the circuit"));
    }
    nodes.sort_by(|a, b| b.1.2.abs().total_cmp(&a.1.2.abs()));
    let table = Table::new(["node", "edges in", "edges out", "score of edges out"]);
    let note = format!("the strongest {first} of {count} nodes in the circuit");
    let row = |table: Table, (node, (into, out, score)): &(Node, (usize, usize, f32))| {
        table.row((node.to_string(), *into, *out, *score))
    };
    nodes.iter().take(LISTED).fold(table, row).note(note)
}

impl View for NodeScores {
    /// Heads and MLPs by layer, and a table of the strongest nodes.
    fn render(&self) -> Result<Rendered> {
        let mut all = self.by_layer().render()?;
        let scores = self.scores();
        let mut nodes: Vec<_> = scores.labels("node")?.into_iter().zip(scores.values()).collect();
        nodes.sort_by(|a, b| strength(b.1).total_cmp(&strength(a.1)));
        let listed = nodes.iter().take(LISTED);
        let table = listed.fold(Table::new(["node", "score"]), |table, (node, score)| table.row((node, *score)));
        let note = format!("the strongest {} of {} nodes", LISTED.min(nodes.len()), nodes.len());
        all.append(&table.note(note).render()?);
        Ok(all)
    }
}

shown!(Circuit, NodeScores);
