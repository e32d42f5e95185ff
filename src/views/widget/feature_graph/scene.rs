//! What is drawn of a graph: marks, edges between them, and how strong each is.

use std::collections::{BTreeMap, BTreeSet};

use crate::feature_graphs::{AttributionGraph, ChainedGraph, EdgeVia, GraphNode};

/// The most features and errors that are drawn: more would be unreadable, and large.
pub(super) const MOST_NODES: usize = 300;

/// What a mark is of; each kind has its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Shape {
    /// A feature of what an MLP writes: a circle.
    Mlp,
    /// A feature of attention: a triangle.
    Attention,
    /// What a dictionary misses: a square.
    Error,
    /// A token of the prompt, or the embedding of its position: a flat box.
    Token,
    Position,
    /// A target: a box with its words.
    Target,
    /// Biases and what has no position: a box in the margin.
    Margin,
    /// Several nodes as one: a box with their name.
    Group,
}

impl Shape {
    pub fn name(self) -> &'static str {
        match self {
            Self::Mlp => "mlp",
            Self::Attention => "attention",
            Self::Error => "error",
            Self::Token => "token",
            Self::Position => "position",
            Self::Target => "target",
            Self::Margin => "margin",
            Self::Group => "group",
        }
    }

    /// Whether it has its words inside.
    pub fn is_box(self) -> bool {
        matches!(self, Self::Target | Self::Margin | Self::Group)
    }
}

/// A row of the picture, from the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Row {
    Tokens,
    /// A layer; what attention writes is below what the MLP does.
    Layer(usize, bool),
    Targets,
}

/// A node, or a group of nodes, as it is drawn.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub nodes: Vec<GraphNode>,
    pub shape: Shape,
    /// Its words in tables.
    pub name: String,
    /// Its words in the picture.
    pub label: String,
    pub row: Row,
    /// None for what has no position.
    pub pos: Option<usize>,
    /// Its influence, or by how much it moves the metric.
    pub strength: f64,
    /// The share of what there is that stronger nodes have; 0 for what stays whatever the slider says.
    pub before: f64,
    /// Its other numbers, by name.
    pub numbers: Vec<(&'static str, f64)>,
}

impl Mark {
    pub fn stays(&self) -> bool {
        matches!(self.shape, Shape::Token | Shape::Position | Shape::Target | Shape::Margin)
    }

    /// Whether the slider shows it at this share: at all of it, also what has no influence.
    pub fn is_within(&self, share: f64) -> bool {
        self.stays() || share >= 1.0 || self.before < share
    }
}

/// An edge between two marks, by index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrow {
    pub from: usize,
    pub to: usize,
    /// None in a linear graph.
    pub via: Option<EdgeVia>,
    /// Its signed number.
    pub weight: f32,
    /// How much goes through it, which decides how it is drawn.
    pub share: f64,
}

/// The nodes and edges of a graph, all of them or those with the most influence.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub marks: Vec<Mark>,
    /// The strongest first.
    pub arrows: Vec<Arrow>,
    /// Of how many features and errors.
    pub all_nodes: usize,
    /// What the strength of a mark is called.
    pub strength: &'static str,
    /// What the weight of an edge is called.
    pub weight: &'static str,
    /// What the strongest have.
    pub most: &'static str,
    /// What the slider takes a share of.
    pub all: &'static str,
}

/// Where a node is drawn, as what, and its short name.
fn placed(node: GraphNode, last: usize) -> (Shape, Row, Option<usize>, String) {
    match node {
        GraphNode::Feature { layer, pos, feature } => {
            (Shape::Mlp, Row::Layer(layer, true), Some(pos), feature.to_string())
        }
        GraphNode::AttnFeature { layer, pos, feature } => {
            (Shape::Attention, Row::Layer(layer, false), Some(pos), feature.to_string())
        }
        GraphNode::Error { layer, pos } => (Shape::Error, Row::Layer(layer, true), Some(pos), String::new()),
        GraphNode::AttnError { layer, pos } => (Shape::Error, Row::Layer(layer, false), Some(pos), String::new()),
        GraphNode::Token { pos } => (Shape::Token, Row::Tokens, Some(pos), String::new()),
        GraphNode::Position { pos } => (Shape::Position, Row::Tokens, Some(pos), "p".into()),
        GraphNode::Target { .. } => (Shape::Target, Row::Targets, Some(last), String::new()),
        GraphNode::Bias(_) | GraphNode::LeftOut => (Shape::Margin, Row::Tokens, None, node.to_string()),
    }
}

/// The strongest nodes, and all that stay.
struct Chosen {
    marks: Vec<Mark>,
    index: BTreeMap<GraphNode, usize>,
    all: usize,
}

