//! What is in a file, and what circuit-tracer calls a node.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::graph::AttributionGraph;
use super::super::node::GraphNode;

/// `feature_type` of features, of cross-layer transcoders or not.
pub(super) const FEATURE: &str = "cross layer transcoder";
pub(super) const ERROR: &str = "mlp reconstruction error";
pub(super) const TOKEN: &str = "embedding";
pub(super) const TARGET: &str = "logit";

/// The only version of the form that there is.
pub(super) const SCHEMA: u64 = 1;

#[derive(Deserialize)]
pub(super) struct File {
    pub metadata: Metadata,
    #[serde(rename = "qParams", default)]
    pub q_params: Option<QParams>,
    pub nodes: Vec<FileNode>,
    pub links: Vec<Link>,
    pub candle_lens: Option<Own>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Metadata {
    #[serde(default)]
    pub slug: String,
    #[serde(default)]
    pub scan: String,
    #[serde(default)]
    pub transcoder_list: Vec<String>,
    pub prompt_tokens: Vec<String>,
    #[serde(default)]
    pub prompt: String,
    pub node_threshold: Option<f64>,
    pub schema_version: Option<u64>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct QParams {
    #[serde(rename = "pinnedIds")]
    pub pinned_ids: Option<Vec<String>>,
    /// The name, then the ids of members.
    pub supernodes: Option<Vec<Vec<String>>>,
    #[serde(rename = "linkType")]
    pub link_type: String,
    #[serde(rename = "clickedId")]
    pub clicked_id: Option<String>,
    pub sg_pos: String,
}

#[derive(Deserialize, Serialize)]
pub(super) struct FileNode {
    pub node_id: String,
    #[serde(default)]
    pub feature: i64,
    pub layer: String,
    pub ctx_idx: usize,
    pub feature_type: String,
    #[serde(default)]
    pub token_prob: f64,
    #[serde(default)]
    pub is_target_logit: bool,
    #[serde(default)]
    pub run_idx: u64,
    #[serde(default)]
    pub reverse_ctx_idx: u64,
    #[serde(default, rename = "jsNodeId")]
    pub js_node_id: String,
    #[serde(default)]
    pub clerp: Option<String>,
    pub influence: Option<f64>,
    pub activation: Option<f64>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Link {
    pub source: String,
    pub target: String,
    pub weight: f64,
}

/// What circuit-tracer has no place for, with ids as [`GraphNode::id`] writes them.
#[derive(Deserialize, Serialize)]
pub(super) struct Own {
    pub version: String,
    /// The names of targets.
    pub targets: Vec<String>,
    /// The features and targets that edges lead into, with what these sum to where it is known.
    pub rows: Vec<(String, Option<f64>)>,
    /// Sources that are not among `nodes`, with the activation of a feature.
    pub nodes: Vec<(String, Option<f64>)>,
    /// Edges from these: source, target, weight.
    pub links: Vec<(String, String, f64)>,
    /// Labels of nodes without a place for one.
    pub labels: BTreeMap<String, String>,
}

impl AttributionGraph {
    /// What circuit-tracer calls a node, if it has such nodes.
    pub(super) fn their_id(&self, node: GraphNode) -> Option<String> {
        match node {
            GraphNode::Feature { .. } | GraphNode::Error { .. } => Some(node.id()),
            GraphNode::Token { pos } => Some(format!("E_{}_{pos}", self.origin.tokens[pos])),
            GraphNode::Target { number } => {
                let last = self.pieces.len().saturating_sub(1);
                Some(format!("{}_{}_{last}", self.origin.n_layers + 1, self.origin.targets[number]))
            }
            _ => None,
        }
    }
}

/// One number for two (Cantor's pairing), by which circuit-tracer names the features of all layers.
pub(super) fn paired(layer: usize, feature: usize) -> i64 {
    let (x, y) = (layer as i64, feature as i64);
    (x + y) * (x + y + 1) / 2 + y
}
