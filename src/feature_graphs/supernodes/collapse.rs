//! The graph of groups.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use super::super::influence::Normalised;
use super::super::node::GraphNode;
use super::group_node::{GroupEdge, GroupNode};
use super::value::Supernodes;
use crate::error::{Error, Result};

/// A graph whose nodes are groups, pinned nodes, targets, and the rest ([`Supernodes::collapse`]).
///
/// Edges between members of one group are an edge from the group to itself.
#[derive(Clone, PartialEq)]
pub struct GroupGraph {
    nodes: Vec<Together>,
    /// By the numbers of source and target.
    edges: BTreeMap<(usize, usize), Sums>,
}

/// A node and what its members have together.
#[derive(Clone, Debug, PartialEq)]
struct Together {
    node: GroupNode,
    /// What figures call it.
    name: String,
    members: Vec<GraphNode>,
    /// Of the members that something comes into, if any.
    value: Option<f64>,
    influence: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sums {
    weight: f64,
    share: f64,
    influence: f64,
}

impl Supernodes {
    /// The graph of groups, pinned nodes and targets. All other nodes are in it as one, the rest, so that nothing is lost: the edges into a
    /// node sum to the value of its members, and what flows out of it is their influence.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let transcoders = DictionarySet::open("tiny")?.only(["mlp0", "mlp1", "mlp2", "mlp3"])?;
    /// let graph = model.attribution_graph(transcoders, "The capital of France is", GraphTargets::top())?;
    /// let of_layer = |layer| graph.sources().into_iter().filter(move |node| matches!(node, GraphNode::Feature { layer: own, .. } if *own == layer));
    /// let layers = graph.supernodes().group("layer 0", of_layer(0))?.group("layer 3", of_layer(3))?.collapse();
    /// // Features of layer 0 lead to those of layer 3, never back.
    /// assert!(layers.edge("layer 0", "layer 3")?.influence > 0.0);
    /// assert_eq!(layers.edge("layer 3", "layer 0")?.weight, 0.0);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn collapse(&self) -> GroupGraph {
        let graph = &self.graph;
        let nodes = self.together();
        let mut numbers: HashMap<GraphNode, usize> = HashMap::new();
        for (number, node) in nodes.iter().enumerate() {
            numbers.extend(node.members.iter().map(|&member| (member, number)));
        }
        let normalised = Normalised::new(graph);
        let influence = normalised.influence();
        let through = normalised.through_all(&influence);
        let mut collapsed = GroupGraph { nodes, edges: BTreeMap::new() };
        let columns: Vec<usize> = graph.sources.iter().map(|source| numbers[source]).collect();
        for (column, &number) in columns.iter().enumerate() {
            collapsed.nodes[number].influence += influence[column];
        }
        // What comes into each node from outside of it, as a sum of shares over its members.
        let mut outside = vec![0.0; collapsed.nodes.len()];
        for (at, row) in graph.rows.iter().enumerate() {
            let target = numbers[&row.node];
            collapsed.nodes[target].add(row.value, row.weight);
            for (column, weight) in row.edges.iter() {
                let (source, share) = (columns[column], normalised.share(at, weight));
                let sums = collapsed.edges.entry((source, target)).or_default();
                sums.weight += f64::from(weight);
                sums.share += share.copysign(f64::from(weight));
                sums.influence += share * through[at];
                outside[target] += if source == target { 0.0 } else { share };
            }
        }
        for (&(_, target), sums) in &mut collapsed.edges {
            // A group into which nothing comes from outside has no shares.
            sums.share = if outside[target] > 0.0 { sums.share / outside[target] } else { 0.0 };
        }
        collapsed
    }

    /// The nodes of the graph of groups: groups, pinned nodes and targets in their order, then the rest.
    fn together(&self) -> Vec<Together> {
        let new = |node: GroupNode, name: String, members: Vec<GraphNode>| Together {
            node,
            name,
            members,
            value: None,
            influence: 0.0,
        };
        let mut nodes: Vec<Together> = Vec::new();
        let mut taken: HashSet<GraphNode> = HashSet::new();
        for group in self.groups() {
            taken.extend(group.nodes.iter().copied());
            nodes.push(new(GroupNode::Group(group.name.clone()), group.name, group.nodes));
        }
        let targets =
            self.graph.rows.iter().map(|row| row.node).filter(|node| matches!(node, GraphNode::Target { .. }));
        let mut alone: Vec<GraphNode> = self.pinned().into_iter().chain(targets).collect();
        alone.sort();
        alone.dedup();
        for node in alone {
            if taken.insert(node) {
                nodes.push(new(GroupNode::Node(node), self.name_of(node), vec![node]));
            }
        }
        let of_rows = self.graph.rows.iter().map(|row| row.node);
        let mut rest: Vec<GraphNode> = self.graph.sources.iter().copied().chain(of_rows).collect();
        rest.retain(|node| !taken.contains(node));
        rest.sort();
        rest.dedup();
        if !rest.is_empty() {
            nodes.push(new(GroupNode::Rest, GroupNode::Rest.to_string(), rest));
        }
        nodes
    }
}

