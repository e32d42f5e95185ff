//! Circuits: which parts of a model, at which positions, act on which others.

use std::collections::BTreeMap;

use serde_json::json;

use crate::error::{Error, Result};
use crate::views::figure::Color;
use crate::views::html::{escape, visible};
use crate::views::loader::Script;
use crate::views::page::{Rendered, View};
use crate::views::table::Table;
use crate::views::widget::pack::rounded;
use crate::views::widget::still::{NEGATIVE, POSITIVE};
use crate::views::widget::{Asked, Drawn, Kind, Widget, not_for};

/// The input of the later node to which an edge writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EdgeKind {
    /// The queries of a head.
    Q,
    /// The keys of a head.
    K,
    /// The values of a head.
    V,
    /// A head's whole path from values to output.
    Ov,
    /// The input of a node that is not a head.
    #[default]
    Other,
}

impl EdgeKind {
    fn name(self) -> &'static str {
        match self {
            Self::Q => "q",
            Self::K => "k",
            Self::V => "v",
            Self::Ov => "ov",
            Self::Other => "other",
        }
    }

    /// As the script draws it.
    pub(super) fn color(self) -> Color {
        match self {
            Self::Q => Color(0x00, 0x9e, 0x73),
            Self::K => NEGATIVE,
            Self::V | Self::Ov => POSITIVE,
            Self::Other => Color(0x8a, 0x8a, 0x8a),
        }
    }
}

/// A part of a model at a position.
#[derive(Clone, Debug, PartialEq)]
pub struct CircuitNode {
    /// What it is called: `L5H1`, `MLP 0`, `embed`, `logits`.
    pub name: String,
    /// Its layer in the drawing, 0 the lowest; the embedding may have its own.
    pub layer: usize,
    /// At which position, counted from 0.
    pub pos: usize,
    /// Its importance, of either sign; the strength of its background.
    pub score: f32,
}

/// What one node does to another.
#[derive(Clone, Debug, PartialEq)]
pub struct CircuitEdge {
    /// The index of the earlier node.
    pub from: usize,
    /// The index of the later node.
    pub to: usize,
    /// The input of the later node that is written to.
    pub kind: EdgeKind,
    /// Its importance, of either sign; the width of its line, which is dashed below zero.
    pub score: f32,
}

/// A circuit as data: what circuit analyses return, and what [`circuit_graph`] draws.
///
/// ```
/// use candle_lens::prelude::*;
/// let mut circuit = CircuitGraph::new(["When", " John", " and"]);
/// let embed = circuit.node("embed", 0, 1, 0.2);
/// let head = circuit.node("L0H1", 1, 2, 0.9);
/// circuit.edge(embed, head, EdgeKind::K, 0.7);
/// let drawn = circuit_graph(&circuit);
/// drawn.show()?;
/// assert!(drawn.render()?.html().contains("L0H1"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CircuitGraph {
    /// A name for each position, usually its token; empty for nodes without a position.
    pub positions: Vec<String>,
    /// A name for each layer of the drawing from the lowest; those without one are `layer 0`, `layer 1`, ..
    pub floors: Vec<String>,
    /// The nodes; edges refer to them by index.
    pub nodes: Vec<CircuitNode>,
    /// The edges.
    pub edges: Vec<CircuitEdge>,
}

impl CircuitGraph {
    /// A circuit over these positions without nodes.
    pub fn new<T: ToString>(positions: impl IntoIterator<Item = T>) -> Self {
        let positions = positions.into_iter().map(|position| position.to_string()).collect();
        Self { positions, ..Self::default() }
    }

    /// Adds a node and returns its index.
    pub fn node(&mut self, name: impl Into<String>, layer: usize, pos: usize, score: f32) -> usize {
        self.nodes.push(CircuitNode { name: name.into(), layer, pos, score });
        self.nodes.len() - 1
    }

    /// Adds an edge between the nodes with these indices.
    pub fn edge(&mut self, from: usize, to: usize, kind: EdgeKind, score: f32) {
        self.edges.push(CircuitEdge { from, to, kind, score });
    }

    /// Returns an error for what cannot be drawn.
    fn check(&self) -> Result<()> {
        if self.nodes.is_empty() {
            return Err(Error::argument("the circuit has no nodes, so there is nothing to draw: add one."));
        }
        for (i, node) in self.nodes.iter().enumerate() {
            if node.pos >= self.positions.len() || !node.score.is_finite() || node.layer > MOST_LAYERS {
                return Err(Error::argument(format!(
                    "node {i} ({:?}) is at position {}, layer {} with the score {}: the circuit has {} positions, \
                     at most {MOST_LAYERS} layers, and finite scores.",
                    node.name,
                    node.pos,
                    node.layer,
                    node.score,
                    self.positions.len()
                )));
            }
        }
        let wrong = |edge: &&CircuitEdge| {
            edge.from.max(edge.to) >= self.nodes.len() || edge.from == edge.to || !edge.score.is_finite()
        };
        match self.edges.iter().find(wrong) {
            None => Ok(()),
            Some(edge) => Err(Error::argument(format!(
                "an edge goes from node {} to node {} with the score {}: give two of the {} nodes and a finite score.",
                edge.from,
                edge.to,
                edge.score,
                self.nodes.len()
            ))),
        }
    }
}

