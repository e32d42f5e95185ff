//! Groups, pins and labels over a graph.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::super::graph::AttributionGraph;
use super::super::node::GraphNode;
use super::group_node::Supernode;
use crate::error::{Error, Result};
use crate::visible::visible;

/// Groups of a graph's nodes, which of its nodes are pinned, and what they are called: what a reader of the graph adds to it.
///
/// Every method gives a new value and leaves the old one as it is. A node is in one group at most; members of groups are pinned.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let transcoders = DictionarySet::open("tiny")?.only(["mlp0", "mlp1", "mlp2", "mlp3"])?;
/// let graph = model.attribution_graph(transcoders, "The capital of France is", GraphTargets::top())?;
/// let [first, second, ..] = graph.influence().ranked().into_iter().map(|(node, _)| node).collect::<Vec<_>>()[..] else { panic!() };
/// let groups = graph.supernodes().group("strongest", [first, second])?.label(first, "what it is active on")?;
/// let drawn = groups.collapse();
/// let sum = graph.edge(first, GraphNode::Target { number: 0 })? + graph.edge(second, GraphNode::Target { number: 0 })?;
/// assert!((drawn.edge("strongest", GraphNode::Target { number: 0 })?.weight - sum).abs() < 1e-5);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct Supernodes {
    pub(in crate::feature_graphs) graph: Arc<AttributionGraph>,
    groups: Vec<Supernode>,
    /// In the order in which they were pinned.
    pinned: Vec<GraphNode>,
    labels: BTreeMap<GraphNode, String>,
}

impl AttributionGraph {
    /// The graph with no groups, pins and labels yet.
    pub fn supernodes(&self) -> Supernodes {
        Supernodes { graph: Arc::new(self.clone()), groups: Vec::new(), pinned: Vec::new(), labels: BTreeMap::new() }
    }

    /// Whether it is one of the sources or targets.
    pub(in crate::feature_graphs) fn has(&self, node: GraphNode) -> bool {
        self.column(node).is_ok() || self.row(node).is_ok()
    }
}

impl Supernodes {
    /// What a file says of a graph, checked as [`Supernodes::group`], [`Supernodes::pin`] and [`Supernodes::label`] check it.
    ///
    /// # Errors
    /// As these.
    pub(in crate::feature_graphs) fn of_parts(
        graph: AttributionGraph,
        groups: Vec<Supernode>,
        pinned: Vec<GraphNode>,
        labels: BTreeMap<GraphNode, String>,
    ) -> Result<Self> {
        let mut read = Self { labels, ..graph.supernodes() }.pin(pinned)?;
        let mut seen = BTreeSet::new();
        for group in groups {
            let shown = visible(&group.name);
            if group.nodes.is_empty() {
                return Err(Error::argument(format!("the group \"{shown}\" has no members: take it out of the file.")));
            }
            if let Some(node) = group.nodes.iter().find(|&&node| !seen.insert(node)) {
                return Err(Error::argument(format!(
                    "{node} is in the group \"{shown}\" for the second time, or in another too: a node is in one group at most."
                )));
            }
            read.groups.push(group);
        }
        let members: Vec<GraphNode> = read.groups.iter().flat_map(|group| group.nodes.iter().copied()).collect();
        read.pin(members)
    }

    /// The graph itself.
    pub fn graph(&self) -> AttributionGraph {
        self.graph.as_ref().clone()
    }

    /// The groups, in the order in which they were made.
    pub fn groups(&self) -> Vec<Supernode> {
        self.groups.clone()
    }

    /// The name of the group that a node is in.
    pub fn group_of(&self, node: GraphNode) -> Option<String> {
        self.groups.iter().find(|group| group.nodes.contains(&node)).map(|group| group.name.clone())
    }

    /// The pinned nodes, members of groups among them, in the order in which they were pinned.
    pub fn pinned(&self) -> Vec<GraphNode> {
        self.pinned.clone()
    }

    /// The nodes that have a label, with it.
    pub fn labels(&self) -> BTreeMap<GraphNode, String> {
        self.labels.clone()
    }

    /// What figures call a node: its label, or as [`AttributionGraph::name_of`].
    pub fn name_of(&self, node: GraphNode) -> String {
        self.labels.get(&node).cloned().unwrap_or_else(|| self.graph.name_of(node))
    }

    /// Takes nodes together under a name, and pins them.
    ///
    /// # Errors
    /// [`Error::Argument`]: no nodes; nodes that are not in the graph, are in a group or come twice; a name that is empty or taken.
    pub fn group(&self, name: impl Into<String>, nodes: impl IntoIterator<Item = GraphNode>) -> Result<Self> {
        let name = self.free_name(name.into())?;
        let nodes: Vec<GraphNode> = nodes.into_iter().collect();
        let shown = visible(&name);
        if nodes.is_empty() {
            return Err(Error::argument(format!(
                "the group \"{shown}\" would have no members: give at least one node."
            )));
        }
        self.check(&nodes)?;
        let mut seen = BTreeSet::new();
        for &node in &nodes {
            if let Some(other) = self.group_of(node) {
                let other = visible(&other);
                return Err(Error::argument(format!(
                    "{node} is in the group \"{other}\", and a node is in one group at most: ungroup(\"{other}\") first, or leave it out."
                )));
            }
            if !seen.insert(node) {
                return Err(Error::argument(format!("the group \"{shown}\" has {node} twice: give it once.")));
            }
        }
        let mut grown = self.pin(nodes.iter().copied())?;
        grown.groups.push(Supernode { name, nodes });
        Ok(grown)
    }