impl Together {
    fn add(&mut self, value: Option<f32>, weight: f64) {
        self.value = match (self.value, value) {
            (before, Some(value)) => Some(before.unwrap_or(0.0) + f64::from(value)),
            (before, None) => before,
        };
        self.influence += weight;
    }
}

impl GroupGraph {
    /// Its nodes: groups in their order, pinned nodes and targets, and the rest where there is any.
    pub fn nodes(&self) -> Vec<GroupNode> {
        self.nodes.iter().map(|own| own.node.clone()).collect()
    }

    /// The nodes of the attribution graph that one of these stands for.
    ///
    /// # Errors
    /// [`Error::Argument`] for what is not a node of it.
    pub fn members(&self, node: impl Into<GroupNode>) -> Result<Vec<GraphNode>> {
        Ok(self.nodes[self.number(&node.into())?].members.clone())
    }

    /// What figures call a node.
    ///
    /// # Errors
    /// [`Error::Argument`] for what is not a node of it.
    pub fn name_of(&self, node: impl Into<GroupNode>) -> Result<String> {
        Ok(self.nodes[self.number(&node.into())?].name.clone())
    }

    /// The sum of the values of those members that have one: what all edges into the node sum to.
    ///
    /// # Errors
    /// [`Error::Argument`] for what is not a node of it, or has no member whose value is known.
    pub fn value(&self, node: impl Into<GroupNode>) -> Result<f32> {
        let node = node.into();
        let value = self.nodes[self.number(&node)?].value;
        value.map(|value| value as f32).ok_or_else(|| {
            Error::argument(format!(
                "{node} has no value: only features and targets have one, and none in graphs that circuit-tracer wrote."
            ))
        })
    }

    /// The sum of the members' influence; a target's is its weight.
    ///
    /// # Errors
    /// [`Error::Argument`] for what is not a node of it.
    pub fn influence(&self, node: impl Into<GroupNode>) -> Result<f64> {
        Ok(self.nodes[self.number(&node.into())?].influence)
    }

    /// The edge between two nodes, 0 where there is none; from a group to itself, what is inside of it.
    ///
    /// # Errors
    /// [`Error::Argument`] for what is not a node of it.
    pub fn edge(&self, source: impl Into<GroupNode>, target: impl Into<GroupNode>) -> Result<GroupEdge> {
        let ends = (self.number(&source.into())?, self.number(&target.into())?);
        Ok(self.made(ends, self.edges.get(&ends).copied().unwrap_or_default()))
    }

    /// All edges, the most influential first, those inside of groups among them.
    pub fn edges(&self) -> Vec<GroupEdge> {
        let mut edges: Vec<GroupEdge> = self.edges.iter().map(|(&ends, &sums)| self.made(ends, sums)).collect();
        edges.sort_by(|a, b| b.influence.total_cmp(&a.influence));
        edges
    }

    fn made(&self, (source, target): (usize, usize), sums: Sums) -> GroupEdge {
        GroupEdge {
            source: self.nodes[source].node.clone(),
            target: self.nodes[target].node.clone(),
            weight: sums.weight as f32,
            share: sums.share,
            influence: sums.influence,
        }
    }

    fn number(&self, node: &GroupNode) -> Result<usize> {
        self.nodes.iter().position(|own| own.node == *node).ok_or_else(|| {
            let names: Vec<String> = self.nodes.iter().take(20).map(|own| own.node.to_string()).collect();
            Error::argument(format!(
                "{node} is not a node of this graph of groups, which has {}{}: group or pin it before collapse().",
                names.join(", "),
                if self.nodes.len() > 20 { ", .." } else { "" }
            ))
        })
    }
}

impl fmt::Display for GroupGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = self.nodes.iter().filter(|own| matches!(own.node, GroupNode::Group(_))).count();
        let members: usize = self.nodes.iter().map(|own| own.members.len()).sum();
        write!(
            f,
            "graph of {} nodes, {groups} of them groups, and {} edges, over {members} nodes",
            self.nodes.len(),
            self.edges.len()
        )
    }
}

impl fmt::Debug for GroupGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