/// More layers than these are a mistake.
const MOST_LAYERS: usize = 1000;

/// A circuit as a picture: layers upwards, positions to the right; edges green into queries, red into keys, blue into
/// values, wide where their scores are large and dashed where they are negative. Pointing at a node or edge shows its
/// score, a click pins a node and its edges, and a slider hides the weak edges.
///
/// # Errors
/// Reported when the widget is shown: no nodes, nodes at positions that are not there, edges of nodes that are not
/// there, scores that are not finite.
///
/// ```
/// use candle_lens::prelude::*;
/// let mut circuit = CircuitGraph::new(["When", " John"]);
/// let (from, to) = (circuit.node("embed", 0, 0, 0.1), circuit.node("L0H1", 1, 1, 0.9));
/// circuit.edge(from, to, EdgeKind::V, -0.4);
/// let drawn = circuit_graph(&circuit).title("A circuit");
/// drawn.show()?;
/// assert!(drawn.render()?.html().contains("A circuit"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn circuit_graph(circuit: &CircuitGraph) -> Widget {
    Widget::new(circuit.check().map(|()| Circuit(circuit.clone())))
}

/// The room of a node, of a position without nodes, and around them.
const LANE: usize = 96;
const EMPTY: usize = 78;
const FLOOR: usize = 74;
const SIDE: usize = 80;

#[derive(Debug)]
pub(super) struct Circuit(pub(super) CircuitGraph);

/// The part of a circuit that is drawn: nodes by index, positions and layers in order.
pub(super) struct Part {
    pub nodes: Vec<usize>,
    pub positions: Vec<usize>,
    pub floors: Vec<usize>,
}

/// The coordinates of a part, in pixels from the upper left corner.
pub(super) struct Plan {
    pub nodes: Vec<(usize, usize)>,
    /// The middle of each position.
    pub lanes: Vec<usize>,
    pub width: usize,
    pub height: usize,
}

/// The width of a lane with at most this many nodes side by side.
pub(super) fn lane(crowd: usize) -> usize {
    (crowd * LANE).max(EMPTY)
}

/// The size of a picture with these lanes and this many layers.
pub(super) fn size(lanes: usize, floors: usize) -> (usize, usize) {
    (SIDE + lanes + 20, floors * FLOOR + 60)
}

impl Circuit {
    /// All of it.
    pub(super) fn whole(&self) -> Part {
        let CircuitGraph { positions, nodes, .. } = &self.0;
        let floors = nodes.iter().map(|node| node.layer).max().unwrap_or(0) + 1;
        Part {
            nodes: (0..nodes.len()).collect(),
            positions: (0..positions.len()).collect(),
            floors: (0..floors).collect(),
        }
    }

    /// The coordinates of each node. Nodes of one layer and position are side by side, and widen their lane.
    pub(super) fn plan(&self, part: &Part) -> Plan {
        let place = |i: &usize| {
            let node = &self.0.nodes[*i];
            let floor = part.floors.binary_search(&node.layer).unwrap_or(0);
            (floor, part.positions.binary_search(&node.pos).unwrap_or(0))
        };
        let mut mates: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        part.nodes.iter().for_each(|i| *mates.entry(place(i)).or_default() += 1);
        let mut crowd = vec![0; part.positions.len()];
        mates.iter().for_each(|(&(_, pos), &count)| crowd[pos] = crowd[pos].max(count));
        let mut starts = vec![SIDE];
        crowd.iter().for_each(|&most| starts.push(starts[starts.len() - 1] + lane(most)));
        let (width, height) = size(starts[crowd.len()] - SIDE, part.floors.len());
        let mut before: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        let stand = |i: &usize| {
            let (floor, pos) = place(i);
            let (room, left) = (starts[pos + 1] - starts[pos], before.entry((floor, pos)).or_default());
            let x = starts[pos] + room * (2 * *left + 1) / (2 * mates[&(floor, pos)]);
            *left += 1;
            (x, height - 60 - FLOOR / 2 - floor * FLOOR)
        };
        let nodes = part.nodes.iter().map(stand).collect();
        let lanes = (0..crowd.len()).map(|pos| usize::midpoint(starts[pos], starts[pos + 1])).collect();
        Plan { nodes, lanes, width, height }
    }

    /// A position with its index, short enough for its lane.
    pub(super) fn lane_name(&self, pos: usize) -> String {
        let name = visible(&self.0.positions[pos]);
        if name.is_empty() {
            return name;
        }
        let short: String = if name.chars().count() > 8 { name.chars().take(7).chain(['…']).collect() } else { name };
        format!("{short} ({pos})")
    }

