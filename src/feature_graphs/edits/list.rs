//! Edits of features, in the order in which they are made.

use std::fmt;

use super::super::node::GraphNode;
use super::super::supernodes::Supernode;
use crate::hooks::HookQuery;
use crate::visible::visible;

/// How many edits a text lists.
const LISTED: usize = 4;

/// What is done with one feature.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Its activation `a` becomes `factor a + shift`.
    Value { factor: f32, shift: f32 },
    /// This much of what it writes is added at a hook point.
    Add { scale: f32, hook: HookQuery },
    /// What it writes in this run is subtracted at a hook point.
    Subtract { hook: HookQuery },
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct OneEdit {
    pub node: GraphNode,
    pub action: Action,
    /// All prompts, where none is named.
    pub prompt: Option<usize>,
    /// Another prompt that it was also confined to, which leaves none.
    pub clash: Option<usize>,
    pub group: Option<String>,
}

impl OneEdit {
    fn only_in(self, prompt: usize) -> Self {
        match self.prompt {
            Some(other) if other != prompt => Self { clash: Some(prompt), ..self },
            _ => Self { prompt: Some(prompt), ..self },
        }
    }
}

/// Edits of features by name: of [`GraphNode::Feature`]s (of dictionaries that write `hook_mlp_out`) and
/// [`GraphNode::AttnFeature`]s (of `hook_z`). [`HookedTransformer::run_with_feature_edits`] runs a model under them,
/// [`AttributionGraph::predict`] says what a graph expects of them. A node, a list of nodes or a [`Supernode`] converts into their
/// ablation.
///
/// Positions count the tokens of a prompt without its padding, as in graphs. Several edits of one feature act in the order given.
///
/// ```
/// use candle_lens::prelude::*;
/// let at = |feature| GraphNode::AttnFeature { layer: 0, pos: 11, feature };
/// let edits = FeatureEdits::new()
///     .group("names", FeatureEdits::new().ablate_all([at(3), at(8)]))
///     .only_in(1, FeatureEdits::new().scale(at(20), 2.0))
///     .subtract_at(at(7), ("resid_pre", 2));
/// assert_eq!(edits.len(), 4);
/// assert!(edits.to_string().starts_with("names (2 edits); scale attention feature 0/20 at 11 by 2 in prompt 1"));
/// ```
///
/// [`HookedTransformer::run_with_feature_edits`]: crate::model::HookedTransformer::run_with_feature_edits
/// [`AttributionGraph::predict`]: crate::feature_graphs::AttributionGraph::predict
#[derive(Clone, Default, PartialEq)]
pub struct FeatureEdits {
    pub(super) edits: Vec<OneEdit>,
}

impl FeatureEdits {
    /// No edits.
    pub fn new() -> Self {
        Self::default()
    }

    fn and(mut self, node: GraphNode, action: Action) -> Self {
        self.edits.push(OneEdit { node, action, prompt: None, clash: None, group: None });
        self
    }

    /// Sets a feature's activation to 0.
    pub fn ablate(self, node: GraphNode) -> Self {
        self.set(node, 0.0)
    }

    /// Sets the activations of all of these to 0.
    pub fn ablate_all(self, nodes: impl IntoIterator<Item = GraphNode>) -> Self {
        nodes.into_iter().fold(self, Self::ablate)
    }

    /// Sets a feature's activation to `value`, whether it is active or not.
    pub fn set(self, node: GraphNode, value: f32) -> Self {
        self.and(node, Action::Value { factor: 0.0, shift: value })
    }

    /// Multiplies a feature's activation by `factor`.
    pub fn scale(self, node: GraphNode, factor: f32) -> Self {
        self.and(node, Action::Value { factor, shift: 0.0 })
    }

    /// Adds `scale` times what one unit of a feature writes into the residual stream at a hook point of the residual stream, at
    /// the position of the node. The feature itself stays as it is, and need not be active. Of a cross-layer transcoder it is what
    /// the feature writes in all before that point.
    pub fn add_direction(self, node: GraphNode, scale: f32, hook: impl Into<HookQuery>) -> Self {
        self.and(node, Action::Add { scale, hook: hook.into() })
    }

    /// Subtracts at a later hook point what a feature has written into the residual stream in this very run: its activation, after
    /// edits, times its direction. What comes before that point still has the feature; what reads the residual stream behind it
    /// does not, but keeps what others in between made of it. Of a cross-layer transcoder it is what the feature has written before that point.
    ///
    /// Captures of the point show it before the subtraction.
    pub fn subtract_at(self, node: GraphNode, hook: impl Into<HookQuery>) -> Self {
        self.and(node, Action::Subtract { hook: hook.into() })
    }

