//! Nodes of a chained graph by layer and position.

use std::collections::BTreeSet;
use std::fmt;

use super::super::node::GraphNode;
use super::edge::EdgeVia;
use super::graph::{ChainedGraph, by_score, position};
use super::node::ChainedNode;
use crate::error::Result;
use crate::labelled::{Axis, Labelled};
use crate::slice::absolute;

/// What a node is of, in the order of a model; it displays as rows of tables call it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Tokens,
    Positions,
    /// Layer, whether of the MLP, whether an error.
    Layer(usize, bool, bool),
}

impl Part {
    fn of(node: &GraphNode) -> Option<Self> {
        match *node {
            GraphNode::Token { .. } => Some(Self::Tokens),
            GraphNode::Position { .. } => Some(Self::Positions),
            GraphNode::AttnFeature { layer, .. } => Some(Self::Layer(layer, false, false)),
            GraphNode::AttnError { layer, .. } => Some(Self::Layer(layer, false, true)),
            GraphNode::Feature { layer, .. } => Some(Self::Layer(layer, true, false)),
            GraphNode::Error { layer, .. } => Some(Self::Layer(layer, true, true)),
            GraphNode::LeftOut | GraphNode::Bias(_) | GraphNode::Target { .. } => None,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Tokens => f.write_str("tokens"),
            Self::Positions => f.write_str("positions"),
            Self::Layer(layer, is_mlp, is_error) => {
                write!(f, "{}{layer}{}", if is_mlp { "mlp" } else { "z" }, if is_error { " errors" } else { "" })
            }
        }
    }
}

impl ChainedGraph {
    /// The features of a layer at a position, of attention and of the MLP, the one that moves the metric most first; negative positions
    /// count from the end.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error) for a layer or a position that the model or the prompts do not have.
    pub fn at(&self, layer: usize, pos: isize) -> Result<Vec<ChainedNode>> {
        absolute(crate::slice::forward(layer), self.layers, "layer")?;
        let features = self.features_at(pos)?;
        let of_layer = |node: &ChainedNode| matches!(node.node, GraphNode::Feature { layer: own, .. } | GraphNode::AttnFeature { layer: own, .. } if own == layer);
        Ok(features.into_iter().filter(of_layer).collect())
    }

    /// The features of all layers at a position, the one that moves the metric most first; negative positions count from the end.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error) for a position that the prompts do not have.
    pub fn features_at(&self, pos: isize) -> Result<Vec<ChainedNode>> {
        let pos = absolute(pos, self.positions(), "position")?;
        let is_there = |node: &&ChainedNode| {
            matches!(node.node, GraphNode::Feature { .. } | GraphNode::AttnFeature { .. })
                && position(&node.node) == Some(pos)
        };
        Ok(by_score(self.nodes.iter().filter(is_there)))
    }

    /// The sum of the scores of nodes by what they are and where: `z3` are the features of attention of layer 3, `mlp3` those of its MLP.
    /// Biases, which have no position, are not in it. Scores of earlier nodes pass through later ones, so rows do not sum to the metric.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// # let model = HookedTransformer::from_pretrained("tiny")?;
    /// # let set = DictionarySet::open("tiny")?;
    /// # let dictionaries = [set.get("z2")?, set.get("z3")?, set.get("mlp2")?, set.get("mlp3")?];
    /// # let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// # let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let places = model.chained_graph(&dictionaries, prompt, corrupted, metric)?.by_place()?;
    /// // Most of it is written by attention at the last position, in the last layer.
    /// assert_eq!(places.top(1)[0].labels, ["z3", "14: to"]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Shapes
    /// `[part, position]`.
    ///
    /// # Errors
    /// A result that does not fit in memory.
    pub fn by_place(&self) -> Result<Labelled> {
        let placed: Vec<(Part, usize, f32)> = self
            .nodes
            .iter()
            .filter(|node| self.is_in(&node.node))
            .filter_map(|node| Some((Part::of(&node.node)?, position(&node.node)?, node.score)))
            .collect();
        let parts: Vec<Part> = placed.iter().map(|at| at.0).collect::<BTreeSet<_>>().into_iter().collect();
        // All positions of the prompts, or those that a file without tokens names.
        let places: Vec<usize> = match self.pieces.len() {
            0 => placed.iter().map(|at| at.1).collect::<BTreeSet<_>>().into_iter().collect(),
            count => (0..count).collect(),
        };
        let mut sums = vec![0.0f64; parts.len() * places.len()];
        for (part, pos, score) in placed {
            if let (Ok(row), Ok(column)) = (parts.binary_search(&part), places.binary_search(&pos)) {
                sums[row * places.len() + column] += f64::from(score);
            }
        }
        let label = |pos: &usize| match self.pieces.get(*pos) {
            Some(piece) => format!("{pos}:{piece}"),
            None => pos.to_string(),
        };
        let axes = vec![
            Axis::new("part", parts.iter().map(ToString::to_string)),
            Axis::new("position", places.iter().map(label)),
        ];
        let title = format!("score of nodes for {}", self.metric);
        Labelled::new(title, axes, sums.into_iter().map(|sum| sum as f32).collect())
    }

    /// By how much edges of each kind move the metric, summed by magnitude.
    ///
    /// # Shapes
    /// `[kind]`: ov, q, k, mlp, direct.
    ///
    /// # Errors
    /// None; the type is that of all results.
    pub fn by_kind(&self) -> Result<Labelled> {
        let sum = |via: EdgeVia| {
            let of_kind = self.edges.iter().filter(|edge| edge.via == via && self.is_in(&edge.source));
            of_kind.map(|edge| f64::from(edge.metric.abs())).sum::<f64>() as f32
        };
        let axis = Axis::new("kind", EdgeVia::ALL.iter().map(ToString::to_string));
        Labelled::new("sum of edges by magnitude", vec![axis], EdgeVia::ALL.map(sum).to_vec())
    }

    /// How many positions the prompts have.
    fn positions(&self) -> usize {
        match self.pieces.len() {
            0 => {
                self.nodes.iter().filter_map(|node| position(&node.node)).max().map_or(0, |last| last.saturating_add(1))
            }
            count => count,
        }
    }
}
