//! The nodes of a file, checked one by one and then together.

use std::collections::{BTreeMap, HashMap};

use super::super::graph::{AttributionGraph, Origin, Row};
use super::super::node::GraphNode;
use super::form::{FileNode, Metadata, Own, TARGET};
use super::link::Candidates;
use super::told::{MOST_FEATURES, Told, number, told};
use crate::error::{Error, Result};
use crate::visible::visible;

/// More layers than any model has: a file that claims them is a mistake.
const MOST_LAYERS: usize = 10_000;

struct FileTarget {
    name: String,
    id: usize,
    weight: f64,
}

/// What a file has of a graph, without edges.
pub(super) struct Parts {
    pieces: Vec<String>,
    dictionaries: Vec<String>,
    n_layers: usize,
    /// With the activation of a feature.
    sources: BTreeMap<GraphNode, Option<f32>>,
    targets: Vec<FileTarget>,
    labels: BTreeMap<GraphNode, String>,
    tokens: Vec<Option<u32>>,
    ids: HashMap<String, Candidates>,
}

impl Parts {
    /// # Errors
    /// Kinds that are not understood; ids that do not fit what the node says of itself, or come twice; no targets.
    pub(super) fn new(metadata: Metadata, nodes: Vec<FileNode>) -> Result<Self> {
        let dictionaries = match metadata.transcoder_list.is_empty() {
            true => Some(metadata.scan).filter(|scan| !scan.is_empty()).into_iter().collect(),
            false => metadata.transcoder_list,
        };
        let mut parts = Self {
            n_layers: n_layers(&nodes)?,
            tokens: vec![None; metadata.prompt_tokens.len()],
            pieces: metadata.prompt_tokens,
            dictionaries,
            sources: BTreeMap::new(),
            targets: Vec::new(),
            labels: BTreeMap::new(),
            ids: HashMap::new(),
        };
        for node in nodes {
            parts.add(node)?;
        }
        match parts.tokens.iter().position(Option::is_none) {
            None => Ok(parts),
            Some(pos) => Err(Error::argument(format!(
                "the file has no embedding of the token at position {pos}: write it again."
            ))),
        }
    }

    fn add(&mut self, file: FileNode) -> Result<()> {
        let (node, activation) = self.node(&file)?;
        self.check(node)?;
        if !matches!(node, GraphNode::Target { .. }) && self.sources.insert(node, activation).is_some() {
            return Err(Error::argument(format!("the {node} comes twice: write the file again.")));
        }
        match self.ids.get_mut(&file.node_id) {
            None => drop(self.ids.insert(file.node_id, node.into())),
            // The one clash that circuit-tracer makes.
            Some(Candidates { first, second: second @ None })
                if matches!((*first, node), (GraphNode::Feature { .. }, GraphNode::Error { .. })) =>
            {
                *second = Some(node)
            }
            Some(Candidates { first: first @ GraphNode::Error { .. }, second: second @ None })
                if matches!(node, GraphNode::Feature { .. }) =>
            {
                *second = Some(*first);
                *first = node;
            }
            Some(_) => {
                return Err(Error::argument(format!(
                    "the id \"{}\" comes twice: write the file again.",
                    visible(&file.node_id)
                )));
            }
        }
        let label = file.clerp.filter(|label| !label.is_empty() && !matches!(node, GraphNode::Target { .. }));
        self.labels.extend(label.map(|label| (node, label)));
        Ok(())
    }

    /// Which node it is, and its activation.
    fn node(&mut self, file: &FileNode) -> Result<(GraphNode, Option<f32>)> {
        Ok(match told(file, self.pieces.len())? {
            Told::Feature(node, activation) => (node, Some(activation)),
            Told::Error(node) => (node, None),
            Told::Token { pos, token } => {
                self.tokens[pos] = Some(token);
                (GraphNode::Token { pos }, None)
            }
            Told::Target { token, weight } => {
                self.targets.push(FileTarget { name: name(file), id: token, weight: weight.into() });
                (GraphNode::Target { number: self.targets.len() - 1 }, None)
            }
        })
    }

    /// That the model has the layer, and the prompt the position.
    fn check(&self, node: GraphNode) -> Result<()> {
        let (layer, pos) = match node {
            GraphNode::Feature { layer, pos, feature } if feature < MOST_FEATURES => (layer, pos),
            GraphNode::Error { layer, pos } => (layer, pos),
            GraphNode::Token { pos } | GraphNode::Position { pos } => (0, pos),
            GraphNode::LeftOut | GraphNode::Bias(_) | GraphNode::Target { .. } => (0, 0),
            _ => return Err(Error::argument(format!("the {node} cannot be in an attribution graph."))),
        };
        match layer < self.n_layers && pos < self.pieces.len() {
            true => Ok(()),
            false => Err(Error::argument(format!(
                "the {node} is not of this prompt of {} tokens in a model of {} layers.",
                self.pieces.len(),
                self.n_layers
            ))),
        }
    }