    /// Gives a group another name.
    ///
    /// # Errors
    /// [`Error::Argument`]: no group of this name; a new name that is empty or taken.
    pub fn rename(&self, name: &str, new: impl Into<String>) -> Result<Self> {
        let at = self.at(name)?;
        let new = new.into();
        let mut renamed = self.clone();
        if new != name {
            renamed.groups[at].name = self.free_name(new)?;
        }
        Ok(renamed)
    }

    /// Lets the members of a group stand for themselves again; they stay pinned.
    ///
    /// # Errors
    /// [`Error::Argument`] where there is no group of this name.
    pub fn ungroup(&self, name: &str) -> Result<Self> {
        let at = self.at(name)?;
        let mut fewer = self.clone();
        fewer.groups.remove(at);
        Ok(fewer)
    }

    /// Pins nodes, so that the graph of groups has them one by one; those that are pinned stay so.
    ///
    /// # Errors
    /// [`Error::Argument`] for nodes that are not in the graph.
    pub fn pin(&self, nodes: impl IntoIterator<Item = GraphNode>) -> Result<Self> {
        let nodes: Vec<GraphNode> = nodes.into_iter().collect();
        self.check(&nodes)?;
        let mut there: BTreeSet<GraphNode> = self.pinned.iter().copied().collect();
        let mut pinned = self.clone();
        pinned.pinned.extend(nodes.into_iter().filter(|&node| there.insert(node)));
        Ok(pinned)
    }

    /// Takes pins away.
    ///
    /// # Errors
    /// [`Error::Argument`] for nodes that are not pinned, or are in a group.
    pub fn unpin(&self, nodes: impl IntoIterator<Item = GraphNode>) -> Result<Self> {
        let mut pinned = self.clone();
        for node in nodes {
            if let Some(group) = self.group_of(node) {
                let group = visible(&group);
                return Err(Error::argument(format!(
                    "{node} is in the group \"{group}\", whose members are pinned: ungroup(\"{group}\") first."
                )));
            }
            let at = pinned.pinned.iter().position(|own| *own == node);
            pinned.pinned.remove(at.ok_or_else(|| {
                Error::argument(format!(
                    "{node} is not pinned: pinned() lists the {} nodes that are.",
                    pinned.pinned.len()
                ))
            })?);
        }
        Ok(pinned)
    }

    /// Calls a node by what it stands for; an empty text takes its label away.
    ///
    /// # Errors
    /// [`Error::Argument`] for a node that is not in the graph.
    pub fn label(&self, node: GraphNode, label: impl Into<String>) -> Result<Self> {
        self.check(&[node])?;
        let (label, mut labelled) = (label.into(), self.clone());
        match label.is_empty() {
            true => labelled.labels.remove(&node),
            false => labelled.labels.insert(node, label),
        };
        Ok(labelled)
    }

    fn check(&self, nodes: &[GraphNode]) -> Result<()> {
        match nodes.iter().find(|&&node| !self.graph.has(node)) {
            None => Ok(()),
            Some(&node) => Err(Error::argument(format!(
                "{node} is not a node of this {}: sources() lists its sources, and targets count from 0.",
                self.graph
            ))),
        }
    }

    fn free_name(&self, name: String) -> Result<String> {
        if name.is_empty() {
            return Err(Error::argument("a group has a name: give one that is not empty."));
        }
        match self.groups.iter().any(|group| group.name == name) {
            true => Err(Error::argument(format!(
                "there is a group \"{}\" already: give another name, or rename(..) or ungroup(..) that one.",
                visible(&name)
            ))),
            false => Ok(name),
        }
    }

    fn at(&self, name: &str) -> Result<usize> {
        self.groups.iter().position(|group| group.name == name).ok_or_else(|| {
            let names: Vec<String> = self.groups.iter().map(|group| format!("\"{}\"", visible(&group.name))).collect();
            let there =
                if names.is_empty() { "there are none".into() } else { format!("there are {}", names.join(", ")) };
            Error::argument(format!("there is no group \"{}\": {there}.", visible(name)))
        })
    }
}

impl fmt::Display for Supernodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.groups.len(), "group", "groups"),
            (self.pinned.len(), "pinned node", "pinned nodes"),
            (self.labels.len(), "label", "labels"),
        ];
        let counts = counts.map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }));
        write!(f, "{} over the {}", counts.join(", "), self.graph)
    }
}

impl fmt::Debug for Supernodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
