//! How attribution graphs are shown: what has the most influence, and what comes into the targets.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::feature_graphs::{AttributionGraph, GraphNode, Influence};
use crate::views::page::{Rendered, View};
use crate::views::show::{shown, shown_with_own_display};
use crate::views::table::Table;
use crate::views::widget::{CircuitGraph, EdgeKind};

/// How many nodes and edges a table lists.
const ROWS: usize = 20;

/// The most edges that are drawn; more would be unreadable.
const DRAWN: usize = 300;

impl AttributionGraph {
    /// The graph as a drawing: tokens below, then of each layer features and errors at their positions, targets above the last
    /// position. A node's score is its influence, an edge's its weight; of more than 300 edges those that carry the most influence
    /// are drawn. Biases and embeddings of positions are not.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let set = DictionarySet::open("tiny")?;
    /// let transcoders = [set.get("mlp0")?, set.get("mlp1")?, set.get("mlp2")?, set.get("mlp3")?];
    /// let graph = model.attribution_graph(&transcoders, "The capital of France is", GraphTargets::top())?;
    /// let drawn = circuit_graph(&graph.prune(0.6, 0.9)?.graph()).title("Where the answer comes from");
    /// drawn.show()?;
    /// assert!(drawn.render()?.html().contains("Where the answer comes from"));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn graph(&self) -> CircuitGraph {
        let influence: BTreeMap<GraphNode, f64> = self.influence().ranked().into_iter().collect();
        let layers = self.layers();
        let last = self.tokens().len().saturating_sub(1);
        let place = |node: GraphNode| match node {
            GraphNode::Token { pos } => Some((0, pos, "token".to_string())),
            GraphNode::Feature { layer, pos, feature } => Some((layer + 1, pos, feature.to_string())),
            GraphNode::Error { layer, pos } => Some((layer + 1, pos, "error".into())),
            GraphNode::Target { .. } => Some((layers + 1, last, self.name_of(node))),
            GraphNode::AttnFeature { .. }
            | GraphNode::AttnError { .. }
            | GraphNode::Position { .. }
            | GraphNode::LeftOut
            | GraphNode::Bias(_) => None,
        };
        let mut graph = CircuitGraph::new(self.tokens());
        graph.floors = std::iter::once("tokens".to_string())
            .chain((0..layers).map(|layer| format!("layer {layer}")))
            .chain(["logits".to_string()])
            .collect();
        let mut drawn = BTreeMap::new();
        for edge in self.top_edges(DRAWN) {
            let mut ends = [edge.source, edge.target].map(|node| {
                let (floor, pos, name) = place(node)?;
                let score = influence.get(&node).copied().unwrap_or(1.0) as f32;
                Some(*drawn.entry(node).or_insert_with(|| graph.node(name, floor, pos, score)))
            });
            if let (Some(from), Some(to)) = (ends[0].take(), ends[1].take()) {
                graph.edge(from, to, EdgeKind::Other, edge.weight);
            }
        }
        graph
    }

    /// How many layers its features and errors are of.
    fn layers(&self) -> usize {
        let layer = |node: &GraphNode| match node {
            GraphNode::Feature { layer, .. } | GraphNode::Error { layer, .. } => layer + 1,
            _ => 0,
        };
        self.sources().iter().map(layer).max().unwrap_or(0)
    }
}

impl View for AttributionGraph {
    /// The sources with the most influence, the edges that carry the most, and how much errors have.
    fn render(&self) -> Result<Rendered> {
        let influence = self.influence();
        let mut nodes = Table::new(["node", "token", "activation", "influence"]).title(self.to_string());
        for (node, share) in influence.ranked().into_iter().take(ROWS) {
            let activation = self.activation(node).map_or(String::new(), |activation| format!("{activation:.3}"));
            nodes = nodes.row((node.to_string(), self.token_of(node), activation, share));
        }
        let note = format!(
            "replacement score {:.3}, completeness {:.3} of features and targets; the edges into a node miss its value by at \
             most {:.1e}",
            self.replacement_score(),
            self.completeness_of_features(),
            self.residual()
        );
        let mut all = nodes.note(note).render()?;
        let mut edges = Table::new(["from", "to", "weight"]).title("The edges that carry the most influence");
        for edge in self.top_edges(ROWS) {
            edges = edges.row((edge.source.to_string(), self.name_of(edge.target), edge.weight));
        }
        all.append(&edges.render()?);
        Ok(all)
    }
}

impl View for Influence {
    fn render(&self) -> Result<Rendered> {
        let mut table = Table::new(["node", "influence"]).title("Influence on the targets");
        for (node, share) in self.ranked().into_iter().take(ROWS) {
            table = table.row((node.to_string(), share));
        }
        table.render()
    }
}

shown_with_own_display!(AttributionGraph);
shown!(Influence);
