//! The parts of a circuit and the edges between them, in EAP-IG's spelling: `input`, `a5.h1`, `m7`, `logits`;
//! `a0.h3->a5.h1<q>`, `m2->m7`, `input->logits`. Layers and heads of a model may also count from the end, `a-1.h0`; in files
//! they count from 0.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::head::Head;
use crate::slice::forward;

/// A part of a model that writes to the residual stream or reads it. Negative layers and heads count from the end; what a
/// circuit returns counts from 0.
///
/// ```
/// use candle_lens::prelude::*;
/// assert_eq!(Node::Head(5, 1).to_string(), "a5.h1");
/// let circuit = Circuit::of(&HookedTransformer::from_pretrained("tiny")?);
/// assert_eq!(circuit.without_nodes(&[Node::Mlp(-1)])?, circuit.without_nodes(&["m3".parse()?])?);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// The token embedding (`hook_embed`; without positions).
    Input,
    /// A head: layer and head.
    Head(isize, isize),
    /// The MLP of this layer.
    Mlp(isize),
    /// The residual stream after the last block, from which the logits are read.
    Logits,
}

/// Which of a head's three inputs an edge enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Qkv {
    /// What the queries are computed from.
    Q,
    /// What the keys are computed from.
    K,
    /// What the values are computed from.
    V,
}

impl Qkv {
    pub(super) const ALL: [Self; 3] = [Self::Q, Self::K, Self::V];
}

/// From what one part writes to what another reads.
///
/// ```
/// use candle_lens::prelude::*;
/// let edge: Edge = "a0.h3->a5.h1<q>".parse()?;
/// assert_eq!((edge.from, edge.to, edge.qkv), (Node::Head(0, 3), Node::Head(5, 1), Some(Qkv::Q)));
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// What writes.
    pub from: Node,
    /// What reads.
    pub to: Node,
    /// Which input of the reader, if it is a head; none otherwise.
    pub qkv: Option<Qkv>,
}

impl Node {
    /// Its layer, of a node that counts from 0; the input and the logits have none.
    pub(crate) fn layer(self) -> Option<usize> {
        match self {
            Self::Head(layer, _) | Self::Mlp(layer) => usize::try_from(layer).ok(),
            Self::Input | Self::Logits => None,
        }
    }

    /// Whether its layer or head counts from the end.
    pub(super) fn counts_from_end(self) -> bool {
        match self {
            Self::Head(layer, head) => layer < 0 || head < 0,
            Self::Mlp(layer) => layer < 0,
            Self::Input | Self::Logits => false,
        }
    }
}

impl From<Head> for Node {
    fn from(Head { layer, head }: Head) -> Self {
        Self::Head(forward(layer), forward(head))
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input => f.write_str("input"),
            Self::Head(layer, head) => write!(f, "a{layer}.h{head}"),
            Self::Mlp(layer) => write!(f, "m{layer}"),
            Self::Logits => f.write_str("logits"),
        }
    }
}

impl fmt::Display for Qkv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Q => "q",
            Self::K => "k",
            Self::V => "v",
        })
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}", self.from, self.to)?;
        self.qkv.map_or(Ok(()), |qkv| write!(f, "<{qkv}>"))
    }
}

/// A plain number in its only spelling, so that each node has one name from the start and one from the end.
fn number(text: &str) -> Option<isize> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    (plain && (text == "0" || !digits.starts_with('0'))).then(|| text.parse().ok()).flatten()
}

fn node(text: &str) -> Option<Node> {
    match text {
        "input" => return Some(Node::Input),
        "logits" => return Some(Node::Logits),
        _ => {}
    }
    if let Some(layer) = text.strip_prefix('m') {
        return number(layer).map(Node::Mlp);
    }
    let (layer, head) = text.strip_prefix('a')?.split_once(".h")?;
    Some(Node::Head(number(layer)?, number(head)?))
}

impl FromStr for Node {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        node(text).ok_or_else(|| {
            Error::argument(format!(
                "{text:?} does not name a part of a model: write \"input\", \"a5.h1\" (layer and head), \"m7\" or \
                 \"logits\"."
            ))
        })
    }
}

fn edge(text: &str) -> Option<Edge> {
    let (from, to) = text.split_once("->")?;
    let inputs = [("<q>", Qkv::Q), ("<k>", Qkv::K), ("<v>", Qkv::V)];
    let (to, qkv) = match inputs.iter().find_map(|(end, qkv)| Some((to.strip_suffix(end)?, *qkv))) {
        Some((to, qkv)) => (to, Some(qkv)),
        None => (to, None),
    };
    let edge = Edge { from: node(from)?, to: node(to)?, qkv };
    (matches!(edge.to, Node::Head(..)) == qkv.is_some()).then_some(edge)
}

impl FromStr for Edge {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        edge(text).ok_or_else(|| {
            Error::argument(format!(
                "{text:?} does not name an edge: write it as \"m2->m7\" or \"input->logits\", and into a head with the \
                 input that it enters, as \"a0.h3->a5.h1<q>\"."
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() -> Result<()> {
        for name in ["input->a0.h0<q>", "a0.h3->a-1.h-10<k>", "m2->m-7", "a11.h10->logits", "input->logits"] {
            assert_eq!(name.parse::<Edge>()?.to_string(), name);
        }
        for name in ["input", "a0.h0", "a11.h10", "a-1.h-12", "m0", "m-1", "logits"] {
            assert_eq!(name.parse::<Node>()?.to_string(), name);
        }
        Ok(())
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in [
            "", "a0", "a0.h", "a.h1", "m", "m-", "m-0", "m-01", "m01", "m 1", "a1.h+1", "a--1.h0", "x3", "Logits",
            "m1<q>",
        ] {
            assert!(name.parse::<Node>().is_err(), "{name}");
        }
        for name in ["m0", "m0->", "m0->a1.h1", "m0->m1<q>", "m0->a1.h1<x>", "m0->a1.h1<q><k>", "m0>m1", "m0->m1->m2"] {
            let message = name.parse::<Edge>().unwrap_err().to_string();
            assert!(message.contains(&format!("{name:?}")) && message.ends_with('.'), "{message}");
        }
    }
}
