//! Sets of nodes.

use std::collections::BTreeSet;
use std::fmt;

use super::super::chained::ChainedGraph;
use super::super::graph::AttributionGraph;
use super::super::node::GraphNode;
use crate::error::{Error, Result};

/// Features and errors at their positions: the same for all prompts, or those of each prompt. Positions are counted from a prompt's
/// first token, without padding.
///
/// ```
/// use candle_lens::prelude::*;
/// let node = |feature| GraphNode::Feature { layer: 2, pos: 11, feature };
/// let circuit = FeatureCircuit::new([node(7), node(90)]);
/// assert_eq!(circuit.without([node(7)]), FeatureCircuit::new([node(90)]));
/// assert_eq!(circuit.to_string(), "a circuit of 2 nodes, the same for all prompts");
/// assert_eq!(FeatureCircuit::full().without([node(7)]).to_string(), "everything but 1 node, the same for all prompts");
/// let of_two_prompts = FeatureCircuit::per_prompt([circuit, FeatureCircuit::empty()])?;
/// assert_eq!(of_two_prompts.nodes_of(0)?.len(), 2);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureCircuit {
    /// Of all prompts, or one of each.
    pub(super) sets: Vec<BTreeSet<GraphNode>>,
    /// Whether there is one of each prompt.
    pub(super) is_per_prompt: bool,
    /// Whether the sets are what is left out.
    pub(super) is_all_but: bool,
}

impl FeatureCircuit {
    /// The circuit of these nodes, features and errors, for all prompts.
    pub fn new(nodes: impl IntoIterator<Item = GraphNode>) -> Self {
        Self { sets: vec![nodes.into_iter().collect()], is_per_prompt: false, is_all_but: false }
    }

    /// Nothing: everything is replaced.
    pub fn empty() -> Self {
        Self::new([])
    }

    /// Everything: nothing is replaced.
    pub fn full() -> Self {
        Self { is_all_but: true, ..Self::empty() }
    }

    /// A circuit of each prompt, in their order: of a graph, or of nodes.
    ///
    /// # Errors
    /// No circuits; one that is of several prompts already, or everything but some nodes.
    pub fn per_prompt<C: Into<Self>>(circuits: impl IntoIterator<Item = C>) -> Result<Self> {
        let mut sets = Vec::new();
        for circuit in circuits {
            let circuit = circuit.into();
            if circuit.is_per_prompt || circuit.is_all_but {
                return Err(Error::argument(format!(
                    "{circuit} was given as the circuit of one prompt: give circuits of nodes (FeatureCircuit::new), or graphs."
                )));
            }
            sets.extend(circuit.sets);
        }
        if sets.is_empty() {
            return Err(Error::argument("no circuits were given: give one for each prompt."));
        }
        Ok(Self { sets, is_per_prompt: true, is_all_but: false })
    }

    /// The circuit with these nodes as well, in every prompt.
    pub fn with(&self, nodes: impl IntoIterator<Item = GraphNode>) -> Self {
        self.changed(nodes, !self.is_all_but)
    }

    /// The circuit without these nodes, in every prompt.
    pub fn without(&self, nodes: impl IntoIterator<Item = GraphNode>) -> Self {
        self.changed(nodes, self.is_all_but)
    }

    fn changed(&self, nodes: impl IntoIterator<Item = GraphNode>, is_added: bool) -> Self {
        let mut changed = self.clone();
        for node in nodes {
            for set in &mut changed.sets {
                match is_added {
                    true => set.insert(node),
                    false => set.remove(&node),
                };
            }
        }
        changed
    }

    /// The nodes of a prompt, or those left out where it is everything but some.
    ///
    /// # Errors
    /// A prompt that has no circuit of its own.
    pub fn nodes_of(&self, prompt: usize) -> Result<Vec<GraphNode>> {
        let set = if self.is_per_prompt { self.sets.get(prompt) } else { self.sets.first() };
        let set = set.ok_or_else(|| {
            Error::argument(format!(
                "there is no prompt {prompt} in this: it is {self} (0 to {}).",
                self.sets.len() - 1
            ))
        })?;
        Ok(set.iter().copied().collect())
    }

    /// All nodes of all sets.
    pub(super) fn union(&self) -> BTreeSet<GraphNode> {
        self.sets.iter().flatten().copied().collect()
    }
}

/// Whether a node of a graph is one of a circuit: a feature or an error.
pub(super) fn is_unit(node: &GraphNode) -> bool {
    matches!(
        node,
        GraphNode::Feature { .. }
            | GraphNode::Error { .. }
            | GraphNode::AttnFeature { .. }
            | GraphNode::AttnError { .. }
    )
}

impl From<&AttributionGraph> for FeatureCircuit {
    /// Its features and errors.
    fn from(graph: &AttributionGraph) -> Self {
        Self::new(graph.sources().into_iter().filter(is_unit))
    }
}

impl From<&ChainedGraph> for FeatureCircuit {
    /// Its features and errors; not the errors that it keeps apart.
    fn from(graph: &ChainedGraph) -> Self {
        Self::new(graph.nodes().into_iter().map(|node| node.node).filter(is_unit))
    }
}

impl From<Vec<GraphNode>> for FeatureCircuit {
    fn from(nodes: Vec<GraphNode>) -> Self {
        Self::new(nodes)
    }
}

impl From<&FeatureCircuit> for FeatureCircuit {
    fn from(circuit: &FeatureCircuit) -> Self {
        circuit.clone()
    }
}

impl fmt::Display for FeatureCircuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = || self.sets.iter().map(BTreeSet::len);
        let (least, most) = (sizes().min().unwrap_or(0), sizes().max().unwrap_or(0));
        let nodes = match (least == most, most) {
            (true, 1) => "1 node".to_string(),
            (true, _) => format!("{most} nodes"),
            (false, _) => format!("{least} to {most} nodes"),
        };
        match (self.is_all_but, self.is_per_prompt) {
            (true, false) if most == 0 => f.write_str("everything"),
            (true, false) => write!(f, "everything but {nodes}, the same for all prompts"),
            (true, true) => write!(f, "everything but {nodes} of each of {} prompts", self.sets.len()),
            (false, false) => write!(f, "a circuit of {nodes}, the same for all prompts"),
            (false, true) => write!(f, "circuits of {nodes} for each of {} prompts", self.sets.len()),
        }
    }
}
