//! Which node an entry of a file is of.

use super::super::node::GraphNode;
use super::form::{ERROR, FEATURE, FileNode, TARGET, TOKEN};
use crate::error::{Error, Result};
use crate::visible::visible;

/// More features than any dictionary has, and few enough for the numbers by which circuit-tracer names them.
pub(super) const MOST_FEATURES: usize = 1 << 31;

/// What an entry says.
pub(super) enum Told {
    Feature(GraphNode, f32),
    Error(GraphNode),
    Token { pos: usize, token: u32 },
    Target { token: usize, weight: f32 },
}

/// What an entry says, whose id and other fields must agree. Ids decide, because links have them.
///
/// # Errors
/// Kinds that are not understood; ids of another node; numbers that are not an f32's.
pub(super) fn told(file: &FileNode, n_pos: usize) -> Result<Told> {
    let wrong = || {
        Error::argument(format!(
            "the id \"{}\" is not that of a node of kind \"{}\" in layer \"{}\" at position {}: write the file again.",
            visible(&file.node_id),
            visible(&file.feature_type),
            visible(&file.layer),
            file.ctx_idx
        ))
    };
    let ids: Vec<&str> = file.node_id.split('_').collect();
    let [first, middle, last] = ids[..] else { return Err(wrong()) };
    if digits(last) != Some(file.ctx_idx) || file.ctx_idx >= n_pos {
        return Err(wrong());
    }
    match file.feature_type.as_str() {
        FEATURE => match feature(file, first, middle) {
            Some(node) => Ok(Told::Feature(node, activation(file, node)?)),
            None => Err(wrong()),
        },
        ERROR => error(file, first, middle).map(Told::Error).ok_or_else(wrong),
        TOKEN => match digits(middle).and_then(|token| u32::try_from(token).ok()) {
            Some(token) if first == "E" && file.layer == "E" => Ok(Told::Token { pos: file.ctx_idx, token }),
            _ => Err(wrong()),
        },
        TARGET => match digits(middle).filter(|token| i64::try_from(*token).is_ok()) {
            Some(token) if first == file.layer => Ok(Told::Target { token, weight: probability(file)? }),
            _ => Err(wrong()),
        },
        other => Err(Error::argument(format!(
            "the file has nodes of kind \"{}\", and only \"{FEATURE}\", \"{ERROR}\", \"{TOKEN}\" and \"{TARGET}\" are understood.",
            visible(other)
        ))),
    }
}

fn digits(text: &str) -> Option<usize> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn feature(file: &FileNode, layer: &str, index: &str) -> Option<GraphNode> {
    let feature = digits(index).filter(|index| *index < MOST_FEATURES)?;
    (layer == file.layer).then_some(GraphNode::Feature { layer: digits(layer)?, pos: file.ctx_idx, feature })
}

fn error(file: &FileNode, first: &str, middle: &str) -> Option<GraphNode> {
    let is_fixed = first == file.layer && middle == "-1";
    // The ids of circuit-tracer 0.5 and before.
    let is_old = first == "0" && middle == file.layer;
    (is_fixed || is_old).then_some(GraphNode::Error { layer: digits(&file.layer)?, pos: file.ctx_idx })
}

fn activation(file: &FileNode, node: GraphNode) -> Result<f32> {
    let activation = file.activation.ok_or_else(|| {
        Error::argument(format!("the {node} has no activation: write the file with a later version of circuit-tracer."))
    })?;
    number(activation, || format!("the activation of {node}"))
}

fn probability(file: &FileNode) -> Result<f32> {
    let id = visible(&file.node_id);
    let probability = number(file.token_prob, || format!("the probability of \"{id}\""))?;
    match probability < 0.0 {
        true => Err(Error::argument(format!("the probability of \"{id}\" is {probability}, below 0."))),
        false => Ok(probability),
    }
}

/// The f32 that a number is.
///
/// # Errors
/// A number that is not an f32's, by what it is.
pub(super) fn number(value: f64, what: impl Fn() -> String) -> Result<f32> {
    match value.is_finite() && value.abs() <= f64::from(f32::MAX) {
        true => Ok(value as f32),
        false => Err(Error::argument(format!("{} is {value}, which no activation or weight can be.", what()))),
    }
}