impl Chosen {
    /// `nodes` with their strengths, the strongest first; those that are `pinned` are drawn whatever their strength.
    fn new(nodes: &[(GraphNode, f64)], last: usize, most: usize, pinned: &BTreeSet<GraphNode>) -> Self {
        let total: f64 = nodes.iter().map(|(_, strength)| strength.abs()).sum();
        let is_pinned = |node: &GraphNode| pinned.contains(node);
        let mut before = 0.0;
        let mut free = most.saturating_sub(nodes.iter().filter(|(node, _)| is_pinned(node)).count());
        let mut chosen = Self { marks: Vec::new(), index: BTreeMap::new(), all: 0 };
        for &(node, strength) in nodes {
            let share = if total > 0.0 { before / total } else { 0.0 };
            before += strength.abs();
            let (shape, row, pos, label) = placed(node, last);
            let mut mark = Mark {
                nodes: vec![node],
                shape,
                name: node.to_string(),
                label,
                row,
                pos,
                strength,
                before: share,
                numbers: Vec::new(),
            };
            if mark.stays() || is_pinned(&node) {
                mark.before = 0.0;
            }
            if !mark.stays() {
                chosen.all += 1;
                if free == 0 && !is_pinned(&node) {
                    continue;
                }
                free = free.saturating_sub(usize::from(!is_pinned(&node)));
            }
            chosen.index.insert(node, chosen.marks.len());
            chosen.marks.push(mark);
        }
        chosen
    }
}

/// The strongest edge first.
fn ranked(mut arrows: Vec<Arrow>) -> Vec<Arrow> {
    arrows.sort_by(|a, b| b.share.total_cmp(&a.share));
    arrows
}

/// Of a linear graph. Nodes that are pinned stay whatever the slider says.
pub(super) fn linear(graph: &AttributionGraph, pinned: &BTreeSet<GraphNode>) -> Scene {
    let last = graph.tokens().len().saturating_sub(1);
    let influence = graph.influence();
    let targets = (0..graph.targets().len()).map(|number| GraphNode::Target { number });
    let weight = |node: GraphNode| graph.weight(node).unwrap_or(0.0);
    // Targets come first, and have no part in the shares.
    let mut chosen = Chosen::new(&influence.ranked(), last, MOST_NODES, pinned);
    let is_probability = graph.targets().len() > 1 || targets.clone().any(|target| weight(target) < 1.0);
    for target in targets {
        let mut only = Chosen::new(&[(target, weight(target))], last, 0, pinned);
        for mut mark in only.marks.drain(..) {
            mark.name = graph.name_of(target);
            mark.label.clone_from(&mark.name);
            if is_probability {
                mark.label = format!("{} {:.2}", mark.name, mark.strength);
                mark.numbers.push(("probability", mark.strength));
            }
            mark.numbers.extend(graph.value(target).ok().map(|value| ("sum of its edges", f64::from(value))));
            chosen.index.insert(target, chosen.marks.len());
            chosen.marks.push(mark);
        }
    }
    let mut arrows = Vec::new();
    for (&node, &to) in &chosen.index {
        let Ok(edges) = graph.edges_into(node) else { continue };
        let activation = graph.activation(node).ok().map(|activation| ("activation", f64::from(activation)));
        chosen.marks[to].numbers.extend(activation);
        let sum: f64 = edges.iter().map(|edge| f64::from(edge.weight.abs())).sum();
        let through = influence.of(node).unwrap_or(0.0) + weight(node);
        for edge in edges {
            if let Some(&from) = chosen.index.get(&edge.source) {
                let share = through * f64::from(edge.weight.abs()) / sum;
                arrows.push(Arrow { from, to, via: None, weight: edge.weight, share });
            }
        }
    }
    Scene {
        marks: chosen.marks,
        arrows: ranked(arrows),
        all_nodes: chosen.all,
        strength: "influence",
        weight: "weight",
        all: "the influence",
        most: "the most influence",
    }
}

