//! Names of nodes in files: those of circuit-finder, and for nodes that it does not have, ours.

use super::super::node::{BiasOf, GraphNode};
use super::graph::{METRIC, position};

/// More layers than any model has; a file with more is a mistake.
const MOST_LAYERS: usize = 512;

/// More positions than any model has; views have a column for each.
const MOST_POSITIONS: usize = 1 << 20;

/// What sources that are of no position are called.
const PLACELESS: [(&str, GraphNode); 6] = [
    ("bias.attention", GraphNode::Bias(BiasOf::Attention)),
    ("bias.norms", GraphNode::Bias(BiasOf::Norms)),
    ("bias.decoders", GraphNode::Bias(BiasOf::Decoders)),
    ("bias.target", GraphNode::Bias(BiasOf::Target)),
    ("bias.first_positions", GraphNode::Bias(BiasOf::FirstPositions)),
    ("features_left_out", GraphNode::LeftOut),
];

/// What a file calls a node: `attn.3.14.17` for a feature of attention (layer, position, index), `mlp.` for one of an MLP. Direct edges
/// go to the metric at the position of their source, `metric.4.14.0` in a model of 4 layers.
pub(super) fn name(node: &GraphNode, layers: usize, of_source: usize) -> String {
    match *node {
        GraphNode::Feature { layer, pos, feature } => format!("mlp.{layer}.{pos}.{feature}"),
        GraphNode::AttnFeature { layer, pos, feature } => format!("attn.{layer}.{pos}.{feature}"),
        GraphNode::Error { layer, pos } => format!("mlp_error.{layer}.{pos}"),
        GraphNode::AttnError { layer, pos } => format!("attn_error.{layer}.{pos}"),
        GraphNode::Token { pos } => format!("token.{pos}"),
        GraphNode::Position { pos } => format!("position.{pos}"),
        GraphNode::Target { .. } => format!("metric.{layers}.{of_source}.0"),
        GraphNode::LeftOut | GraphNode::Bias(_) => {
            let own = PLACELESS.iter().find(|(_, known)| known == node);
            own.map(|(name, _)| (*name).to_string()).unwrap_or_default()
        }
    }
}

/// The node of a name; none for what is not one.
pub(super) fn parse(name: &str) -> Option<GraphNode> {
    if let Some((_, node)) = PLACELESS.iter().find(|(known, _)| *known == name) {
        return Some(*node);
    }
    let mut parts = name.split('.');
    let kind = parts.next()?;
    let numbers: Vec<usize> = parts.map(number).collect::<Option<_>>()?;
    let node = match (kind, &numbers[..]) {
        ("mlp", &[layer, pos, feature]) => GraphNode::Feature { layer, pos, feature },
        ("attn", &[layer, pos, feature]) => GraphNode::AttnFeature { layer, pos, feature },
        ("mlp_error", &[layer, pos]) => GraphNode::Error { layer, pos },
        ("attn_error", &[layer, pos]) => GraphNode::AttnError { layer, pos },
        ("token", &[pos]) => GraphNode::Token { pos },
        ("position", &[pos]) => GraphNode::Position { pos },
        ("metric", &[_, _, 0]) => METRIC,
        _ => return None,
    };
    let has_layer = matches!(kind, "mlp" | "attn" | "mlp_error" | "attn_error" | "metric");
    let is_possible = position(&node).is_none_or(|pos| pos < MOST_POSITIONS);
    (is_possible && (!has_layer || numbers[0] <= MOST_LAYERS)).then_some(node)
}

/// Digits only, so that a node has one name.
fn number(text: &str) -> Option<usize> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

/// The layer of a node that has one.
pub(super) fn layer(node: &GraphNode) -> Option<usize> {
    match *node {
        GraphNode::Feature { layer, .. }
        | GraphNode::AttnFeature { layer, .. }
        | GraphNode::Error { layer, .. }
        | GraphNode::AttnError { layer, .. } => Some(layer),
        _ => None,
    }
}

/// How many layers a model has at least in which there is a node of this name; the metric's name says it.
pub(super) fn layers_of(name: &str) -> usize {
    let layers = name.strip_prefix("metric.").and_then(|rest| number(rest.split('.').next()?));
    layers.or_else(|| layer(&parse(name)?).map(|layer| layer + 1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_one_name() {
        let placeless = PLACELESS.iter().map(|(_, node)| *node);
        let placed = [
            GraphNode::Feature { layer: 0, pos: 3, feature: 512 },
            GraphNode::AttnFeature { layer: 11, pos: 0, feature: 7 },
            GraphNode::Error { layer: 2, pos: 4 },
            GraphNode::AttnError { layer: 3, pos: 14 },
            GraphNode::Token { pos: 9 },
            GraphNode::Position { pos: 10 },
            METRIC,
        ];
        for node in placeless.chain(placed) {
            assert_eq!(parse(&name(&node, 12, 14)), Some(node), "{node}");
        }
        for wrong in [
            "",
            "null",
            "attn",
            "attn.1.2",
            "attn.1.2.3.4",
            "attn.01.2.3",
            "attn.+1.2.3",
            "attn.-1.2.3",
            "attn.1.2.x",
            "attn.1..3",
            "attn_error.1.2.3",
            "attn.513.0.0",
            "attn.99999999999999999999999.0.0",
            "metric.4.3.1",
            "bias.other",
            "resid.1.2.3",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
