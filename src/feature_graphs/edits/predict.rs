//! What a linear graph expects of edits of features.

use std::collections::BTreeMap;
use std::fmt;

use super::super::graph::AttributionGraph;
use super::super::node::GraphNode;
use super::list::{Action, FeatureEdits};
use super::options::EditMode;
use crate::error::{Error, Result};
use crate::labelled::{Axis, Labelled};
use crate::visible::visible;

/// By how much a graph expects its features and targets to move ([`AttributionGraph::predict`]).
#[derive(Clone, PartialEq)]
pub struct GraphChange {
    edits: FeatureEdits,
    mode: EditMode,
    /// In the order of nodes.
    nodes: Vec<(GraphNode, f32)>,
    targets: Vec<String>,
}

impl AttributionGraph {
    /// By how much targets, and pre-activations of features, move under edits of the values of features.
    ///
    /// For [`EditMode::Held`], where all other features keep their activations, a target t moves by
    /// `sum over s of (edge(s, t) / a_s) da_s`: what the run does. For the other modes features move features on all paths, the
    /// edited ones excepted: `(I - A)^-1` with `A(t, s) = edge(s, t) / a_s`. Patterns, norms and errors are held then too, and no
    /// feature turns on or off, which a free run does not know of: [`HookedTransformer::compare_graph`] says how far off it is.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let set = DictionarySet::open("tiny")?;
    /// let transcoders = [set.get("mlp0")?, set.get("mlp1")?, set.get("mlp2")?, set.get("mlp3")?];
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let graph = model.attribution_graph(&transcoders, prompt, GraphTargets::difference(" Mary", " John"))?;
    /// let (node, _) = graph.influence().ranked().into_iter().find(|(node, _)| graph.activation(*node).is_ok()).unwrap();
    /// let target = GraphNode::Target { number: 0 };
    /// let held = graph.predict(node, EditMode::Held)?;
    /// assert!((held.of(target)? + graph.edge(node, target)?).abs() < 1e-5);
    /// assert_ne!(graph.predict(node, EditMode::Free)?.of(target)?, held.of(target)?);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// Nodes that are no features of the graph, edits at hook points, edits in another prompt than the first.
    ///
    /// [`HookedTransformer::compare_graph`]: crate::model::HookedTransformer::compare_graph
    pub fn predict(&self, edits: impl Into<FeatureEdits>, mode: EditMode) -> Result<GraphChange> {
        let edits = edits.into();
        let edited = self.edited(&edits)?;
        let mut moved = vec![0f64; self.activations.len()];
        if mode == EditMode::Held {
            for (&column, &(factor, shift)) in &edited {
                let own = f64::from(self.activations[column]);
                moved[column] = factor * own + shift - own;
            }
        }
        let mut nodes = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let through = row.edges.iter().filter(|(column, _)| moved.get(*column).is_some_and(|moved| *moved != 0.0));
            let change: f64 = through
                .map(|(column, edge)| f64::from(edge) / f64::from(self.activations[column]) * moved[column])
                .sum();
            if mode != EditMode::Held
                && let Ok(column) = self.sources.binary_search(&row.node)
            {
                let own = f64::from(self.activations[column]);
                moved[column] = match edited.get(&column) {
                    Some((factor, shift)) => factor * (own + change) + shift - own,
                    None => change,
                };
            }
            nodes.push((row.node, change as f32));
        }
        Ok(GraphChange { edits, mode, nodes, targets: self.targets() })
    }

    /// Factor and shift of each feature that is edited, by its column.
    fn edited(&self, edits: &FeatureEdits) -> Result<BTreeMap<usize, (f64, f64)>> {
        let mut edited = BTreeMap::new();
        for edit in &edits.edits {
            let Action::Value { factor, shift } = edit.action else {
                return Err(Error::argument(format!(
                    "\"{edit}\" is made at a hook point, of which a graph knows nothing: it predicts features that are ablated, set or \
                     scaled."
                )));
            };
            if edit.prompt.is_some_and(|prompt| prompt > 0) {
                return Err(Error::argument(format!("\"{edit}\": the graph is of one prompt, number 0.")));
            }
            self.activation(edit.node)?;
            let (m, c) = edited.entry(self.column(edit.node)?).or_insert((1.0, 0.0));
            let (factor, shift) = (f64::from(factor), f64::from(shift));
            (*m, *c) = (factor * *m, factor * *c + shift);
        }
        Ok(edited)
    }
}

impl GraphChange {
    /// By how much a target moves, or the pre-activation of a feature.
    ///
    /// # Errors
    /// [`Error::Argument`] for a node into which the graph has no edges.
    pub fn of(&self, node: GraphNode) -> Result<f32> {
        let found = self.nodes.binary_search_by_key(&node, |(own, _)| *own);
        found.map(|at| self.nodes[at].1).map_err(|_| {
            Error::argument(format!("{node} has no edges into it in this graph, so nothing is predicted of it."))
        })
    }

    /// By how much each target moves.
    ///
    /// # Shapes
    /// `[target]`.
    ///
    /// # Errors
    /// candle's.
    pub fn targets(&self) -> Result<Labelled> {
        let is_target = |node: &GraphNode| matches!(node, GraphNode::Target { .. });
        let values = self.nodes.iter().filter(|(node, _)| is_target(node)).map(|(_, change)| *change).collect();
        Labelled::new(self.to_string(), vec![Axis::new("target", self.targets.clone())], values)
    }

    /// The features that move most, with by how much.
    pub fn features(&self, most: usize) -> Vec<(GraphNode, f32)> {
        let is_feature =
            |(node, change): &&(GraphNode, f32)| matches!(node, GraphNode::Feature { .. }) && *change != 0.0;
        let mut features: Vec<(GraphNode, f32)> = self.nodes.iter().filter(is_feature).copied().collect();
        features.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        features.truncate(most);
        features
    }
}

impl fmt::Display for GraphChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let targets: Vec<String> = self.targets.iter().map(|name| visible(name).to_string()).collect();
        write!(f, "predicted change ({}): {}; targets: {}", self.mode, self.edits, targets.join(", "))
    }
}

impl fmt::Debug for GraphChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GraphChange({self})")
    }
}