    /// What circuit-tracer has no place for.
    ///
    /// # Errors
    /// As [`Parts::new`].
    pub(super) fn add_own(&mut self, own: &Own) -> Result<()> {
        if own.targets.len() != self.targets.len() {
            return Err(Error::argument(format!(
                "candle_lens names {} targets, and the file has {}: write it again.",
                own.targets.len(),
                self.targets.len()
            )));
        }
        for (target, name) in self.targets.iter_mut().zip(&own.targets) {
            target.name.clone_from(name);
        }
        for (id, activation) in &own.nodes {
            let node = id.parse::<GraphNode>()?;
            self.check(node)?;
            let activation =
                activation.map(|number_| number(number_, || format!("the activation of {node}"))).transpose()?;
            let is_feature = matches!(node, GraphNode::Feature { .. });
            let is_source = !matches!(node, GraphNode::Target { .. });
            if !is_source || is_feature != activation.is_some() || self.sources.insert(node, activation).is_some() {
                return Err(Error::argument(format!(
                    "{node} in candle_lens.nodes comes twice, is a target, or is a feature without an activation: write the file again."
                )));
            }
        }
        for (id, label) in &own.labels {
            let node = id.parse::<GraphNode>()?;
            if !self.sources.contains_key(&node) && !self.is_target(node) {
                return Err(Error::argument(format!("candle_lens.labels names {node}, which is not in the file.")));
            }
            self.labels.insert(node, label.clone());
        }
        Ok(())
    }

    /// The node that a link leads to.
    pub(super) fn target(&self, id: &str) -> Result<GraphNode> {
        let node = self.candidates(id)?.first;
        match node {
            GraphNode::Feature { .. } | GraphNode::Target { .. } => Ok(node),
            _ => Err(Error::argument(format!("a link leads to the {node}, and links lead to features and targets."))),
        }
    }

    /// The nodes with this id.
    pub(super) fn candidates(&self, id: &str) -> Result<Candidates> {
        self.ids.get(id).copied().ok_or_else(|| {
            Error::argument(format!("a link names \"{}\", which is not among the nodes of the file.", visible(id)))
        })
    }

    /// Where the edges from each source are.
    pub(super) fn columns(&self) -> HashMap<GraphNode, usize> {
        self.sources.keys().enumerate().map(|(column, &node)| (node, column)).collect()
    }

    /// The features and targets.
    pub(super) fn explained(&self) -> impl Iterator<Item = GraphNode> + '_ {
        let features = self.sources.keys().copied().filter(|node| matches!(node, GraphNode::Feature { .. }));
        features.chain((0..self.targets.len()).map(|number| GraphNode::Target { number }))
    }

    pub(super) fn is_target(&self, node: GraphNode) -> bool {
        matches!(node, GraphNode::Target { number } if number < self.targets.len())
    }

    pub(super) fn weight(&self, node: GraphNode) -> f64 {
        match node {
            GraphNode::Target { number } => self.targets[number].weight,
            _ => 0.0,
        }
    }

    /// All of it together.
    ///
    /// # Errors
    /// Targets without a row.
    #[allow(clippy::type_complexity)]
    pub(super) fn graph(
        self,
        rows: Vec<Row>,
    ) -> Result<(AttributionGraph, BTreeMap<GraphNode, String>, HashMap<String, Candidates>)> {
        let explained = rows.iter().filter(|row| self.is_target(row.node)).count();
        if explained != self.targets.len() {
            return Err(Error::argument(format!(
                "{} of the {} targets have rows: write the file again.",
                explained,
                self.targets.len()
            )));
        }
        let graph = AttributionGraph {
            pieces: self.pieces,
            activations: self.sources.values().copied().flatten().collect(),
            sources: self.sources.into_keys().collect(),
            rows,
            origin: Origin {
                n_layers: self.n_layers,
                tokens: self.tokens.into_iter().flatten().collect(),
                targets: self.targets.iter().map(|target| target.id).collect(),
                dictionaries: self.dictionaries,
            },
            targets: self.targets.into_iter().map(|target| target.name).collect(),
        };
        Ok((graph, self.labels, self.ids))
    }
}

/// The layer of logits is two behind the last layer of the model.
fn n_layers(nodes: &[FileNode]) -> Result<usize> {
    let mut layers = nodes.iter().filter(|node| node.feature_type == TARGET).map(|node| node.layer.as_str());
    let first = layers
        .next()
        .ok_or_else(|| Error::argument("the file has no logits, so nothing is explained in it: write it again."))?;
    let n_layers = first
        .parse::<usize>()
        .ok()
        .and_then(|layer| layer.checked_sub(1))
        .filter(|layers| (1..=MOST_LAYERS).contains(layers));
    match n_layers.filter(|_| layers.all(|layer| layer == first)) {
        Some(n_layers) => Ok(n_layers),
        None => Err(Error::argument(format!(
            "the logits of the file are in layer \"{}\" or in several: they are in one, which is the number of the model's layers and 1.",
            visible(first)
        ))),
    }
}

/// The token of a target: circuit-tracer has it in the label only.
fn name(file: &FileNode) -> String {
    let label = file.clerp.as_deref().unwrap_or_default();
    let quoted = label.strip_prefix("Output \"").and_then(|rest| rest.rsplit_once("\" (p=")).map(|(token, _)| token);
    quoted.unwrap_or(if label.is_empty() { &file.node_id } else { label }).to_string()
}