    /// Adds other edits under a name.
    pub fn group(mut self, name: impl Into<String>, edits: Self) -> Self {
        let name = name.into();
        self.edits.extend(edits.edits.into_iter().map(|edit| OneEdit { group: Some(name.clone()), ..edit }));
        self
    }

    /// Adds other edits in one prompt of the batch only, counted from 0. Features mean something in a prompt, often by name, so
    /// prompts of one batch often need edits of their own. Edits that are already confined to another prompt are refused when they are run.
    pub fn only_in(mut self, prompt: usize, edits: Self) -> Self {
        self.edits.extend(edits.edits.into_iter().map(|edit| edit.only_in(prompt)));
        self
    }

    /// The first edits in the first prompt, the second in the second, and so on.
    pub fn of_prompts<E: Into<Self>>(edits: impl IntoIterator<Item = E>) -> Self {
        let edits = edits.into_iter().enumerate();
        edits.fold(Self::new(), |all, (prompt, edits)| all.only_in(prompt, edits.into()))
    }

    /// Adds other edits.
    pub fn with(mut self, edits: Self) -> Self {
        self.edits.extend(edits.edits);
        self
    }

    /// How many edits there are.
    pub fn len(&self) -> usize {
        self.edits.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// The nodes that are edited, each once, in the order of the forward pass.
    pub fn nodes(&self) -> Vec<GraphNode> {
        let mut nodes: Vec<GraphNode> = self.edits.iter().map(|edit| edit.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }
}

impl From<&Self> for FeatureEdits {
    fn from(edits: &Self) -> Self {
        edits.clone()
    }
}

impl From<GraphNode> for FeatureEdits {
    fn from(node: GraphNode) -> Self {
        Self::new().ablate(node)
    }
}

impl From<&GraphNode> for FeatureEdits {
    fn from(node: &GraphNode) -> Self {
        Self::from(*node)
    }
}

impl From<&Supernode> for FeatureEdits {
    fn from(supernode: &Supernode) -> Self {
        let members = Self::new().ablate_all(supernode.nodes.iter().copied());
        Self::new().group(format!("ablate {}", supernode.name), members)
    }
}

impl From<Vec<GraphNode>> for FeatureEdits {
    fn from(nodes: Vec<GraphNode>) -> Self {
        Self::new().ablate_all(nodes)
    }
}

impl From<&[GraphNode]> for FeatureEdits {
    fn from(nodes: &[GraphNode]) -> Self {
        Self::new().ablate_all(nodes.iter().copied())
    }
}

impl<const N: usize> From<[GraphNode; N]> for FeatureEdits {
    fn from(nodes: [GraphNode; N]) -> Self {
        Self::new().ablate_all(nodes)
    }
}

impl fmt::Display for OneEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.node;
        match &self.action {
            Action::Value { factor: 0.0, shift: 0.0 } => write!(f, "ablate {node}")?,
            Action::Value { factor: 0.0, shift } => write!(f, "set {node} to {shift}")?,
            Action::Value { factor, .. } => write!(f, "scale {node} by {factor}")?,
            Action::Add { scale, hook } => write!(f, "add {scale} of {node} at {hook}")?,
            Action::Subtract { hook } => write!(f, "subtract {node} at {hook}")?,
        }
        match self.prompt {
            Some(prompt) => write!(f, " in prompt {prompt}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for FeatureEdits {
    /// Groups by their names, other edits one by one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        for run in self.edits.chunk_by(|a, b| a.group.is_some() && a.group == b.group) {
            match (&run[0].group, run.len()) {
                (Some(name), 1) => parts.push(format!("{} (1 edit)", visible(name))),
                (Some(name), edits) => parts.push(format!("{} ({edits} edits)", visible(name))),
                (None, _) => parts.push(run[0].to_string()),
            }
        }
        let more = parts.len().saturating_sub(LISTED);
        parts.truncate(LISTED);
        match (parts.is_empty(), more) {
            (true, _) => f.write_str("no edits"),
            (false, 0) => f.write_str(&parts.join("; ")),
            (false, more) => write!(f, "{}; and {more} more", parts.join("; ")),
        }
    }
}

impl fmt::Debug for FeatureEdits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FeatureEdits({self})")
    }
}