/// Of a chained graph.
pub(super) fn chained(graph: &ChainedGraph) -> Scene {
    let last = graph.tokens().len().saturating_sub(1);
    let edges = graph.edges();
    let mut nodes: Vec<(GraphNode, f64)> =
        graph.nodes().iter().map(|node| (node.node, f64::from(node.score()))).collect();
    // The metric moves itself by all of it, and says nothing about the others' shares.
    nodes.retain(|(node, _)| !matches!(node, GraphNode::Target { .. }));
    let mut chosen = Chosen::new(&nodes, last, MOST_NODES, &BTreeSet::new());
    let is_target = |node: &GraphNode| matches!(node, GraphNode::Target { .. });
    let targets: BTreeSet<GraphNode> = edges.iter().map(|edge| edge.target).filter(is_target).collect();
    for target in targets {
        let mut only = Chosen::new(&[(target, 1.0)], last, 0, &BTreeSet::new());
        for mut mark in only.marks.drain(..) {
            mark.name = graph.metric();
            mark.label = graph.metric();
            chosen.index.insert(target, chosen.marks.len());
            chosen.marks.push(mark);
        }
    }
    for node in graph.nodes() {
        if let Some(&at) = chosen.index.get(&node.node)
            && matches!(chosen.marks[at].shape, Shape::Mlp | Shape::Attention)
        {
            let numbers = [("change", f64::from(node.change)), ("gradient", f64::from(node.gradient))];
            chosen.marks[at].numbers.extend(numbers);
        }
    }
    let ends = |source: GraphNode, target: GraphNode| Some((*chosen.index.get(&source)?, *chosen.index.get(&target)?));
    let arrows = edges.iter().filter_map(|edge| {
        let (from, to) = ends(edge.source, edge.target)?;
        Some(Arrow { from, to, via: Some(edge.via), weight: edge.metric, share: f64::from(edge.metric.abs()) })
    });
    let arrows = ranked(arrows.collect());
    Scene {
        marks: chosen.marks,
        arrows,
        all_nodes: chosen.all,
        strength: "score",
        weight: "score",
        all: "the scores",
        most: "the largest scores",
    }
}

impl Scene {
    /// Nodes by their labels.
    pub fn label(&mut self, labels: &BTreeMap<GraphNode, String>) {
        for mark in &mut self.marks {
            if let Some(label) = mark.nodes.first().and_then(|node| labels.get(node)) {
                mark.name = format!("{label} ({})", mark.name);
                mark.label.clone_from(label);
            }
        }
    }

    /// How many positions there are at least.
    pub fn positions(&self) -> usize {
        self.marks.iter().filter_map(|mark| mark.pos).map(|pos| pos + 1).max().unwrap_or(0)
    }

    /// Without biases and embeddings of positions.
    pub fn without_margin(&self) -> Self {
        self.only(&|mark| !matches!(mark.shape, Shape::Margin | Shape::Position))
    }

    /// With these marks and the edges between them.
    fn only(&self, is_kept: &dyn Fn(&Mark) -> bool) -> Self {
        let mut place = vec![None; self.marks.len()];
        let mut marks = Vec::new();
        for (at, mark) in self.marks.iter().enumerate().filter(|(_, mark)| is_kept(mark)) {
            place[at] = Some(marks.len());
            marks.push(mark.clone());
        }
        let moved = |arrow: &Arrow| Some(Arrow { from: place[arrow.from]?, to: place[arrow.to]?, ..*arrow });
        Self { arrows: self.arrows.iter().filter_map(moved).collect(), marks, ..self.clone() }
    }

    /// With the members of each group as one mark, where its strongest member is; edges between the same marks are added up.
    pub fn grouped(&self, groups: &[(String, Vec<GraphNode>)]) -> Self {
        let mut of: Vec<Option<usize>> = vec![None; self.marks.len()];
        let mut marks = Vec::new();
        for (name, members) in groups {
            let inside: Vec<usize> = (0..self.marks.len())
                .filter(|&at| of[at].is_none() && self.marks[at].nodes.iter().any(|node| members.contains(node)))
                .collect();
            let strength = |at: usize| self.marks[at].strength.abs();
            let Some(&first) = inside.iter().max_by(|a, b| strength(**a).total_cmp(&strength(**b))) else { continue };
            inside.iter().for_each(|&at| of[at] = Some(marks.len()));
            let lead = &self.marks[first];
            marks.push(Mark {
                nodes: inside.iter().flat_map(|&at| self.marks[at].nodes.clone()).collect(),
                shape: Shape::Group,
                name: name.clone(),
                label: name.clone(),
                row: lead.row,
                pos: lead.pos,
                strength: inside.iter().map(|&at| self.marks[at].strength).sum(),
                before: inside.iter().map(|&at| self.marks[at].before).fold(1.0, f64::min),
                numbers: Vec::new(),
            });
        }
        let place: Vec<usize> = of
            .iter()
            .zip(&self.marks)
            .map(|(group, mark)| {
                group.unwrap_or_else(|| {
                    marks.push(mark.clone());
                    marks.len() - 1
                })
            })
            .collect();
        let mut sums: BTreeMap<(usize, usize, Option<EdgeVia>), (f64, f64)> = BTreeMap::new();
        for arrow in &self.arrows {
            let (from, to) = (place[arrow.from], place[arrow.to]);
            if from != to {
                let sum = sums.entry((from, to, arrow.via)).or_default();
                *sum = (sum.0 + f64::from(arrow.weight), sum.1 + arrow.share);
            }
        }
        let arrows = sums.into_iter().map(|((from, to, via), (weight, share))| Arrow {
            from,
            to,
            via,
            weight: weight as f32,
            share,
        });
        Self { marks, arrows: ranked(arrows.collect()), ..self.clone() }
    }
}