    /// A node with its position, if that has a name.
    fn placed(&self, node: &CircuitNode) -> String {
        match visible(self.0.positions[node.pos].trim()) {
            token if token.is_empty() => visible(&node.name),
            token => format!("{} at {token} ({})", visible(&node.name), node.pos),
        }
    }

    fn edges_table(&self) -> Table {
        let CircuitGraph { nodes, edges, .. } = &self.0;
        let mut order: Vec<&CircuitEdge> = edges.iter().collect();
        order.sort_by(|a, b| b.score.abs().total_cmp(&a.score.abs()));
        let name = |i: usize| self.placed(&nodes[i]);
        let table = Table::new(["from", "to", "into", "score"]);
        order
            .into_iter()
            .fold(table, |table, edge| table.row((name(edge.from), name(edge.to), edge.kind.name(), edge.score)))
    }
}

impl Kind for Circuit {
    fn drawn(&self, asked: &Asked) -> Result<Drawn> {
        not_for(
            "circuit_graph",
            &[
                ("names", asked.names.is_some()),
                ("range", asked.range.is_some()),
                ("mask_upper_tri", asked.mask_upper_tri.is_some()),
                ("scores", !asked.scores.is_empty()),
                ("top_k", asked.top_k.is_some()),
            ],
        )?;
        let CircuitGraph { floors: names, nodes, edges, .. } = &self.0;
        // An edge takes about 60 bytes; the strongest stay.
        let room = (asked.max_bytes() / 60).max(1);
        let mut kept: Vec<&CircuitEdge> = edges.iter().collect();
        kept.sort_by(|a, b| b.score.abs().total_cmp(&a.score.abs()));
        kept.truncate(room);
        let Plan { nodes: places, lanes, width, height } = self.plan(&self.whole());
        let limit = nodes.iter().fold(0.0_f32, |most, node| most.max(node.score.abs()));
        let node = |(node, &(x, y)): (&CircuitNode, &(usize, usize))| {
            let about = format!("{}, score {}", self.placed(node), rounded(node.score));
            json!({ "name": visible(&node.name), "x": x, "y": y, "score": rounded(node.score), "about": about })
        };
        let edge = |edge: &&CircuitEdge| json!({ "from": edge.from, "to": edge.to, "kind": edge.kind.name(), "score": rounded(edge.score) });
        let lane = |(pos, &x): (usize, &usize)| json!({ "x": x, "name": self.lane_name(pos) });
        let floors = nodes.iter().map(|node| node.layer).max().unwrap_or(0);
        let floor = |layer: usize| {
            let name = names.get(layer).map_or_else(|| format!("layer {layer}"), |name| visible(name));
            json!({ "y": height - 60 - FLOOR / 2 - layer * FLOOR, "name": name })
        };
        let table = self.edges_table();
        let (still, cut) = self.still(&kept)?;
        let fewer = (kept.len() < edges.len()).then(|| {
            format!("Shown are the {} strongest of {} edges. `max_bytes` allows more.", kept.len(), edges.len())
        });
        let notes: Vec<String> = fewer.into_iter().chain(cut).collect();
        Ok(Drawn {
            title: asked.title.clone().unwrap_or_else(|| "Circuit".into()),
            description: format!("a circuit of {} nodes and {} edges", nodes.len(), edges.len()),
            script: Script::Circuit,
            kind: "circuit",
            data: json!({
                "nodes": nodes.iter().zip(&places).map(node).collect::<Vec<_>>(),
                "edges": kept.iter().map(edge).collect::<Vec<_>>(),
                "lanes": lanes.iter().enumerate().map(lane).collect::<Vec<_>>(),
                "floors": (0..=floors).map(floor).collect::<Vec<_>>(),
                "width": width, "height": height, "limit": rounded(limit),
            }),
            still,
            text: table.text_of()?,
            note: (!notes.is_empty()).then(|| notes.join(" ")),
        })
    }
}

impl View for CircuitGraph {
    fn render(&self) -> Result<Rendered> {
        circuit_graph(self).render()
    }
}

/// Parts of a circuit, as the last expression of a cell.
fn part(text: &str) -> Rendered {
    Rendered::new(format!("<div>{}</div>", escape(&visible(text))), visible(text))
}

impl View for CircuitNode {
    fn render(&self) -> Result<Rendered> {
        Ok(part(&format!("{} (layer {}, position {}, score {})", self.name, self.layer, self.pos, self.score)))
    }
}

impl View for CircuitEdge {
    fn render(&self) -> Result<Rendered> {
        Ok(part(&format!("node {} to node {} ({}, score {})", self.from, self.to, self.kind.name(), self.score)))
    }
}

impl View for EdgeKind {
    fn render(&self) -> Result<Rendered> {
        Ok(part(self.name()))
    }
}

crate::views::show::shown!(CircuitGraph, CircuitNode, CircuitEdge, EdgeKind);
