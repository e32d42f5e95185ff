//! Short names of nodes, for cells and files: those of circuit-tracer's graph files where it has the node.
//!
//! | node | id |
//! |---|---|
//! | feature | `layer_index_pos` |
//! | error | `layer_-1_pos` |
//! | attention feature, attention error | `a` before those |
//! | token | `E_pos`; circuit-tracer's `E_id_pos`, with the id of the token, is read too |
//! | position | `P_pos` |
//! | bias | `bias_attention`, `bias_norms`, `bias_decoders`, `bias_target`, `bias_first` |
//! | features left out | `left_out` |
//! | target | `T_number` |
//!
//! Limits: circuit-tracer 0.5 calls the error of layer 2 at position 5 `0_2_5`, which is also a feature of layer 0. Only a whole file
//! says which is meant, so here it is the feature.

use std::str::FromStr;

use super::node::{BiasOf, GraphNode};
use crate::error::{Error, Result};
use crate::visible::visible;

impl BiasOf {
    fn id(self) -> &'static str {
        match self {
            Self::Attention => "bias_attention",
            Self::Norms => "bias_norms",
            Self::Decoders => "bias_decoders",
            Self::Target => "bias_target",
            Self::FirstPositions => "bias_first",
        }
    }
}

impl GraphNode {
    /// The short name that `parse` turns into the node again: `layer_index_pos` of a feature, `layer_-1_pos` of an error, `E_pos` of a
    /// token, `P_pos` of a position, `T_number` of a target; features and errors of attention begin with `a`.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let node: GraphNode = "2_17_5".parse()?;
    /// assert_eq!(node, GraphNode::Feature { layer: 2, feature: 17, pos: 5 });
    /// assert_eq!(node.id(), "2_17_5");
    /// assert_eq!(GraphNode::Error { layer: 2, pos: 5 }.id(), "2_-1_5");
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn id(&self) -> String {
        match self {
            Self::Feature { layer, pos, feature } => format!("{layer}_{feature}_{pos}"),
            Self::Error { layer, pos } => format!("{layer}_-1_{pos}"),
            Self::AttnFeature { layer, pos, feature } => format!("a{layer}_{feature}_{pos}"),
            Self::AttnError { layer, pos } => format!("a{layer}_-1_{pos}"),
            Self::Token { pos } => format!("E_{pos}"),
            Self::Position { pos } => format!("P_{pos}"),
            Self::LeftOut => "left_out".into(),
            Self::Bias(of) => of.id().into(),
            Self::Target { number } => format!("T_{number}"),
        }
    }
}

impl FromStr for GraphNode {
    type Err = Error;

    /// # Errors
    /// [`Error::Argument`] for what is not the id of a node.
    fn from_str(id: &str) -> Result<Self> {
        parsed(id).ok_or_else(|| {
            Error::argument(format!(
                "\"{}\" is not the id of a node: give layer_index_pos for a feature (\"2_17_5\"), layer_-1_pos for an error, a before these for \
                 attention (\"a2_17_5\"), E_pos for a token, P_pos for a position, T_number for a target, left_out, or bias_attention, \
                 bias_norms, bias_decoders, bias_target, bias_first.",
                visible(id)
            ))
        })
    }
}

fn parsed(id: &str) -> Option<GraphNode> {
    if id == "left_out" {
        return Some(GraphNode::LeftOut);
    }
    if let Some(of) = BiasOf::ALL.into_iter().find(|of| of.id() == id) {
        return Some(GraphNode::Bias(of));
    }
    let parts: Vec<&str> = id.split('_').collect();
    match parts[..] {
        ["E", pos] => Some(GraphNode::Token { pos: number(pos)? }),
        ["E", token, pos] => number(token).and(Some(GraphNode::Token { pos: number(pos)? })),
        ["P", pos] => Some(GraphNode::Position { pos: number(pos)? }),
        ["T", own] => Some(GraphNode::Target { number: number(own)? }),
        [layer, index, pos] => {
            let (layer, is_attention) = match layer.strip_prefix('a') {
                Some(layer) => (number(layer)?, true),
                None => (number(layer)?, false),
            };
            let pos = number(pos)?;
            Some(match (index, is_attention) {
                ("-1", false) => GraphNode::Error { layer, pos },
                ("-1", true) => GraphNode::AttnError { layer, pos },
                (index, false) => GraphNode::Feature { layer, pos, feature: number(index)? },
                (index, true) => GraphNode::AttnFeature { layer, pos, feature: number(index)? },
            })
        }
        _ => None,
    }
}

/// A number as [`GraphNode::id`] writes it, so that a node has one id.
fn number(text: &str) -> Option<usize> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    is_plain.then(|| text.parse().ok()).flatten()
}
